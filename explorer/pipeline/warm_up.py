"""The results that are computed before the first visitor comes."""

from __future__ import annotations

import contextlib
import functools

from explorer.choices.state import ExplorerState
from explorer.jobs.latest import SLOW
from explorer.jobs.token import Cancelled, Token
from explorer.pipeline import activations, pictures, points


@functools.cache
def warm_up() -> None:
    """Start to compute what a new visitor sees first, once a process, before anybody asks."""
    state, token = ExplorerState(), Token()
    config = state.configs()

    def work() -> None:
        with contextlib.suppress(Cancelled):  # the server ends
            activations.distribution(state.network, state.layer, token=token)
            channel = (state.network, state.layer, state.channel)
            for compared in ((False,), ()):  # as a visitor asks
                asked = (*channel, config(state.activation_bits), (), False, *compared)
                points.points(*asked, token=token)
            for request in pictures.requests(state).values():
                pictures.picture(*request, token=token)
            activations.mismatch(state.network, token=token)

    SLOW.submit(warm_up, token, work)
