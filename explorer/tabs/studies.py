"""What the tabs on methods, layers and INT8 show: their jobs, from the choices to the views."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from explorer.jobs.token import Token
from explorer.pipeline import deployment, pictures
from explorer.pipeline.method_comparison import Look, closely

if TYPE_CHECKING:
    from explorer.session import Session
from explorer.pipeline.names import TITLES, references, weights_and_activations


def update_int8(session: Session) -> None:
    plan, where = deployment.Plan.of(session.state), (session.state.image, session.state.region)
    view = session.deployment

    def work(token: Token, emit: Callable) -> None:
        names = deployment.variants(plan.network)
        emit((view.arrange, names))
        found = {}
        for name in names:
            found[name] = deployment.outcome(plan, name, *where, token=token)
            emit((view.show_variant, name, found[name]))
            emit((view.show_table, dict(found), {}))
        emit((view.show_outputs, deployment.outputs(plan, token=token)))
        emit((view.show_table, found, deployment.times(plan, token=token)))

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


UPDATES = {"methods": update_methods, "layers": update_layers, "int8": update_int8}
