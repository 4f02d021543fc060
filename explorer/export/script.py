"""What a person takes along: the choices as Python, pictures, levels, the quantized network, a report."""

from __future__ import annotations

from core.ptq.calibration import PATCHES, patch_size
from core.ptq.methods import TRAINED
from explorer.choices.catalog import (
    NETWORKS,
    layer_channels,
    lr_size,
    network_code,
    scale_of,
    without_truth,
)
from explorer.choices.catalog import stem as stem_of
from explorer.choices.state import WHOLE, ExplorerState
from explorer.choices.visitor_files import file_name, is_own
from explorer.pipeline import regions
from explorer.pipeline.names import weights_and_activations
from explorer.pipeline.pictures import FLOAT_SR
from explorer.views.format import against


def code(state: ExplorerState) -> str:
    """A script against `core` that makes the picture at the sliders' bits, and prints its scores.

    A file of the visitor's own is read from beside it.
    """
    scale, lr_only = scale_of(state.network), without_truth(state.image)
    lines = ["import core", ""]
    if state.method not in TRAINED or lr_only:
        lines.append(f"model = {network_code(state.network)}")
    lines += _trained(state) if state.method in TRAINED else _calibrated(state)
    lines += ["", *_image(state.image, scale), *_region(state, scale)]
    tile = f", tile={regions.TILE}" if regions.by_tiles(state.image, scale, state.region) else ""
    lines.append(f"sr = core.super_resolve(quantized, lr{tile})")
    if lr_only:
        lines.append(f"float_sr = core.super_resolve(model, lr{tile})  # there is no ground truth")
    truth = "float_sr" if lr_only else "hr"
    scores = (f"core.{score}_y(sr, {truth}, border={scale})" for score in ("psnr", "ssim"))
    what = against(FLOAT_SR) if lr_only else ""
    lines += [
        f'print("PSNR {{:.2f}} dB, SSIM {{:.3f}}{what}".format({", ".join(scores)}))',
        f"core.save_quantized(quantized, {checkpoint_name(state)!r})",
    ]
    return "\n".join(lines) + "\n"


def _image(image: str, scale: int) -> list[str]:
    file = f"core.load_image({file_name(image)!r})"
    if without_truth(image):
        return [f"lr = {file}"]
    hr = f"core.modcrop({file}, {scale})" if is_own(image) else f"core.demo_image({image!r})"
    return [f"hr = {hr}", f"lr = core.make_lr(hr, {scale})"]


def _region(state: ExplorerState, scale: int) -> list[str]:
    if state.region == WHOLE:
        return []
    top, left, height, width = regions.window(state.region, *lr_size(state.image, scale))
    lines = [f"lr = lr[..., {top} : {top + height}, {left} : {left + width}]"]
    if not without_truth(state.image):
        top, left, height, width = (scale * n for n in (top, left, height, width))
        lines.append(f"hr = hr[..., {top} : {top + height}, {left} : {left + width}]")
    return lines


def _trained(state: ExplorerState) -> list[str]:
    config = state.configs()(state.activation_bits)
    weights = f"{config.method}-w{config.weight_bits}a{config.activation_bits}"
    name, scale = NETWORKS[state.network]
    return [f"quantized = core.create_model({name!r}, {scale}, {weights!r})  # trained quantized"]


def _calibrated(state: ExplorerState) -> list[str]:
    scale = scale_of(state.network)
    config = state.configs()(state.activation_bits)
    options = [repr(config.method), str(config.activation_bits), str(config.weight_bits)]
    if config.from_subset:
        options += [f"core.UniversalSet({config.universal_set.words}, {config.universal_set.terms})"]
        options += [repr(config.selector)] if config.selector else []
    lines = [
        f"photographs = [core.make_lr(core.demo_image(name), {scale}) for name in core.demo_names()]",
        f"patches = core.calibration_patches(photographs, {PATCHES}, {patch_size(scale)})",
        f"config = core.QuantConfig({', '.join(options)})",
    ]
    layers = ""
    if state.float_layers:
        layers = ", layers=quantize"
        kept = [layer for layer in layer_channels(state.network) if layer not in state.float_layers]
        lines.append(f"quantize = {kept!r}")
    if state.by_hand() and state.layer not in state.float_layers:
        rows = ":" if state.hand_layer else str(state.channel)
        width = 2**config.activation_bits - len(state.by_hand())
        lines += [
            f"calibration = core.calibrate(model, patches, config{layers})",
            f"seen = calibration.observers[{state.layer!r}]",
            "points = seen.points(config).copy()  # (channels, points)",
            f"steps = {list(state.by_hand()) + width * [state.by_hand()[-1]]}  # by hand",
            f"points[{rows}] = [step * config.universal_set.step for step in steps]",
            f"calibration.observers[{state.layer!r}] = core.ChosenPoints(points, seen.post_relu, -3)",
            f"quantized = core.quantize_model(model, calibration, config{layers})",
        ]
    else:
        lines.append(f"quantized = core.quantize_model(model, patches, config{layers})")
    return lines


def stem(state: ExplorerState) -> str:
    """edsr_x2_dfsq_w4a4: of the files' names."""
    bits = state.activation_bits
    size = weights_and_activations(state.weight_bits or bits, bits).lower()
    return f"{stem_of(state.network)}_{state.method}_{size}"


def checkpoint_name(state: ExplorerState) -> str:
    return f"{stem(state)}.safetensors"
