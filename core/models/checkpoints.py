"""Checkpoint files: read as tensors only, recognised by the names of the tensors."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from core.models.community import community_network
from core.models.edsr import EDSR
from core.models.mobile import ABPN, XLSR
from core.models.rdn import RDN
from core.models.srresnet import SRResNet
from core.models.state import State
from core.models.swinir import SwinIR

# A tensor that only this architecture has, tried in this order.
MARKS: dict[str, type[nn.Module]] = {
    "layers.0.residual_group.blocks.0.attn.qkv.weight": SwinIR,
    "SFENet1.weight": RDN,
    "conv0_0.conv.weight": XLSR,
    "head.conv.weight": ABPN,
    "body.0.conv1.weight": SRResNet,
    "body.0.body.0.weight": EDSR,
}
# Training frameworks wrap the tensors: BasicSR in the first two, Lightning in the third.
WRAPPERS = ("params_ema", "params", "state_dict")
# Fixed by the architecture, and written by some versions of the public code but not by others.
COMPUTED = (
    "sub_mean",
    "add_mean",
    "rgb_range.value",
    "relative_position_index",
    "attn_mask",
    "num_batches_tracked",
)


def load_checkpoint(path: str | Path) -> nn.Module:
    """Read .safetensors, .pt or .pth (tensors only, no code is run) and build the network it belongs to.

    Public checkpoints of EDSR, RDN (EDSR-PyTorch), SRResNet (DAQ), XLSR and SwinIR-light load as they are.
    Returns the network in eval mode, float32. Raises FileNotFoundError, or ValueError with what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    return network_from_state(_read_tensors(path), path.name)


def _read_tensors(path: Path) -> State:
    try:
        if path.suffix == ".safetensors":
            state = load_file(str(path))
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path.name} is not a readable checkpoint: {error}") from error
    except Exception as error:  # pickle.UnpicklingError and whatever a hostile file provokes
        raise ValueError(f"{path.name} holds more than tensors and was not loaded") from error
    for wrapper in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ValueError(f"{path.name} must hold a dict of tensors, the model's state_dict")
    if not all(torch.isfinite(v).all() for v in state.values()):
        raise ValueError(f"{path.name} holds NaN or infinite weights")
    # DataParallel writes "module." before every name.
    return {
        str(name).removeprefix("module."): v.float() if v.is_floating_point() else v
        for name, v in state.items()
    }


def network_from_state(state: State, source: str) -> nn.Module:
    """The network that the tensors belong to, with its weights, in eval mode; ValueError says why not."""
    cls = next((cls for mark, cls in MARKS.items() if mark in state), None)
    if cls is None:
        return _unknown(state, source)
    try:
        with torch.device("meta"):  # shapes only: a small file can claim a huge network
            _fill(cls.from_state(state), state)
        model = _fill(cls.from_state(state), state)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{source} looks like {cls.__name__} but is not: {error.args[0]}") from error
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ValueError(f"{source} does not fit {cls.__name__}: {reason}") from error
    return model.eval()


def _unknown(state: State, source: str) -> nn.Module:
    """A community network, or ValueError that says what is known."""
    try:
        found = community_network(state)
    except ValueError as error:
        raise ValueError(f"{source} {error}") from error
    if found is None:
        known = ", ".join(dict.fromkeys(cls.__name__ for cls in MARKS.values()))
        raise ValueError(
            f"{source} belongs to no network known here ({known}): install the extra [zoo] for community "
            "architectures, or build yours and pass it to quantize_model"
        )
    return found


def _fill(model: nn.Module, state: State) -> nn.Module:
    own = model.state_dict()
    fixed = {name: tensor for name, tensor in own.items() if _is_computed(name)}
    given = {name: tensor for name, tensor in state.items() if name in own or not _is_computed(name)}
    model.load_state_dict(fixed | given, assign=next(model.parameters()).is_meta)
    return model


def _is_computed(name: str) -> bool:
    return any(part in name for part in COMPUTED)
