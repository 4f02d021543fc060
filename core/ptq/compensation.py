"""Choose weights that compensate for quantization: rounding with error compensation, and bias correction.

A layer's float output is W x + b; quantized it computes Q x^ + b^ with x^ the quantized input. Q and b^ are
chosen to minimize E ||W x + b - Q x^ - b^||^2 over the calibration images, from second moments alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import nn

from core.networks.running import run
from core.ptq import _rounding_kernels as kernels
from core.ptq.calibration import recorded, with_share
from core.ptq.config import FLOAT, QuantConfig
from core.ptq.rounding import rounded_rows
from core.quantizers.weights import from_rows
from core.utils.parallel import over_rows

COLUMNS = 1024  # output pixels drawn per image: enough to solve for a few hundred unknowns
DAMPING = 0.003  # share of the mean second moment added to each one; the best of 0.003 to 1 on Kodak
REFITS, SWEEPS = 3, 20


def columns(module: nn.Module, x: torch.Tensor, sample: torch.Tensor | None = None) -> torch.Tensor:
    """Return the values that each output of the layer is a weighted sum of: (groups, fan_in, outputs).

    Their weighted sum by `weight_rows(module)`, group by group, is the layer's output. sample: indices of the
    outputs of each image that are used (of the rows for Linear); all if None.
    """
    if isinstance(module, nn.Linear):
        flat = x.reshape(-1, x.shape[-1])
        return (flat if sample is None else flat[sample]).T[None]
    spread, stride = _as_conv_input(module, x)
    (ky, kx), (dy, dx), width = module.kernel_size, module.dilation, spread.shape[3]
    taps = (torch.arange(ky)[:, None] * dy * width + torch.arange(kx) * dx).flatten()
    if isinstance(module, nn.ConvTranspose2d):
        taps = taps.flip(0)  # a transposed conv applies its kernel flipped
    rows, cols = _places(module, spread, stride)
    corners = (torch.arange(rows)[:, None] * stride[0] * width + torch.arange(cols) * stride[1]).flatten()
    places = taps[:, None] + (corners if sample is None else corners[sample])
    patches = spread.flatten(2)[:, :, places.to(x.device)]  # (N, C, taps, outputs)
    return patches.flatten(1, 2).unflatten(1, (module.groups, -1)).permute(1, 2, 0, 3).flatten(2)


def output_count(module: nn.Module, x: torch.Tensor) -> int:
    """Count the outputs that `columns` has for one image (the rows for Linear)."""
    if isinstance(module, nn.Linear):
        return x[..., 0].numel()
    return math.prod(_places(module, *_as_conv_input(module, x[:, :1])))


def _places(module: nn.Module, spread: torch.Tensor, stride: tuple[int, int]) -> list[int]:
    """Count the positions of the kernel, down and across."""
    sizes = zip(spread.shape[2:], module.dilation, module.kernel_size, stride, strict=True)
    return [(n - d * (k - 1) - 1) // s + 1 for n, d, k, s in sizes]


def _padding(conv: nn.Conv2d) -> list[int]:
    """Left, right, top and bottom, as `F.pad` takes them."""
    if not isinstance(conv.padding, str):
        return [side for p in reversed(conv.padding) for side in (p, p)]
    same = conv.padding == "same"
    total = [same * d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
    return [side for t in reversed(total) for side in (t // 2, t - t // 2)]


def _as_conv_input(module: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
    """Return the padded input over which the kernel slides, and its stride.

    A transposed conv is a conv with the kernel flipped, over the input with zeros inserted between its
    pixels.
    """
    if not isinstance(module, nn.ConvTranspose2d):
        mode = module.padding_mode if module.padding_mode != "zeros" else "constant"
        return F.pad(x, _padding(module), mode=mode), module.stride
    n, c, height, width = x.shape
    (sy, sx), (ky, kx), (dy, dx) = module.stride, module.kernel_size, module.dilation
    spread = x.new_zeros(n, c, (height - 1) * sy + 1, (width - 1) * sx + 1)
    spread[..., ::sy, ::sx] = x
    (py, px), (oy, ox) = module.padding, module.output_padding
    top, left = dy * (ky - 1) - py, dx * (kx - 1) - px
    return F.pad(spread, (left, left + ox, top, top + oy)), (1, 1)


class InputMoments:
    """First and second moments of a layer's `columns`, float (x) and quantized (x^), for each group.

    Summed about the means of the first image: of an input that hardly varies, such as a gate's, float32
    would lose the variance beside the square of the mean.
    """

    def __init__(self, seed: int):
        self.count = 0
        self._generator = torch.Generator().manual_seed(seed)
        self._centres: list[torch.Tensor] | None = None
        self._sums: list[torch.Tensor] | None = None

    def update(self, module: nn.Module, x: torch.Tensor, quantized: torch.Tensor) -> None:
        """Add a batch of inputs: a random sample of output pixels of each image."""
        if isinstance(module, nn.Linear) or x.ndim == 3:
            x, quantized = x[None], quantized[None]
        for pair in zip(x, quantized, strict=True):
            inputs = pair if isinstance(module, nn.Linear) else [image[None] for image in pair]
            sample = torch.randperm(output_count(module, inputs[0]), generator=self._generator)[:COLUMNS]
            found = [columns(module, image, sample).float() for image in inputs]
            self._centres = self._centres or [part.mean(2, keepdim=True) for part in found]
            a, b = (part - centre for part, centre in zip(found, self._centres, strict=True))
            parts = [a.sum(2), b.sum(2), b @ b.transpose(1, 2), a @ b.transpose(1, 2)]
            parts = [part.double().cpu() for part in parts]
            self._sums = (
                parts if self._sums is None else [s + p for s, p in zip(self._sums, parts, strict=True)]
            )
            self.count += len(sample)

    @property
    def means(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The means of x and x^, both (groups, fan_in)."""
        mean, quantized_mean = (
            centre[..., 0].double().cpu() + offset
            for centre, offset in zip(self._centres, self._offsets(), strict=True)
        )
        return mean, quantized_mean

    def _offsets(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the means less the centres."""
        return self._sums[0] / self.count, self._sums[1] / self.count

    def covariances(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the covariances of x^ and of x with x^, both (groups, fan_in, fan_in), damped equally."""
        mean, quantized_mean = self._offsets()
        own = self._sums[2] / self.count - quantized_mean[:, :, None] * quantized_mean[:, None]
        cross = self._sums[3] / self.count - mean[:, :, None] * quantized_mean[:, None]
        diagonal = own.diagonal(dim1=1, dim2=2)
        damping = DAMPING * diagonal.mean(1).clamp(min=1e-12)
        eye = torch.eye(own.shape[1], dtype=own.dtype) * damping[:, None, None]
        return own + eye, cross + eye


@torch.no_grad()
def gather(
    reference: nn.Module,
    quantized: nn.Module,
    names: list[str],
    images: torch.Tensor | Iterable[torch.Tensor],
    seed: int,
    progress: Callable[[str, float], None],
) -> dict[str, InputMoments]:
    """Collect the moments of the named layers' inputs in the float network, as they are and quantized."""
    layers = {name: quantized.get_submodule(name) for name in names}
    moments = {name: InputMoments(seed) for name in names}

    def record(name: str, x: torch.Tensor) -> None:
        quantizer = getattr(layers[name], "activation_quantizer", None)
        moments[name].update(layers[name], x, x if quantizer is None else quantizer(x))

    with recorded(reference, names, record):
        for batch, share in with_share(images):
            run(reference, batch)
            progress("Measuring the quantized inputs", share)
    return moments


def compensate(
    module: nn.Module, weight: torch.Tensor, moments: InputMoments, config: QuantConfig
) -> torch.Tensor | None:
    """Set the layer's weight and bias from the moments of its input, and return the weight's levels (R, k).

    weight: the float rows. `config.recipe.refine` lists the steps: "reconstruction" first solves for the
    float weights that are best for the quantized input; "rounding" rounds so that errors compensate each
    other, instead of each weight to its nearest level; "bias" corrects the bias. Returns None for weights of
    32 bits.
    """
    rows = target = weight.double().cpu()
    own, cross = moments.covariances()
    if "reconstruction" in config.recipe.refine:
        parts = zip(rows.chunk(len(own)), own, cross, strict=True)
        target = torch.cat([torch.linalg.solve(h, (w @ c).T).T for w, h, c in parts]).contiguous()
    levels, rounded = None, target
    if config.weight_bits != FLOAT:
        levels, rounded = rounded_rows(target, module, config)
    if "rounding" in config.recipe.refine and levels is not None:
        parts = zip(target.chunk(len(own)), levels.chunk(len(own)), own, strict=True)
        rounded, levels = (torch.cat(part) for part in zip(*(_round(*part) for part in parts), strict=True))
    with torch.no_grad():
        module.weight.copy_(from_rows(rounded.to(module.weight), module))
        if "bias" in config.recipe.refine:
            _correct_bias(module, rows, rounded, moments)
    return levels


def _round(
    target: torch.Tensor, levels: torch.Tensor, moments: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows on levels near the minimum of (q - w)' H (q - w), and the levels as fitted to them.

    GPTQ (arXiv 2210.17323) first; then single weights move while that lowers the error, alternating with a
    least-squares fit of each row's offset and scale of the levels.
    """
    order = torch.argsort(moments.diagonal(), descending=True)
    inverse = torch.linalg.inv(moments[order][:, order])
    upper = torch.linalg.cholesky(inverse, upper=True).numpy()
    rounded = torch.empty_like(target)
    over_rows(
        kernels.compensated,
        len(target),
        target.numpy(),
        upper,
        order.numpy(),
        levels.numpy(),
        rounded.numpy(),
    )
    for _ in range(REFITS):
        levels, rounded = _refit(target, levels, rounded, moments)
        over_rows(
            kernels.descend,
            len(target),
            target.numpy(),
            moments.numpy(),
            levels.numpy(),
            rounded.numpy(),
            SWEEPS,
        )
    return rounded, levels


def _refit(target, levels, rounded, moments):
    """Fit each row's levels as offset + scale * levels, by least squares; each weight keeps its level."""
    ones = torch.ones_like(rounded)
    ho, hq = ones @ moments, rounded @ moments
    a, b, c = (ho * ones).sum(1), (ho * rounded).sum(1), (hq * rounded).sum(1)
    d, e = (ho * target).sum(1), (hq * target).sum(1)
    determinant = a * c - b * b
    solvable = determinant > 1e-9 * a * c
    safe = torch.where(solvable, determinant, 1.0)
    scale = torch.where(solvable, (a * e - b * d) / safe, 1.0)
    scale = torch.where(scale > 0, scale, 1.0)[:, None]
    offset = (d[:, None] - scale * b[:, None]) / a[:, None]
    return offset + scale * levels, offset + scale * rounded


def _correct_bias(module, rows, rounded, moments: InputMoments) -> None:
    """Set b^ = b + W E[x] - Q E[x^]: the mean output over the calibration images is then the float one."""
    mean, quantized_mean = moments.means
    parts = zip(rows.chunk(len(mean)), rounded.chunk(len(mean)), mean, quantized_mean, strict=True)
    shift = torch.cat([w @ m - q @ n for w, q, m, n in parts])
    before = 0 if module.bias is None else module.bias
    # A new parameter, as for the weight: a bias may be shared too.
    module.bias = nn.Parameter(before + shift.to(module.weight), requires_grad=module.weight.requires_grad)
