"""Networks that whoever starts the server adds to the bundled ones: `make app NETWORK=my_module:build`.

Their code runs in this process, as it must for an architecture that no file describes.
"""

from __future__ import annotations

import importlib
import os

from torch import nn

from explorer.choices.file_reading import checked
from explorer.choices.visitor_files import PREFIX, register

VARIABLE = "EXPLORER_NETWORKS"
START = f"{PREFIX}network:server:"


def added() -> dict[str, str]:
    """Load what EXPLORER_NETWORKS names, "module:function" between spaces; return label -> key.

    A function returns the float network, an nn.Module that takes (N, 3, H, W) in [0, 1]. ValueError with a
    sentence for what cannot be loaded or shown.
    """
    found = {}
    for name in os.environ.get(VARIABLE, "").split():
        network = checked(name, _made(name), f"Added by {name} when this server was started.")
        register(START + name, network)
        found[f"{name} ×{network.scale}"] = START + name
    return found


def is_added(key: str) -> bool:
    """Tell whether the key is that of a network added to the server."""
    return key.startswith(START)


def code(key: str) -> str:
    """Write the Python expression that makes the network."""
    module, _, function = key.removeprefix(START).partition(":")
    return f"importlib.import_module({module!r}).{function}()"


def _made(name: str) -> nn.Module:
    module, _, function = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), function)()
    except Exception as error:  # whatever a stranger's code raises
        raise ValueError(
            f"{name} gives no network ({type(error).__name__}: {error}); name a function of a module on "
            "PYTHONPATH as my_module:build"
        ) from error
    if not isinstance(made, nn.Module):
        raise ValueError(f"{name} returns {type(made).__name__}; return an nn.Module")
    return made.eval()
