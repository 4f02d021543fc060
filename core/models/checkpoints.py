"""Checkpoint files: read as tensors only, recognised by the names of the tensors."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from core.models.community import community_network
from core.models.edsr import EDSR
from core.models.mobile import ABPN, XLSR
from core.models.rdn import RDN
from core.models.srresnet import SRResNet
from core.models.state import State
from core.models.swinir import SwinIR
from core.models.torch_files import DTYPES, MoreThanTensorsError, read_torch_file

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
MAX_BYTES = 2**29  # of a file; EDSR's large network has 0.16 GiB
MAX_HEADER = 2**24  # bytes; a tensor takes about 100
MAX_TENSORS = 5000  # SwinIR-light has 900
SCALES = range(2, 9)


def load_checkpoint(path: str | Path) -> nn.Module:
    """Read .safetensors, .pt or .pth (tensors only, no code is run) and build the network it belongs to.

    Public checkpoints of EDSR, RDN (EDSR-PyTorch), SRResNet (DAQ), XLSR and SwinIR-light load as they are.
    Returns the network in eval mode, float32. Raises FileNotFoundError, or ValueError with what is wrong.
    """
    path = Path(path)
    state, _ = read_tensors(path)
    # DataParallel writes "module." before every name.
    state = {
        name.removeprefix("module."): v.float() if v.is_floating_point() else v for name, v in state.items()
    }
    return network_from_state(state, path.name)


def read_tensors(path: Path) -> tuple[State, dict[str, str]]:
    """The tensors of a checkpoint, and the texts that .safetensors keeps beside them.

    What the file says of its sizes is compared with its size before memory is taken. Raises
    FileNotFoundError, or ValueError for a file that is not whole, holds more than finite tensors, or is
    larger than `MAX_BYTES` or `MAX_TENSORS`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.name} has more than {MAX_BYTES // 2**20} MiB; save the weights alone")
    try:
        data = path.read_bytes()
        state, texts = _from_safetensors(data) if data[8:9] == b"{" else (_from_torch(data), {})
    except MoreThanTensorsError as error:
        raise ValueError(
            f"{path.name} holds more than tensors and was not loaded ({reason(error)}); save a state_dict"
        ) from error
    except Exception as error:  # whatever a damaged file provokes in the readers
        raise ValueError(
            f"{path.name} is not a readable checkpoint: {reason(error)}; save or download it again"
        ) from error
    _check_tensors(state, path.name)
    return state, texts


def _from_torch(data: bytes) -> object:
    return read_torch_file(data, WRAPPERS)


def _from_safetensors(data: bytes) -> tuple[State, dict[str, str]]:
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER:
        raise ValueError(f"its header claims {length:,} bytes")
    state = safetensors.torch.load(data)
    return state, json.loads(data[8 : 8 + length]).get("__metadata__", {})


def _check_tensors(state: object, source: str) -> None:
    if not isinstance(state, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items()
    ):
        raise ValueError(f"{source} must hold a dict of tensors, the model's state_dict")
    if len(state) > MAX_TENSORS:
        raise ValueError(f"{source} holds more than {MAX_TENSORS:,} tensors, as no network known here does")
    for name, value in state.items():
        if value.dtype not in DTYPES.values():
            kind = str(value.dtype).removeprefix("torch.")
            raise ValueError(
                f"{source} holds numbers of the kind {kind} in {name[:80]}; save them as float32"
            )
        if 0 in value.shape:
            raise ValueError(f"{source} holds an empty tensor, {name[:80]}; save the whole state_dict")
        if not torch.isfinite(value.float()).all():
            raise ValueError(f"{source} holds NaN or infinite weights in {name[:80]}; train or save it again")


def reason(error: Exception) -> str:
    """What an error says, as a part of a sentence; of load_state_dict's the first complaint."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    line = lines[1] if lines[0].startswith("Error(s) in loading") and len(lines) > 1 else lines[0]
    return line.rstrip(".;:") if len(line) <= 200 else f"{line[:200]} …"


def network_from_state(state: State, source: str, surplus: Collection[str] = ()) -> nn.Module:
    """The network that the tensors belong to, with its weights, in eval mode; ValueError says why not.

    surplus: names of tensors that the network need not have.
    """
    cls = next((cls for mark, cls in MARKS.items() if mark in state), None)
    if cls is None:
        return _unknown(state, source)
    try:
        with torch.device("meta"):  # shapes only: a small file can claim a huge network
            made = _fill(cls.from_state(state), state, surplus)
        if made.scale not in SCALES:
            raise ValueError(f"scale must be {SCALES[0]} to {SCALES[-1]}, got {made.scale}")
        return _fill(cls.from_state(state), state, surplus).eval()
    except RuntimeError as error:
        raise ValueError(f"{source} does not fit {cls.__name__}: {reason(error)}") from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{source} looks like {cls.__name__} but is not: {reason(error)}") from error


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


def _fill(model: nn.Module, state: State, surplus: Collection[str]) -> nn.Module:
    own = model.state_dict()
    fixed = {name: tensor for name, tensor in own.items() if _is_computed(name)}
    needless = {name for name in state if name not in own and (_is_computed(name) or name in surplus)}
    given = {name: tensor for name, tensor in state.items() if name not in needless}
    model.load_state_dict(fixed | given, assign=next(model.parameters()).is_meta)
    return model


def _is_computed(name: str) -> bool:
    return any(part in name for part in COMPUTED)
