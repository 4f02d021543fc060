"""Tune the ranges of a static quantizer: distillation from the float network, on LR images alone.

The second stage of 2DQuant (arXiv 2406.06649): all ends of ranges learn, nothing else does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from core.analysis.comparison import fingerprint
from core.images import check_images
from core.networks.running import device_and_dtype, run
from core.ptq.calibration import undisturbed
from core.ptq.scope import channel_dim_of
from core.qat.distillation import LOSSES, blocks, distillation_loss, outputs_of
from core.qat.tuned_ranges import TunedNetwork
from core.training.loop import read_state, save_state
from core.utils.numbers import check_whole
from core.utils.progress import Progress

STEPS, BATCH, PATCH = 300, 4, 48
SAVE_EVERY = 5  # seconds


def tune_ranges(
    model: nn.Module,
    quantized: nn.Module,
    images: torch.Tensor | Sequence[torch.Tensor],
    steps: int = STEPS,
    batch: int = BATCH,
    patch: int = PATCH,
    rate: float = 1e-2,
    seed: int = 0,
    relative: bool = True,
    loss: str = "2dquant",
    checkpoint: str | Path | None = None,
    progress: Progress = lambda what, share: None,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> nn.Module:
    """Return `quantized` with ranges tuned to the float network `model`; both stay as they are.

    quantized: of `quantize_model` by a static method with uniform levels. The ends of the ranges of
    activations and weights learn from LR images (N, 3, H, W) in [0, 1], or a list of such: random crops of
    `patch` pixels, `batch` a step, Adam with a rate that falls to 0 along a cosine, and
    `core.qat.distillation.distillation_loss`. 2DQuant takes 3,000 steps of 32 crops of 64 pixels, on a GPU;
    the defaults take minutes on a CPU. relative: the rate is in widths of each range, above 4 bits in 15 of
    its steps, since the features of networks such as EDSR are hundreds of times those of SwinIR; False as
    published, in the values' own unit.
    loss: how blocks' features are compared, "2dquant" or "ptq4sr". checkpoint: a file from which the same
    call goes on where it was stopped. `progress(what, share)` and `report(step, loss)` are called after every
    step and may raise to stop; the checkpoint is then written. Where a run goes on, the losses of its steps
    before are reported first. ValueError for a quantizer that has no such ranges, an unknown loss, images
    smaller than a crop, and the checkpoint of another run; FloatingPointError if the loss is not finite.

    It is made for few bits and for ranges that are far from good, such as those from the lowest to the
    highest value. At 8 bits little is left to win: on XLSR x3, Set14, "minmax" loses 0.06 dB before and
    after, and "mse" 0.09 instead of 0.06 (measured).

    >>> import torch
    >>> from core import QuantConfig, create_model, quantize_model, tune_ranges
    >>> model, images = create_model("xlsr", 3), torch.rand(2, 3, 24, 24)
    >>> quantized = quantize_model(model, images, QuantConfig("2dquant"))
    >>> tuned = tune_ranges(model, quantized, images, steps=2, batch=1, patch=16)
    >>> tuned.quant_config == quantized.quant_config
    True
    """
    if loss not in LOSSES:
        raise ValueError(f"no loss {loss!r}; there are {', '.join(LOSSES)}")
    for name, value in (("steps", steps), ("batch", batch), ("patch", patch)):
        check_whole(name, value)
    check_whole("seed", seed, least=0)
    sampler = _Crops(images, patch)
    settings = {"steps": steps, "batch": batch, "patch": patch, "rate": rate, "seed": seed, "loss": loss}
    path = None if checkpoint is None else Path(checkpoint)
    with undisturbed(model), torch.enable_grad():
        tuned = TunedNetwork(model, quantized, relative)
        begun = fingerprint(t for network in (model, quantized) for t in network.state_dict().values())
        settings |= {"relative": relative, "networks": begun, "images": sampler.checksum}
        tuning = _Tuning(tuned, sampler, settings)
        if path is not None and path.exists():
            tuning.resume(path)
            for step, past in enumerate(tuning.losses, 1):
                report(step, past)
        saved = time.monotonic()
        try:
            while tuning.step < steps:
                tuning.advance()
                if path is not None and time.monotonic() > saved + SAVE_EVERY:
                    tuning.save(path)
                    saved = time.monotonic()
                progress("Tuning the ranges", tuning.step / steps)
                report(tuning.step, tuning.losses[-1])
        except FloatingPointError:
            raise  # without saving: the last checkpoint is still sound
        except BaseException:
            if path is not None:
                tuning.save(path)
            raise
        if path is not None:
            tuning.save(path)
    return tuned.frozen(f"{quantized.scope_in_words}; ranges tuned by distillation in {steps:,} steps")


class _Crops:
    """Random crops of LR images, determined by the seed and the step alone."""

    def __init__(self, images: torch.Tensor | Sequence[torch.Tensor], patch: int):
        parts = [images] if isinstance(images, torch.Tensor) else list(images)
        for part in parts:
            check_images(part, "tuning", channels=(1, 3))
        if len({part.shape[1] for part in parts}) > 1:
            raise ValueError("some LR images have one channel and some three; give one kind")
        found = [image for part in parts for image in part]
        self._images = [image for image in found if min(image.shape[-2:]) >= patch]
        if not self._images:
            raise ValueError(
                f"no LR image is at least {patch} pixels on both sides; give larger images or a smaller patch"
            )
        self._patch, self.checksum = patch, fingerprint(self._images)

    def batch(self, size: int, seed: int, step: int) -> torch.Tensor:
        """Return the crops of a step (size, 3, patch, patch), flipped and turned at random."""
        rng, crops = np.random.default_rng([seed, step]), []
        for _ in range(size):
            image = self._images[rng.integers(len(self._images))]
            y, x = (int(rng.integers(n - self._patch + 1)) for n in image.shape[-2:])
            crop = image[:, y : y + self._patch, x : x + self._patch].rot90(int(rng.integers(4)), (1, 2))
            crops.append(crop.flip(2) if rng.integers(2) else crop)
        return torch.stack(crops)


class _Tuning:
    """The state of one run: what learns, the optimizer, and the step."""

    def __init__(self, tuned: TunedNetwork, sampler: _Crops, settings: dict):
        self._tuned, self._sampler, self._settings = tuned, sampler, settings
        self._parameters = tuned.parameters()
        self._optimizer = torch.optim.Adam(self._parameters, settings["rate"])
        self._blocks = blocks(tuned.reference, tuned.layers)
        self._device = device_and_dtype(tuned.reference)[0]
        self._channel_dim = channel_dim_of(tuned.reference.get_submodule(tuned.layers[0]))
        self.losses: list[float] = []

    @property
    def step(self) -> int:
        """Return how many steps were taken."""
        return len(self.losses)

    def advance(self) -> None:
        """Take one step and note its loss."""
        settings = self._settings
        lr = self._sampler.batch(settings["batch"], settings["seed"], self.step).to(self._device)
        with torch.no_grad(), outputs_of(self._tuned.reference, self._blocks) as wanted:
            target = run(self._tuned.reference, lr)
        with outputs_of(self._tuned.network, self._blocks) as features:
            output = run(self._tuned.network, lr)
        loss = distillation_loss(output, target, features, wanted, settings["loss"], self._channel_dim)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {self.step}; lower the rate")
        for group in self._optimizer.param_groups:
            group["lr"] = settings["rate"] * (1 + math.cos(math.pi * self.step / settings["steps"])) / 2
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self.losses.append(loss.item())

    def save(self, path: Path) -> None:
        """Write everything that `resume` needs."""
        state = {"moves": [p.detach() for p in self._parameters], "optimizer": self._optimizer.state_dict()}
        save_state(state | {"losses": self.losses, "settings": self._settings}, path)

    @torch.no_grad()
    def resume(self, path: Path) -> None:
        """Go on where `save` was called; ValueError for the file of another run."""
        saved = read_state(path, self._device)
        if saved.get("settings") != self._settings:
            raise ValueError(
                f"{path} is of a tuning with other settings or images; choose another checkpoint"
            )
        for parameter, value in zip(self._parameters, saved["moves"], strict=True):
            parameter.copy_(value)
        self._optimizer.load_state_dict(saved["optimizer"])
        self.losses = list(saved["losses"])
