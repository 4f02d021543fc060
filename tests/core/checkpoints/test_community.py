"""spandrel is not installed for the tests (it needs torchvision): a stand-in with its names, as of 0.4.2."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from core import QuantConfig, load_checkpoint, load_quantized, luma, quantize_model, save_quantized
from core.checkpoints.community import has_spandrel
from core.checkpoints.loading import network_from_state


class Even(nn.Module):
    """Takes even sizes of at least 6 alone."""

    def __init__(self, colours=3):
        super().__init__()
        self.first, self.inner = nn.Conv2d(colours, 4, 1), nn.Conv2d(4, 4, 1, bias=False)
        self.last = nn.Conv2d(4, 4 * colours, 1)

    def forward(self, x):
        assert all(n % 2 == 0 and n >= 6 for n in x.shape[-2:])
        return nn.functional.pixel_shuffle(self.last(self.inner(self.first(x)).tanh()), 2)


@pytest.fixture
def spandrel(monkeypatch):
    """What the stand-in says of its networks can be changed through `.says`, how it calls them by `.call`."""
    module = ModuleType("spandrel")
    module.UnsupportedModelError = type("UnsupportedModelError", (Exception,), {})
    size = SimpleNamespace(minimum=6, multiple_of=2, square=False)
    module.says = {"scale": 2, "architecture": SimpleNamespace(name="Even"), "size_requirements": size}
    module.call = lambda model, image: model(image)

    class Found(SimpleNamespace):
        @torch.inference_mode()
        def __call__(self, image):
            return module.call(self.model, image).clamp(0, 1)

    class ModelLoader:
        def __init__(self, device):
            assert device == "cpu"

        def load_from_state_dict(self, state):
            if "inner.weight" not in state:
                raise module.UnsupportedModelError
            colours = state["first.weight"].shape[1]  # IndexError for another shape
            model = Even(colours)
            model.load_state_dict(state)
            return Found(model=model, **{"input_channels": colours, "output_channels": colours} | module.says)

    module.ModelLoader = ModelLoader
    monkeypatch.setitem(sys.modules, "spandrel", module)
    return module


@pytest.mark.parametrize("size", [(6, 8), (7, 9), (3, 1), (5, 11)])
def test_networks_of_spandrel_take_any_size_and_quantize(spandrel, size):
    model = network_from_state(Even().state_dict(), "even.pth")
    x = torch.rand(2, 3, *size)
    sr = model(x)
    assert sr.shape == (2, 3, 2 * size[0], 2 * size[1])
    pixelwise = model.model(nn.functional.pad(x, (0, 20 - size[1], 0, 20 - size[0])))
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
    spandrel.says["scale"] = 1
    with pytest.raises(
        ValueError, match=r"even\.pth holds Even, which does not super-resolve RGB images or luma"
    ):
        network_from_state(Even().state_dict(), "even.pth")
    spandrel.says["scale"], spandrel.says["size_requirements"].square = 2, True
    with pytest.raises(ValueError, match=r"even\.pth holds Even, which takes square images alone"):
        network_from_state(Even().state_dict(), "even.pth")


@pytest.mark.parametrize("method", ["minmax", "dfsq+"])
def test_quantized_networks_of_spandrel_come_back_by_themselves(method, spandrel, tmp_path):
    """Bias correction gives the inner conv a bias that spandrel's network does not have."""
    model, x = network_from_state(Even().state_dict(), "even.pth"), torch.rand(4, 3, 12, 12)
    quantized = quantize_model(model, x, QuantConfig(method, 3, 3))
    assert (quantized.model.inner.bias is None) == (method == "minmax")
    save_quantized(quantized, tmp_path / "q.safetensors")
    assert torch.equal(load_quantized(tmp_path / "q.safetensors")(x), quantized(x))
    assert torch.equal(network_from_state(model.state_dict(), "again.pth")(x), model(x))


def test_averaged_weights_of_a_community_network(spandrel):
    first, second = Even(), Even()
    state = {f"generator.{name}": value for name, value in first.state_dict().items()}
    state |= {f"generator_ema.{name}": value for name, value in second.state_dict().items()}
    x = torch.rand(1, 3, 6, 6)
    assert torch.equal(network_from_state(state | {"step_counter": torch.ones(())}, "x.pth")(x), second(x))


def test_community_networks_of_luma(spandrel):
    inner, x = Even(1), torch.rand(2, 3, 6, 8)
    y = luma(network_from_state(inner.state_dict(), "even.pth")(x))
    assert torch.allclose(y, 255 * inner((luma(x) / 255).float()).double(), atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"extra.weight": torch.ones(1)}, r'Unexpected key\(s\) in state_dict: "extra.weight"'),
        (lambda s: s | {"inner.weight": torch.ones(2, 4, 1, 1)}, "size mismatch for inner.weight"),
        (lambda s: {k: v for k, v in s.items() if k != "first.weight"}, "first.weight"),
        (lambda s: s | {"first.weight": torch.ones(4)}, "tuple index out of range"),
    ],
)
def test_what_spandrel_raises_is_one_sentence(change, message, spandrel):
    expected = (
        rf"^even\.pth looks like a network that spandrel knows, but is not: .*{message}.*quantize_model$"
    )
    with pytest.raises(ValueError, match=expected):
        network_from_state(change(Even().state_dict()), "even.pth")


def test_networks_that_spandrel_calls_in_another_way(spandrel):
    for call in (lambda model, image: model(image * 0.5), lambda model, image: model(image, 1)):
        spandrel.call = call
        with pytest.raises(ValueError, match=r"even\.pth holds Even, which takes more than an image"):
            network_from_state(Even().state_dict(), "even.pth")


def test_spandrel_that_does_not_work(monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "spandrel":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.delitem(sys.modules, "spandrel", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    message = (
        r"even\.pth is not known here without spandrel, .*\(operator .* exist\): install the torchvision"
    )
    with pytest.raises(ValueError, match=message):
        network_from_state(Even().state_dict(), "even.pth")


def test_what_only_looks_like_a_network_known_here_may_be_one_of_spandrel(spandrel, monkeypatch):
    state = Even().state_dict() | {"SFENet1.weight": torch.ones(3)}
    with pytest.raises(ValueError, match=r"^x\.pth looks like RDN but is not: SFENet1\.weight must have 4"):
        network_from_state(state, "x.pth")
    monkeypatch.setattr(
        Even, "load_state_dict", lambda self, state: super(Even, self).load_state_dict(state, strict=False)
    )
    assert isinstance(network_from_state(state, "x.pth").model, Even)
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(
        ValueError, match=r"^x\.pth looks like RDN but is not: .*; the extra \[zoo\] knows more"
    ):
        network_from_state(state, "x.pth")


@pytest.mark.skipif(not has_spandrel(), reason="the extra [zoo] is not installed")
@pytest.mark.filterwarnings("ignore:torch.meshgrid")
@pytest.mark.parametrize("network", ["SwinIR-M", "real-world", "3conv", "luma", "HAT", "Swin2SR", "ESRGAN"])
def test_networks_of_the_real_spandrel(network, tmp_path):
    """Sizes that the SwinIR known here is not, and others: as spandrel's own network, also after saving."""
    from spandrel.architectures.ESRGAN import ESRGAN
    from spandrel.architectures.HAT import HAT
    from spandrel.architectures.Swin2SR import Swin2SR
    from spandrel.architectures.SwinIR import SwinIR

    size = {"depths": [2, 2], "embed_dim": 24, "num_heads": [2, 2], "window_size": 8, "mlp_ratio": 2}
    hat = {"overlap_ratio": 0.5, "compress_ratio": 3, "squeeze_factor": 4, "upsampler": "pixelshuffle"}
    own = {
        "SwinIR-M": lambda: SwinIR(upscale=4, upsampler="pixelshuffle", **size),
        "real-world": lambda: SwinIR(upscale=4, upsampler="nearest+conv", **size),
        "3conv": lambda: SwinIR(upscale=2, upsampler="pixelshuffledirect", resi_connection="3conv", **size),
        "luma": lambda: SwinIR(upscale=2, in_chans=1, upsampler="pixelshuffle", **size),
        "HAT": lambda: HAT(upscale=4, img_size=64, **hat, **size),
        "Swin2SR": lambda: Swin2SR(upscale=2, img_size=64, upsampler="pixelshuffle", **size),
        "ESRGAN": lambda: ESRGAN(num_filters=8, num_blocks=1, in_nc=12, scale=4, shuffle_factor=2),
    }[network]().eval()
    torch.save({"params_ema": own.state_dict(), "params": {"a.weight": torch.ones(1)}}, tmp_path / "net.pth")
    model, x = load_checkpoint(tmp_path / "net.pth"), torch.rand(2, 3, 24, 32)
    if network == "luma":
        expected = own((luma(x) / 255).float())
        assert torch.allclose(luma(model(x)), 255 * expected.double(), atol=1e-2)
    else:
        assert torch.allclose(model(x), own(x), atol=1e-5)
    quantized = quantize_model(model, x, QuantConfig("minmax"))
    save_quantized(quantized, tmp_path / "q.safetensors")
    assert torch.equal(load_quantized(tmp_path / "q.safetensors")(x), quantized(x))
