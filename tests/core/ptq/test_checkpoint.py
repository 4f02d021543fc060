import json

import pytest
import torch
from networks import NETWORKS
from safetensors import safe_open
from safetensors.torch import save_file

from core import METHODS, QuantConfig, audit, load_quantized, quantize_model, save_quantized


def every_layer(name, module):
    return True


@pytest.mark.parametrize(
    ("method", "bits"), [*((name, (4, 4)) for name in METHODS), ("dfsq-exact", (32, 4)), ("minmax", (4, 32))]
)
def test_a_bundled_architecture_comes_back_by_itself(method, bits, images, tiny_edsr, tmp_path):
    quantized = quantize_model(tiny_edsr, images, QuantConfig(method, *bits))
    save_quantized(quantized, tmp_path / "a.safetensors")
    loaded = load_quantized(tmp_path / "a.safetensors")
    assert torch.equal(loaded(images), quantized(images))
    assert audit(loaded) == audit(quantized)
    assert loaded.quant_config == quantized.quant_config
    save_quantized(loaded, tmp_path / "b.safetensors")
    assert torch.equal(load_quantized(tmp_path / "b.safetensors")(images), quantized(images))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", ["dfsq+", "mse-channel"])
def test_any_network_comes_back_with_its_own_kind(network, method, images, tmp_path):
    quantized = quantize_model(network().eval(), images, QuantConfig(method), every_layer)
    save_quantized(quantized, tmp_path / "a.safetensors")
    other = network()
    loaded = load_quantized(tmp_path / "a.safetensors", other)
    assert torch.equal(loaded(images), quantized(images))
    assert not any(hasattr(module, "quantization") for module in other.modules())


def test_what_cannot_be_saved_or_loaded(images, tiny_edsr, tmp_path):
    with pytest.raises(ValueError, match="the network is not quantized; save its state_dict"):
        save_quantized(tiny_edsr, tmp_path / "a.safetensors")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_quantized(tmp_path / "none.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"junk\.safetensors is not a readable checkpoint"):
        load_quantized(tmp_path / "junk.safetensors")
    save_file(tiny_edsr.state_dict(), str(tmp_path / "float.safetensors"))
    with pytest.raises(ValueError, match="holds no quantized network; use load_checkpoint"):
        load_quantized(tmp_path / "float.safetensors")
    save_quantized(quantize_model(tiny_edsr, images, QuantConfig()), tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="does not fit the network: it has no layer body"):
        load_quantized(tmp_path / "a.safetensors", torch.nn.Conv2d(3, 3, 1))


FIRST = "body.0.body.0"
OWN = f"{FIRST}.activation_quantizer"


def layer(**change):
    return lambda header, state: header["layers"][FIRST].update(change)


def setting(**change):
    return lambda header, state: header["layers"][FIRST]["settings"].update(change)


def config(**change):
    return lambda header, state: header["config"].update(change)


def points(change):
    return lambda header, state: state.update({f"{OWN}.points": change(state[f"{OWN}.points"])})


DAMAGED = "has a damaged header "
DAMAGES = {
    "no layers": (lambda header, state: header.pop("layers"), DAMAGED + r"\(layers\)"),
    "layers that are none": (lambda header, state: header.update(layers=3), DAMAGED),
    "more layers than tensors": (
        lambda header, state: header.update(layers=dict.fromkeys(map(str, range(999)))),
        DAMAGED + r"\(it has more layers than tensors",
    ),
    "no universal set": (lambda header, state: header["config"].pop("universal_set"), DAMAGED),
    "unknown field": (config(extra=1), DAMAGED + ".*unexpected keyword argument 'extra'"),
    "unknown method": (config(method="magic"), DAMAGED + r"\(no method 'magic'; there are"),
    "list of methods": (config(method=["dfsq"]), DAMAGED),
    "negative bits": (config(activation_bits=-4), DAMAGED + r"\(activation_bits must be 2 to 8"),
    "huge set": (config(universal_set={"words": 10**9, "terms": 4}), DAMAGED + r"\(words must be"),
    "refine": (config(refine=[[]]), DAMAGED),
    "unknown quantizer": (
        layer(quantizer="Nothing"),
        DAMAGED + r"\(quantizer cannot be Nothing\); save the network again with save_quantized",
    ),
    "list of quantizers": (layer(quantizer=[]), DAMAGED),
    "another quantizer": (layer(quantizer="UniformQuantizer"), DAMAGED),
    "unknown method of a layer": (layer(method="<b>"), DAMAGED + r"\(method cannot be <b>\)"),
    "bits of a layer": (layer(weight_bits=True), DAMAGED + r"\(weight_bits cannot be True\)"),
    "sign of a layer": (layer(post_relu="yes"), DAMAGED + r"\(post_relu cannot be yes\)"),
    "no method": (lambda header, state: header["layers"][FIRST].pop("method"), DAMAGED + r"\(method\)"),
    "settings": (layer(settings=None), DAMAGED),
    "huge bits": (setting(bits=10**9), DAMAGED + r"\(bits cannot be 1000000000\)"),
    "bits that are none": (setting(bits=float("nan")), DAMAGED + r"\(bits cannot be nan\)"),
    "tiny step": (setting(step=1e-12), DAMAGED + r"\(step cannot be 1e-12\)"),
    "no step": (setting(step=0.0), DAMAGED + r"\(step cannot be 0.0\)"),
    "negative block": (setting(block=-1), DAMAGED + r"\(block cannot be -1\)"),
    "channels": (setting(channel_dim=7), DAMAGED + r"\(channel_dim cannot be 7\)"),
    "unknown setting": (setting(extra=1), DAMAGED + r"\(extra cannot be 1\)"),
    "points out of order": (points(lambda p: p.flip(1)), DAMAGED + r"\(points cannot be"),
    "points of other channels": (points(lambda p: p[:4]), DAMAGED + r"\(points cannot be these 4 × 16"),
    "too many points": (points(lambda p: p.repeat_interleave(2, 1)), DAMAGED + r".* 6 × 32 numbers"),
    "NaN points": (points(lambda p: p * torch.nan), f"holds NaN or infinite weights in {OWN}.points"),
    "no points": (lambda header, state: state.pop(f"{OWN}.points"), DAMAGED + ".*'points'"),
    "unknown tensor": (
        lambda header, state: state.update({f"{OWN}.extra": torch.zeros(())}),
        DAMAGED + ".*'extra'",
    ),
    "bias": (
        lambda header, state: state.update({f"{FIRST}.bias": torch.zeros(5)}),
        "does not fit EDSR: size mismatch for body.0.body.0.bias",
    ),
    "reasons": (lambda header, state: header.update(reasons={"a": 1}), DAMAGED + ".*must be texts"),
    "no layer": (
        lambda header, state: header["layers"].update(nothing=header["layers"][FIRST]),
        "does not fit the network: it has no layer nothing",
    ),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_headers(kind, images, tiny_edsr, tmp_path):
    damage, message = DAMAGES[kind]
    save_quantized(quantize_model(tiny_edsr, images, QuantConfig()), tmp_path / "a.safetensors")
    with safe_open(str(tmp_path / "a.safetensors"), "pt") as file:
        header = json.loads(file.metadata()["quantization"])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    damage(header, state)
    state = {name: value.contiguous() for name, value in state.items()}
    save_file(state, str(tmp_path / "a.safetensors"), {"quantization": json.dumps(header)})
    with pytest.raises(ValueError, match=rf"^a\.safetensors {message}") as found:
        load_quantized(tmp_path / "a.safetensors")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("low", "high", "channel_dim", "message"),
    [
        (torch.tensor(1.0), torch.tensor(0.0), 1, "low cannot be above high"),
        (torch.zeros(5), torch.ones(5), -3, "(low|high) cannot be these 5 numbers"),
        (torch.zeros(6), torch.ones(6), 1, "channel_dim cannot be 1"),
    ],
)
def test_damaged_ranges(low, high, channel_dim, message, images, tiny_edsr, tmp_path):
    quantized = quantize_model(tiny_edsr, images, QuantConfig("minmax"))
    quantizer = quantized.get_submodule(OWN)
    assert quantizer.settings() == {"bits": 4, "channel_dim": -3}
    quantizer.low, quantizer.high, quantizer.channel_dim = low, high, channel_dim
    save_quantized(quantized, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=rf"a\.safetensors {DAMAGED}\({message}"):
        load_quantized(tmp_path / "a.safetensors")


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "3", '{"format": NaN}', "{", "1" * 5000, "{}"])
def test_headers_that_are_none(text, tiny_edsr, tmp_path):
    save_file(tiny_edsr.state_dict(), str(tmp_path / "a.safetensors"), {"quantization": text})
    with pytest.raises(
        ValueError, match=r"^a\.safetensors (has a damaged header|holds no quantized network)"
    ):
        load_quantized(tmp_path / "a.safetensors")


def test_the_header_is_plain_json(images, tiny_edsr, tmp_path):
    save_quantized(quantize_model(tiny_edsr, images, QuantConfig()), tmp_path / "a.safetensors")
    with safe_open(str(tmp_path / "a.safetensors"), "pt") as file:
        header = json.loads(file.metadata()["quantization"])
    assert header["config"]["activation_bits"] == 4
    assert set(header["layers"]) == {f"body.{block}.body.{conv}" for block in (0, 1) for conv in (0, 2)}


def quantized_part(path) -> int:
    """Bytes of the quantized layers' weights in a file."""
    with safe_open(str(path), "pt") as file:
        layers = tuple(json.loads(file.metadata()["quantization"])["layers"])
        names = [name for name in file.keys() if name.startswith(layers) and ".weight" in name]  # noqa: SIM118
        return sum(file.get_tensor(name).nbytes for name in names)


@pytest.mark.parametrize("method", ["dfsq-exact", "dfsq+", "mse", "daq"])
def test_the_file_is_as_small_as_its_bits(method, edsr_x2, tmp_path):
    images = torch.rand(1, 3, 32, 32)
    save_file(edsr_x2.state_dict(), str(tmp_path / "float.safetensors"))
    float_bytes = (tmp_path / "float.safetensors").stat().st_size
    weights = sum(block.body[i].weight.nbytes for block in edsr_x2.body[:-1] for i in (0, 2))
    for bits in (2, 4, 8):
        path = tmp_path / f"w{bits}.safetensors"
        quantized = quantize_model(edsr_x2, images, QuantConfig(method, bits, bits))
        save_quantized(quantized, path)
        assert quantized_part(path) < (bits / 32 + 0.03) * weights
        points = sum(  # of every channel, two bytes each
            2 * layer.activation_quantizer.points.numel()
            for layer in quantized.modules()
            if hasattr(layer, "activation_quantizer") and hasattr(layer.activation_quantizer, "points")
        )
        assert path.stat().st_size < float_bytes - (1 - bits / 32 - 0.05) * weights + points
        assert torch.equal(load_quantized(path)(images), quantized(images))


def test_files_of_before_still_load(images, tiny_edsr, tmp_path):
    """They have weights and points as floats."""
    quantized = quantize_model(tiny_edsr, images, QuantConfig("dfsq-exact"))
    save_quantized(quantized, tmp_path / "new.safetensors")
    with safe_open(str(tmp_path / "new.safetensors"), "pt") as file:
        header = json.loads(file.metadata()["quantization"])
    for entry in header["layers"].values():
        entry.pop("packed")
    header["format"] = "quantized SR network, 1"
    state = {name: value.contiguous() for name, value in quantized.state_dict().items()}
    save_file(state, str(tmp_path / "old.safetensors"), {"quantization": json.dumps(header)})
    assert torch.equal(load_quantized(tmp_path / "old.safetensors")(images), quantized(images))


def test_damaged_codes_are_one_sentence(images, tiny_edsr, tmp_path):
    save_quantized(quantize_model(tiny_edsr, images, QuantConfig()), tmp_path / "a.safetensors")
    with safe_open(str(tmp_path / "a.safetensors"), "pt") as file:
        header = json.loads(file.metadata()["quantization"])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for change in ({"packed": [10**9, 10**9]}, {"packed": 3}, {"packed": [6, "x"]}, {"weight_bits": "4"}):
        first = next(iter(header["layers"]))
        other = header | {"layers": header["layers"] | {first: header["layers"][first] | change}}
        save_file(state, str(tmp_path / "b.safetensors"), {"quantization": json.dumps(other)})
        with pytest.raises(ValueError, match=r"b\.safetensors has a damaged header"):
            load_quantized(tmp_path / "b.safetensors")
