"""Float training: patches, L1 loss, Adam, one cycle, EMA; resumable.

The state is a function of the step alone (patches are drawn from `seed` and the step number), so a
run that was killed and resumed ends with the weights of an uninterrupted one.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from core.training.patches import PatchSampler
from core.utils.files import replace_file


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One-cycle training. `patch` is the side of an LR patch in pixels; `lr_peak` Adam's highest rate.

    frozen_batchnorm: BatchNorm normalizes by the statistics it came with, as it will in use; to finish a
    network that was trained by those of its batches.
    """

    steps: int = 10_000
    batch: int = 16
    patch: int = 48
    lr_peak: float = 1e-3
    warmup: float = 0.05
    ema: float = 0.999
    seed: int = 0
    bfloat16: bool = False
    frozen_batchnorm: bool = False


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up to `lr_peak`, then a cosine to a thousandth of it."""
    warm = max(1, round(config.warmup * config.steps))
    if step < warm:
        return config.lr_peak * (step + 1) / warm
    progress = (step - warm) / max(1, config.steps - warm)
    return config.lr_peak * (0.001 + 0.999 * (1 + math.cos(math.pi * progress)) / 2)


def save_state(state: dict, path: Path) -> None:
    """All that a run needs to go on, as tensors and plain values."""
    data = io.BytesIO()
    torch.save(state, data)
    replace_file(path, data.getvalue())


def read_state(path: Path, device: torch.device) -> dict:
    """What `save_state` wrote; ValueError if it is damaged."""
    try:
        return dict(torch.load(path, weights_only=True, map_location=device))
    except Exception as error:  # torch raises what a damaged file happens to provoke
        raise ValueError(
            f"{path} is damaged, so the run cannot go on; delete it and begin anew, or choose another --out"
        ) from error


def train(
    model: nn.Module,
    sampler: PatchSampler,
    config: TrainConfig,
    checkpoint: Path,
    report: Callable[[int, float], None] = lambda step, loss: None,
    save_every: int = 250,
) -> nn.Module:
    """Train `model` in place, resuming from `checkpoint` if it exists; return it with its EMA weights.

    `report(step, loss)` is called after every step. Raises FloatingPointError when the loss is not
    finite and ValueError when the checkpoint belongs to another configuration.
    """
    model = model.to(memory_format=torch.channels_last).train()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.train(not config.frozen_batchnorm)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, config.lr_peak, betas=(0.9, 0.99))
    average = [p.detach().clone() for p in parameters]
    first = 0
    if checkpoint.exists():
        saved = read_state(checkpoint, parameters[0].device)
        if saved["config"] != dataclasses.asdict(config):
            raise ValueError(f"{checkpoint} was made with {saved['config']}; choose another --out")
        if saved["data"] != sampler.checksum:
            raise ValueError(f"{checkpoint} was made with other images; choose another --out")
        try:
            model.load_state_dict(saved["model"])
        except RuntimeError as error:
            raise ValueError(f"{checkpoint} was made with another network; choose another --out") from error
        optimizer.load_state_dict(saved["optimizer"])
        average, first = saved["average"], saved["step"]

    for step in range(first, config.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        lr, hr = sampler.batch(config.batch, config.seed, step)
        device = parameters[0].device
        lr = lr.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bfloat16):
            sr = model(lr)
        loss = (sr.float() - hr.to(device)).abs().mean()
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {step}; lower lr_peak")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        # A short average at first, so that the random start is forgotten.
        decay = min(config.ema, (step + 1) / (step + 10))
        for mean, parameter in zip(average, parameters, strict=True):
            mean.lerp_(parameter.detach(), 1 - decay)
        report(step, loss.item())
        if (step + 1) % save_every == 0 or step + 1 == config.steps:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
            state |= {"step": step + 1, "config": dataclasses.asdict(config), "data": sampler.checksum}
            save_state(state, checkpoint)
    if not all(torch.isfinite(mean).all() for mean in average):
        raise FloatingPointError("the last step made weights that are not finite; lower lr_peak")
    with torch.no_grad():
        for parameter, mean in zip(parameters, average, strict=True):
            parameter.copy_(mean)
    if norms and not config.frozen_batchnorm:
        _renew_batchnorm(model, sampler, config)
    return model.eval()


def _renew_batchnorm(
    model: nn.Module, sampler: PatchSampler, config: TrainConfig, batches: int = 200
) -> None:
    """Take the statistics of BatchNorm anew: those of training belong to the weights before the average."""
    device = next(model.parameters()).device
    steps = range(config.steps, config.steps + batches)
    update_bn((sampler.batch(config.batch, config.seed, step)[0] for step in steps), model, device)
