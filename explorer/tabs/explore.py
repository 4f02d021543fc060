"""What the tab Explore shows: its jobs, from the choices to the views."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from explorer.choices.state import HAND
from explorer.jobs.token import Token
from explorer.pipeline import activations, pictures, points
from explorer.pipeline.names import TITLES, references, weights_and_activations

if TYPE_CHECKING:
    from explorer.session import Session

PATIENCE = 0.25  # seconds that pictures give way to points, which take less
PAINT = 0.05  # seconds that a browser on the same machine needs to paint them


def update_distributions(session: Session) -> None:
    name, layer, channel = session.state.network, session.state.layer, session.state.channel

    def work(token: Token, emit: Callable) -> None:
        emit(activations.distribution(name, layer, token=token))

    session.submit("distributions", work, lambda data: session.distributions.show(data, channel))


def update_mismatch(session: Session) -> None:
    name, layer = session.state.network, session.state.layer

    def work(token: Token, emit: Callable) -> None:
        emit(activations.mismatch(name, token=token))

    session.submit("mismatch", work, lambda found: session.mismatch.show(found, layer))


def update_points(session: Session) -> None:
    state, view, done = session.state, session.points, session.points_done
    name, layer, channel, bits = state.network, state.layer, state.channel, state.activation_bits
    configs, hand = state.configs(), (state.by_hand(), state.hand_layer)
    done.clear()

    def show(found: points.Points) -> None:
        view.show(found)
        done.set()

    def work(token: Token, emit: Callable) -> None:
        where = (name, layer, channel, configs(bits), *hand)
        emit((show, points.points(*where, False, token=token)))
        emit((view.show_errors, points.points(*where, token=token)))

    session.submit("points", work, lambda result: result[0](*result[1:]), view.clear, done.set)


def update_images(session: Session) -> None:
    state, view = session.state, session.images
    where = (state.network, state.image, state.region)
    current, sides = state.activation_bits, (state.picture_key("left"), state.picture_key("right"))
    bits = state.shown_bits()
    weights = {b: b if not state.weight_bits else state.weight_bits for b in bits}
    names = {key: TITLES[key] for key in references(state.image, *TITLES)}
    names |= {b: weights_and_activations(weights[b], b) for b in bits}
    hand = pictures.Hand.of(state)
    if hand:
        names[HAND] = f"By hand, {names[current]}"
    configs, kept = state.configs(), tuple(state.float_layers)

    def what(key: str | int) -> tuple:
        if key in TITLES:
            return (key,)
        return (configs(current), kept, hand) if key == HAND else (configs(key), kept)

    def show(key: str | int, picture: pictures.Picture) -> None:
        view.window.fit(*picture.rgb.shape[:2])
        view.tile(key).show(picture)

    # What the sliders ask for comes first, then the comparison, then the rest.
    order = sorted(names, key=lambda key: key not in TITLES and key not in (current, *sides))

    def work(token: Token, emit: Callable) -> None:
        if not session.points_done.is_set():
            session.points_done.wait(PATIENCE)
            time.sleep(PAINT)
        shown, waiting, asked = {}, True, {}
        for key in order:
            with contextlib.suppress(ValueError):  # said below, in its place
                asked[key] = (*where, *what(key))
        new = {key for key in asked if not pictures.picture.known(*asked[key])}
        emit((view.arrange, names, current, new))
        for done, key in enumerate(order):
            token.progress("Super-resolving", done / len(order))
            try:
                shown[key] = pictures.picture(*where, *what(key), token=token)
                emit((show, key, shown[key]))
            except ValueError as error:
                emit((view.say, key, str(error)))
            if waiting and all(side in shown for side in sides):
                waiting = False
                both = [shown[side] for side in sides]
                emit((view.compare, *both, pictures.difference(*both)))
        if waiting:
            emit((view.clear_comparison,))

    session.submit("images", work, lambda result: result[0](*result[1:]))


UPDATES = {
    "distributions": update_distributions,
    "points": update_points,
    "images": update_images,
    "mismatch": update_mismatch,
}
