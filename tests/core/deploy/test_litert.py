"""LiteRT files: the same pictures as the network, in float and in INT8, and what their graphs hold."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import core
from core import LitertNetwork, audit_litert, export_litert, quantize_litert, time_litert
from core.deploy import litert_files
from core.models import EDSR
from core.zoo import bundled

needs_litert = pytest.mark.skipif(
    not all(map(litert_files.is_installed, litert_files.PACKAGES)),
    reason="LiteRT is not installed: pip install '.[litert]'",
)
# The engine's packages warn about themselves while they are imported.
pytestmark = [pytest.mark.filterwarnings("ignore")]
SIZE = (24, 32)


def photographs(height=24, width=32):
    lr = core.make_lr(core.demo_image("coffee (scikit-image)"), 2)
    return torch.cat([lr[..., 60 : 60 + height, left : left + width] for left in (60, 110, 160)])


@torch.no_grad()
def away(file, model, lr):
    """The largest difference, as a share of the picture's range."""
    expected = model(lr)
    return ((LitertNetwork(file)(lr) - expected).abs().max() / (expected.max() - expected.min())).item()


@torch.no_grad()
def psnr(file, model, lr):
    expected = model(lr)
    spread = expected.max() - expected.min()
    error = (LitertNetwork(file)(lr) - expected).square().mean().sqrt()
    return (20 * (spread / error).log10()).item()


class Anchored(nn.Module):
    """As ABPN, small: repeated channels, an addition, a clip and a pixel shuffle."""

    def __init__(self, scale=2):
        super().__init__()
        torch.manual_seed(0)
        self.scale = scale
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3 * scale**2, 3, padding=1)
        self.clip = nn.Hardtanh(0.0, 1.0)

    def forward(self, x):
        y = self.b(self.a(x).relu()) + x.repeat_interleave(self.scale**2, dim=1)
        return F.pixel_shuffle(self.clip(y), self.scale)

    def quantized_scope(self, name, module):
        return isinstance(module, nn.Conv2d)


@pytest.fixture(scope="module")
def anchored():
    return Anchored().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def float_file(anchored):
    return export_litert(anchored, SIZE)


@pytest.fixture(scope="module")
def int8_file(anchored):
    return quantize_litert(anchored, photographs())


@needs_litert
def test_a_float_file_is_the_network(anchored, float_file):
    assert away(float_file, anchored, photographs()) < 1e-4


@needs_litert
def test_a_pixel_shuffle_is_one_operator_and_an_anchor_a_convolution(float_file, int8_file):
    audit = audit_litert(float_file)
    assert audit.float == {"CONV_2D": 3, "ADD": 1, "RELU_0_TO_1": 1, "DEPTH_TO_SPACE": 1}
    assert not audit.integer
    assert audit.conversions == []
    assert {row.name for row in audit} == {"a", "b", "repeat"}
    audit = audit_litert(int8_file)
    assert audit.integer == {"CONV_2D": 3, "ADD": 1, "DEPTH_TO_SPACE": 1}
    assert not audit.float
    assert [kind for kind, _ in audit.conversions] == ["QUANTIZE", "DEQUANTIZE"]
    assert all((row.weight_bits, row.activation_bits, row.reason) == (8, 8, "") for row in audit)
    assert "on integers: 1 ADD, 3 CONV_2D, 1 DEPTH_TO_SPACE" in str(audit)


@needs_litert
def test_an_int8_file_is_the_network_within_its_bits(anchored, int8_file):
    assert psnr(int8_file, anchored, photographs()) > 40


@needs_litert
def test_other_sizes_run_by_tiles_or_padded(anchored, float_file):
    with torch.no_grad():
        for height, width in ((40, 50), (24, 70)):
            lr = photographs(height, width)[:1]
            assert torch.allclose(LitertNetwork(float_file)(lr), anchored(lr), atol=1e-4)
        assert LitertNetwork(float_file)(photographs(10, 12)).shape == (3, 3, 20, 24)


@needs_litert
def test_the_size_of_the_file_is_free_of_the_images_size(anchored):
    file = quantize_litert(anchored, photographs(), size=(16, 40))
    assert LitertNetwork(file).size == (16, 40)
    assert psnr(file, anchored, photographs(16, 40)) > 40


@needs_litert
def test_layers_that_stay_float(anchored):
    file = quantize_litert(anchored, photographs(), ["a"])
    audit = audit_litert(file)
    assert {row.name: row.weight_bits for row in audit if row.name != "repeat"} == {"a": 8, "b": 32}
    assert audit.float["ADD"] == 1
    assert audit.float["RELU_0_TO_1"] == 1  # behind what stays float, it cannot be folded
    assert psnr(file, anchored, photographs()) > 40


@needs_litert
def test_integer_ports(anchored):
    network = LitertNetwork(quantize_litert(anchored, photographs(), integer_ports=True))
    assert audit_litert(network.content).conversions == []
    assert psnr(network.content, anchored, photographs()) > 40


@needs_litert
@pytest.mark.parametrize(("clip", "in_float"), [("float", 1), ("integer", 0)])
def test_a_clip_that_is_not_folded(anchored, clip, in_float):
    file = quantize_litert(anchored, photographs(), clip=clip)
    audit = audit_litert(file)
    assert (audit.float["RELU_0_TO_1"], audit.integer["RELU_0_TO_1"]) == (in_float, 1 - in_float)
    assert len(audit.conversions) == 2 + 2 * in_float
    assert psnr(file, anchored, photographs()) > 40


@needs_litert
def test_the_end_of_a_file_says_what_became_of_the_clip(anchored, int8_file):
    last, added, moved, out = (
        ("CONV_2D", "INT8"), ("ADD", "INT8"), ("DEPTH_TO_SPACE", "INT8"), ("DEQUANTIZE", "conversion")
    )  # fmt: skip
    clip = [out, ("RELU_0_TO_1", "float"), ("QUANTIZE", "conversion")]
    assert core.end_of_litert(int8_file) == [last, added, moved, out]
    kept = quantize_litert(anchored, photographs(), clip="float")
    assert core.end_of_litert(kept) == [last, added, *clip, moved, out]
    whole = quantize_litert(anchored, photographs(), clip="integer")
    assert core.end_of_litert(whole) == [last, added, ("RELU_0_TO_1", "INT8"), moved, out]


@needs_litert
@pytest.mark.parametrize(
    "model", [core.create_model("xlsr", 3), EDSR(2, 1, 4, rgb_range=1.0)], ids=["xlsr", "edsr"]
)
def test_networks_of_the_project(model):
    model.eval().requires_grad_(False)
    file = export_litert(model, SIZE)
    assert away(file, model, photographs()) < 1e-4
    assert audit_litert(file).float["DEPTH_TO_SPACE"] == 1


@needs_litert
@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale"), bundled())
def test_every_bundled_network_goes_through(name, scale):
    model = core.create_model(name, scale).requires_grad_(False)
    assert away(export_litert(model, SIZE), model, photographs()) < 1e-4
    assert psnr(quantize_litert(model, photographs()), model, photographs()) > 30


@needs_litert
@pytest.mark.slow
def test_the_engine_alone_runs_the_file(int8_file, tmp_path):
    (tmp_path / "network.tflite").write_bytes(int8_file)
    program = (
        "import sys, numpy\n"
        "from ai_edge_litert.interpreter import Interpreter\n"
        "engine = Interpreter(model_path='network.tflite')\n"
        "engine.allocate_tensors()\n"
        "entry, out = engine.get_input_details()[0], engine.get_output_details()[0]\n"
        "engine.set_tensor(entry['index'], numpy.full(entry['shape'], 0.5, entry['dtype']))\n"
        "engine.invoke()\n"
        "print(engine.get_tensor(out['index']).shape, 'torch' in sys.modules, 'core' in sys.modules)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "(1, 48, 64, 3) False False"


@needs_litert
def test_times_of_files_of_one_size(float_file, int8_file):
    ms = time_litert({"float": float_file, "int8": int8_file}, photographs()[:1], runs=3)
    assert set(ms) == {"float", "int8"}
    assert min(ms.values()) > 0
    with pytest.raises(ValueError, match=r"^int8 is a file for 24x32 pixels, got 16x16; give an image"):
        time_litert({"int8": int8_file}, photographs(16, 16))


@pytest.mark.parametrize("size", [(0, 3), (24,), 24, (2.0, 3), (24, 5000)])
def test_wrong_sizes(size):
    with pytest.raises(ValueError, match=r"^size must be a height and a width of 1 to 4096 pixels, got "):
        export_litert(Anchored(), size)


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(x) + torch.linalg.svdvals(x).sum()


@needs_litert
def test_an_operator_that_does_not_convert():
    with pytest.raises(ValueError, match=r"^Odd cannot be converted to LiteRT: .+$") as raised:
        export_litert(Odd().eval(), SIZE)
    assert "\n" not in str(raised.value)


@needs_litert
def test_images_of_several_sizes(anchored):
    with pytest.raises(ValueError, match=r"^a LiteRT file has one size, and the images have 24x32, 40x40;"):
        quantize_litert(anchored, [photographs(), photographs(40, 40)])


@needs_litert
def test_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="give the path of a LiteRT file"):
        LitertNetwork(tmp_path / "none.tflite")
    (tmp_path / "broken.tflite").write_bytes(b"\0\0\0\0ONNX")
    with pytest.raises(ValueError, match=r"^broken\.tflite is no LiteRT file"):
        audit_litert(tmp_path / "broken.tflite")


@pytest.mark.parametrize("call", [export_litert, quantize_litert])
def test_a_missing_extra(monkeypatch, call, anchored):
    for name in (*litert_files.PACKAGES, "ai_edge_quantizer.quantizer"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(ImportError, match=r"^LiteRT is not installed .* pip install '\.\[litert\]'$"):
        call(anchored, SIZE if call is export_litert else photographs())


@pytest.mark.slow
def test_core_is_imported_without_litert():
    program = "import sys, core; print(any(n.startswith(('ai_edge', 'litert', 'jax')) for n in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


@needs_litert
def test_a_static_network_of_8_bits_keeps_its_ranges():
    model, lr = Anchored().eval(), photographs()
    quantized = core.quantize_model(model, lr, core.QuantConfig("minmax", 8, 8), ["a", "b"])
    narrow = quantized.b.activation_quantizer
    narrow.high *= 0.4  # far from what the images would give
    file = quantize_litert(quantized, lr)
    graph = litert_files.Graph(file)
    ends = {}
    for operator, x, _ in litert_files.layer_operators(graph):
        scale, zero = (float(part[0]) for part in (graph.tensor(x).quantization.scale,
                                                   graph.tensor(x).quantization.zeroPoint))  # fmt: skip
        ends[litert_files.layer_name(graph, operator)] = ((-128 - zero) * scale, (127 - zero) * scale)
    assert ends["b"] == pytest.approx((0, float(narrow.high)), abs=2 * float(narrow.high) / 255)
    assert psnr(file, quantized, lr) > psnr(quantize_litert(model, lr), quantized, lr) + 6
    with pytest.raises(ValueError, match="b is quantized by dfsq-exact to W4A4"):
        quantize_litert(core.quantize_model(model, lr, core.QuantConfig("dfsq-exact"), ["b"]), lr)
