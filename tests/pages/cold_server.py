"""Serves as `panel serve`, without computing anything before the first visitor comes."""

import sys

from panel.command import main

from explorer.pipeline import warm_up

if __name__ == "__main__":
    warm_up.warm_up = lambda catalog: None  # the page takes it from this module
    sys.exit(main())
