"""Any SR network as a module: how it is run, cut into tiles, and made plain before it is copied."""
