"""ONNX files of other exporters: other names, types and sizes, and files that are none."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import core
from core.deploy import OnnxNetwork, audit_onnx, export_onnx, quantize_int8, time_onnx
from core.models import ABPN
from core.networks.fixed_size import by_fixed_tiles

FLOAT = TensorProto.FLOAT


def foreign(
    name="input", shape=(1, 3, "h", "w"), dtype=FLOAT, kernel=True, outputs=("sr",), constant=False, stride=1
):
    """A convolution and a pixel shuffle as a file, x2 for a stride of 1."""
    numpy = {FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.DOUBLE: np.float64}
    values = np.random.default_rng(0).normal(size=(12 * stride**2, 3, 3, 3)) * 0.1
    weight = numpy_helper.from_array(values.astype(numpy.get(dtype, np.float32)), "w")
    given = {"pads": [1] * 4, "strides": [stride] * 2} | ({"kernel_shape": [3, 3]} if kernel else {})
    nodes = [
        helper.make_node("Conv", [name, "w"], ["conv"], **given),
        helper.make_node("DepthToSpace", ["conv"], ["sr"], blocksize=2 * stride, mode="CRD"),
    ]
    if constant:
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=weight))
    channels = {"sr": 3, "conv": 12}
    made = [helper.make_tensor_value_info(o, dtype, [1, channels[o], None, None]) for o in outputs]
    taken = [helper.make_tensor_value_info(name, dtype, shape)]
    graph = helper.make_graph(nodes, "g", taken, made, [] if constant else [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def photograph(height, width):
    return core.demo_image("coffee (scikit-image)")[..., 100 : 100 + height, 200 : 200 + width]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"name": "x"},
        {"name": "lr", "kernel": False},
        {"dtype": TensorProto.FLOAT16},
        {"shape": (1, 3, 48, 48)},
        {"shape": (1, 3, 48, "w")},
        {"shape": ("n", 3, 17, 21)},
        {"outputs": ("conv", "sr")},
        {"constant": True},
    ],
    ids=str,
)
def test_files_of_others_give_the_picture(given, tmp_path):
    onnx.save(foreign(**given), tmp_path / "theirs.onnx")
    lr = torch.cat([photograph(60, 70), photograph(60, 70).flip(3)])
    weight = torch.from_numpy(np.random.default_rng(0).normal(size=(12, 3, 3, 3)) * 0.1).float()
    expected = torch.nn.functional.pixel_shuffle(torch.nn.functional.conv2d(lr, weight, padding=1), 2)
    network = OnnxNetwork(tmp_path / "theirs.onnx")
    close = 2e-3 if given.get("dtype") == TensorProto.FLOAT16 else 1e-5
    for tile in (None, 24):
        sr = core.super_resolve(network, lr, tile=tile)
        assert sr.dtype == torch.float32
        inner = slice(2, -2) if tile and "shape" in given else slice(None)  # a tile at an edge is padded
        assert torch.allclose(sr[..., inner, inner], expected[..., inner, inner], atol=close)
    assert [(row.name, row.weight_shape) for row in audit_onnx(tmp_path / "theirs.onnx")] == [
        ("w", (12, 3, 3, 3))
    ]
    assert time_onnx({"theirs": tmp_path / "theirs.onnx"}, lr, runs=1)["theirs"] > 0


def test_a_batch_of_fixed_size_takes_any_number_of_images():
    lr = torch.rand(5, 3, 12, 14)
    free = OnnxNetwork(foreign(shape=("n", 3, "h", "w")))
    assert torch.allclose(OnnxNetwork(foreign(shape=(2, 3, "h", "w")))(lr), free(lr), atol=1e-6)


@pytest.mark.parametrize("side", [38, 45, 64])
@pytest.mark.parametrize("bits", [8, 32])
def test_a_file_of_fixed_size_gives_the_picture_of_the_free_one(side, bits):
    """Exactly, also at the borders, wherever the image is at least as large."""
    model = ABPN(3, n_convs=2, n_feats=6).eval()
    lr = photograph(64, 101)
    free = quantize_int8(model, lr) if bits == 8 else export_onnx(model)
    fixed = onnx.ModelProto.FromString(free.SerializeToString())
    for dim, length in zip(fixed.graph.input[0].type.tensor_type.shape.dim, (1, 3, side, side), strict=True):
        dim.dim_value = length
    sr = OnnxNetwork(fixed)(lr)
    assert torch.allclose(sr, OnnxNetwork(free)(lr), atol=1e-6)


def test_what_is_smaller_than_the_fixed_size_is_padded_with_its_edge():
    small = photograph(20, 48)
    padded = torch.cat([small, small[..., -1:, :].expand(-1, -1, 28, -1)], 2)
    fixed, free = OnnxNetwork(foreign(shape=(1, 3, 48, 48))), OnnxNetwork(foreign())
    assert torch.allclose(fixed(small), free(padded)[..., :40, :], atol=1e-6)


def test_fixed_tiles_begin_at_multiples_of_a_stride():
    fixed, free = OnnxNetwork(foreign(shape=(1, 3, 32, 32), stride=2)), OnnxNetwork(foreign(stride=2))
    lr = photograph(64, 90)
    assert torch.allclose(fixed(lr), free(lr), atol=1e-6)


def test_fixed_tiles_too_small_to_join_are_refused():
    deep = export_onnx(ABPN(3, n_convs=2, n_feats=6))
    for dim, length in zip(deep.graph.input[0].type.tensor_type.shape.dim, (1, 3, 8, 8), strict=True):
        dim.dim_value = length
    network = OnnxNetwork(deep)
    assert network(photograph(8, 8)).shape == (1, 3, 24, 24)
    with pytest.raises(
        ValueError, match="the ONNX graph takes 8 pixels a side alone and each pixel looks up"
    ):
        network(photograph(9, 8))


def test_tiles_that_disagree_are_refused():
    """A network that looks at the whole image has no picture of a larger one."""
    lr = photograph(40, 50)
    with pytest.raises(ValueError, match=r"its tiles differ by up to .* where they meet"):
        by_fixed_tiles(lambda x: x - x.mean((2, 3), keepdim=True), lr, (24, 24), 2)
    assert torch.equal(by_fixed_tiles(lambda x: 2 * x, lr, (24, None), 2), 2 * lr)
    with pytest.raises(ValueError, match="makes 23x24 pixels of 24x24, which is no whole scale"):
        by_fixed_tiles(lambda x: x[..., 1:, :], lr, (24, 24), 2)


def two_inputs():
    graph = foreign()
    graph.graph.node.append(helper.make_node("Add", ["sr", "noise"], ["noisy"]))
    graph.graph.input.append(helper.make_tensor_value_info("noise", FLOAT, [1, 3, None, None]))
    graph.graph.output[0].name = "noisy"
    return graph


def unknown_operator():
    graph = foreign()
    graph.graph.node[0].op_type = "Convolve"
    return graph


@pytest.mark.parametrize(
    ("graph", "sentence"),
    [
        (
            two_inputs(),
            r"takes 2 inputs \(input: float \(1, 3, h, w\), noise: float .*\); a network here takes",
        ),
        (foreign(outputs=("sr", "sr")), r"gives 2 outputs \(sr: .*, sr: .*\), not exactly one of them with"),
        (foreign(outputs=("conv", "conv")), r"gives 2 outputs \(conv: float \(1, 12, None, None\), conv: "),
        (foreign(shape=(1, "h", "w", 3)), r"takes input: float \(1, h, w, 3\); images here are"),
        (foreign(dtype=TensorProto.INT32), "ONNX Runtime cannot run|takes input: int32"),
        (unknown_operator(), "ONNX Runtime cannot run the ONNX graph: .*Convolve"),
        (foreign(shape=(1, 4, "h", "w")), "ONNX Runtime cannot run|takes input: float"),
    ],
)
def test_what_is_no_network_of_images_is_told_in_a_sentence(graph, sentence):
    with pytest.raises(ValueError, match=sentence) as raised:
        OnnxNetwork(graph)(torch.rand(1, 3, 8, 9))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"no onnx", foreign().SerializeToString()[:900]])
def test_damaged_files(content, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(content)
    for read in (OnnxNetwork, audit_onnx, lambda path: time_onnx({"bad": path}, torch.rand(1, 3, 8, 8))):
        with pytest.raises(
            ValueError, match=r"^bad.onnx (is no ONNX file that can be read|holds no network)"
        ):
            read(tmp_path / "bad.onnx")


def test_missing_files(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"there is no file .*none.onnx; give the path of an ONNX file"
    ):
        OnnxNetwork(tmp_path / "none.onnx")
    with pytest.raises(ValueError, match="is no ONNX file that can be read"):
        OnnxNetwork(tmp_path)


def test_images_that_a_file_does_not_run_on():
    """Both a ValueError, as all of them, and a RuntimeError, as torch's own networks raise."""
    network = OnnxNetwork(foreign(name="x"))
    for error in (ValueError, RuntimeError):
        with pytest.raises(error, match="the ONNX graph does not run on 1x4x8x9: "):
            network(torch.rand(1, 4, 8, 9))


def test_tiles_need_to_know_how_far_a_pixel_looks():
    graph = foreign(name="image", kernel=False)
    graph.graph.node[0].input[1] = "computed"
    graph.graph.node.insert(0, helper.make_node("Abs", ["w"], ["computed"]))
    network = OnnxNetwork(graph)
    assert network(torch.rand(1, 3, 8, 9)).shape == (1, 3, 16, 18)
    with pytest.raises(ValueError, match="does not say how large its convolutions are; run images whole"):
        core.super_resolve(network, torch.rand(1, 3, 8, 9), tile=4)


def quantized_layer(weight_type, activation=True, integer_weight=True):
    """A conv whose weight, and perhaps its input, come of a DequantizeLinear."""
    signed = {TensorProto.INT8: np.int8, TensorProto.UINT8: np.uint8, TensorProto.INT16: np.int16}[
        weight_type
    ]
    values = {"s": np.float32(0.1), "z": signed(0), "zx": np.uint8(128)}
    values["w"] = np.ones((3, 3, 1, 1), signed if integer_weight else np.float32)
    nodes = [] if integer_weight else [helper.make_node("QuantizeLinear", ["w", "s", "z"], ["wq"])]
    nodes.append(helper.make_node("DequantizeLinear", ["w" if integer_weight else "wq", "s", "z"], ["wf"]))
    if activation:
        nodes += [
            helper.make_node("QuantizeLinear", ["x", "s", "zx"], ["xq"]),
            helper.make_node("DequantizeLinear", ["xq", "s", "zx"], ["xf"]),
        ]
    nodes.append(helper.make_node("Conv", ["xf" if activation else "x", "wf"], ["sr"], name="layer"))
    port = [helper.make_tensor_value_info(name, FLOAT, [1, 3, None, None]) for name in ("x", "sr")]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "g", port[:1], port[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize(
    ("graph", "method", "bits"),
    [
        (quantized_layer(TensorProto.INT8), "INT8", (8, 8)),
        (quantized_layer(TensorProto.UINT8, integer_weight=False), "INT8", (8, 8)),
        (quantized_layer(TensorProto.INT16), "INT16", (16, 8)),
        (quantized_layer(TensorProto.INT8, activation=False), "INT8", (8, 32)),
    ],
)
def test_the_audit_reads_the_bits_of_quantized_files(graph, method, bits):
    (row,) = audit_onnx(graph)
    assert (row.name, row.method, row.weight_bits, row.activation_bits, row.reason) == (
        "layer", method, *bits, "",
    )  # fmt: skip


def test_the_audit_reads_integer_convolutions():
    values = {"s": np.float32(0.1), "zx": np.uint8(0), "zw": np.int8(0), "w": np.ones((3, 3, 1, 1), np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "zx"], ["xq"]),
        helper.make_node("QLinearConv", ["xq", "s", "zx", "w", "s", "zw", "s", "zx"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "s", "zx"], ["sr"]),
    ]
    port = [helper.make_tensor_value_info(name, FLOAT, [1, 3, None, None]) for name in ("x", "sr")]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    graph = helper.make_model(
        helper.make_graph(nodes, "g", port[:1], port[1:], stored),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    (row,) = audit_onnx(graph)
    assert (row.name, row.weight_bits, row.activation_bits, row.reason) == ("w", 8, 8, "")
    assert OnnxNetwork(graph).receptive_radius == 0
    x = torch.full((1, 3, 4, 4), 0.2)
    assert torch.allclose(OnnxNetwork(graph)(x), torch.full_like(x, 0.1 * 3 * 0.2), atol=0.051)
