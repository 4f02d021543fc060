"""Where a network's own names begin among those of a file: what training scripts put around them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

# Parts of names that torch puts before a compiled, sharded or checkpointed module, wherever it stands.
INNER = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Words of which the keys and prefixes are made that name the network of a training beside others.
WORDS = {"module", "model", "models", "net", "nets", "network", "netg", "generator", "gen", "g", "sr"}
WORDS |= {"params", "param", "state", "dict", "weights", "ema", "swa", "shadow", "online", "best", "last"}
EMA = re.compile(r"(?<![a-z])(ema|swa)(?![a-z])", re.IGNORECASE)
MAX_DEPTH = 8


def plain_names(state: dict) -> dict:
    """Without what torch.compile and sharding put between the names."""
    return {INNER.sub("", name): value for name, value in state.items()}


def prefixes(names: Iterable[str], prefix: str = "", depth: int = 0) -> Iterator[str]:
    """Where a network's own names may begin, the outermost first: after "", "state_dict.", "model.module." …

    A part of a name is a prefix where all names begin with it (but those without a dot, which count
    something), or where it is made of `WORDS`.
    """
    yield prefix
    below: dict[str, list[str]] = {}
    for name in names:
        head, dot, _ = name[len(prefix) :].partition(".")
        if dot:
            below.setdefault(head, []).append(name)
    for head, inner in below.items():
        if depth < MAX_DEPTH and (len(below) == 1 or _is_wrapper(head)):
            yield from prefixes(inner, f"{prefix}{head}.", depth + 1)


def _is_wrapper(head: str) -> bool:
    return set(re.split(r"[_\-]+", head.lower().strip("_"))) <= WORDS


def preferred(found: list[str]) -> list[str]:
    """Of several prefixes those that say most often that what follows is an average over the training."""
    most = max((len(EMA.findall(prefix)) for prefix in found), default=0)
    return [prefix for prefix in found if len(EMA.findall(prefix)) == most]


def part(state: dict, prefix: str) -> dict:
    """The tensors whose names begin with the prefix, under the rest of their names."""
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
