"""The files of a network for a phone and their quality: choices -> data, cached over all sessions.

As in `explorer.pipeline.activations`: plain, hashable choices and a `token`; results are shared, so read
them only.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

import core
from core.deploy import (
    LitertNetwork,
    OnnxNetwork,
    audit_litert,
    audit_onnx,
    export_litert,
    export_onnx,
    quantize_int8,
    quantize_litert,
    time_in_turns,
)
from core.deploy.litert_files import LAYER_OPS, PACKAGES, is_installed
from core.deploy.output_range import OutputRange, output_range
from core.deploy.representative import representative_images
from core.models import has_clip, without_clip
from core.ptq.audit import Audit
from core.ptq.calibration import patch_size
from explorer.choices.catalog import calibration_patches, layer_channels, scale_of, stem
from explorer.choices.state import ExplorerState
from explorer.jobs.cache import shared
from explorer.jobs.token import Token
from explorer.pipeline.activations import calibration_sources, network, pair
from explorer.pipeline.pictures import Picture, by_tiles, scored

POOL = 200  # patches to choose the representative images from
BINS = 120
ONNX, LITERT = "onnx", "litert"
FLOAT, CLIP, FREE, PLAIN = "Float", "INT8 with clip", "INT8 clip-free", "INT8"
OF_LITERT = "LiteRT"  # begins the variants of that engine
PHONE_FLOAT, PHONE_FREE, PHONE_PLAIN = (f"{OF_LITERT} {name}" for name in (FLOAT, FREE, PLAIN))
# What becomes of the clip -> the argument `clip` of `quantize_litert`.
PHONE_CLIPS = {
    f"{OF_LITERT}, clip in float": "float",
    f"{OF_LITERT}, clip in INT8": "integer",
}
FLOATS, FREES = (FLOAT, PHONE_FLOAT), (FREE, PHONE_FREE)
INSTALL = "LiteRT is not installed here; it comes by  pip install '.[litert]'"
SIZE = (180, 320)  # LR pixels
THREADS = 1
RUNS = 15


class Plan(NamedTuple):
    """What a file depends on: the network, its representative images, and the layers kept float.

    own: keys of the uploaded images that the representative ones are cut from; () for the packaged ones.
    size: height and width in LR pixels that a LiteRT file takes, and at which all files are timed.
    """

    network: str
    strategy: str
    number: int
    float_layers: tuple[str, ...]
    own: tuple[str, ...] = ()
    size: tuple[int, int] = SIZE

    @classmethod
    def of(cls, state: ExplorerState) -> Plan:
        """Return the plan of the file as chosen now."""
        kept, own = tuple(state.float_layers), tuple(state.calibration)
        height, width = map(int, state.file_size.split("x"))
        return cls(state.network, state.strategy, state.representatives, kept, own, (height, width))

    def file_name(self, variant: str, suffix: str) -> str:
        """Name the file of a variant so that files of other plans have other names."""
        what = variant.lower().replace(",", "").replace(" ", "_").replace("-", "_")
        parts = [stem(self.network), what]
        if variant not in FLOATS:
            parts += [self.strategy.replace("+", "_"), str(self.number)]
            parts += [f"{len(self.float_layers)}_float"] if self.float_layers else []
            parts += ["own_images"] if self.own else []
        if engine_of(variant) == LITERT:
            parts.append("x".join(map(str, self.size)))
        return f"{'_'.join(parts)}.{suffix}"


def engine_of(variant: str) -> str:
    """Return the engine that runs a variant, ONNX or LITERT."""
    return LITERT if variant.startswith(OF_LITERT) else ONNX


def is_there(engine: str) -> bool:
    """Tell whether the packages of an engine are installed."""
    return engine == ONNX or all(map(is_installed, PACKAGES))


def variants(name: str, engines: Sequence[str] = (ONNX,)) -> list[str]:
    """List the variants of the network to compare; only one with a clip has one without.

    Those of an engine that is not installed are left out; ValueError if none is left.
    """
    clipped = has_clip(network(name))
    of_onnx = [FLOAT, CLIP, FREE] if clipped else [FLOAT, PLAIN]
    of_litert = [PHONE_FLOAT, *PHONE_CLIPS, PHONE_FREE] if clipped else [PHONE_FLOAT, PHONE_PLAIN]
    found = {ONNX: of_onnx, LITERT: of_litert}
    chosen = [
        variant for engine in found if engine in engines and is_there(engine) for variant in found[engine]
    ]
    if not chosen:
        raise ValueError(INSTALL if engines else "no engine is chosen; choose ONNX Runtime or LiteRT")
    return chosen


def offered(name: str, engine: str) -> str:
    """Return the variant of an engine whose file is for downloading."""
    free = has_clip(network(name))
    return {ONNX: FREE if free else PLAIN, LITERT: PHONE_FREE if free else PHONE_PLAIN}[engine]


def pool(plan: Plan, token: Token) -> list[torch.Tensor]:
    """Return the LR patches that a plan chooses from, (1, 3, height, width) each."""
    brought = None if plan.own else calibration_patches(plan.network)
    return cut_pool(scale_of(plan.network), plan.own, token=token) if brought is None else [*brought.split(1)]


@shared(4)
def cut_pool(scale: int, own: tuple[str, ...], token: Token) -> list[torch.Tensor]:
    """Cut LR patches from the packaged photographs or a visitor's own images, (1, 3, size, size) each."""
    images = calibration_sources(scale, own)
    return list(core.calibration_patches(images, POOL, patch_size(scale), seed=1).split(1))


def representatives(plan: Plan, token: Token | None = None) -> list[torch.Tensor]:
    """Choose the representative images of a plan."""
    return _representatives(plan._replace(float_layers=(), size=SIZE), token=token)


@shared(16)
def _representatives(plan: Plan, token: Token) -> list[torch.Tensor]:
    model = network(plan.network, token=token)
    images = pool(plan, token=token)
    number = min(plan.number, len(images))
    return representative_images(model, images, plan.strategy, number, progress=token.progress)


def _essential(plan: Plan, variant: str) -> Plan:
    """Return the plan without what the file of this variant does not depend on."""
    if engine_of(variant) == ONNX:  # takes images of any size
        plan = plan._replace(size=SIZE)
    if variant in FLOATS:
        return Plan(plan.network, "random", 0, (), (), plan.size)
    if variant == CLIP or variant in PHONE_CLIPS:  # its range is [0, 1], whatever the images
        return plan._replace(strategy="random")
    return plan


def file(plan: Plan, variant: str, token: Token | None = None) -> bytes:
    """Make the file of a variant: ONNX, or LiteRT (.tflite)."""
    return _file(_essential(plan, variant), variant, token=token)


@shared(32)
def _file(plan: Plan, variant: str, token: Token) -> bytes:
    model, phone = network(plan.network, token=token), engine_of(variant) == LITERT
    token.progress(f"Converting, {variant}" if phone else f"Exporting, {variant}", 0.0)
    if variant in FLOATS:
        return export_litert(model, plan.size) if phone else export_onnx(model).SerializeToString()
    if variant in FREES:
        model = without_clip(model)
    layers = [layer for layer in layer_channels(plan.network) if layer not in plan.float_layers]
    images = representatives(plan, token=token)
    if not phone:
        return quantize_int8(model, images, layers, token.progress).SerializeToString()
    clip = PHONE_CLIPS.get(variant, "folded")
    return quantize_litert(model, images, layers, plan.size, clip=clip, progress=token.progress)


def runnable(content: bytes, variant: str) -> OnnxNetwork | LitertNetwork:
    """Return the network in the file of a variant."""
    import onnx

    if engine_of(variant) == LITERT:
        return LitertNetwork(content, THREADS)
    return OnnxNetwork(onnx.load_model_from_string(content), THREADS)


@dataclasses.dataclass(frozen=True)
class Graph:
    """What is in a file.

    layers: name -> "INT8" or "float". conversions: how often a LiteRT file converts values between integers
    and floats; None for an ONNX file, whose engine decides that. operators: of a LiteRT file, those that run
    in float, besides layers.
    """

    layers: dict[str, str]
    conversions: int | None = None
    operators: tuple[str, ...] = ()

    @property
    def integer_layers(self) -> int:
        """The number of layers in INT8."""
        return sum(kind != "float" for kind in self.layers.values())


def graph(content: bytes, variant: str) -> Graph:
    """Read what the file of a variant does in integers and what in float."""
    import onnx

    if engine_of(variant) == ONNX:
        return Graph(_kinds(audit_onnx(onnx.load_model_from_string(content))))
    audit = audit_litert(content)
    operators = tuple(sorted(kind for kind in audit.float if kind not in LAYER_OPS))
    return Graph(_kinds(audit), len(audit.conversions), operators)


def _kinds(audit: Audit) -> dict[str, str]:
    # "repeat": channels that are repeated, which LiteRT does by a convolution of its own
    rows = [row for row in audit if row.name.split("#")[0] != "repeat"]
    return {row.name: "float" if row.reason else "INT8" for row in rows}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One variant on one image."""

    picture: Picture
    colour_shift: float  # of the float network's picture, in 8-bit levels
    size: int  # of the file, in bytes
    graph: Graph


def outcome(plan: Plan, variant: str, image: str, region: str, token: Token | None = None) -> Outcome:
    """Run the file of a variant by its engine, and score its picture."""
    return _outcome(_essential(plan, variant), variant, image, region, token=token)


@shared(1e8, lambda made: made.picture.rgb.nbytes)
def _outcome(plan: Plan, variant: str, image: str, region: str, token: Token) -> Outcome:
    content = file(plan, variant, token=token)
    token.check()
    _, lr, _ = pair(image, scale_of(plan.network), region, token=token)
    token.progress(f"Super-resolving, {variant}", 0.0)
    sr, tiles = by_tiles(runnable(content, variant), lr, token)
    reference, _ = by_tiles(network(plan.network, token=token), lr, token)
    shift = core.colour_shift(sr, reference)
    shown = dataclasses.replace(scored(sr, plan.network, image, region, token), tiles=tiles)
    return Outcome(shown, shift, len(content), graph(content, variant))


@shared(16)
def times(plan: Plan, names: tuple[str, ...], token: Token) -> dict[str, float]:
    """Time these variants in turns: variant -> milliseconds of one image of the plan's size."""
    networks = {name: runnable(file(plan, name, token=token), name) for name in names}
    lr = torch.rand(1, 3, *plan.size, generator=torch.Generator().manual_seed(0))
    return time_in_turns(networks, lr, RUNS, token.progress, time.thread_time)


@dataclasses.dataclass(frozen=True)
class Outputs:
    """The outputs of the float network without its clip on the representative images."""

    edges: np.ndarray
    counts: np.ndarray
    range: OutputRange


def outputs(plan: Plan, token: Token | None = None) -> Outputs:
    """Count the outputs of the float network without its clip, and find their range by the ONNX file."""
    return _outputs(plan._replace(size=SIZE), token=token)


@shared(16)
def _outputs(plan: Plan, token: Token) -> Outputs:
    model = network(plan.network, token=token)
    images = representatives(plan, token=token)
    free = without_clip(model) if has_clip(model) else model
    best = offered(plan.network, ONNX)
    int8 = runnable(file(plan, best, token=token), best)
    found = output_range(model, images, int8, token.progress)
    low, high = found.given or (found.low, found.high)
    edges = np.linspace(min(found.low, low, 0.0), max(found.high, high, 1.0), BINS + 1)
    counts = np.zeros(BINS, np.int64)
    with torch.no_grad():
        for batch in images:
            token.check()
            counts += np.histogram(free(batch).numpy(), edges)[0]
    return Outputs(edges, counts, found)


def pool_in_words(plan: Plan) -> str:
    """Say what the representative images are chosen from."""
    brought = calibration_patches(plan.network)
    if plan.own or brought is None:
        return f"{POOL} patches of {'own images' if plan.own else 'the packaged photographs'}"
    return f"{len(brought)} images that were given"
