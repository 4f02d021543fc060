"""The scope: which layers of a network are quantized, and why the others stay float."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from core.networks.products import Operand
from core.networks.running import check_network, run
from core.ptq.calibration import recorded

# Class of layers that can be quantized -> the channel dimension of their input.
CHANNEL_DIM = {nn.Conv2d: -3, nn.ConvTranspose2d: -3, nn.Linear: -1, Operand: -1}

ASKED = "the layers that were asked for"

Layers = Callable[[str, nn.Module], bool] | Iterable[str] | None


def channel_dim_of(module: nn.Module) -> int | None:
    """Return the channel dimension of the module's input; None for a module that cannot be quantized."""
    return next((dim for cls, dim in CHANNEL_DIM.items() if isinstance(module, cls)), None)


def check_layers(model: nn.Module) -> None:
    """Raise ValueError for what is no network, and for one whose layers are not to be seen."""
    check_network(model)
    if not any(channel_dim_of(module) for module in model.modules()):
        raise ValueError(
            f"{type(model).__name__} holds no Conv2d, ConvTranspose2d or Linear, as graphs that were traced "
            "or exported; quantize the network that it was made from"
        )


def input_channels(module: nn.Module) -> int:
    """Return the number of input channels of a layer that can be quantized."""
    if isinstance(module, Operand):
        return module.channels
    return module.in_features if isinstance(module, nn.Linear) else module.in_channels


def has_weights(module: nn.Module) -> bool:
    """Return whether the module is a layer with weights that can be quantized."""
    return channel_dim_of(module) is not None and not isinstance(module, Operand)


def scope_of(model: nn.Module, layers: Layers) -> str:
    """Describe in words which layers `choose_layers` chooses."""
    if layers is not None:
        return ASKED
    declared = _declaring(model).values()
    words = [getattr(m, "scope_in_words", f"what {type(m).__name__} declares") for m in declared]
    return "; ".join(dict.fromkeys(words)) or "every learned conv but the first and the last that is called"


class DeclaredScope:
    """A scope of named layers, as a network declares it by its attribute `quantized_scope`."""

    def __init__(self, names: Iterable[str]):
        self._names = frozenset(names)

    def __call__(self, name: str, module: nn.Module) -> bool:
        """Return whether the layer is in the scope."""
        return name in self._names


def declare_scope(model: nn.Module, names: Iterable[str], words: str = ASKED) -> None:
    """Let the network declare, in place, that these layers are quantized where nothing else is asked for."""
    model.quantized_scope, model.scope_in_words = DeclaredScope(names), words


def _declaring(model: nn.Module) -> dict[str, nn.Module]:
    """Return the outermost modules that declare a scope, by name; none if a learned layer is outside them.

    That is the network itself, or the network inside a wrapper.
    """
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if any(not prefix or name.startswith(f"{prefix}.") for prefix in found):
            continue
        if hasattr(module, "quantized_scope"):
            found[name] = module
        elif channel_dim_of(module) is not None and not _is_shift(module):
            return {}
    return found


def _is_shift(module: nn.Module) -> bool:
    """Return whether the module is a 1x1 conv that only scales and shifts each channel, as EDSR's MeanShift.

    Training never ends with exact zeros everywhere off the diagonal: such weights were set by hand.
    """
    if not isinstance(module, nn.Conv2d) or module.kernel_size != (1, 1) or module.groups > 1:
        return False
    weight = module.weight.detach()[:, :, 0, 0]
    diagonal = weight.diagonal()
    return len(weight) > 1 and torch.equal(weight, torch.diag(diagonal)) and bool((diagonal != 0).all())


def choose_layers(
    model: nn.Module, layers: Layers, example: torch.Tensor | None
) -> tuple[list[str], dict[str, str]]:
    """Return the names of the layers to quantize, and the reason of every other layer that has weights.

    `example` (1, 3, H, W) is run to find the first and last learned conv if no class declares a scope.
    ValueError for an unknown name.
    """
    modules = dict(model.named_modules())
    listed: set[str] = set()  # asked for by name, so each needs a reason if it stays float
    if layers is None:
        chosen = _default(model, example)
    elif callable(layers):
        chosen = {name for name, module in modules.items() if layers(name, module)}
    else:
        aliases = dict(model.named_modules(remove_duplicate=False))
        canonical = {id(module): name for name, module in modules.items()}
        layers = [layers] if isinstance(layers, str) or not isinstance(layers, Iterable) else list(layers)
        if not all(isinstance(name, str) for name in layers):
            raise ValueError("layers must be a list of names, or a predicate of name and module")
        layers = [name.replace("_orig_mod.", "") for name in layers]  # as a compiled network lists them
        unknown = [name for name in layers if name not in aliases]
        if unknown:
            known = [name for name, module in modules.items() if channel_dim_of(module)]
            raise ValueError(f"no layer named {', '.join(unknown)}; there are {', '.join(known)}")
        chosen = listed = {canonical[id(aliases[name])] for name in layers}
    names, reasons = [], {}
    for name, module in modules.items():
        if channel_dim_of(module) is None:
            has_own = next(module.parameters(recurse=False), None) is not None
            if name in listed or (name in chosen and has_own):
                reasons[name] = f"{type(module).__name__} is not quantized here"
        elif has_weights(module) and "weight" not in dict(module.named_parameters(recurse=False)):
            reasons[name] = "its weight is computed, not stored"
        elif name in chosen:
            names.append(name)
        else:
            reasons[name] = "outside the scope"
    return names, reasons


def choose_weighted(
    model: nn.Module, layers: Layers, example: torch.Tensor | None
) -> tuple[list[str], dict[str, str]]:
    """Return `choose_layers` without products of activations, for what cannot quantize these."""
    names, reasons = choose_layers(model, layers, example)
    apart = [name for name in names if not has_weights(model.get_submodule(name))]
    return [n for n in names if n not in apart], reasons | dict.fromkeys(apart, "it has no weights")


def _default(model: nn.Module, example: torch.Tensor | None) -> set[str]:
    """Return the layers that are quantized if the caller asks for none."""
    if declaring := _declaring(model):
        return {
            f"{outer}.{name}".strip(".")
            for outer, network in declaring.items()
            for name, module in network.named_modules()
            if network.quantized_scope(name, module)
        }
    learning = any(parameter.requires_grad for parameter in model.parameters())

    def fixed(name: str) -> bool:
        module = model.get_submodule(name)
        frozen = learning and not any(p.requires_grad for p in module.parameters(recurse=False))
        return _is_shift(module) or (module.kernel_size == (1, 1) and frozen)

    called = _called_convs(model, example)
    learned = [place for place, name in enumerate(called) if not fixed(name)]
    inner = called[learned[0] + 1 : learned[-1]] if learned else []
    return {name for name in inner if not _is_shift(model.get_submodule(name))}


@torch.no_grad()
def _called_convs(model: nn.Module, example: torch.Tensor) -> list[str]:
    """List the Conv2d layers in the order of their first call."""
    order: list[str] = []
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    with recorded(model, names, lambda name, x: order.append(name) if name not in order else None):
        run(model, example)
    return order
