from browser import chromium, explorer, server  # noqa: F401
