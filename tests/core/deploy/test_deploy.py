"""Export, INT8 and timing with ONNX Runtime itself."""

import numpy as np
import onnx
import pytest
import torch
from networks import Mixed, OneByOne, Twice
from torch import nn

import core.deploy.onnx_int8
import core.deploy.timing
from core import (
    QuantConfig,
    audit,
    audit_onnx,
    evaluate,
    export_onnx,
    load_checkpoint,
    paired_folder,
    psnr_y,
    quantize_int8,
    quantize_model,
    time_onnx,
)
from core.deploy import OnnxNetwork, time_in_turns
from core.models import ABPN, EDSR, XLSR, SRResNet, SwinIR, without_clip


def small_xlsr():
    model = XLSR(3)
    for parameter in model.parameters():
        parameter.data *= 2  # so that the output leaves [0, 1]
    return model.eval()


def quantization(graph, name):
    """Scale and zero point of the tensor's QuantizeLinear."""
    node = next(n for n in graph.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == name)
    values = {t.name: onnx.numpy_helper.to_array(t) for t in graph.graph.initializer}
    return float(values[node.input[1]]), int(values[node.input[2]])


@pytest.mark.parametrize(
    "model",
    [
        small_xlsr(),
        ABPN(3, n_convs=1, n_feats=6),
        EDSR(2, n_blocks=1, n_feats=4),
        SRResNet(4, n_blocks=1, n_feats=4),
        Mixed(),
        Twice(),
    ],
    ids=lambda m: type(m).__name__,
)
def test_export_gives_the_network_at_every_size(model):
    graph = export_onnx(model)
    model.eval()
    for size in ((1, 3, 11, 50), (3, 3, 24, 7)):
        x = torch.rand(size)
        assert torch.allclose(OnnxNetwork(graph)(x), model(x), rtol=1e-4, atol=1e-4)


def test_nodes_carry_the_names_of_their_layers(tiny_edsr):
    """Also where weights are equal (the two mean shifts) and where a layer runs twice."""
    names = [node.name for node in export_onnx(tiny_edsr).graph.node if node.op_type == "Conv"]
    body = [f"body.{block}.body.{conv}" for block in (0, 1) for conv in (0, 2)]
    assert names == ["sub_mean", "head.0", *body, "body.2", "tail.0.0", "tail.1", "add_mean"]
    twice = [node.name for node in export_onnx(Twice()).graph.node if node.op_type == "Conv"]
    assert twice == ["head", "conv", "conv#2", "read", "tail"]


def test_the_model_is_left_as_it_is(tiny_edsr, images):
    before = {k: v.clone() for k, v in tiny_edsr.state_dict().items()}
    tiny_edsr.train()
    quantize_int8(tiny_edsr, images)
    assert tiny_edsr.training
    assert all(torch.equal(v, before[k]) for k, v in tiny_edsr.state_dict().items())


class Unknown(nn.Module):
    def forward(self, x):
        return torch.linalg.qr(x)[0]


class Ahead(nn.Module):
    """What a tracer cannot see: the path depends on the size."""

    def forward(self, x):
        return 2 * x if x.shape[-1] == 40 else x


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (Unknown(), "Unknown cannot be exported to ONNX: .*qr"),
        (Ahead(), "the export of Ahead is .* away from the network on 2x3x19x33"),
        (OneByOne(), "OneByOne is bound to the image it is exported with: it does not run on 2x3x19x33"),
        (SwinIR(2, n_feats=4, depths=(2,), n_heads=1, window=4, hidden=4), "SwinIR is bound to the image"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_does_not_export_is_told_in_a_sentence(model, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}") as raised:
        export_onnx(model)
    assert "\n" not in str(raised.value)


def test_a_quantized_model_is_not_exported(tiny_edsr, images):
    with pytest.raises(ValueError, match="quantized already, in a way that no INT8 convolution does"):
        export_onnx(quantize_model(tiny_edsr, images, QuantConfig("minmax")))


class OneConv(nn.Module):
    def __init__(self, groups=1):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, groups=groups)

    def forward(self, x):
        return self.conv(x)


def test_int8_by_hand():
    """uint8 input, int8 weights per channel, int32 bias, uint8 output: all of it in numpy."""
    model, x = OneConv(), torch.rand(1, 3, 9, 8)
    with torch.no_grad():
        model.conv.weight.copy_(torch.tensor([[0.5, 0.2, 0.1], [-2, 1, 3], [0.01, 0.02, 0]])[..., None, None])
        expected = model(x).numpy()
    got = OnnxNetwork(quantize_int8(model, x, layers=["conv"]))(x).numpy()

    weight, bias, x = (
        model.conv.weight.detach().numpy()[..., 0, 0],
        model.conv.bias.detach().numpy(),
        x.numpy(),
    )
    in_scale = np.float32(x.max() / 255)
    levels = np.clip(np.rint(x / in_scale), 0, 255).astype(int)
    w_scale = np.abs(weight).max(1) / 127
    w_levels = np.rint(weight / w_scale[:, None]).astype(int)
    b_levels = np.rint(bias / (in_scale * w_scale)).astype(int)
    sums = np.einsum("oc,nchw->nohw", w_levels, levels) + b_levels[:, None, None]
    low, high = min(expected.min(), 0), max(expected.max(), 0)
    scale = (high - low) / 255
    zero = np.rint(-low / scale)
    out = np.clip(np.rint(sums * (in_scale * w_scale)[:, None, None] / scale) + zero, 0, 255)
    assert np.abs(got - (out - zero) * scale).max() < 1.01 * scale  # ties may fall either way
    assert np.mean(np.abs(got - (out - zero) * scale) < scale / 2) > 0.99


def test_the_quantizer_folds_the_clip_into_the_range():
    """Nothing is left of it but an output whose levels are the 8-bit picture's own."""
    model, x = small_xlsr(), torch.rand(2, 3, 24, 24)
    free = without_clip(model)
    assert free(x).min() < 0
    assert free(x).max() > 1
    clipped, plain = quantize_int8(model, x), quantize_int8(free, x)
    assert not [n for g in (clipped, plain) for n in g.graph.node if n.op_type == "Clip"]
    scale, zero = quantization(clipped, "sr_shuffled")
    assert (scale, zero) == (pytest.approx(1 / 255), 0)
    assert quantization(plain, "sr_shuffled")[0] > 1.05 / 255


def test_pixel_shuffles_move_integers_and_change_nothing(tmp_path, monkeypatch):
    model, x = small_xlsr(), torch.rand(1, 3, 24, 20)
    graph = quantize_int8(model, x)
    monkeypatch.setattr(core.deploy.onnx_int8, "_integer_shuffle", lambda proto: proto)
    plain = quantize_int8(model, x)
    assert torch.equal(OnnxNetwork(graph)(x), OnnxNetwork(plain)(x))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "run.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(graph.SerializeToString(), options)
    ran = [node.op_type for node in onnx.load(tmp_path / "run.onnx").graph.node]
    assert ran[-2:] == ["DepthToSpace", "DequantizeLinear"]
    assert ran.count("QLinearConv") == 14
    assert not {"Conv", "FusedConv"} & set(ran)


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
def test_dense_groups_give_the_same_numbers(groups):
    model = nn.Sequential(nn.Conv2d(8, 16, 3, groups=groups, padding=1))
    dense = core.deploy.onnx_int8._dense_groups(model, ["0"])
    x = torch.rand(1, 8, 6, 5)
    assert torch.allclose(dense(x), model(x), atol=1e-6)
    assert dense[0].groups == (8 if groups == 8 else 1)
    assert model[0].groups == groups
    assert core.deploy.onnx_int8._dense_groups(model, [])[0].groups == groups, "a float layer stays as it is"


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_dense_groups_of_transposed_convs_give_the_same_numbers(groups):
    model = nn.Sequential(nn.ConvTranspose2d(8, 4, 3, 2, groups=groups))
    dense = core.deploy.onnx_int8._dense_groups(model, ["0"])
    x = torch.rand(1, 8, 6, 5)
    assert torch.allclose(dense(x), model(x), atol=1e-6)
    assert dense[0].groups == (4 if groups == 4 else 1)
    assert model[0].groups == groups


@pytest.mark.parametrize(
    ("model", "layers"),
    [
        (small_xlsr(), lambda name, module: isinstance(module, nn.Conv2d) and name != "conv4"),
        (small_xlsr(), None),
        (EDSR(2, n_blocks=2, n_feats=4, rgb_range=1.0), None),
        (EDSR(2, n_blocks=2, n_feats=4, rgb_range=1.0), ["body.0.body.0", "tail.1"]),
        (Mixed(), None),
        (Twice(), ["conv"]),
    ],
)
def test_the_file_does_what_the_audit_shows(model, layers):
    """One choice of layers for the simulation and for the file: float here is float there."""
    x = torch.rand(2, 3, 24, 24)
    shown = {r.name for r in audit(quantize_model(model, x, QuantConfig("minmax"), layers)) if not r.reason}
    graph = quantize_int8(model, x, layers)
    assert {row.name.split("#")[0] for row in audit_onnx(graph) if not row.reason} == shown
    types = {t.name: t.data_type for t in graph.graph.initializer}
    dequantized = {n.output[0]: n.input[0] for n in graph.graph.node if n.op_type == "DequantizeLinear"}
    for node in graph.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            integer = types[dequantized.get(node.input[1], node.input[1])] == onnx.TensorProto.INT8
            assert integer == (node.name.split("#")[0] in shown), node.name
    with torch.no_grad():
        assert psnr_y(OnnxNetwork(graph)(x), model.eval()(x), border=0) > 25


def test_bad_choices(tiny_edsr, images):
    with pytest.raises(ValueError, match="no layer is left to quantize"):
        quantize_int8(tiny_edsr, images, layers=[])
    with pytest.raises(ValueError, match="no layer named nose"):
        quantize_int8(tiny_edsr, images, layers=["nose"])
    with pytest.raises(ValueError, match="at least one image, got none"):
        quantize_int8(tiny_edsr, [])
    with pytest.raises(ValueError, match=r"EDSR does not run on .*1x8x8"):
        quantize_int8(tiny_edsr, torch.rand(1, 1, 8, 8))


def test_images_of_many_sizes_and_generators(tiny_edsr):
    pool = [torch.rand(1, 3, 20 + n, 30 - n) for n in range(3)]
    assert quantize_int8(tiny_edsr, iter(pool)) == quantize_int8(tiny_edsr, pool)


def test_progress_and_cancelling(tiny_edsr, images):
    seen = []
    quantize_int8(tiny_edsr, images, progress=lambda what, share: seen.append((what, share)))
    assert seen[-1] == ("Calibrating", 1.0)

    def cancel(what, share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize_int8(tiny_edsr, images, progress=cancel)


def test_timing_takes_turns_and_gives_the_median(tiny_edsr, images, monkeypatch):
    """Each network has a clock of its own; its first run is passed over."""
    graph, calls = export_onnx(tiny_edsr), []
    taken = {0: iter([9, 1, 2, 30]), 1: iter([9, 5, 7, 6])}
    now = [0.0]

    def forward(self, x):
        which = list(first).index(self) if self in first else len(first)
        first.setdefault(self)
        calls.append(which)
        now[0] += next(taken[which])

    first: dict = {}
    monkeypatch.setattr(OnnxNetwork, "forward", forward)
    monkeypatch.setattr(core.deploy.timing.time, "perf_counter", lambda: now[0])
    ms = time_onnx({"a": graph, "b": graph}, images, runs=3)
    assert sorted(ms.values()) == [2000, 6000]
    assert [sorted(calls[i : i + 2]) for i in range(0, 8, 2)] == [[0, 1]] * 4
    assert calls != calls[:2] * 4  # in no fixed order
    with pytest.raises(ValueError, match="runs and threads must be at least 1, got 0 and 1"):
        time_onnx({"a": graph}, images, runs=0)


def test_timing_by_a_clock_of_ones_own():
    """The clock is asked before and after each run, and the first run is passed over."""
    now = iter([0, 9, 10, 12, 20, 24, 30, 33])
    ms = time_in_turns({"a": nn.Identity()}, torch.rand(1, 3, 4, 4), runs=3, clock=lambda: next(now))
    assert ms == {"a": 3000}


def test_a_real_network_keeps_its_picture(benchmark_data):
    """Within 0.4 dB of float, calibrated on the pictures of another set."""
    model = load_checkpoint(benchmark_data.parent / "weights/xlsr_x3.safetensors")
    pairs = list(paired_folder(benchmark_data / "Set5/x3", 3))
    calibration = [pair.lr for pair in paired_folder(benchmark_data / "Set14/x3", 3)]
    int8 = OnnxNetwork(quantize_int8(model, calibration))
    assert evaluate(int8, pairs, 3).psnr == pytest.approx(evaluate(model, pairs, 3).psnr, abs=0.4)


@pytest.mark.parametrize("name", ["xlsr", "abpn"])
def test_by_tiles_a_graph_gives_the_picture_of_the_whole(name):
    model = core.create_model(name, 3)
    network = core.OnnxNetwork(core.export_onnx(model))
    assert core.receptive_radius(network) == core.receptive_radius(model)
    lr = torch.rand(1, 3, 40, 36, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(core.super_resolve(network, lr, tile=16), network(lr), atol=1e-4)
