"""Float training of the bundled networks: patches, L1 loss, Adam, one cycle, EMA; resumable.

    python -m core.training --model edsr --scale 2 --data PHOTOS --out runs/edsr_x2

The state is a function of the step alone (patches are drawn from `seed` and the step number), so a
run that was killed and resumed ends with the weights of an uninterrupted one.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import io
import json
import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn
from torch.optim.swa_utils import update_bn

from core.evaluation import evaluate
from core.files import distinct_names, folder_name, output_file, replace_file
from core.image_folders import image_files, paired_folder
from core.images import Pair, load_image, make_lr, modcrop
from core.models import MODELS, load_checkpoint, new_model


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


class PatchSampler:
    """Random aligned LR/HR patches with flips and rotations from images held in memory as uint8."""

    def __init__(self, images: Sequence[torch.Tensor], scale: int, patch: int):
        self.scale, self.patch = scale, patch
        self.pairs = []
        for hr in images:
            if min(hr.shape[-2:]) < patch * scale:
                continue
            hr = modcrop(hr, scale)
            lr = make_lr(hr, scale)
            self.pairs.append([(t[0] * 255).round().byte() for t in (lr, hr)])
        if not self.pairs:
            raise ValueError(
                f"no training image is at least {patch * scale} pixels on both sides; take larger ones or a "
                "smaller patch"
            )

    @property
    def checksum(self) -> int:
        """Of the LR images: tells whether a resumed run trains on the same ones."""
        return functools.reduce(lambda crc, pair: zlib.crc32(pair[0].numpy(), crc), self.pairs, 0)

    def batch(
        self, size: int, seed: int, step: int, device: torch.device | str = "cpu"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, patch, patch) and (N, 3, scale*patch, scale*patch) in [0, 1]; the same for the same step."""
        rng = torch.Generator().manual_seed(seed * 1_000_003 + step)
        lrs, hrs = [], []
        for index in torch.randint(len(self.pairs), (size,), generator=rng).tolist():
            lr, hr = self.pairs[index]
            y = int(torch.randint(lr.shape[1] - self.patch + 1, (1,), generator=rng))
            x = int(torch.randint(lr.shape[2] - self.patch + 1, (1,), generator=rng))
            turn = int(torch.randint(8, (1,), generator=rng))
            for image, factor, out in ((lr, 1, lrs), (hr, self.scale, hrs)):
                p, top, left = self.patch * factor, y * factor, x * factor
                out.append(_turn(image[:, top : top + p, left : left + p], turn))
        return tuple(torch.stack(images).to(device).float() / 255 for images in (lrs, hrs))


def _turn(image: torch.Tensor, turn: int) -> torch.Tensor:
    """One of the 8 symmetries of the square."""
    image = image.rot90(turn % 4, (1, 2))
    return image.flip(2) if turn >= 4 else image


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
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - decay)
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


def transfer(model: nn.Module, source: nn.Module) -> int:
    """Copy every parameter of the same name and shape (a x4 network starts from a x2 body); their number."""
    target, given = model.state_dict(), source.state_dict()
    same = {k: v for k, v in given.items() if k in target and v.shape == target[k].shape}
    model.load_state_dict(target | same)
    return len(same)


def load_folder(path: Path) -> list[torch.Tensor]:
    """Every image of a folder, sorted by name; FileNotFoundError if there is none."""
    return [load_image(file) for file in image_files(path)]


def reduced_pairs(path: Path, scale: int) -> list[Pair]:
    """HR images of a folder with their bicubic LR."""
    images = [modcrop(image, scale) for image in load_folder(path)]
    return [Pair(f"{i:03d}", make_lr(hr, scale), hr) for i, hr in enumerate(images)]


def save_bundle(model: nn.Module, out: Path, card: dict) -> None:
    """Write `out`.safetensors (float16) and the model card `out`.json; out: `core.files.output_file`'s."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    state = {k: v.contiguous() for k, v in state.items()}
    replace_file(output_file(out, ".safetensors"), save(state))
    replace_file(output_file(out, ".json"), (json.dumps(card, indent=2) + "\n").encode())


def _arguments() -> argparse.Namespace:
    defaults = TrainConfig()
    parser = argparse.ArgumentParser(prog="python -m core.training", description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=sorted(MODELS), default="edsr")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--data", type=Path, required=True, help="folder of HR training images")
    parser.add_argument("--validation", type=Path, help="folder of HR images to score on")
    parser.add_argument("--benchmark", type=Path, help="folder with Set5/ and Set14/ to score on")
    parser.add_argument("--out", type=Path, required=True, help="name of the results, without their suffixes")
    parser.add_argument("--start-from", type=Path, help="checkpoint whose matching layers are copied")
    for field in dataclasses.fields(TrainConfig):
        flag, value = f"--{field.name.replace('_', '-')}", getattr(defaults, field.name)
        if isinstance(value, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(value), default=value)
    return parser.parse_args()


def scores(
    model: nn.Module, scale: int, validation: Path | None, benchmark: Path | None
) -> dict[str, dict[str, float]]:
    """Mean PSNR and SSIM on the validation folder's images, and on Set5/ and Set14/ in the benchmark's."""
    folders = {validation: reduced_pairs} if validation else {}
    folders |= {benchmark / name: paired_folder for name in ("Set5", "Set14")} if benchmark else {}
    names = distinct_names(list(folders), lambda path: path.name)
    found = {}
    for name, (folder, pairs) in zip(names, folders.items(), strict=True):
        result = evaluate(model, pairs(folder, scale), scale)
        found[name] = {"psnr_y": round(result.psnr, 3), "ssim_y": round(result.ssim, 4)}
    return found


def card_of(checkpoint: Path | None) -> dict | str | None:
    """The model card beside the checkpoint, else its name."""
    if checkpoint is None:
        return None
    card = checkpoint.with_suffix(".json")
    return json.loads(card.read_text()) if card.exists() else checkpoint.name


def main() -> None:
    args = _arguments()
    try:
        _run(args)
    except (ValueError, OSError, FloatingPointError) as error:
        raise SystemExit(str(error)) from error


def _run(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    config = TrainConfig(**{f.name: getattr(args, f.name) for f in dataclasses.fields(TrainConfig)})
    checkpoint = output_file(args.out, ".ckpt")
    torch.manual_seed(config.seed)
    model = new_model(args.model, args.scale)
    start = load_checkpoint(args.start_from) if args.start_from else None
    if start is not None:
        print(f"{transfer(model, start)} tensors copied from {args.start_from}")
    images = load_folder(args.data)
    sampler = PatchSampler(images, args.scale, config.patch)
    with tqdm(total=config.steps, mininterval=5) as bar:

        def report(step: int, loss: float) -> None:
            bar.update(step + 1 - bar.n)
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)

        train(model, sampler, config, checkpoint, report)
    card = {
        "model": args.model,
        "scale": args.scale,
        "about": model.about,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "data": f"{len(sampler.pairs)} images of {folder_name(args.data)}",
        "loss": "L1",
        "optimizer": "Adam, one cycle",
        "started_from": card_of(args.start_from),
        **dataclasses.asdict(config),
    }
    save_bundle(model, args.out, card)
    rounded = load_checkpoint(output_file(args.out, ".safetensors"))  # score what is stored: float16
    card["scores"] = scores(rounded, args.scale, args.validation, args.benchmark)
    save_bundle(model, args.out, card)
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    main()
