"""The results that are computed before the first visitor comes.

`python -m explorer.pipeline.warm_up` computes them and keeps them on disk, as `make app` does once.
"""

from __future__ import annotations

import contextlib
import functools

from explorer.choices.catalog import BUNDLED, Catalog
from explorer.choices.state import ExplorerState
from explorer.jobs.latest import SLOW
from explorer.jobs.token import Cancelled, Token
from explorer.pipeline import activations, pictures, points


def first_page(token: Token, catalog: Catalog = BUNDLED) -> None:
    """Compute what a new visitor sees first."""
    state = ExplorerState(catalog)
    config = state.configs()
    activations.distribution(state.network, state.layer, token=token)
    channel = (state.network, state.layer, state.channel)
    for compared in ((False,), ()):  # as a visitor asks
        points.points(*channel, config(state.activation_bits), (), False, *compared, token=token)
    for request in pictures.requests(state).values():
        pictures.picture(*request, token=token)
    activations.mismatch(state.network, token=token)


@functools.cache
def warm_up(catalog: Catalog = BUNDLED) -> None:
    """Start to compute the first page, once a process, before anybody asks."""
    token = Token()

    def work() -> None:
        with contextlib.suppress(Cancelled):  # the server ends
            first_page(token, catalog)

    SLOW.submit(warm_up, token, work)


if __name__ == "__main__":
    first_page(Token())
