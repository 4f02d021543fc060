"""Checkpoint files: read as tensors only, recognised by the names of the tensors."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterable
from itertools import islice
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from core.checkpoints.community import CommunityError, community_network, has_spandrel
from core.checkpoints.dialects import translated
from core.checkpoints.torch_reader import DTYPES, MoreThanTensorsError, read_torch_file
from core.checkpoints.wrapping import part, plain_names, preferred, prefixes
from core.models.edsr import EDSR, UNSEEN
from core.models.luma import Luma
from core.models.mobile import ABPN, XLSR
from core.models.msrresnet import MSRResNet
from core.models.rdn import RDN
from core.models.reparameterized import plain_weights
from core.models.srresnet import SRResNet
from core.models.state_dict import State, reason
from core.models.swinir import SwinIR

# Tensors that identify an architecture if all of them occur; tried in this order.
MARKS: dict[type[nn.Module], set[str]] = {
    SwinIR: {"layers.0.residual_group.blocks.0.attn.qkv.weight"},
    RDN: {"SFENet1.weight"},
    XLSR: {"conv0_0.conv.weight"},
    ABPN: {"head.conv.weight"},
    SRResNet: {"body.0.conv1.weight", "body.0.bn1.weight"},
    MSRResNet: {"body.0.conv1.weight", "conv_hr.weight"},
    EDSR: {"body.0.body.0.weight"},
}
# Parts of the names of tensors that the architecture fixes; only some versions of the public code save them.
COMPUTED = (
    "sub_mean",
    "add_mean",
    "rgb_range.value",
    "relative_position_index",
    "attn_mask",
    "num_batches_tracked",
    UNSEEN,
)
# How files begin that are often taken for checkpoints, and what they are.
OTHER_KINDS = {
    b"version https://git-lfs": "a pointer of Git LFS, and git lfs pull fetches the file itself",
    b"<": "a web page",
    b"\x1f\x8b": "compressed by gzip",
}
MAX_BYTES = 2**29  # file size; EDSR's large network has 0.16 GiB
MAX_HEADER = 2**24  # bytes; a tensor takes about 100
MAX_TENSORS = 5000  # SwinIR-light has 900
MAX_PLACES = 100  # prefixes after which a network's names may begin
SCALES = range(2, 9)


def load_checkpoint(path: str | Path, res_scale: float | None = None) -> nn.Module:
    """Read a file of torch.save or .safetensors (tensors only, no code is run) and build its network.

    Public checkpoints of EDSR (EDSR-PyTorch, BasicSR, mmagic, DAQ), RDN (EDSR-PyTorch), SRResNet (DAQ, DFSQ),
    MSRResNet (BasicSR, KAIR), XLSR and SwinIR-light load as they are, and with the extra [zoo] those that
    spandrel knows. The weights may lie under keys and prefixes such as "state_dict", "net", "module." or
    "generator.", beside the state of a training: the outermost place where the names of a known network begin
    is taken (`core.checkpoints.wrapping`). Of several, such as "params" and "params_ema", the average over
    the training ("ema" or "swa" in its name) is taken. A network of luma becomes one of RGB
    (`core.models.luma`).

    res_scale: the factor of EDSR's residual blocks, which files of other code do not state. By default it is
    the authors', 0.1 from 256 features on and else 1, and a warning says so.

    Returns the network in eval mode, float32. FileNotFoundError for a missing file, ValueError with the
    reason for any other.
    """
    path = Path(path)
    state, _ = read_tensors(path)
    model = network_from_state(state, path.name, res_scale=res_scale)
    if (guess := guessed_res_scale(model)) is not None:
        warnings.warn(
            f"{path.name} does not say its res_scale, so {guess:g} was taken, as in the authors' network of "
            "its width; if it was trained with another, give that: load_checkpoint(path, res_scale=...) in "
            "Python, --res-scale in a command",
            stacklevel=2,
        )
    return model


def guessed_res_scale(model: nn.Module) -> float | None:
    """Return the res_scale that `load_checkpoint` took without being told; None where there was no guess."""
    inner = _inside(model)
    return inner.res_scale if isinstance(inner, EDSR) and inner.guessed else None


def set_res_scale(model: nn.Module, res_scale: float) -> None:
    """Multiply what the residual blocks of an EDSR add by another number, in place.

    ValueError if it is no positive number.
    """
    _check_res_scale(res_scale)
    inner = _inside(model)
    inner.set_extra_state(torch.tensor([res_scale, inner.rgb_range], device="cpu"))


def _inside(model: nn.Module) -> nn.Module:
    return model.model if isinstance(model, Luma) else model


def _check_res_scale(res_scale: float) -> None:
    if not 0 < res_scale < float("inf"):
        raise ValueError(f"res_scale must be a positive number, got {res_scale}")


def read_tensors(path: Path) -> tuple[State, dict[str, str]]:
    """Return all tensors of a checkpoint but those of optimizers, and the texts in a .safetensors' header.

    Tensors in nested dicts are named by their keys, joined by dots. The sizes that the file claims are
    checked against its own size before memory is allocated. FileNotFoundError, or ValueError for a file that
    is incomplete, holds more than tensors and plain values, or is larger than `MAX_BYTES`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.name} has more than {MAX_BYTES // 2**20} MiB; save the weights alone")
    try:
        data = path.read_bytes()
        _refuse_other_kinds(data)
        state, texts = _from_safetensors(data) if data[8:9] == b"{" else (read_torch_file(data), {})
    except MoreThanTensorsError as error:
        raise ValueError(
            f"{path.name} holds more than tensors and was not loaded ({reason(error)}); save a state_dict"
        ) from error
    except Exception as error:  # the readers raise errors of any kind on damaged files
        raise ValueError(
            f"{path.name} is not a readable checkpoint: {reason(error)}; save or download it again"
        ) from error
    if not state:
        raise ValueError(f"{path.name} must hold a dict of tensors, the model's state_dict")
    return state, texts


def _refuse_other_kinds(data: bytes) -> None:
    """ValueError for files that a download or a mix-up often leaves in a checkpoint's place."""
    for start, kind in OTHER_KINDS.items():
        if data.startswith(start):
            raise ValueError(f"it is {kind}")


def _from_safetensors(data: bytes) -> tuple[State, dict[str, str]]:
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER:
        raise ValueError(f"its header claims {length:,} bytes")
    state = safetensors.torch.load(data)
    return state, json.loads(data[8 : 8 + length]).get("__metadata__", {})


def check_tensors(state: State, source: str) -> None:
    """Raise ValueError for more than `MAX_TENSORS`, and for an empty or infinite tensor or another dtype."""
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


def network_from_state(
    state: State, source: str, surplus: Collection[str] = (), res_scale: float | None = None
) -> nn.Module:
    """Build the network that the tensors belong to, with its weights, in eval mode; ValueError says why not.

    surplus: names of tensors that the network may lack. res_scale: as in `load_checkpoint`.
    """
    state, surplus = plain_names(state), plain_names(dict.fromkeys(surplus))
    places, known = _places(state)
    plain = state if known else plain_weights(state)
    if plain.keys() != state.keys() and (found := _places(plain))[1]:
        state, (places, known) = plain, found
    if known:
        place = _only_place(known, source)
        return _known_network(part(state, place), source, part(surplus, place), res_scale)
    check_tensors(state, source)
    found, errors = {}, []
    for place in places:
        if not place.startswith(tuple(found)):
            try:
                network = community_network(_floats(part(state, place)), part(surplus, place))
                found |= {} if network is None else {place: network}
            except CommunityError as error:
                errors.append(error)
    if found and res_scale is not None:
        raise ValueError(f"{source} holds no EDSR, and res_scale is for EDSR alone; leave it out")
    if found:
        return found[_only_place(list(found), source)]
    if errors:
        raise ValueError(f"{source} {errors[0]}") from errors[0]
    raise ValueError(f"{source} {_unknown(state)}")


def _places(state: State) -> tuple[list[str], list[str]]:
    """Return where names may begin, and where of these the names of a known network do."""
    places = list(islice(prefixes(state), MAX_PLACES))
    return places, [place for place in places if _class_of(translated(part(state, place))) is not None]


def _only_place(places: list[str], source: str) -> str:
    """Return the preferred place; ValueError if several are equally good."""
    best = preferred(places)
    if len(best) > 1:
        names = " and ".join(place[:80].rstrip(".") or "no key" for place in best[:2])
        raise ValueError(
            f"{source} holds several networks, under {names}; save the state_dict of one of them"
        )
    return best[0]


def _class_of(state: State) -> type[nn.Module] | None:
    return next((cls for cls, marks in MARKS.items() if marks <= state.keys()), None)


def _floats(state: State) -> State:
    return {name: v.float() if v.is_floating_point() else v for name, v in state.items()}


def _known_network(given: State, source: str, surplus: Collection[str], res_scale: float | None) -> nn.Module:
    """Build a network of `MARKS`; if the tensors only look like one, try spandrel."""
    check_tensors(given, source)
    given = _floats(given)
    state = translated(given)
    cls = _class_of(state)
    if res_scale is not None and cls is not EDSR:
        raise ValueError(f"{source} holds {cls.__name__}, and res_scale is for EDSR alone; leave it out")
    if res_scale is not None:
        _check_res_scale(res_scale)
    options = {"res_scale": res_scale} if cls is EDSR else {}
    try:
        with torch.device("meta"):  # shapes first: a small file can claim a huge network
            made = _fill(cls.from_state(state, **options), state, surplus)
        if made.scale not in SCALES:
            raise ValueError(f"scale must be {SCALES[0]} to {SCALES[-1]}, got {made.scale}")
        model = _fill(cls.from_state(state, **options), state, surplus).eval()
    except RuntimeError as error:
        return _other_network(given, surplus, f"{source} does not fit {cls.__name__}: {reason(error)}")
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        why = f"{source} looks like {cls.__name__} but is not: {reason(error)}"
        return _other_network(given, surplus, why)
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    # float32, whatever torch's default dtype is.
    return (Luma(model, model.scale).eval() if first.in_channels == 1 else model).float()


def _other_network(state: State, surplus: Collection[str], why_not: str) -> nn.Module:
    try:
        found = community_network(state, surplus)
    except CommunityError as error:
        raise ValueError(why_not) from error
    if found is None:
        raise ValueError(why_not if has_spandrel() else f"{why_not}; the extra [zoo] knows more networks")
    return found


def _unknown(state: State) -> str:
    """Say which architectures are known and which place in the file looks like one."""
    known = ", ".join(cls.__name__ for cls in MARKS)
    text = f"belongs to no network known here ({known}): "
    for marks in MARKS.values():
        mark = min(marks)
        for name in state:
            place = name.removesuffix(mark)
            if name.endswith(f".{mark}") and all(place + other in state for other in marks):
                return f"{text}save what lies under {place[:80].rstrip('.')} alone, which looks like one"
    zoo = "" if has_spandrel() else "install the extra [zoo] for community architectures, or "
    return f"{text}{zoo}build yours and pass it to quantize_model"


def _fill(model: nn.Module, state: State, surplus: Collection[str]) -> nn.Module:
    own = model.state_dict()
    fixed = {name: tensor for name, tensor in own.items() if _is_computed(name)}
    needless = {name for name in state if name not in own and (_is_computed(name) or name in surplus)}
    given = {name: tensor for name, tensor in state.items() if name not in needless}
    kept = {UNSEEN: own[UNSEEN]} if UNSEEN in own else {}  # the caller's res_scale overrides the file's
    model.load_state_dict(fixed | given | kept, assign=next(model.parameters()).is_meta)
    return model


def _is_computed(name: str) -> bool:
    return any(word in name for word in COMPUTED)


def check_res_scale(res_scale: float | None, names: Iterable[str | Path]) -> None:
    """Raise ValueError where a res_scale is given and none of the named networks is a checkpoint's file."""
    if res_scale is not None and not any(Path(name).suffix for name in names):
        raise ValueError("res_scale is for checkpoints, and no network here is one; leave it out")
