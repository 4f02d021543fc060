// What a page shows when the server is gone, or never answers: a sentence, and a way on. The choices are in
// the address, so a new page goes on where this one stopped.
window.sayLost = (sentence) => {
  if (document.getElementById('lost')) return;
  const box = Object.assign(document.createElement('div'), {id: 'lost', role: 'alert'});
  const text = Object.assign(document.createElement('span'), {textContent: sentence});
  const button = Object.assign(document.createElement('button'), {textContent: 'Reload', onclick: () =>
    fetch(location.href).then(() => location.reload(), () => {
      text.textContent = 'The server does not answer yet; try again in a moment.'; })});
  box.append(text, button);
  document.body.append(box);
};
// A page that the server has nothing for says so.
(() => {
  const start = performance.now();
  const look = setInterval(() => {
    if (window.Bokeh?.documents?.length) {
      document.getElementById('lost')?.remove();
      clearInterval(look);
    } else if (performance.now() - start > 20_000) {
      window.sayLost('This page has no connection to the server; reload it, or ask the person who runs the ' +
        'server to allow this address.');
    }
  }, 500);
})();
