"""Super-resolution networks by name, bundled weights and public checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from core.models.edsr import EDSR, RGB_MEAN

ASSETS = Path(__file__).resolve().parents[2] / "assets"

# name -> constructor of the untrained bundled architecture, called with the scale
MODELS: dict[str, Callable[[int], nn.Module]] = {
    "edsr": lambda scale: EDSR(scale, n_blocks=8, n_feats=32, rgb_range=1.0),
    "edsr_baseline": lambda scale: EDSR(scale),
}


def new_model(name: str, scale: int) -> nn.Module:
    """A randomly initialised network; ValueError lists the names that exist."""
    if name not in MODELS:
        raise ValueError(f"no model {name!r}; there are {', '.join(MODELS)}")
    return MODELS[name](scale)


def bundled() -> list[tuple[str, int]]:
    """(name, scale) of every network whose weights lie in assets/."""
    found = [re.fullmatch(r"(\w+)_x(\d)", f.stem) for f in sorted(ASSETS.glob("*_x?.safetensors"))]
    return [(m[1], int(m[2])) for m in found if m]


def create_model(name: str, scale: int, weights: str = "bundled") -> nn.Module:
    """A trained network in eval mode: (N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W).

    weights: "bundled" (the only kind so far). ValueError lists what is there.
    """
    if weights != "bundled":
        raise ValueError(f"weights must be 'bundled', got {weights!r}")
    if not isinstance(scale, int):
        raise ValueError(f"scale must be a whole number, got {scale!r}")
    if (name, scale) not in bundled():
        there = ", ".join(f"{n} x{s}" for n, s in bundled()) or "none"
        raise ValueError(f"no bundled weights for {name} x{scale}; there are {there}")
    return load_checkpoint(ASSETS / f"{name}_x{scale}.safetensors")


def load_checkpoint(path: str | Path) -> nn.Module:
    """Read .safetensors, .pt or .pth (tensors only, no code is run) and build the EDSR it belongs to.

    Returns the network in eval mode, float32. Raises FileNotFoundError, or ValueError with what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    return network_from_state(_read_tensors(path), path.name)


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            state = load_file(str(path))
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path.name} is not a readable checkpoint: {error}") from error
    except Exception as error:  # pickle.UnpicklingError and whatever a hostile file provokes
        raise ValueError(f"{path.name} holds more than tensors and was not loaded") from error
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ValueError(f"{path.name} must hold a dict of tensors, the model's state_dict")
    if not all(torch.isfinite(v).all() for v in state.values()):
        raise ValueError(f"{path.name} holds NaN or infinite weights")
    return {name: v.float() if v.is_floating_point() else v for name, v in state.items()}


def network_from_state(state: dict[str, torch.Tensor], source: str) -> nn.Module:
    """The network that the tensors belong to, with its weights; ValueError if none is recognised."""
    return edsr_from_state(state, source)


def edsr_from_state(state: dict[str, torch.Tensor], source: str) -> EDSR:
    """Read EDSR's size, scale and range off its tensors and load them."""
    blocks = {int(m[1]) for k in state if (m := re.fullmatch(r"body\.(\d+)\.body\.0\.weight", k))}
    if not blocks or "head.0.weight" not in state or "tail.0.0.weight" not in state:
        raise ValueError(f"{source} is not an EDSR checkpoint: head.0, body.N.body.0 or tail.0.0 is missing")
    if any(state[name].ndim != 4 for name in ("head.0.weight", "tail.0.0.weight")):
        raise ValueError(
            f"{source} is not an EDSR checkpoint: the weights of its convs must have 4 dimensions"
        )
    n_feats = state["head.0.weight"].shape[0]
    scale = 4 if "tail.0.2.weight" in state else round((state["tail.0.0.weight"].shape[0] / n_feats) ** 0.5)
    shift = state.get("sub_mean.bias")
    rgb_range = 255.0 if shift is None or bool((shift.abs() > 1).any()) else 1.0
    model = EDSR(
        scale,
        n_blocks=len(blocks),
        n_feats=n_feats,
        res_scale=0.1 if n_feats >= 256 else 1.0,  # the authors' large network; not stored in the file
        rgb_range=rgb_range,
    )
    fixed = {k: v for k, v in model.state_dict().items() if k.startswith(("sub_mean", "add_mean"))}
    try:
        model.load_state_dict(fixed | state)
    except RuntimeError as error:
        raise ValueError(
            f"{source} does not fit EDSR x{scale}: {str(error).splitlines()[1].strip()}"
        ) from error
    return model.eval()


__all__ = ["ASSETS", "EDSR", "MODELS", "RGB_MEAN", "bundled", "create_model", "load_checkpoint", "new_model"]
