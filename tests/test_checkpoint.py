import json

import pytest
import torch
from networks import NETWORKS
from safetensors import safe_open
from safetensors.torch import save_file

from core import METHODS, QuantConfig, audit, load_quantized, quantize_model, save_quantized


def every_layer(name, module):
    return True


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", [(4, 3), (32, 3), (4, 32)])
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


@pytest.mark.parametrize(
    "damage",
    [
        lambda header: header.pop("layers"),
        lambda header: header["config"].pop("universal_set"),
        lambda header: header["config"].update(extra=1),
        lambda header: header["layers"]["body.0.body.0"].update(quantizer="Nothing"),
        lambda header: header["layers"]["body.0.body.0"].pop("method"),
        lambda header: header.update(layers=3),
    ],
)
def test_damaged_headers(damage, images, tiny_edsr, tmp_path):
    save_quantized(quantize_model(tiny_edsr, images, QuantConfig()), tmp_path / "a.safetensors")
    with safe_open(str(tmp_path / "a.safetensors"), "pt") as file:
        header = json.loads(file.metadata()["quantization"])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    damage(header)
    save_file(state, str(tmp_path / "a.safetensors"), {"quantization": json.dumps(header)})
    with pytest.raises(ValueError, match=r"a\.safetensors has a damaged header"):
        load_quantized(tmp_path / "a.safetensors")


def test_the_header_is_plain_json(images, tiny_edsr, tmp_path):
    save_quantized(quantize_model(tiny_edsr, images, QuantConfig()), tmp_path / "a.safetensors")
    with safe_open(str(tmp_path / "a.safetensors"), "pt") as file:
        header = json.loads(file.metadata()["quantization"])
    assert header["config"]["activation_bits"] == 4
    assert set(header["layers"]) == {f"body.{block}.body.{conv}" for block in (0, 1) for conv in (0, 2)}
