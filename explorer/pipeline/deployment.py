"""The INT8 file of a network and its quality: choices -> data, cached over all sessions.

As in `explorer.pipeline.activations`: plain, hashable choices and a `token`; results are shared, so read
them only.
"""

from __future__ import annotations

import dataclasses
import json
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
import torch

import core
from core.deploy import OnnxNetwork, audit_onnx, export_onnx, quantize_int8, time_onnx
from core.deploy.output_range import OutputRange, output_range
from core.deploy.representative import representative_images
from core.models import has_clip, without_clip
from core.ptq.calibration import patch_size
from explorer.choices.catalog import calibration_patches, layer_channels, name_of, scale_of, stem
from explorer.choices.state import ExplorerState
from explorer.jobs.cache import shared
from explorer.jobs.token import Token
from explorer.pipeline.activations import calibration_sources, network, pair
from explorer.pipeline.pictures import Picture, by_tiles, scored

POOL = 200  # patches to choose the representative images from
BINS = 120
FLOAT, CLIP, FREE, PLAIN = "Float", "INT8 with clip", "INT8 clip-free", "INT8"
TIMED = (180, 320)  # LR pixels of the forward that is timed
THREADS = 1
RUNS = 15


class Plan(NamedTuple):
    """What an INT8 file depends on: the network, its representative images, and the layers kept float.

    own: keys of the uploaded images that the representative ones are cut from; () for the packaged ones.
    """

    network: str
    strategy: str
    number: int
    float_layers: tuple[str, ...]
    own: tuple[str, ...] = ()

    @classmethod
    def of(cls, state: ExplorerState) -> Plan:
        """Return the plan of the file as chosen now."""
        kept, own = tuple(state.float_layers), tuple(state.calibration)
        return cls(state.network, state.strategy, state.representatives, kept, own)

    def file_name(self, variant: str, suffix: str) -> str:
        """Name the file of a variant so that files of other plans have other names."""
        what = variant.lower().replace(" ", "_").replace("-", "_")
        parts = [stem(self.network), what]
        if variant != FLOAT:
            parts += [self.strategy.replace("+", "_"), str(self.number)]
            parts += [f"{len(self.float_layers)}_float"] if self.float_layers else []
            parts += ["own_images"] if self.own else []
        return f"{'_'.join(parts)}.{suffix}"


def variants(name: str) -> list[str]:
    """List the variants of the network to compare; only one with a clip has one without."""
    return [FLOAT, CLIP, FREE] if has_clip(network(name)) else [FLOAT, PLAIN]


def pool(plan: Plan, token: Token) -> list[torch.Tensor]:
    """Return the LR patches that a plan chooses from, (1, 3, height, width) each."""
    brought = None if plan.own else calibration_patches(plan.network)
    return cut_pool(scale_of(plan.network), plan.own, token=token) if brought is None else [*brought.split(1)]


@shared(4)
def cut_pool(scale: int, own: tuple[str, ...], token: Token) -> list[torch.Tensor]:
    """Cut LR patches from the packaged photographs or a visitor's own images, (1, 3, size, size) each."""
    images = calibration_sources(scale, own)
    return list(core.calibration_patches(images, POOL, patch_size(scale), seed=1).split(1))


@shared(16)
def representatives(plan: Plan, token: Token) -> list[torch.Tensor]:
    """Choose the representative images of a plan."""
    model = network(plan.network, token=token)
    images = pool(plan, token=token)
    number = min(plan.number, len(images))
    return representative_images(model, images, plan.strategy, number, progress=token.progress)


@shared(24)
def graph(plan: Plan, variant: str, token: Token) -> bytes:
    """Export a variant as an ONNX file."""
    model = network(plan.network, token=token)
    token.progress(f"Exporting, {variant}", 0.0)
    if variant == FLOAT:
        return export_onnx(model).SerializeToString()
    if variant == FREE:
        model = without_clip(model)
    layers = [layer for layer in layer_channels(plan.network) if layer not in plan.float_layers]
    if variant == CLIP:  # the images do not matter: its range is [0, 1] whatever they are
        plan = plan._replace(strategy="random")
    images = representatives(plan, token=token)
    return quantize_int8(model, images, layers, token.progress).SerializeToString()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One variant on one image."""

    picture: Picture
    colour_shift: float  # of the float network's picture, in 8-bit levels
    kib: float  # size of the file
    integer_layers: int
    layers: int


@shared(1e8, lambda made: made.picture.rgb.nbytes)
def outcome(plan: Plan, variant: str, image: str, region: str, token: Token) -> Outcome:
    """Run the file of a variant by ONNX Runtime, and score its picture."""
    import onnx

    file = graph(plan, variant, token=token)
    token.check()
    _, lr, _ = pair(image, scale_of(plan.network), region, token=token)
    sr, tiles = by_tiles(OnnxNetwork(onnx.load_model_from_string(file), THREADS), lr, token)
    reference, _ = by_tiles(network(plan.network, token=token), lr, token)
    rows = audit_onnx(onnx.load_model_from_string(file))
    integer = sum(not row.reason for row in rows)
    shift = core.colour_shift(sr, reference)
    shown = dataclasses.replace(scored(sr, plan.network, image, region, token), tiles=tiles)
    return Outcome(shown, shift, len(file) / 1024, integer, len(rows))


@shared(16)
def times(plan: Plan, token: Token) -> dict[str, float]:
    """Time the variants: variant -> milliseconds."""
    import onnx

    graphs = {v: onnx.load_model_from_string(graph(plan, v, token=token)) for v in variants(plan.network)}
    lr = torch.rand(1, 3, *TIMED, generator=torch.Generator().manual_seed(0))
    return time_onnx(graphs, lr, THREADS, RUNS, token.progress)


@dataclasses.dataclass(frozen=True)
class Outputs:
    """The outputs of the float network without its clip on the representative images."""

    edges: np.ndarray
    counts: np.ndarray
    range: OutputRange


@shared(16)
def outputs(plan: Plan, token: Token) -> Outputs:
    """Count the outputs of the float network without its clip, and find their range."""
    import onnx

    model = network(plan.network, token=token)
    images = representatives(plan, token=token)
    free = without_clip(model) if has_clip(model) else model
    int8 = OnnxNetwork(onnx.load_model_from_string(graph(plan, variants(plan.network)[-1], token=token)))
    found = output_range(model, images, int8, token.progress)
    low, high = found.given or (found.low, found.high)
    edges = np.linspace(min(found.low, low, 0.0), max(found.high, high, 1.0), BINS + 1)
    counts = np.zeros(BINS, np.int64)
    with torch.no_grad():
        for batch in images:
            token.check()
            counts += np.histogram(free(batch).numpy(), edges)[0]
    return Outputs(edges, counts, found)


def card(plan: Plan, token: Token | None = None) -> str:
    """Describe the INT8 file as JSON."""
    import onnx

    variant = variants(plan.network)[-1]
    proto = onnx.load_model_from_string(graph(plan, variant, token=token))
    scale = scale_of(plan.network)
    found = outputs(plan, token=token).range
    return json.dumps(
        {
            "network": name_of(plan.network),
            "scale": scale,
            "variant": variant,
            "input": "lr: (N, 3, H, W) float32, RGB in [0, 1]",
            "output": f"sr: (N, 3, {scale}H, {scale}W) float32, RGB",
            "representative images": f"{len(representatives(plan, token=token))} of {_pool_in_words(plan)}, "
            f"strategy {plan.strategy}",
            "output range": [found.low, found.high] if found.given is None else None,
            "outputs on the representative images": list(found.given or (found.low, found.high)),
            "advice": found.advice,
            "layers": {row.name: "float" if row.reason else "INT8" for row in audit_onnx(proto)},
            "made with": {package: version(package) for package in ("torch", "onnx", "onnxruntime")},
        },
        indent=2,
    )


def _pool_in_words(plan: Plan) -> str:
    brought = calibration_patches(plan.network)
    if plan.own or brought is None:
        return f"{POOL} patches of {'own images' if plan.own else 'the packaged photographs'}"
    return f"{len(brought)} images that were given"
