"""What a page shows when the server is gone, or never answers: a sentence, and a way on."""

from urllib.parse import quote

PATIENCE = 20  # seconds until a page that the server has nothing for says so
# The choices are in the address, so a new page goes on where this one stopped.
_PAGE = """
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
(() => {
  const start = performance.now();
  const look = setInterval(() => {
    if (window.Bokeh?.documents?.length) {
      document.getElementById('lost')?.remove();
      clearInterval(look);
    } else if (performance.now() - start > 1000 * PATIENCE) {
      window.sayLost('This page has no connection to the server; reload it, or ask the person who runs the ' +
        'server to allow this address.');
    }
  }, 500);
})();
""".replace("PATIENCE", str(PATIENCE))
# A file of the page's, since what comes over the websocket is not there when it is missed.
PAGE = "data:text/javascript," + quote(_PAGE)
SCRIPT = """
setTimeout(() => window.sayLost('The connection to the server was lost; the address of this page keeps ' +
  'your choices.'), 300);  // not while the page is being left
"""
STYLE = """
#lost {
  position: fixed; z-index: 100; top: 12px; left: 50%; transform: translateX(-50%); box-sizing: border-box;
  width: max-content; max-width: calc(100% - 24px); padding: 10px 14px; border-radius: 6px; display: flex;
  gap: 14px; align-items: center; background: #1d2733; color: white; font: 15px Helvetica, Arial, sans-serif;
  border-left: 4px solid #d55e00; box-shadow: 0 4px 16px rgba(0, 0, 0, 0.4);
}
#lost button { font: inherit; padding: 5px 14px; border-radius: 4px; border: 0; cursor: pointer;
  background: white; color: #1d2733; }
"""
