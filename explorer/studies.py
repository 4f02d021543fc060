"""What the tabs on methods, layers and INT8 show: their jobs, from the choices to the views."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from explorer import int8, pictures
from explorer.jobs import Token
from explorer.side_by_side import Look, closely
from explorer.sources import without_truth

if TYPE_CHECKING:
    from explorer.session import Session

TITLES = {"hr": "HR, ground truth", "bicubic": "Bicubic", "float": "Float SR"}


def update_int8(session: Session) -> None:
    plan, where = int8.Plan.of(session.state), (session.state.image, session.state.region)
    view = session.deployment

    def work(token: Token, emit: Callable) -> None:
        names = int8.variants(plan.network)
        emit((view.arrange, names))
        found = {}
        for name in names:
            found[name] = int8.outcome(plan, name, *where, token=token)
            emit((view.show_variant, name, found[name]))
            emit((view.show_table, dict(found), {}))
        emit((view.show_outputs, int8.outputs(plan, token=token)))
        emit((view.show_table, found, int8.times(plan, token=token)))

    session.submit("int8", work, lambda result: result[0](*result[1:]))


def update_methods(session: Session) -> None:
    state, view = session.state, session.methods
    where, kept = (state.network, state.image, state.region), tuple(state.float_layers)
    look = Look(tuple(state.box), tuple(state.spot), state.direction)
    bits = state.activation_bits
    size = weights_and_activations(state.weight_bits or bits, bits)
    configs = {method: state.configs(method) for method in state.methods}
    names = {key: TITLES[key] for key in references(state.image, "hr", "float")} | {
        m: f"{m} {size}" for m in configs
    }

    def work(token: Token, emit: Callable) -> None:
        emit((view.arrange, names))
        found = {}
        for done, key in enumerate(names):
            token.progress("Super-resolving", done / len(names))
            try:
                what = (configs[key](bits), kept) if key in configs else (key,)
                found[key] = closely(where, what, look, token)
                emit((view.show, key, found[key], look))
            except ValueError as error:
                emit((view.say, key, str(error)))
        emit((view.show_all, found, names, look))

    session.submit("methods", work, lambda result: result[0](*result[1:]))


def update_layers(session: Session) -> None:
    state, view = session.state, session.layers
    where = (state.network, state.image, state.region)
    configs, bits = state.configs(), state.activation_bits
    kept, layer = tuple(state.float_layers), state.layer
    view.wait()

    def work(token: Token, emit: Callable) -> None:
        config = configs(bits)
        total, found = pictures.sensitivity(*where, config, token=token)
        emit((view.show, total, found, layer))
        choices = ((config,), (config, kept), ("float",))
        shown = [pictures.picture(*where, *choice, token=token) for choice in choices]
        emit((view.show_scores, *shown, len(kept)))

    session.submit("layers", work, lambda result: result[0](*result[1:]))


def references(image: str, *asked: str) -> list[str]:
    """Those of the asked pictures, besides the quantized ones, that there are of the image."""
    return [key for key in asked if key != "hr" or not without_truth(image)]


def weights_and_activations(weight_bits: int, activation_bits: int) -> str:
    """W4A8 for weights of 4 bits and activations of 8."""
    return f"W{weight_bits}A{activation_bits}"


UPDATES = {"methods": update_methods, "layers": update_layers, "int8": update_int8}
