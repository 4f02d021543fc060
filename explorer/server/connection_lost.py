"""The message of a page whose server is gone, or never answers."""

from pathlib import Path
from urllib.parse import quote

# In the page itself, since what comes over the websocket is not there when it is missed.
PAGE = "data:text/javascript," + quote(Path(__file__).with_suffix(".js").read_text())
SCRIPT = """
setTimeout(() => window.sayLost('The connection to the server was lost; the address of this page keeps ' +
  'your choices.'), 300);  // not while the page is being left
"""
