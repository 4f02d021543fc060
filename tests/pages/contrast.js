// The visible texts whose contrast to what is behind them is below WCAG AA: [text, ratio, colour, background].
// Figures are canvases and have tests of their own colours; a control without effect may be pale.
() => {
  const rgba = (text) => {
    const [r, g, b, a = 1] = (text.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
    return [r, g, b, a];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[3] * top[i] + (1 - top[3]) * below[i]).concat(1);
  const luminance = (color) => {
    const [r, g, b] = color.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const parent = (e) => e.assignedSlot ?? e.parentElement ?? e.getRootNode().host;
  const line = (e) => (e ? [e, ...line(parent(e))] : []);
  const behind = (e) =>
    line(e)
      .map((at) => rgba(getComputedStyle(at).backgroundColor))
      .reverse()
      .reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  const pale = (e) =>
    line(e).some((at) => at.disabled || at.ariaDisabled === 'true' || getComputedStyle(at).opacity < 1);
  const found = new Map();
  const look = (text) => {
    const e = text.parentElement ?? text.getRootNode().host;
    const style = getComputedStyle(e);
    const { width, height } = e.getBoundingClientRect();
    if (['STYLE', 'SCRIPT', 'OPTION'].includes(e.tagName) || style.visibility !== 'visible') return;
    if (width < 2 || height < 2 || pale(e)) return;
    const back = behind(e);
    const [dark, bright] = [luminance(over(rgba(style.color), back)), luminance(back)].sort((x, y) => x - y);
    const ratio = (bright + 0.05) / (dark + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5))
      found.set(text.textContent.trim().slice(0, 40), [ratio.toFixed(2), style.color, back.join()]);
  };
  const walk = (node) => {
    for (const child of node.childNodes) {
      if (child.nodeType === Node.TEXT_NODE && /[\p{L}\p{N}]/u.test(child.textContent)) look(child);
      if (child.nodeType === Node.ELEMENT_NODE) walk(child);
    }
    if (node.shadowRoot) walk(node.shadowRoot);
  };
  walk(document.body);
  return [...found].map(([text, values]) => [text, ...values]);
}
