"""A Python script that repeats what a person chose."""

from __future__ import annotations

import contextlib
from importlib.metadata import PackageNotFoundError, version

from core.ptq.calibration import PATCHES, patch_size
from core.ptq.methods import TRAINED
from explorer.choices.catalog import NETWORKS, lr_size, scale_of, without_truth
from explorer.choices.catalog import stem as stem_of
from explorer.choices.region import WHOLE, Region
from explorer.choices.sources import source
from explorer.choices.state import ExplorerState
from explorer.choices.visitor_files import is_uploaded
from explorer.export.templates import TEMPLATES
from explorer.pipeline import regions
from explorer.pipeline.names import weights_and_activations
from explorer.pipeline.pictures import FLOAT_SR
from explorer.views.format import against


def code(state: ExplorerState) -> str:
    """Write a script against `core` that makes the picture at the sliders' bits and prints its scores.

    A file of the visitor's own is read from beside it; where it does not know how to make a network or an
    image, a comment says what is to be put in.
    """
    network, image = source(state.network), source(state.image)
    scale, lr_only = scale_of(state.network), without_truth(state.image)
    return TEMPLATES.get_template("script.py.jinja").render(
        versions=versions(),
        state=state,
        config=state.configs()(state.activation_bits),
        trained=state.method in TRAINED,
        imports=network.imports,
        model=network.code,
        own_patches=None if network.patches is None else tuple(network.patches.shape),
        architecture=NETWORKS.get(state.network, [None])[0],
        scale=scale,
        calibration=[(source(key).code.split("  #")[0], without_truth(key)) for key in state.calibration],
        patches=PATCHES,
        patch_size=patch_size(scale),
        quantize=_layers(state),
        steps=_steps(state),
        image=image.code,
        own=is_uploaded(state.image),
        own_files=any(map(is_uploaded, (state.network, state.image, *state.calibration))),
        lr_only=lr_only,
        whole=state.region == WHOLE,
        window=Region.parse(state.region).window(*lr_size(state.image, scale)),
        tile=regions.TILE if regions.by_tiles(state.image, scale, state.region) else None,
        against=against(FLOAT_SR) if lr_only else "",
        checkpoint=checkpoint_name(state),
    )


def versions() -> str:
    """Name the versions that results depend on, in words."""
    found = []
    for package, name in (("sr-quantization-explorer", "SR Quantization Explorer"), ("torch", "PyTorch")):
        with contextlib.suppress(PackageNotFoundError):  # run from its folder, without being installed
            found.append(f"{name} {version(package)}")
    return ", ".join(found) or "an unknown version"


def _layers(state: ExplorerState) -> list[str]:
    """Name the layers to quantize; none where all are that core quantizes by itself."""
    network = source(state.network)
    if not state.float_layers and network.default_scope:
        return []
    return [layer for layer in network.layers if layer not in state.float_layers]


def _steps(state: ExplorerState) -> list[int]:
    """Fill the points by hand up to `2**bits` by repeating the last; none where the selector's serve."""
    points = list(state.by_hand() or [])
    if not points or state.layer in state.float_layers:
        return []
    return points + points[-1:] * (2 ** state.own_bits(state.layer)[1] - len(points))


def stem(state: ExplorerState) -> str:
    """Name the files of the state, without their ending: edsr_x2_dfsq_w4a4."""
    bits = state.activation_bits
    size = weights_and_activations(state.weight_bits or bits, bits).lower()
    return f"{stem_of(state.network)}_{state.method}_{size}{'_by_layer' if state.bits_by_layer() else ''}"


def checkpoint_name(state: ExplorerState) -> str:
    """Name the file of the quantized network."""
    return f"{stem(state)}.safetensors"
