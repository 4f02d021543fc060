"""INT8 files of networks with interpolated skips, transposed convolutions and dead channels."""

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from int8 import every_conv, photographs, psnr
from onnx import numpy_helper
from torch import nn

import core
from core import audit_onnx, export_onnx, quantize_int8
from core.deploy import OnnxNetwork


class Skip(nn.Module):
    """A pixel shuffle, and the LR image interpolated beside it."""

    def __init__(self, mode, by):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.c, self.act = nn.Conv2d(8, 12, 3, padding=1), nn.PReLU(8)
        self.mode, self.by = mode, by

    def forward(self, x):
        y = F.pixel_shuffle(self.c(self.act(self.b(self.a(x).relu()))), 2)
        if self.by == "scale":
            return y + F.interpolate(x, scale_factor=2, mode=self.mode)
        if self.by == "size":
            return y + F.interpolate(x, size=y.shape[-2:], mode=self.mode)
        if self.by == "repeat":
            return y + x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return y + F.pixel_shuffle(x.repeat_interleave(4, 1), 2)


@pytest.mark.parametrize(
    ("mode", "by"),
    [(m, by) for m in ("nearest", "bilinear", "bicubic") for by in ("scale", "size")]
    + [("", "repeat"), ("", "shuffle")],
)
@pytest.mark.parametrize("layers", [every_conv, None], ids=["every conv", "default"])
def test_an_interpolated_skip_beside_the_pixel_shuffle(mode, by, layers):
    model, lr = Skip(mode, by).eval(), photographs()
    graph = quantize_int8(model, lr, layers)
    with torch.no_grad():
        assert psnr(OnnxNetwork(graph)(lr), model(lr)) > 40
        other = lr[:1, :, :37, :41]
        assert psnr(OnnxNetwork(graph)(other), model(other)) > 40
    names = {row.name for row in audit_onnx(graph) if not row.reason}
    assert names == ({"a", "b", "c"} if layers else {"b"})


class Anchored(nn.Module):
    """As ABPN, small: each channel of the image, repeated, is added before the pixel shuffle."""

    def __init__(self, dim=1):
        super().__init__()
        torch.manual_seed(0)
        self.dim = dim
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, x):
        y = self.b(self.a(x).relu())
        return F.pixel_shuffle(y + x.repeat_interleave(4, dim=self.dim), 2)


@pytest.mark.parametrize("dim", [1, -3])
def test_an_anchor_asks_for_no_size(dim):
    """It is one Gather, on integers.

    OpenVINO reads a size from the first convolution, and then computes that wrong.
    """
    model, lr = Anchored(dim).eval(), photographs()
    graph = quantize_int8(model, lr, every_conv)
    for file in (export_onnx(model), graph):
        kinds = [node.op_type for node in file.graph.node]
        assert kinds.count("Gather") == 1
        assert not {"Shape", "Tile", "Expand", "Reshape"} & set(kinds)
    made_by = {name: node for node in graph.graph.node for name in node.output}
    readers = {name: node for node in graph.graph.node for name in node.input}
    gather = next(node for node in graph.graph.node if node.op_type == "Gather")
    before, after = made_by[gather.input[0]], readers[gather.output[0]]
    assert (before.op_type, after.op_type) == ("DequantizeLinear", "QuantizeLinear")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    assert [stored[name] for name in before.input[1:]] == [stored[name] for name in after.input[1:]]
    with torch.no_grad():
        assert psnr(OnnxNetwork(graph)(lr), model(lr)) > 40


class Transposed(nn.Module):
    """As FSRCNN: it ends in a transposed conv, whose output channels are very different."""

    def __init__(self, kernel=9, padding=4, output_padding=1, groups=1, bias=True):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.act = nn.Conv2d(3, 6, 5, padding=2), nn.PReLU(6)
        self.middle = nn.Conv2d(6, 6, 3, padding=1)
        self.up = nn.ConvTranspose2d(
            6, 3, kernel, 2, padding, output_padding=output_padding, groups=groups, bias=bias
        )
        with torch.no_grad():
            self.up.weight[:, -1] *= 20

    def forward(self, x):
        return self.up(self.middle(self.act(self.first(x))))


@pytest.mark.parametrize(
    "given",
    [{}, {"bias": False}, {"groups": 3}, {"kernel": 4, "padding": 1, "output_padding": 0}],
    ids=str,
)
def test_transposed_convolutions(given):
    model, lr = Transposed(**given).eval(), photographs()
    graph = quantize_int8(model, lr, every_conv)
    with torch.no_grad():
        got, expected = OnnxNetwork(graph)(lr), model(lr)
    assert psnr(got, expected) > 40
    # One range for all outputs: an error of a level or two of it in every channel.
    assert (got - expected).abs().max() < 0.03 * (expected.max() - expected.min())
    assert {row.name for row in audit_onnx(graph) if not row.reason} == {"first", "middle", "up"}


class TwoConvs(nn.Module):
    """The second has wide inputs, and narrow outputs that its bias decides."""

    def __init__(self, cls, groups=1):
        super().__init__()
        torch.manual_seed(0)
        self.wide, self.narrow = nn.Conv2d(3, 6, 1), cls(6, 6, 1, groups=groups)
        with torch.no_grad():
            self.wide.weight.mul_(300)
            self.narrow.weight.mul_(1e-3)

    def forward(self, x):
        return self.narrow(self.wide(x))


@pytest.mark.parametrize("size", [0, 1e-39, 1e-20, 1e-12, 1e-6])
@pytest.mark.parametrize(
    ("cls", "groups"), [(nn.Conv2d, 1), (nn.Conv2d, 6), (nn.ConvTranspose2d, 1), (nn.ConvTranspose2d, 2)]
)
def test_channels_with_hardly_a_weight_keep_their_bias(size, cls, groups):
    """Whatever the scale of such weights, the bias is not rounded to steps of the wide input."""
    model, lr = TwoConvs(cls, groups).eval().requires_grad_(False), photographs()
    dead = (slice(0, None, 3),) if cls is nn.Conv2d else (slice(None), slice(0, None, 3))
    with torch.no_grad():
        weight = model.narrow.weight[dead].clone()
        model.narrow.weight[dead] = size * weight.sign()
        model.narrow.bias.copy_(torch.tensor([0.31, -0.1, 0.2, -0.27, 0.05, 0.13]))
        expected = model(lr)
    graph = quantize_int8(model, lr, every_conv)
    step = (expected.max().clamp_min(0) - expected.min().clamp_max(0)).item() / 255
    away = (OnnxNetwork(graph)(lr) - expected).abs()[:, [0, 3]].max().item()
    assert away < 0.51 * step
    assert torch.equal(model.narrow.weight[dead], torch.as_tensor(size) * weight.sign())


def test_float_files_keep_zeros():
    model = TwoConvs(nn.Conv2d)
    model.narrow.weight.data[0] = 0
    values = {t.name: onnx.numpy_helper.to_array(t) for t in export_onnx(model).graph.initializer}
    assert np.array_equal(values["network.narrow.weight"], model.narrow.weight.detach().numpy())


def test_a_network_of_zeros():
    """As a residual network starts: its last conv gives nothing yet."""
    model, lr = Skip("nearest", "scale").eval(), photographs()
    nn.init.zeros_(model.c.weight)
    nn.init.zeros_(model.c.bias)
    with torch.no_grad():
        assert psnr(OnnxNetwork(quantize_int8(model, lr, every_conv))(lr), model(lr)) > 40


class Layered(Skip):
    def __init__(self):
        super().__init__("nearest", "scale")
        self.group, self.layer = nn.GroupNorm(2, 8), nn.LayerNorm(8)

    def forward(self, x):
        y = self.group(self.b(self.a(x).relu()))
        return F.pixel_shuffle(self.c(self.layer(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)), 2)


@pytest.mark.parametrize("model", [Layered(), Skip("bilinear", "size"), Transposed(groups=3)])
def test_nothing_is_printed(model, capfd, caplog):
    lr = photographs()
    graph = quantize_int8(model.eval(), lr, every_conv)
    with torch.no_grad():
        assert psnr(OnnxNetwork(graph)(lr), model(lr)) > 30
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelname != "INFO"] == []


def test_errors_of_the_images_and_of_the_caller_come_as_they_are():
    class Cancelled(Exception):
        pass

    def cancel(what, share):
        raise Cancelled

    with pytest.raises(Cancelled):
        quantize_int8(Skip("nearest", "scale"), photographs(), progress=cancel)

    def breaks():
        yield photographs()
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        quantize_int8(Skip("nearest", "scale"), breaks())


def test_errors_of_the_runtime_are_one_sentence(monkeypatch):
    import onnxruntime.quantization

    def refuse(*args, **kwargs):
        raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : no kernel\nfor this")

    monkeypatch.setattr(onnxruntime.quantization, "quantize_static", refuse)
    with pytest.raises(ValueError, match=r"^ONNX Runtime cannot quantize Skip: no kernel$"):
        quantize_int8(Skip("nearest", "scale"), photographs())


def test_a_layer_that_is_float_by_its_bits_stays_float():
    model = core.create_model("xlsr", 3)
    config = core.QuantConfig("minmax", 8, 8, layer_bits=(("conv1", 32, 32), ("conv2", 4, 4)))
    int8 = quantize_int8(model, torch.rand(1, 3, 24, 24), ["conv1", "conv2", "conv4"], config=config)
    assert {row.name for row in audit_onnx(int8) if not row.reason} == {"conv2", "conv4"}


def test_the_file_names_no_operator_sets_that_it_does_not_use():
    lr = torch.rand(1, 3, 24, 24)
    proto = quantize_int8(core.create_model("xlsr", 3), lr)
    assert [opset.domain for opset in proto.opset_import] == [""]
    onnx.checker.check_model(proto)
    assert OnnxNetwork(proto)(lr).shape == (1, 3, 72, 72)


def test_the_end_of_a_file_says_what_became_of_the_clip():
    model, lr = core.create_model("xlsr", 3), photographs()
    free = core.without_clip(model)
    floats = [("Conv", "float"), ("Clip", "float"), ("DepthToSpace", "float")]
    int8 = [("Conv", "INT8"), ("DepthToSpace", "INT8"), ("DequantizeLinear", "conversion")]
    assert core.end_of_onnx(export_onnx(model)) == floats
    assert core.end_of_onnx(export_onnx(free)) == [floats[0], floats[2]]
    assert core.end_of_onnx(quantize_int8(model, lr)) == int8, "folded"
    assert core.end_of_onnx(quantize_int8(free, lr)) == int8
    kept = quantize_int8(
        model, lr, layers=lambda name, module: isinstance(module, nn.Conv2d) and name != "conv4"
    )
    assert core.end_of_onnx(kept) == floats
