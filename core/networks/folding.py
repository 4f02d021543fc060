"""Re-parameterized weights made plain: a copy of a network that stores the weights it runs with."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm

# What the hooks of torch.nn.utils keep in place of a tensor ends so, and is made plain by this.
_HOOKED = (("_g", remove_weight_norm), ("_orig", prune.remove), ("_orig", remove_spectral_norm))


def fold_parametrizations(model: nn.Module) -> nn.Module:
    """Return a copy whose weight norms, spectral norms, prunings and parametrizations are plain weights.

    The same function in eval mode, with each layer's weight as a parameter under its own name; what was
    compiled (`torch.compile`) is replaced by the module inside. Modes and other hooks are kept, and the model
    is left as it is. Works where `copy.deepcopy` refuses tensors that carry a gradient's history, which are
    copied without it. ValueError for a network that holds what cannot be copied at all.
    """
    model = _inside(model)
    computed = {id(tensor): tensor.detach().clone() for tensor in _computed_tensors(model)}
    try:
        folded = copy.deepcopy(model, computed)
    except Exception as error:  # whatever a foreign attribute raises: a lock, an open file, a generator
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(
            f"{type(model).__name__} cannot be copied ({reason}); remove that attribute from it first"
        ) from error
    for name, module in list(folded.named_modules(remove_duplicate=False)):
        if _inside(module) is not module:
            folded.set_submodule(name, _inside(module))
    with torch.no_grad():
        for module in list(folded.modules()):
            _unhook(module)
            if parametrize.is_parametrized(module):
                _store(module)
    return folded


def _inside(module: nn.Module) -> nn.Module:
    """What was given to torch.compile."""
    inner = getattr(module, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else module


def _computed_tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    """The tensors with a gradient's history that modules keep, also in their lists and dicts."""
    waiting: list = [vars(module) for module in model.modules()]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            if not value.is_leaf:
                yield value
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (list, tuple, set)):
            waiting += value


def _unhook(module: nn.Module) -> None:
    """Weights that a hook writes before every call, as the older functions of torch.nn.utils have it."""
    for suffix, remove in _HOOKED:
        names = [
            n.removesuffix(suffix) for n, _ in module.named_parameters(recurse=False) if n.endswith(suffix)
        ]
        for name in names:
            try:
                remove(module, name)
            except ValueError:
                continue  # a parameter of its own that happens to be called so


def _store(module: nn.Module) -> None:
    """Parametrized tensors; torch's own removal would take them from the original's class too."""
    module.parametrizations.eval()  # a spectral norm in training mode changes at every look
    values = {name: getattr(module, name) for name in module.parametrizations}
    learned = {name: _parameters(module.parametrizations[name]) for name in values}
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    for name, value in values.items():
        value = value.detach().clone()
        if learned[name]:
            grad = any(parameter.requires_grad for parameter in learned[name])
            module.register_parameter(name, nn.Parameter(value, requires_grad=grad))
        else:
            module.register_buffer(name, value)


def _parameters(parametrization: nn.Module) -> list[nn.Parameter]:
    """What stands in the tensor's place; a parametrization's own parameters do not count."""
    return [p for name, p in parametrization.named_parameters(recurse=False) if name.startswith("original")]
