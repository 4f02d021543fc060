"""Networks that a program brings: any `nn.Module` that enlarges images, checked when it is given."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import warnings
from collections.abc import Iterable, Sequence

import torch
from torch import nn

import core
from core.images import check_images, demo_image, demo_names
from core.networks.ranges import unit_range
from core.networks.running import warn_unless_steady
from core.ptq.audit import is_quantized
from core.ptq.calibration import PATCHES, patch_size, recorded
from core.ptq.scope import Layers, channel_dim_of, check_layers, choose_layers, declare_scope, scope_of
from explorer.choices.checks import convolutions, example, tried
from explorer.choices.sources import NetworkSource

SCALES = range(2, 9)
MAX_PIXELS = 8 * PATCHES * 96 * 96  # LR pixels of calibration images whose activations fit into memory
FAR = 3.0  # dB below bicubic, from which a network is probably untrained or of another range
CROP = 64  # LR pixels of the photograph that a network is tried on


@dataclasses.dataclass(frozen=True, eq=False)
class GivenNetwork(NetworkSource):
    """A network that a program brings.

    model: our own copy, of images in [0, 1], on the CPU, in eval mode. note: what a person should know of it.
    """

    name: str
    model: nn.Module
    scale: int
    layers: dict[str, int]
    default_scope: bool = True
    patches: torch.Tensor | None = None
    note: str = ""
    imports: Sequence[str] = ()
    code: str = ""

    def make(self) -> nn.Module:
        """Return the network."""
        return self.model

    @property
    def about(self) -> str:
        """What it is, which of its layers are quantized, and what is odd about it."""
        convs = sum(channel_dim_of(module) == -3 for module in self.model.modules())
        return " ".join(
            [
                f"{_kind(self.model)} ×{self.scale}, {_parameters(self.model)}.",
                f"Quantized: {len(self.layers)} of {convs} convolutions, {scope_of(self.model, None)}.",
                self.note,
            ]
        ).strip()

    @property
    def stem(self) -> str:
        """Its name in letters, digits and _, and its scale."""
        return f"{re.sub(r'[^A-Za-z0-9]+', '_', self.name).strip('_') or 'network'}_x{self.scale}"

    @property
    def key(self) -> str:
        """A key that is the same for the same network, scope and patches, in other sessions too."""
        digest = hashlib.blake2b(repr((self.scale, list(self.layers), self.model)).encode(), digest_size=8)
        tensors = [*self.model.state_dict().values(), tried(self.name, self.model)[1]]
        for tensor in [*tensors, *([] if self.patches is None else [self.patches])]:
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return f"own:network:{digest.hexdigest()}:{self.name}"


def given_network(
    name: str,
    model: nn.Module,
    scale: int | None = None,
    top: float = 1.0,
    layers: Layers = None,
    calibration: torch.Tensor | Iterable[torch.Tensor] | None = None,
    imports: Sequence[str] = (),
    code: str = "",
) -> GivenNetwork:
    """Check a network and return it as something that can be shown; the network itself is unchanged.

    scale: by which it enlarges images, found by running it if None. top: its images lie in [0, top]. layers:
    those to quantize, as of `core.quantize_model`. calibration: LR images in [0, 1]. imports, code: lines and
    an expression of Python that make the network; without them a script says what is to be put in.
    ValueError, one sentence, for what cannot be shown.
    """
    if isinstance(scale, bool) or not (scale is None or (isinstance(scale, int) and scale in SCALES)):
        raise ValueError(f"{name}: scale must be a whole number from 2 to 8, got {scale!r}")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        made = _copied(name, model, scale, top)
        found, sr = tried(name, made)
        warn_unless_steady(made, sr, tried(name, made)[1])
    if found not in SCALES:
        raise ValueError(f"{name} enlarges images by {found}, and 2 to 8 can be shown")
    if scale not in (None, found):
        raise ValueError(
            f"{name} enlarges images by {found}, and scale={scale} was given; give scale={found}"
        )
    channels = _scope(name, made, layers)
    if not hasattr(made, "scale"):
        made.scale = found
    notes = [f"{warning.message!s}." for warning in said if warning.category is UserWarning]
    return GivenNetwork(
        name=name,
        model=made,
        scale=found,
        layers=channels,
        default_scope=layers is None,
        patches=None if calibration is None else _patches(name, calibration, found),
        note=" ".join(filter(None, [*notes, _far_from_bicubic(made, found, top)])),
        imports=imports,
        code=_code(name, made, found, top, code),
    )


def _copied(name: str, model: nn.Module, scale: int | None, top: float) -> nn.Module:
    """Return a copy on the CPU that takes images in [0, 1] alone and returns the picture alone."""
    try:
        check_layers(model)
        if is_quantized(model):
            raise ValueError("it is quantized already, and the explorer starts from float weights")
        with torch.inference_mode(False), torch.no_grad():
            made = unit_range(model, top, scale)
            return made.float().cpu().eval().requires_grad_(True)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    except Exception as error:  # whatever the network's own code raises
        reason = next(iter(str(error).strip().splitlines()), "no reason given")
        raise ValueError(f"{name} fails on an image: {type(error).__name__}, {reason}") from error


def _scope(name: str, model: nn.Module, layers: Layers) -> dict[str, int]:
    """Return the layers to quantize with their input channels; the network then declares its own scope."""
    convs = [layer for layer, module in model.named_modules() if channel_dim_of(module) == -3]
    try:
        names, reasons = choose_layers(model, layers, example())
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    called = _called(model, names)
    for layer in names if layers is not None else ():
        if layer not in called:
            raise ValueError(f"{name}: its layer {layer} is never called; leave it out of layers")
    refused = {layer: why for layer, why in reasons.items() if why != "outside the scope"}
    if layers is not None and not callable(layers) and refused:
        layer, why = next(iter(refused.items()))
        raise ValueError(f"{name}: {layer} cannot be quantized ({why}); leave it out of layers")
    names = [layer for layer in names if layer in called]
    if not names:
        known = f"there are {', '.join(convs)}" if convs else "it has no convolution"
        raise ValueError(
            f"{name}: no layer would be quantized ({scope_of(model, layers)}); name some by layers=, {known}"
        )
    linear = next((layer for layer in names if layer not in convs), None)
    if linear is not None:
        raise ValueError(
            f"{name}: {linear} is no convolution, and only these can be shown; leave it out of layers, or "
            "use core.quantize_model"
        )
    if layers is not None:
        declare_scope(model, names)
    return convolutions(name, _kind(model), model, names)


def _called(model: nn.Module, names: Sequence[str]) -> set[str]:
    called: set[str] = set()
    with torch.no_grad(), recorded(model, names, lambda layer, x: called.add(layer)):
        core.super_resolve(model, example())
    return called


def _patches(name: str, images: torch.Tensor | Iterable[torch.Tensor], scale: int) -> torch.Tensor:
    """Return one tensor of LR images; images of several sizes are cut into patches of one."""
    found = [images] if isinstance(images, torch.Tensor) else list(images)
    if not found:
        raise ValueError(f"{name}: calibration holds no image; leave it out, or give at least one")
    for batch in found:
        check_images(batch, f"{name}: calibration")
    found = [batch.detach().float().cpu() for batch in found]
    if len({batch.shape[-2:] for batch in found}) > 1:
        side = min(patch_size(scale), *(min(batch.shape[-2:]) for batch in found))
        return core.calibration_patches([one for batch in found for one in batch.split(1)], PATCHES, side)
    patches = torch.cat(found)
    pixels = patches.shape[0] * patches.shape[-2] * patches.shape[-1]
    if pixels > MAX_PIXELS:
        raise ValueError(
            f"{name}: calibration has {pixels:,} pixels, and {MAX_PIXELS:,} can be shown; give fewer images, "
            "or patches of them (core.calibration_patches)"
        )
    return patches


def _far_from_bicubic(model: nn.Module, scale: int, top: float) -> str:
    """Say that the network does worse than no network; empty if it does not."""
    photograph, side = demo_image(demo_names()[0]), CROP * scale
    hr = photograph[..., -side:, -side:] if side <= min(photograph.shape[-2:]) else photograph
    hr = core.modcrop(hr, scale)
    lr = core.make_lr(hr, scale)
    own, plain = (
        core.psnr_y(sr.clamp(0, 1), hr, border=scale)
        for sr in (core.super_resolve(model, lr), core.bicubic(lr, scale))
    )
    if own > plain - FAR:
        return ""
    other = "range=255" if top == 1 else "range=1"
    return (
        f"On a photograph it reaches {own:.1f} dB, where bicubic enlargement reaches {plain:.1f}: it is "
        f"untrained, or takes another range ({other})."
    )


def _code(name: str, model: nn.Module, scale: int, top: float, code: str) -> str:
    """Write what makes the network, or what is to be put in."""
    made = code or "..."
    if top != 1 or code:
        made = f"core.unit_range({made}, {top:g}, {scale})"
    hint = f"  # put your network {name!r} in here: {_kind(model)} ×{scale}, {_parameters(model)}"
    return made if code else made + hint


def _kind(model: nn.Module) -> str:
    return type(model).__name__


def _parameters(model: nn.Module) -> str:
    number = sum(parameter.numel() for parameter in model.parameters())
    return f"{number / 1e3:,.0f} k parameters" if number >= 1000 else f"{number} parameters"
