"""Quantized networks as files: safetensors, with what was done to each layer in its header."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from core.audit import LayerQuantization
from core.config import QuantConfig
from core.models import network_from_state
from core.quantize import attach_quantizer
from core.quantizers import QUANTIZERS
from core.universal_set import UniversalSet

FORMAT = "quantized SR network, 1"


def save_quantized(model: nn.Module, path: str | Path) -> None:
    """Write a quantized network to `path` (.safetensors). ValueError if it is not quantized."""
    layers = {}
    for name, module in model.named_modules():
        if hasattr(module, "quantization"):
            quantizer = getattr(module, "activation_quantizer", None)
            layers[name] = module.quantization._asdict() | {
                "quantizer": type(quantizer).__name__ if quantizer else None,
                "settings": quantizer.settings() if quantizer else {},
            }
    if not layers:
        raise ValueError("the network is not quantized; save its state_dict instead")
    header = {"format": FORMAT, "layers": layers, "config": dataclasses.asdict(model.quant_config)}
    header |= {"reasons": model.float_reasons, "scope": model.scope_in_words}
    state = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    save_file(state, str(path), {"quantization": json.dumps(header)})


def load_quantized(path: str | Path, model: nn.Module | None = None) -> nn.Module:
    """Read what `save_quantized` wrote, in eval mode; the weights are those of the file.

    model: any network of the same architecture, left as it is; not needed for the bundled architectures.
    Raises FileNotFoundError, or ValueError with what does not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safe_open(str(path), "pt") as file:
            header = json.loads((file.metadata() or {}).get("quantization", "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path.name} is not a readable checkpoint: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{path.name} holds no quantized network; use load_checkpoint for a float one")
    try:
        return _restored(header, state, model, path.name)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} has a damaged header: {error!r}") from error


def _restored(header: dict, state: dict, model: nn.Module | None, source: str) -> nn.Module:
    prefix = tuple(f"{name}.activation_quantizer." for name in header["layers"])
    weights = {name: value for name, value in state.items() if not name.startswith(prefix)}
    model = network_from_state(weights, source) if model is None else copy.deepcopy(model)
    for name, entry in header["layers"].items():
        _restore_layer(model, name, entry, state, source)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ValueError(f"{source} does not fit the network: {reason}") from error
    config = header["config"]
    model.quant_config = QuantConfig(
        **config
        | {"universal_set": UniversalSet(**config["universal_set"])}
        | {"refine": None if config["refine"] is None else tuple(config["refine"])}
    )
    model.float_reasons, model.scope_in_words = header["reasons"], header["scope"]
    return model.eval()


def _restore_layer(model: nn.Module, name: str, entry: dict, state: dict, source: str) -> None:
    """Make the layer ready to take its tensors from `state`."""
    module = dict(model.named_modules()).get(name)
    if module is None:
        raise ValueError(f"{source} does not fit the network: it has no layer {name}")
    if module.bias is None and f"{name}.bias" in state:  # bias correction adds one
        module.bias = nn.Parameter(torch.zeros_like(state[f"{name}.bias"]))
    if entry["quantizer"] is not None:
        own = f"{name}.activation_quantizer."
        tensors = {key.removeprefix(own): value for key, value in state.items() if key.startswith(own)}
        attach_quantizer(module, QUANTIZERS[entry["quantizer"]](**tensors, **entry["settings"]))
    done = {field: entry[field] for field in LayerQuantization._fields}
    module.quantization = LayerQuantization(**done)
