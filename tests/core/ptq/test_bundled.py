"""Every bundled network with two methods, and every method on the smallest."""

import pytest
import torch

from core import METHODS, QuantConfig, audit, create_model, load_quantized, quantize_model, save_quantized
from core.images import demo_image, make_lr
from core.images.metrics import psnr_y
from core.zoo import bundled


@pytest.fixture(scope="module")
def networks():
    return {key: create_model(*key) for key in bundled()}


def patches(scale, size=24):
    lr = make_lr(demo_image("chelsea the cat (scikit-image)"), scale)
    return torch.cat([lr[..., y : y + size, 40 : 40 + size] for y in (5, 25, 45)])


# Methods differ in their quantizers and networks in their layers: no pair differs from all others.
PAIRS = [(key, method) for key in bundled() for method in ("dfsq+", "minmax")]
PAIRS += [(("xlsr", 3), method) for method in METHODS if method not in ("dfsq+", "minmax")]


@pytest.mark.parametrize(
    ("key", "method"), PAIRS, ids=lambda part: part if isinstance(part, str) else part[0]
)
def test_quantizes_saves_and_loads(networks, key, method, tmp_path):
    model, x = networks[key], patches(key[1])
    bits = 4 if method == "nvfp4" else 6
    quantized = quantize_model(model, x, QuantConfig(method, bits, bits))
    declared = [name for name, module in model.named_modules() if model.quantized_scope(name, module)]
    assert [row.name for row in audit(quantized) if not row.reason] == declared
    with torch.no_grad():
        sr, reference = quantized(x), model(x)
    assert not torch.equal(sr, reference)
    assert psnr_y(sr, reference, border=key[1]) > 15  # powers of two alone for the picture itself: 20 dB
    save_quantized(quantized, tmp_path / "q.safetensors")
    with torch.no_grad():
        assert torch.equal(load_quantized(tmp_path / "q.safetensors")(x), sr)
