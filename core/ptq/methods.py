"""The quantization methods by name: each is one choice of every ingredient."""

from __future__ import annotations

from typing import NamedTuple

from core.quantizers.levels import SHAPES

BLOCK = 8  # pixels; chosen on Kodak: larger blocks lose more dB, smaller ones need too much side information
REFINEMENTS = ("reconstruction", "rounding", "bias")  # explained in `core.ptq.compensation.compensate`
CHOSEN = ("uniform", "subset", *SHAPES)
# Normalization of activations -> the levels that go with it.
NORMALIZATIONS: dict[str, tuple[str, ...]] = {
    "tensor": (*CHOSEN, "piecewise"),  # by constants of the layer
    "channel": (*CHOSEN, "piecewise"),  # by constants of each channel
    "image": CHOSEN,  # each channel of each image by its own mean and maximum (DFSQ)
    "block": CHOSEN,  # each square block of pixels by its own lowest and highest value
    "deviation": ("gaussian",),  # each channel of each image by its own mean and deviation (DAQ)
    "mx": ("element",),  # 32 channels of a pixel by one power of two
    "nvfp4": ("element",),  # 16 channels of a pixel by one FP8 number
}
FROM_EACH_INPUT = ("image", "block", "deviation")  # a crop is then quantized differently from the whole image
LEVELS = tuple(dict.fromkeys(name for levels in NORMALIZATIONS.values() for name in levels))


class Method(NamedTuple):
    """The ingredients of a method; `QuantConfig` can replace each.

    normalization: of NORMALIZATIONS. levels: "uniform", "subset" (points of the universal set, chosen by
    `selector`), "log2" or "apot" (of that shape, scaled), "piecewise" (dense within the 99th percentile of
    magnitudes, wide beyond), "gaussian" (DAQ's), "element" (of a microscaling
    format). ranges: of `core.quantizers.ranges.RANGES`, for uniform levels. weights: of
    `core.quantizers.weights.WEIGHTS` or FORMATS; refine: the steps of REFINEMENTS that replace rounding each
    weight to its nearest level. doubled: the universal set also holds the doubles of its points; pin_zero:
    "exact" keeps a point at 0, as DFSQ's k-means does. about: a description in a few words.
    """

    normalization: str = "tensor"
    levels: str = "uniform"
    ranges: str = "minmax"
    weights: str = "minmax"
    refine: tuple[str, ...] = ()
    selector: str = "exact"
    doubled: bool = False
    pin_zero: bool = False
    about: str = ""

    @property
    def dynamic(self) -> bool:
        """Whether activations are normalized by statistics of each input."""
        return self.normalization in FROM_EACH_INPUT


_REFINED = {"weights": "mse", "refine": REFINEMENTS}
_PLUS = Method(
    "image",
    "subset",
    doubled=True,
    pin_zero=True,
    **_REFINED,
    about="DFSQ's inference, exact points, refined weights",
)
METHODS: dict[str, Method] = {
    "dfsq": Method("image", "subset", selector="kmeans", about="as published (arXiv 2305.05888)"),
    "dfsq-exact": Method("image", "subset", about="DFSQ with the exact optimum in the place of k-means"),
    "dfsq+": _PLUS,
    "dfsq+block": _PLUS._replace(normalization="block", about="dfsq+, normalized by blocks of 8×8 pixels"),
    "uniform+": Method("image", "uniform", "mse", **_REFINED, about="dfsq+ with uniform levels"),
    "uniform+block": Method("block", "uniform", "mse", **_REFINED, about="dfsq+block with uniform levels"),
    "minmax": Method(about="static, lowest to highest value"),
    "percentile": Method(ranges="percentile", about="static, 0.1th to 99.9th percentile"),
    "mse": Method(ranges="mse", weights="mse", about="static, range of least squared error"),
    "mse-channel": Method("channel", ranges="mse", weights="mse", about="mse, a range for each channel"),
    "mse+": Method(ranges="mse", **_REFINED, about="mse with refined weights"),
    "2dquant": Method(ranges="2dquant", weights="2dquant", about="its first stage (arXiv 2406.06649)"),
    "log2": Method(levels="log2", about="static, powers of two (arXiv 1603.01025)"),
    "apot": Method(levels="apot", weights="apot", about="its levels, after training (arXiv 1909.13144)"),
    "piecewise": Method(
        levels="piecewise", weights="mse", about="outlier-aware levels, not tuned (arXiv 2511.00682)"
    ),
    "daq": Method("deviation", "gaussian", weights="daq", about="as published (arXiv 2012.11230)"),
    "mx": Method("mx", "element", weights="mx", about="OCP MX: MXFP4, MXFP6, MXINT8"),
    "nvfp4": Method("nvfp4", "element", weights="nvfp4", about="NVFP4"),
}
# Methods of `python -m core odm`: they need training, so `quantize_model` does not offer them.
TRAINED: dict[str, Method] = {
    name: Method(weights="symmetric", about="trained quantized") for name in ("odm", "odm-v1", "pams")
}
EVERY_METHOD = METHODS | TRAINED
