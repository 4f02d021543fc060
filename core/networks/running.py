"""Run any network on images: choose its input, and find the picture in what it returns.

Everything in the project that runs a network follows these rules:

- Input: the images on the device and in the dtype of the network's parameters. A one-channel network gets
  luma (`core.images.colour`). A network whose forward asks for the scale gets the scale that the caller
  states, else its own attribute `scale` (or `upscale`, `scale_factor`, `upscale_factor`).
- Size: images that a network refuses, or whose output is no whole multiple of their size, are padded by
  reflection at the bottom and right to the next multiple that works, and the picture is cropped.
- Output: a tensor is the picture. In a tuple, list or dict, the pictures are the tensors with the images'
  channels and a whole multiple of their size, and the largest one is taken. Among several of that size: one
  at the top level before one in a nested list; in a dict, by its name (`NAMES`); else the first of a tuple
  (extra outputs follow it) or the last of a list (earlier entries are intermediate steps), with a warning.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from core.images.colour import luma_of

NAMES = ("sr", "hr", "reconstruction", "output", "out", "pred", "result", "image")
MULTIPLES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 48, 64, 96, 128)
UNSTEADY = 1e-3  # share of the picture's range: more than sums in another order change
# Errors that networks raise for images of a size or number of channels that they do not accept.
REFUSALS = (RuntimeError, AssertionError, IndexError, KeyError, TypeError)


def run(model: nn.Module, images: torch.Tensor, scale: int | None = None) -> torch.Tensor:
    """Return the network's picture of (N, 3 or 1, H, W) images: (N, channels, scale*H, scale*W), float32.

    `channels` are the network's own: a one-channel network gives luma / 255. The output is not clamped, train
    or eval mode is kept, and gradients flow. `scale` is for networks whose forward asks for it. ValueError,
    one sentence, for a network that does not run on the images or returns no picture.
    """
    returned, path, padded = _forward(model, images, _scale_argument(model, scale))
    sr, (height, width) = _follow(returned, path), images.shape[-2:]
    times = sr.shape[-1] // padded.shape[-1]
    return sr[..., : height * times, : width * times].to(torch.promote_types(images.dtype, torch.float32))


def check_network(model: object) -> None:
    """Raise ValueError, one sentence, for what is no module: a program of torch.export, tensors, a path."""
    # Who has such a program has imported torch.export, which takes half a second.
    if "torch.export" in sys.modules and isinstance(model, torch.export.ExportedProgram):
        raise ValueError("a program of torch.export is no network yet; give its .module()")
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"a network must be a torch.nn.Module, got {type(model).__name__}; "
            "core.load_checkpoint reads files"
        )


def device_and_dtype(model: nn.Module) -> tuple[torch.device, torch.dtype | None]:
    """Return the network's device and its dtype; the dtype is None for a network without float parameters."""
    tensors = [*model.parameters(), *model.buffers()]
    device = tensors[0].device if tensors else torch.device("cpu")
    return device, next((p.dtype for p in model.parameters() if p.is_floating_point()), None)


def takes_luma(model: nn.Module) -> bool:
    """Return whether the network seems to take one channel; `run` tries that first.

    An attribute `image_channels` decides it; otherwise weights over one input channel, and none over three.
    """
    if isinstance(known := getattr(model, "image_channels", None), int):
        return known == 1
    inputs = {t.shape[1] for t in [*model.parameters(), *model.buffers()] if t.ndim == 4}
    return 1 in inputs and 3 not in inputs


@contextlib.contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put the network in eval mode, in this context, and restore the mode of every module afterwards.

    Exported graphs have no modes (their `eval` and `train` raise): they run as they were exported.
    """
    # Modules from torch.jit.freeze have no attribute `training`.
    modes = [(m, m.training) for m in model.modules() if hasattr(m, "training")]
    if not any(training for _, training in modes):
        yield  # nothing is changed, so threads may share a model in eval mode
        return
    _set_mode(model, False)
    try:
        yield
    finally:
        _set_mode(model, modes[0][1])  # a network may do more than set flags when its mode changes
        for module, training in modes:
            module.training = training


def _set_mode(model: nn.Module, training: bool) -> None:
    try:
        model.train(training)
    except NotImplementedError:  # of an exported graph, which may be a part of the network
        for module in model.modules():
            module.training = training


@contextlib.contextmanager
def eagerly() -> Iterator[None]:
    """Run compiled networks uncompiled, in this context, so that a trial run compiles nothing."""
    if "torch._dynamo" not in sys.modules:  # nothing was compiled, and importing it takes seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def image_alone(model: nn.Module, images: torch.Tensor, scale: int | None = None) -> nn.Module:
    """Make a network take images alone and return the picture alone, in place, and return it.

    It follows the rules of `run`, tried on `images`, so that a tracer sees neither the scale argument nor
    further outputs; `takes_luma` then says what was found. Give a copy of the caller's network. ValueError as
    `run`.
    """
    arguments = _scale_argument(model, scale)
    with torch.no_grad(), eval_mode(model):
        _, path, taken = _forward(model, images, arguments)
    if (taken.shape[1] == 1) != takes_luma(model):
        model.image_channels = taken.shape[1]
    # Done by hooks, which a further copy keeps too.
    if arguments:
        model.register_forward_pre_hook(lambda _, args, kwargs: (args, arguments | kwargs), with_kwargs=True)
    if path:
        model.register_forward_hook(lambda _, args, returned: _follow(returned, path))
    return model


def warn_unless_steady(model: nn.Module, first: torch.Tensor, again: torch.Tensor) -> None:
    """Warn where two pictures of one image differ by more than rounding: of chance, or of a kept state."""
    span = max(float(first.max() - first.min()), 1e-3)
    if float((first - again).abs().max()) > UNSTEADY * span:
        warnings.warn(
            f"{_kind(model)} gives another picture of the same image at every run, so its results do not "
            "compare; turn off what it draws at random or keeps from run to run",
            stacklevel=3,
        )


def _kind(model: nn.Module) -> str:
    return type(_chain(model)[-1]).__name__


def _as_taken(model: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """Return the forms of the images that the network may accept (RGB, luma), the likelier one first."""
    device, dtype = device_and_dtype(model)
    forms = [images] if images.shape[1] == 1 else [images, luma_of(images)]
    if len(forms) > 1 and isinstance(getattr(model, "image_channels", None), int):
        forms = forms[1:] if takes_luma(model) else forms[:1]
    elif takes_luma(model):
        forms.reverse()
    # Contiguous: convolutions of channels_last images round differently, and could give other levels.
    return [form.to(device, dtype or images.dtype, memory_format=torch.contiguous_format) for form in forms]


def _forward(
    model: nn.Module, images: torch.Tensor, arguments: dict[str, int]
) -> tuple[Any, tuple, torch.Tensor]:
    """Return the network's output, the path of the picture in it, and the images as the network took them."""
    height, width = images.shape[-2:]
    sizes = dict.fromkeys((height + -height % m, width + -width % m) for m in MULTIPLES)
    refusal: Exception | None = None
    for form in _as_taken(model, images):
        for size in sizes:
            x = _padded(form, *size)
            try:
                returned = model(x, **arguments)
            except REFUSALS as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                refusal = refusal or error
                continue
            path = _path(model, returned, x)
            if path is not None:
                return returned, path, x
            refusal = refusal or RuntimeError(
                f"it returns {_shapes(returned)}, no picture of a whole multiple"
            )
    size = f"{width}×{height} pixels and {images.shape[1]} channels"
    reason = next(iter(str(refusal).strip().splitlines()), type(refusal).__name__)
    if reason.startswith("Guard failed"):  # of torch.export's graphs
        reason += "; it takes the sizes that it was exported for, so export it with dynamic_shapes"
    raise ValueError(f"{_kind(model)} does not run on images of {size}: {reason}") from refusal


def _padded(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    down, right = height - x.shape[-2], width - x.shape[-1]
    if not down and not right:
        return x.clone()  # a network may work on its input in place, and the image is the caller's
    # An image smaller than its padding cannot be reflected.
    mode = "reflect" if down < x.shape[-2] and right < x.shape[-1] else "replicate"
    return F.pad(x, (0, right, 0, down), mode)


def _path(model: nn.Module, returned: Any, x: torch.Tensor) -> tuple | None:
    """Return the path of the picture in the output: () for a tensor, (1,), ("sr",), ...; None if none."""
    if isinstance(returned, torch.Tensor):
        return () if _scale_of(returned, x) else None
    pictures = {path: t for path, t in _tensors(returned) if t.shape[1:2] == x.shape[1:2] and _scale_of(t, x)}
    if not pictures:
        return None
    widest = max(t.shape[-1] for t in pictures.values())
    found = [path for path, t in pictures.items() if t.shape[-1] == widest]
    found = [path for path in found if len(path) == min(map(len, found))]
    if len(found) == 1:
        return found[0]
    named = [path for name in NAMES for path in found if str(path[-1]).lower() == name]
    holder = _follow(returned, found[0][:-1])
    chosen = named[0] if named else found[0 if isinstance(holder, tuple) else -1]
    if not named:
        warnings.warn(
            f"{_kind(model)} returns {len(found)} pictures of one size, of which {list(chosen)} is taken; "
            "give a module that returns the one you want",
            stacklevel=2,
        )
    return chosen


def _scale_of(sr: torch.Tensor, x: torch.Tensor) -> int:
    """Return how many times larger `sr` is than `x`; 0 if it is no picture of it."""
    if sr.ndim != 4 or sr.shape[0] != x.shape[0] or not sr.is_floating_point():
        return 0
    scale = int(sr.shape[-1]) // int(x.shape[-1])
    return scale if tuple(sr.shape[-2:]) == (scale * x.shape[-2], scale * x.shape[-1]) else 0


def _tensors(returned: Any, path: tuple = ()) -> Iterator[tuple[tuple, torch.Tensor]]:
    if isinstance(returned, torch.Tensor):
        yield path, returned
    elif isinstance(returned, Mapping):
        for name, part in returned.items():
            yield from _tensors(part, (*path, name))
    elif isinstance(returned, (tuple, list)):
        for index, part in enumerate(returned):
            yield from _tensors(part, (*path, index))
    elif hasattr(returned, "__dict__"):  # a dataclass or the like
        for name, part in vars(returned).items():
            yield from _tensors(part, (*path, name))


def _follow(returned: Any, path: tuple) -> Any:
    for step in path:
        is_item = isinstance(returned, (Mapping, tuple, list))
        returned = returned[step] if is_item else getattr(returned, step)
    return returned


def _shapes(returned: Any) -> str:
    shapes = [str(tuple(t.shape)) for _, t in _tensors(returned)]
    return ", ".join(shapes) if shapes else type(returned).__name__


def _chain(model: nn.Module) -> list[nn.Module]:
    """Return the wrappers that only pass their arguments on, then the network inside them."""
    chain = [model]
    while not _named_parameters(chain[-1]) and len(children := list(chain[-1].children())) == 1:
        chain += children
    return chain


def _named_parameters(model: nn.Module) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):  # compiled to something without a signature
        return []
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p for p in parameters if p.kind not in kinds]


def _scale_argument(model: nn.Module, scale: int | None) -> dict[str, int]:
    """Return the arguments of forward besides the images: the scale, if it asks for it."""
    chain, arguments = _chain(model), {}
    for parameter in _named_parameters(chain[-1])[1:]:
        name, default = parameter.name, parameter.default
        required = default is inspect.Parameter.empty
        if ("scale" in name or name in ("s", "sf", "r", "factor")) and "idx" not in name:
            known = scale or _own_scale(chain)
            if known and (required or default is None or type(default) is int):
                arguments[name] = known
            elif required:
                raise ValueError(
                    f"{_kind(model)} asks for the scale and does not say its own; "
                    "set it as its attribute, such as model.scale = 2"
                )
        elif required:
            raise ValueError(
                f"{_kind(model)} asks for {name!r} beside the images; give a module that takes images alone"
            )
    return arguments


def _own_scale(chain: list[nn.Module]) -> int | None:
    for module in chain:
        for name in ("scale", "upscale", "scale_factor", "upscale_factor"):
            known = getattr(module, name, None)
            if isinstance(known, (list, tuple)) and len(known) == 1:
                known = known[0]
            if type(known) is int:
                return known
    return None
