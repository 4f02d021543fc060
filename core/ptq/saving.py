"""Quantized networks as files: safetensors, with the quantization of each layer in the header."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from core.checkpoints.loading import check_tensors, network_from_state, read_tensors
from core.checkpoints.packed import pack_layer, pack_points, unpack_layer, unpack_points
from core.models.state_dict import State, reason
from core.networks.folding import fold_parametrizations
from core.networks.held_weights import HELD, hold, is_held
from core.points.universal_set import MAX_TERMS, MAX_WORDS, UniversalSet
from core.ptq.audit import LayerQuantization, is_quantized
from core.ptq.config import BITS, FLOAT, MAX_BLOCK, SIDE_BITS, QuantConfig
from core.ptq.methods import EVERY_METHOD
from core.ptq.quantize import attach_quantizer
from core.ptq.scope import channel_dim_of, has_weights, input_channels
from core.ptq.weight_levels import note_levels, quantization_of, too_many
from core.quantizers.daq import GaussianQuantizer
from core.quantizers.levels import LevelQuantizer
from core.quantizers.microscaling import FORMATS, MicroscalingQuantizer
from core.quantizers.normalized import NormalizedUniformQuantizer, SubsetQuantizer
from core.quantizers.pams import ResidualQuantizer, attach_residual_quantizer, is_residual
from core.quantizers.uniform import OffsetQuantizer, UniformQuantizer
from core.utils.files import replace_file

FORMAT = "quantized SR network, 2"
OLDER = ("quantized SR network, 1",)  # which has all weights and points as floats
QUANTIZERS = {
    quantizer.__name__: quantizer
    for quantizer in (
        UniformQuantizer,
        OffsetQuantizer,
        LevelQuantizer,
        SubsetQuantizer,
        NormalizedUniformQuantizer,
        GaussianQuantizer,
        MicroscalingQuantizer,
    )
}
# Allowed values of a quantizer's settings. The finest step is that of the largest universal set.
SETTINGS = {
    "bits": lambda value: type(value) is int and value in BITS,
    "channel_dim": lambda value: type(value) is int and value in (-3, -1, 1),
    "post_relu": lambda value: type(value) is bool,
    "block": lambda value: type(value) is int and 0 <= value <= MAX_BLOCK,
    "side_bits": lambda value: type(value) is int and value in SIDE_BITS,
    "deviation_bits": lambda value: type(value) is int and value in SIDE_BITS,
    "form": lambda value: type(value) is str and value in FORMATS,
    "step": lambda value: (
        value is None or (type(value) is float and UniversalSet(MAX_WORDS, MAX_TERMS).step <= value <= 1)
    ),
    "set_size": lambda value: value is None or (type(value) is int and 1 <= value <= MAX_SET),
    "stored": lambda value: type(value) is int and 0 <= value <= MAX_STORED,
}
MAX_SET, MAX_STORED = 2**16, 2**31  # points of a universal set; bits of a layer's constants


def save_quantized(model: nn.Module, path: str | Path) -> None:
    """Write a quantized network to `path` (.safetensors); ValueError if it is not quantized.

    Weights are packed into codes of their bits, points into whole steps of their grid. The header states the
    bits of the weights now: 32 where training moved them off their levels. For a network in DataParallel, the
    one inside is saved.

    >>> import tempfile, torch
    >>> from core import QuantConfig, create_model, load_quantized, quantize_model, save_quantized
    >>> images = torch.rand(2, 3, 24, 24)
    >>> quantized = quantize_model(create_model("xlsr", 3), images, QuantConfig("minmax"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_quantized(quantized, f"{folder}/xlsr_w4a4.safetensors")
    ...     loaded = load_quantized(f"{folder}/xlsr_w4a4.safetensors")
    >>> torch.equal(loaded(images), quantized(images))
    True
    """
    layers, whole = {}, model
    model = _inside(model)
    for name, module in model.named_modules():
        if hasattr(module, "quantization"):
            quantizer = getattr(module, "activation_quantizer", None)
            layers[name] = quantization_of(module)._asdict() | {
                "quantizer": type(quantizer).__name__ if quantizer else None,
                "settings": quantizer.settings() if quantizer else {},
            }
            layers[name] |= {"held": True} if is_held(module) else {}
    if not layers:
        raise ValueError("the network is not quantized; save its state_dict instead")
    blocks = {n: m.residual_quantizer.skip.bits for n, m in model.named_modules() if is_residual(m)}
    outer = "" if model is whole else "module."
    header = {"format": FORMAT, "layers": layers, "config": _config_header(whole.quant_config, outer)}
    header |= {"residual_blocks": blocks} if blocks else {}
    reasons = {name.removeprefix(outer): text for name, text in whole.float_reasons.items()}
    header |= {"reasons": reasons, "scope": whole.scope_in_words}
    state = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    for name, entry in layers.items():
        module = model.get_submodule(name)
        # The rows of a transposed conv are its second dimension.
        if has_weights(module) and not isinstance(module, nn.ConvTranspose2d):
            entry |= pack_layer(state, name, entry["weight_bits"])
        pack_points(state, f"{name}.activation_quantizer.points", entry["settings"].get("step"))
    replace_file(Path(path), save(state, {"quantization": json.dumps(header)}))


def _config_header(config: QuantConfig, outer: str) -> dict:
    """Return the configuration in plain values; layers without the prefix `outer`.

    Bits by layer are there only if a layer has bits of its own: other files are as they always were.
    """
    values = dataclasses.asdict(config)
    own = [(name.removeprefix(outer), *bits) for name, *bits in values.pop("layer_bits")]
    return values | ({"layer_bits": own} if own else {})


def _inside(model: nn.Module) -> nn.Module:
    """Return the network inside DataParallel, whose wrapper puts "module." before every name."""
    return model.module if isinstance(model, (nn.DataParallel, DistributedDataParallel)) else model


def load_quantized(path: str | Path, model: nn.Module | None = None) -> nn.Module:
    """Read a file of `save_quantized`: the network in eval mode with the weights of the file.

    model: a float network of the same architecture, unchanged; not needed for architectures that
    `core.load_checkpoint` knows. It may be compiled or in DataParallel; the result is not. FileNotFoundError,
    or ValueError with the reason. `save_quantized` has an example.
    """
    if model is not None and is_quantized(model):
        raise ValueError("the model is quantized already; give a float network of the same architecture")
    path = Path(path)
    state, texts = read_tensors(path)
    check_tensors(state, path.name)
    try:
        header = json.loads(texts.get("quantization", "{}"))
        if not isinstance(header, dict) or header.get("format") not in (FORMAT, *OLDER):
            raise _Unfit("holds no quantized network; use load_checkpoint for a float one")
        return _restored(header, _unpacked(header, state), model, path.name)
    except _Unfit as error:
        raise ValueError(f"{path.name} {error}") from error
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path.name} has a damaged header ({reason(error)}); save the network again with save_quantized"
        ) from error


class _Unfit(Exception):
    """The problem of a file with a valid header; the message follows the file's name."""


def _unpacked(header: dict, state: State) -> State:
    """Return the tensors with all weights and points as floats."""
    if len(header["layers"]) > len(state):
        raise ValueError("it has more layers than tensors")
    state = dict(state)
    for name, entry in header["layers"].items():
        if "packed" in entry:
            _require(type(entry["weight_bits"]) is int, "weight_bits", entry["weight_bits"])
            unpack_layer(state, name, entry["weight_bits"], entry["packed"])
        unpack_points(state, f"{name}.activation_quantizer.points", entry["settings"])
    return state


def _restored(header: dict, state: State, model: nn.Module | None, source: str) -> nn.Module:
    blocks = header.get("residual_blocks", {})
    prefix = tuple(f"{name}.activation_quantizer." for name in header["layers"])
    prefix += tuple(f"{name}.residual_quantizer." for name in blocks)
    weights = {name: value for name, value in state.items() if not name.startswith(prefix)}
    biases = {f"{name}.bias" for name in header["layers"]}  # bias correction adds biases
    try:
        if model is None:
            model = network_from_state(weights, source, biases)
        else:
            model = fold_parametrizations(_inside(model))
    except ValueError as error:
        raise _Unfit(str(error).removeprefix(f"{source} ")) from error
    for name, entry in header["layers"].items():
        _restore_layer(model, name, entry, state)
    for name, bits in blocks.items():
        _restore_block(model, name, bits, state)
    _untie(model, state)
    model.to(memory_format=torch.contiguous_format)  # as when it was quantized: the same rounding
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise _Unfit(f"does not fit the network: {reason(error)}") from error
    config = header["config"]
    model.quant_config = QuantConfig(
        **config
        | {"universal_set": UniversalSet(**config["universal_set"])}
        | {"refine": None if config["refine"] is None else tuple(config["refine"])}
        | {"layer_bits": tuple(map(tuple, config.get("layer_bits", ())))}
    )
    for name in header["layers"]:
        module = model.get_submodule(name)
        if too_many(module, model.quant_config):
            module.quantization = module.quantization._replace(weight_bits=FLOAT)
    note_levels(model)
    reasons, scope = header["reasons"], header["scope"]
    if not all(isinstance(text, str) for text in (scope, *reasons, *reasons.values())):
        raise TypeError("reasons and scope must be texts")
    model.float_reasons, model.scope_in_words = reasons, scope
    return model.eval()


def _untie(model: nn.Module, state: State) -> None:
    """Untie tensors that modules share if `state` has different values for them."""
    owner: dict[int, str] = {}
    for prefix, module in model.named_modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            own = f"{prefix}.{name}".lstrip(".")
            first = owner.setdefault(id(parameter), own)
            here, there = (state.get(key) for key in (own, first))
            if first != own and here is not None and there is not None and not torch.equal(here, there):
                setattr(module, name, nn.Parameter(parameter.detach().clone(), parameter.requires_grad))


def _restore_layer(model: nn.Module, name: str, entry: dict, state: State) -> None:
    """Prepare the layer to take its tensors from `state`."""
    module = dict(model.named_modules()).get(name)
    if module is None or channel_dim_of(module) is None:
        raise _Unfit(f"does not fit the network: it has no layer {name[:80]}")
    if has_weights(module) and module.bias is None and f"{name}.bias" in state:  # bias correction adds one
        module.bias = nn.Parameter(torch.zeros_like(state[f"{name}.bias"]))
    done = LayerQuantization(**{field: entry[field] for field in LayerQuantization._fields})
    _require(done.method in EVERY_METHOD, "method", done.method)
    for field in ("weight_bits", "activation_bits"):
        _require(type(entry[field]) is int and entry[field] in BITS, field, entry[field])
    if not has_weights(module):
        _require(entry["weight_bits"] == FLOAT, "weight_bits", entry["weight_bits"])
    _require(type(done.post_relu) is bool, "post_relu", done.post_relu)
    if entry["quantizer"] is not None:
        own = f"{name}.activation_quantizer."
        tensors = {key.removeprefix(own): value for key, value in state.items() if key.startswith(own)}
        attach_quantizer(module, _quantizer(entry, tensors, module))
    module.quantization = done
    if done.weight_bits != FLOAT:  # a weight of its own, even if the float weight was shared
        module.weight = nn.Parameter(module.weight.detach().clone(), module.weight.requires_grad)
    if entry.get("held"):
        _require(type(module) in HELD, "held", type(module).__name__)
        hold(module)


def _restore_block(model: nn.Module, name: str, bits: int, state: State) -> None:
    """Prepare a residual block of PAMS to take its tensors from `state`."""
    module = dict(model.named_modules()).get(name)
    if module is None or next(module.parameters(), None) is None:
        raise _Unfit(f"does not fit the network: it has no block {name[:80]}")
    _require(type(bits) is int and bits in BITS[:-1], "bits", bits)
    sides = []
    for side in ("skip", "branch"):
        points = state[f"{name}.residual_quantizer.{side}.points"]
        fits = points.shape == (2**bits - 1,) and bool((points.diff() >= 0).all())
        _require(fits, "points", f"these {points.numel()} numbers")
        sides.append(LevelQuantizer(points, bits, -3, stored=SIDE_BITS[-1]))
    attach_residual_quantizer(module, ResidualQuantizer(*sides))


def _quantizer(entry: dict, tensors: State, module: nn.Module) -> nn.Module:
    """Check the settings and tensors, then create the quantizer: a tiny step would take all memory."""
    kind, settings, channels = entry["quantizer"], entry["settings"], input_channels(module)
    _require(kind in QUANTIZERS, "quantizer", kind)
    for name, value in settings.items():
        _require(name in SETTINGS and SETTINGS[name](value), name, value)
    if any(value.ndim for name, value in tensors.items() if name != "points"):
        _require(settings["channel_dim"] == channel_dim_of(module), "channel_dim", settings["channel_dim"])
    normalized = kind in (SubsetQuantizer.__name__, NormalizedUniformQuantizer.__name__)
    per_channel = ((1,) if normalized else (), (channels,))
    for name, value in tensors.items():
        if name == "points":
            fits = value.shape[:-1] in per_channel and value.shape[-1] <= 2 ** settings["bits"]
            fits = fits and bool((value.diff() >= 0).all())
        else:
            fits = value.shape in (((),) if name.startswith("level_") else ((), *per_channel))
        _require(fits, name, f"these {' × '.join(map(str, value.shape)) or 1} numbers")
    for low, high in (("low", "high"), ("level_low", "level_high")):
        if low in tensors:
            _require(bool((tensors[low] <= tensors[high]).all()), low, f"above {high}")
    return QUANTIZERS[kind](**tensors, **settings)


def _require(fits: bool, field: str, value: object) -> None:
    if not fits:
        raise ValueError(f"{field[:80]} cannot be {str(value)[:80]}")
