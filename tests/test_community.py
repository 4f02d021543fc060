"""spandrel is not installed for the tests (it needs torchvision): a stand-in with its names, as of 0.4.2."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from core import QuantConfig, quantize_model
from core.models import network_from_state


class Even(nn.Module):
    """Takes even sizes of at least 6 alone."""

    def __init__(self):
        super().__init__()
        self.first, self.inner, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 12, 1)

    def forward(self, x):
        assert all(n % 2 == 0 and n >= 6 for n in x.shape[-2:])
        return nn.functional.pixel_shuffle(self.last(self.inner(self.first(x)).tanh()), 2)


@pytest.fixture
def spandrel(monkeypatch):
    """What the stand-in finds can be changed through `.found`."""
    module = ModuleType("spandrel")
    module.UnsupportedModelError = type("UnsupportedModelError", (Exception,), {})
    module.found = SimpleNamespace(
        model=Even(),
        scale=2,
        input_channels=3,
        output_channels=3,
        architecture=SimpleNamespace(name="Even"),
        size_requirements=SimpleNamespace(minimum=6, multiple_of=2, square=False),
    )

    class ModelLoader:
        def __init__(self, device):
            assert device == "cpu"

        def load_from_state_dict(self, state):
            if "inner.weight" not in state:
                raise module.UnsupportedModelError
            return module.found

    module.ModelLoader = ModelLoader
    monkeypatch.setitem(sys.modules, "spandrel", module)
    return module


@pytest.mark.parametrize("size", [(6, 8), (7, 9), (3, 1), (5, 11)])
def test_networks_of_spandrel_take_any_size_and_quantize(spandrel, size):
    model = network_from_state(Even().state_dict(), "even.pth")
    x = torch.rand(2, 3, *size)
    sr = model(x)
    assert sr.shape == (2, 3, 2 * size[0], 2 * size[1])
    pixelwise = spandrel.found.model(nn.functional.pad(x, (0, 20 - size[1], 0, 20 - size[0])))
    assert torch.allclose(sr, pixelwise[..., : sr.shape[-2], : sr.shape[-1]], atol=1e-6)
    quantized = quantize_model(model, x, QuantConfig("minmax", 2, 2))
    assert hasattr(quantized.model.inner, "quantization")
    assert not torch.equal(quantized(x), sr)


def test_unknown_with_and_without_spandrel(spandrel, monkeypatch):
    with pytest.raises(ValueError, match=r"x\.pth belongs to no network known here .*quantize_model"):
        network_from_state({}, "x.pth")
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ValueError, match=r"even\.pth belongs to no network known here .*\[zoo\]"):
        network_from_state(Even().state_dict(), "even.pth")


def test_networks_that_are_not_for_it(spandrel):
    spandrel.found.scale = 1
    with pytest.raises(ValueError, match=r"even\.pth holds Even, which does not super-resolve RGB images"):
        network_from_state(Even().state_dict(), "even.pth")
    spandrel.found.scale, spandrel.found.size_requirements.square = 2, True
    with pytest.raises(ValueError, match=r"even\.pth holds Even, which takes square images alone"):
        network_from_state(Even().state_dict(), "even.pth")
