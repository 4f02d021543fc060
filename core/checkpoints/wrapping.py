"""Find where a network's own names begin among those of a file, behind the prefixes of training scripts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

# Parts that torch inserts before the names of a compiled, sharded or checkpointed module.
INNER = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Keys and prefixes that lead to the network in a training's file consist of these words.
WORDS = {"module", "model", "models", "net", "nets", "network", "netg", "generator", "gen", "g", "sr"}
WORDS |= {"params", "param", "state", "dict", "weights", "ema", "swa", "shadow", "online", "best", "last"}
EMA = re.compile(r"(?<![a-z])(ema|swa)(?![a-z])", re.IGNORECASE)
MAX_DEPTH = 8


def plain_names(state: dict) -> dict:
    """Remove what torch.compile and sharding insert into the names."""
    return {INNER.sub("", name): value for name, value in state.items()}


def prefixes(names: Iterable[str], prefix: str = "", depth: int = 0) -> Iterator[str]:
    """Yield the prefixes after which a network's own names may begin: "", "state_dict.", "model.module." …

    The outermost comes first. A part of a name is a prefix if all names begin with it (except names without a
    dot, which are counters), or if it consists of `WORDS`.
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
    """Return those of several prefixes that name an average over the training most often."""
    most = max((len(EMA.findall(prefix)) for prefix in found), default=0)
    return [prefix for prefix in found if len(EMA.findall(prefix)) == most]


def part(state: dict, prefix: str) -> dict:
    """Return the tensors whose names begin with the prefix, without the prefix in their names."""
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
