"""What the owner of a server brings by its command line; nothing a visitor sends is ever imported.

panel serve explorer/app.py --args --network my_package.my_module:make_network --images photographs/
"""

from __future__ import annotations

import argparse
import functools
import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from torch import nn

from explorer.choices.catalog import BUNDLED, Catalog
from explorer.given.images import given_images
from explorer.given.networks import GivenNetwork, given_network

ADDRESS = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")


@functools.cache
def owners_catalog(arguments: Sequence[str]) -> Catalog:
    """Return what the arguments name, held for good, and then what is bundled; ValueError says why not."""
    asked = _parser().parse_args(arguments)
    found = [network_at(address, asked.scale, asked.range) for address in asked.network]
    catalog = Catalog({network.key: network for network in found}, given_images(asked.images, False))
    catalog = catalog.before(BUNDLED)
    catalog.hold()
    return catalog


def network_at(address: str, scale: int | None = None, top: float = 1.0) -> GivenNetwork:
    """Import "package.module:name" and return the network that `name` is or, called without arguments, makes.

    Modules of the current folder are found too. ValueError, one sentence, if there is none.
    """
    fits = ADDRESS.fullmatch(address)
    if fits is None:
        raise ValueError(f"--network {address} is not written as package.module:function")
    module, name = fits.groups()
    sys.path.append(os.getcwd())
    try:
        made = getattr(importlib.import_module(module), name)
        is_network = isinstance(made, nn.Module)
        model = made if is_network else made()
    except Exception as error:  # whatever the owner's own code raises
        reason = next(iter(str(error).strip().splitlines()), "no reason given")
        raise ValueError(f"--network {address}: {type(error).__name__}, {reason}") from error
    finally:
        sys.path.remove(os.getcwd())
    code = name if is_network else f"{name}()"
    return given_network(name, model, scale, top, imports=(f"from {module} import {name}",), code=code)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are sentences, since the server goes on."""

    def error(self, message: str) -> NoReturn:
        """Raise a ValueError."""
        raise ValueError(f"panel serve … --args: {message}; there are --network, --scale, --range, --images")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("panel serve explorer/app.py --args", add_help=False)
    parser.add_argument("--network", action="append", default=[])
    parser.add_argument("--scale", type=int)
    parser.add_argument("--range", type=float, default=1.0)
    parser.add_argument("--images", action="append", default=[])
    return parser
