"""Fold re-parameterized weights: a copy of a network that stores the weights it computes with."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm

# torch.nn.utils' hooks keep tensors under names with these suffixes; the function removes the hook.
_HOOKED = (("_g", remove_weight_norm), ("_orig", prune.remove), ("_orig", remove_spectral_norm))


def fold_parametrizations(model: nn.Module) -> nn.Module:
    """Return a copy whose weight norms, spectral norms, prunings and parametrizations are plain weights.

    It computes the same in eval mode, and each layer's weight is a parameter under its own name. A compiled
    module (`torch.compile`) is replaced by the module inside. Modes and other hooks are kept; the model is
    unchanged. This works even where `copy.deepcopy` refuses tensors with a gradient history; they are copied
    without it. ValueError for a network that holds an object that cannot be copied.
    """
    model = _inside(model)
    computed = {id(tensor): tensor.detach().clone() for tensor in _computed_tensors(model)}
    try:
        folded = copy.deepcopy(model, computed)
    except Exception as error:  # from attributes that cannot be copied: a lock, an open file, a generator
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
    """Return the module that was given to torch.compile; other modules as they are."""
    inner = getattr(module, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else module


def _computed_tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    """Yield the tensors with a gradient history that modules hold, also in their lists and dicts."""
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
    """Store the weights that a hook of torch.nn.utils (the older kind) computes before every call."""
    for suffix, remove in _HOOKED:
        names = [
            n.removesuffix(suffix) for n, _ in module.named_parameters(recurse=False) if n.endswith(suffix)
        ]
        for name in names:
            try:
                remove(module, name)
            except ValueError:
                continue  # an ordinary parameter that happens to have this name


def _store(module: nn.Module) -> None:
    """Store parametrized tensors in the module.

    torch's own remove_parametrizations would change the class of the original module too.
    """
    module.parametrizations.eval()  # in training mode, reading a spectral norm changes it
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
    """Return the parameters that replace the tensor, without those that the parametrization has itself."""
    return [p for name, p in parametrization.named_parameters(recurse=False) if name.startswith("original")]
