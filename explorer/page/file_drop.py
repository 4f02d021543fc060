"""A place to drop, choose or paste files. (Panel's has no size limit, and shows refused files as taken.)"""

from __future__ import annotations

from collections.abc import Callable

import param
from panel.custom import JSComponent

CHUNK = 2**20  # bytes of a message
ESM = """
export function render({ model, el }) {
  const zone = document.createElement('div'), hint = document.createElement('span');
  const button = document.createElement('button'), input = document.createElement('input');
  zone.className = 'zone';
  button.type = 'button';
  button.textContent = 'Your own file';
  input.type = 'file';
  input.multiple = true;
  input.hidden = true;
  input.accept = model.accept;
  hint.setAttribute('role', 'status');
  const rest = 'or drop, or paste';
  hint.textContent = rest;
  zone.append(button, hint, input);

  // One file after the other, each in pieces, so that nothing else of the page has to wait for long.
  let sending = Promise.resolve();
  async function send(file, name) {
    if (file.size > model.most) {
      model.send_msg({ name, size: file.size });
      return;
    }
    let at = 0;
    do {
      const data = await file.slice(at, at + model.chunk).arrayBuffer();
      model.send_msg({ name, size: file.size, at, data });
      at += model.chunk;
      hint.textContent = `sending ${name} … ${Math.min(100, Math.round(100 * at / file.size))} %`;
      await new Promise((done) => setTimeout(done, 0));
    } while (at < file.size);
    hint.textContent = rest;
  }
  const take = (files, rename = (name) => name) => {
    for (const file of files) sending = sending.then(() => send(file, rename(file.name)));
  };

  button.onclick = () => input.click();
  input.onchange = () => { take(input.files); input.value = ''; };
  let depth = 0;
  const mark = (change) => { depth = change; zone.classList.toggle('over', depth > 0); };
  zone.ondragenter = (event) => { event.preventDefault(); mark(depth + 1); };
  zone.ondragleave = () => mark(depth - 1);
  zone.ondragover = (event) => event.preventDefault();
  zone.ondrop = (event) => { event.preventDefault(); mark(0); take(event.dataTransfer.files); };
  const paste = (event) => {
    const files = event.clipboardData?.files ?? [];
    if (files.length) event.preventDefault();
    take(files, (name) => name === 'image.png' ? 'pasted.png' : name);
  };
  document.addEventListener('paste', paste);
  model.on('remove', () => document.removeEventListener('paste', paste));
  return zone;
}
"""


class Dropper(JSComponent):
    """The drop zone; `on_file(name, content)` is called with a file, `on_refused(name, size)` if too large.

    Both the browser and the server enforce `most`, since the server cannot trust a browser.
    """

    accept = param.String(doc="Suffixes and kinds that the browser's dialog offers")
    most = param.Integer(doc="Bytes of a file")
    chunk = param.Integer(CHUNK)

    _esm = ESM

    def __init__(
        self, on_file: Callable[[str, bytes], None], on_refused: Callable[[str, int], None], **options
    ):
        super().__init__(**options)
        self._on_file, self._on_refused = on_file, on_refused
        self._name, self._parts = "", []  # of the file on its way

    def _handle_msg(self, data: dict) -> None:
        name, size, at = str(data["name"]), int(data["size"]), data.get("at")
        if at is None or size > self.most:
            self._parts = []
            self._on_refused(name, size)
            return
        if at == 0:
            self._name, self._parts = name, []
        held = sum(map(len, self._parts))
        if (name, at) != (self._name, held) or held > size:
            return  # no browser with this page sends that
        self._parts.append(bytes(data["data"]))
        if held + len(self._parts[-1]) >= size:
            content, self._parts = b"".join(self._parts), []
            self._on_file(name, content)
