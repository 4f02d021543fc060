"""Networks as strangers write them, exported: what the file gives is the network in eval mode."""

import threading
import warnings

import pytest
import torch
import torch.nn.functional as F
from habits import (
    STRANGERS,
    Base,
    ChannelAttention,
    InnerAsks,
    Luma,
    MergesInForward,
    ResidualInTraining,
    Tied,
    Unshuffled,
    WritesItsWeight,
)
from torch import nn

import core
from core import audit_onnx, export_onnx, quantize_int8
from core.deploy import OnnxNetwork
from core.models import EDSR


def lr_of(cls, height=20, width=34):
    lr = core.demo_image("china (scikit-learn)")[..., 100 : 100 + height, 300 : 300 + width]
    return (core.luma(lr) / 255).float() if cls is Luma else lr


def distance(got, model, lr):
    """Largest difference from the network in eval mode, of its output's range."""
    with torch.no_grad():
        expected = model.eval()(lr)
    return ((got - expected).abs().max() / (expected.max() - expected.min())).item()


@pytest.mark.parametrize("cls", STRANGERS)
@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_the_file_gives_the_network_in_eval_mode(cls, mode):
    model = cls().train(mode)
    graph = export_onnx(model)
    assert model.training == mode
    assert distance(OnnxNetwork(graph)(lr_of(cls)), model, lr_of(cls)) < 1e-5


@pytest.mark.parametrize("cls", STRANGERS)
def test_int8_is_close_to_the_network_in_eval_mode(cls):
    model, lr = cls(), lr_of(Base, 48, 48)
    graph = quantize_int8(model, lr, lambda name, module: isinstance(module, nn.Conv2d))
    called = {Tied: "abdc", Luma: "abc", WritesItsWeight: ["a", "merged", "c"], MergesInForward: "ac"}
    called[ChannelAttention] = ["a", "b", "gate.1", "gate.3", "c"]
    rows = [row for row in audit_onnx(graph) if not row.reason]
    if cls is not InnerAsks:
        assert {row.name for row in rows} == set(called.get(cls, "abc"))
    assert {(row.weight_bits, row.activation_bits) for row in rows} == {(8, 8)}
    lr = lr_of(cls, 48, 48)
    assert distance(OnnxNetwork(graph)(lr), model, lr) < 0.05


def test_compiled_networks_are_the_network_inside():
    model, lr = Base().eval(), lr_of(Base)
    compiled = torch.compile(model, backend="eager")
    graph = export_onnx(compiled)
    assert graph == export_onnx(model)
    int8 = quantize_int8(compiled, lr, layers=["b"])
    assert int8 == quantize_int8(model, lr, layers=["b"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_exported_in_float32(dtype):
    model, lr = Base().to(dtype), lr_of(Base)
    graph = export_onnx(model)
    assert model.a.weight.dtype == dtype
    assert distance(OnnxNetwork(graph)(lr), model.float(), lr) < 1e-5
    assert quantize_int8(model, lr.to(torch.float64)) == quantize_int8(model, lr)


@pytest.mark.parametrize(
    "around", [torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), torch.enable_grad()]
)
def test_what_the_caller_has_set_changes_nothing(around):
    model, lr = Base(), lr_of(Base)
    with around:
        graph, int8 = export_onnx(model), quantize_int8(model, lr)
    assert graph == export_onnx(model)
    assert int8 == quantize_int8(model, lr)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*deprecated:FutureWarning")  # torch's own, where it copies
def test_networks_of_other_exporters():
    model, lr = Base().eval(), lr_of(Base)
    sizes = {0: torch.export.Dim("n"), 2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    exported = torch.export.export(model, (torch.rand(2, 3, 24, 40),), dynamic_shapes=(sizes,)).module()
    for network in (torch.fx.symbolic_trace(model), nn.DataParallel(model), exported):
        assert distance(OnnxNetwork(export_onnx(network))(lr), model, lr) < 1e-5


def test_sizes_stay_free_within_what_the_network_takes():
    network = OnnxNetwork(export_onnx(Unshuffled()))
    assert network(torch.rand(1, 3, 14, 50)).shape == (1, 3, 28, 100)
    with pytest.raises(ValueError, match="the ONNX graph does not run on 1x3x15x50"):
        network(torch.rand(1, 3, 15, 50))


class Amplifies(Base):
    """Makes far more of its input's last bits than a network should; no file can be closer than that."""

    def __init__(self, gain):
        super().__init__()
        self.gain = gain

    def middle(self, x):
        for _ in range(8):
            x = x + 3 * torch.sin(self.gain * self.b(x))
        return x


def test_a_network_that_amplifies_rounding_is_exported_with_a_word():
    """Unless nothing is left to compare."""
    lr = lr_of(Amplifies)
    with pytest.warns(
        UserWarning, match="Amplifies amplifies rounding: its file gives the same picture within"
    ):
        graph = export_onnx(Amplifies(3))
    assert 1e-4 < distance(OnnxNetwork(graph)(lr), Amplifies(3), lr) < 5e-3
    with pytest.raises(ValueError, match=r"the export of Amplifies is .* away from the network on 1x3x24x40"):
        export_onnx(Amplifies(60))


class Wide(Base):
    """Values of 0 to 255."""

    def forward(self, x):
        return 255 * super().forward(x)


def test_the_tolerance_is_of_the_outputs_range(monkeypatch):
    forward = OnnxNetwork.forward
    monkeypatch.setattr(OnnxNetwork, "forward", lambda self, lr: forward(self, lr) + 1e-3)
    with pytest.raises(ValueError, match=r"the export of Base is 0.001 away from the network on 1x3x24x40"):
        export_onnx(Base())
    export_onnx(Wide())


def test_the_given_images_are_compared_too():
    class ByBrightness(Base):
        def forward(self, x):
            return super().forward(x) * (2 if x.mean() > 0.9 else 1)

    export_onnx(ByBrightness())
    with pytest.raises(
        ValueError, match=r"the export of ByBrightness is .* away from the network on 1x3x8x9"
    ):
        export_onnx(ByBrightness(), torch.ones(1, 3, 8, 9))
    with pytest.raises(ValueError, match=r"images must be a tensor of shape \(N, 3, H, W\)"):
        export_onnx(Base(), torch.ones(3, 8, 9))


class Fourier(Base):
    def middle(self, x):
        return torch.fft.ifft2(torch.fft.fft2(self.b(x))).real


class PooledToFive(Base):
    def middle(self, x):
        return F.adaptive_avg_pool2d(self.b(x), 5)


class Raises(Base):
    def middle(self, x):
        raise RuntimeError("there are\nseveral lines")


class Pair(Base):
    def forward(self, x):
        return super().forward(x), x


class AsksForScale(Base):
    def forward(self, x, scale):
        return super().forward(x)


class Divides(Base):
    def middle(self, x):
        return x / 0 * 0


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TorchScript's age
        return torch.jit.trace(Base().eval(), torch.rand(1, 3, 8, 8))


def locked():
    model = Base()
    model.lock = threading.Lock()
    return model


def test_the_picture_alone_is_exported():
    pair, told = Pair().eval(), AsksForScale().eval()
    told.scale = 2
    for model in (pair, told):
        expected = core.super_resolve(model, lr_of(Base))
        assert torch.allclose(OnnxNetwork(export_onnx(model))(lr_of(Base)), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (Fourier(), r"Fourier cannot be exported to ONNX: .*fft"),
        (
            PooledToFive(),
            r"PooledToFive does not run on images of .*: it returns \(1, 3, 10, 10\), no picture",
        ),
        (Raises(), r"Raises does not run on images of 48×48 pixels and 3 channels: there are$"),
        (AsksForScale(), r"AsksForScale asks for the scale and .* such as model.scale = 2$"),
        (Divides(), r"Divides gives values that are not finite on 1x3x\d+x\d+; repair its weights first"),
        (Base().to("meta"), r"Base has no weights yet \(device meta\); load them first"),
        (
            scripted(),
            r"\w+ is TorchScript, which hides its layers; give the Python network",
        ),
        (locked(), r"Base cannot be copied \(.*lock.*\); remove that attribute from it first"),
    ],
    ids=lambda x: type(x).__name__,
)
@pytest.mark.parametrize("way", ["onnx", "int8"])
def test_refusals_are_one_sentence_and_print_nothing(model, sentence, way, capfd):
    with pytest.raises(ValueError, match=f"^{sentence}") as raised:
        export_onnx(model) if way == "onnx" else quantize_int8(model, torch.rand(1, 3, 24, 24), ["b"])
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300
    assert capfd.readouterr() == ("", "")


def test_a_layer_that_is_no_product_in_the_graph_is_refused_by_name():
    class Unfolds(nn.Conv2d):
        def forward(self, x):
            columns = F.unfold(x, 3, padding=1)
            y = self.weight.flatten(1)[None] @ columns
            return y.reshape(x.shape[0], -1, *x.shape[-2:]) + self.bias[:, None, None]

    model = Base()
    model.b = Unfolds(12, 12, 3)
    with pytest.raises(ValueError, match="ONNX has no convolution or product for b of Base; name the other"):
        quantize_int8(model, lr_of(Base))
    assert [r.name for r in audit_onnx(quantize_int8(model, lr_of(Base), ["a"])) if not r.reason] == ["a"]


def test_nothing_is_left_in_the_current_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export_onnx(ResidualInTraining())
    quantize_int8(ResidualInTraining(), lr_of(Base))
    quantize_int8(EDSR(2, n_blocks=1, n_feats=4), lr_of(Base))
    assert list(tmp_path.iterdir()) == []
