"""The names of other public code: each network's forward written down again with the names of its files."""

import pytest
import torch
import torch.nn.functional as F

from core import QuantConfig, audit, load_checkpoint, load_quantized, quantize_model, save_quantized
from core.models import EDSR, MSRResNet, SRResNet
from core.models.edsr import RGB_MEAN

N, BLOCKS = 6, 2


def conv_state(*convs, bias=True):
    """Tensors of convs given as (name, in, out, kernel)."""
    state = {}
    for name, n_in, n_out, kernel in convs:
        state[f"{name}.weight"] = torch.randn(n_out, n_in, kernel, kernel) * 0.15
        if bias:
            state[f"{name}.bias"] = torch.randn(n_out) * 0.1
    return state


def conv(x, state, name):
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state.get(f"{name}.bias"), padding=weight.shape[-1] // 2)


def norm(x, state, name):
    own = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(x, *own)


def block_convs(stem, names=("conv1", "conv2")):
    return [(f"{stem}.{b}.{name}", N, N, 3) for b in range(BLOCKS) for name in names]


def edsr_state(scale, colours=3, mmagic=False):
    conv_of = "upsample.{}.upsample_conv" if mmagic else "upsample.{}"
    ups = {2: [(0, 4)], 3: [(0, 9)], 4: [(0, 4), (1, 4)]}[scale]
    ups = [(conv_of.format(i if mmagic else 2 * i), N, factor * N, 3) for i, factor in ups]
    ends = [("conv_first", colours, N, 3), ("conv_after_body", N, N, 3), ("conv_last", N, colours, 3)]
    return conv_state(*ends, *block_convs("body"), *ups)


def edsr_forward(x, state, scale, mean, img_range, mmagic=False):
    mean = torch.tensor(mean).view(-1, 1, 1)
    head = y = conv((x - mean) * img_range, state, "conv_first")
    for b in range(BLOCKS):
        y = y + conv(conv(y, state, f"body.{b}.conv1").relu(), state, f"body.{b}.conv2")
    y = head + conv(y, state, "conv_after_body")
    for stage in range(2 if scale == 4 else 1):
        name = f"upsample.{stage}.upsample_conv" if mmagic else f"upsample.{2 * stage}"
        y = F.pixel_shuffle(conv(y, state, name), 2 if scale == 4 else scale)
    return conv(y, state, "conv_last") / img_range + mean


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("mmagic", "img_range"), [(False, 255.0), (True, 1.0)])
def test_edsr_of_basicsr_and_mmagic(scale, mmagic, img_range, tmp_path):
    state, x = edsr_state(scale, mmagic=mmagic), torch.rand(2, 3, 7, 6)
    torch.save({"params": state}, tmp_path / "edsr.pth")
    model = load_checkpoint(tmp_path / "edsr.pth", res_scale=1.0)
    assert isinstance(model, EDSR)
    assert model.scale == scale
    expected = edsr_forward(x, state, scale, RGB_MEAN, img_range, mmagic)
    assert torch.allclose(model(x), expected, rtol=1e-4, atol=1e-4)
    assert [n for n, m in model.named_modules() if model.quantized_scope(n, m)] == [
        f"body.{b}.body.{c}" for b in range(BLOCKS) for c in (0, 2)
    ]


def test_edsr_of_daq(tmp_path):
    """Its blocks name their convs conv1 and conv2; the rest is as the authors'."""
    model, x = EDSR(2, BLOCKS, N).eval(), torch.rand(1, 3, 5, 5)
    state = {
        name.replace(".body.0.", ".conv1.").replace(".body.2.", ".conv2."): value
        for name, value in model.state_dict().items()
        if name != "_extra_state"
    }
    assert "body.0.conv1.weight" in state
    torch.save(state, tmp_path / "edsr.pt")
    assert torch.equal(load_checkpoint(tmp_path / "edsr.pt", res_scale=1.0)(x), model(x))


def msrresnet_state(scale, body="body", hr="conv_hr", colours=3):
    ups = {2: [(1, 4)], 3: [(1, 9)], 4: [(1, 4), (2, 4)]}[scale]
    ups = [(f"upconv{i}", N, factor * N, 3) for i, factor in ups]
    ends = [("conv_first", colours, N, 3), (hr, N, N, 3), ("conv_last", N, colours, 3)]
    return conv_state(*ends, *block_convs(body), *ups)


def msrresnet_forward(x, state, scale, body="body", hr="conv_hr"):
    y = F.leaky_relu(conv(x, state, "conv_first"), 0.1)
    for b in range(BLOCKS):
        y = y + conv(conv(y, state, f"{body}.{b}.conv1").relu(), state, f"{body}.{b}.conv2")
    for stage in range(2 if scale == 4 else 1):
        y = F.pixel_shuffle(conv(y, state, f"upconv{stage + 1}"), 2 if scale == 4 else scale)
        y = F.leaky_relu(y, 0.1)
    y = conv(F.leaky_relu(conv(y, state, hr), 0.1), state, "conv_last")
    size = [scale * n for n in x.shape[-2:]]
    return y + F.interpolate(x, size=size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("names", [{}, {"body": "recon_trunk", "hr": "HRconv"}])
def test_msrresnet_of_basicsr_and_kair(scale, names, tmp_path):
    state, x = msrresnet_state(scale, **names), torch.rand(2, 3, 7, 6)
    torch.save(state, tmp_path / "net.pth")
    model = load_checkpoint(tmp_path / "net.pth")
    assert isinstance(model, MSRResNet)
    assert torch.allclose(model(x), msrresnet_forward(x, state, scale, **names), atol=1e-4)


def test_msrresnet_is_quantized_and_comes_back(tmp_path):
    model, x = MSRResNet(2, BLOCKS, N).eval(), torch.rand(4, 3, 12, 12)
    quantized = quantize_model(model, x, QuantConfig("minmax"))
    assert sum(row.weight_bits == 4 for row in audit(quantized)) == 2 * BLOCKS
    save_quantized(quantized, tmp_path / "q.safetensors")
    assert torch.equal(load_quantized(tmp_path / "q.safetensors")(x), quantized(x))
    assert sum(p.numel() for p in MSRResNet().parameters()) == pytest.approx(1.517e6, rel=0.001)  # BasicSR's


def test_msrresnet_of_mmediting_is_another_network(tmp_path):
    """It has no activation after its pixel shuffles, and its names say so."""
    state = msrresnet_state(2, body="trunk_net")
    state = {name.replace("upconv1", "upsample1.upsample_conv"): value for name, value in state.items()}
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"net\.pth belongs to no network known here"):
        load_checkpoint(tmp_path / "net.pth")


def norm_state(*names):
    state = {}
    for name in names:
        state |= {f"{name}.weight": torch.randn(N), f"{name}.bias": torch.randn(N)}
        state |= {f"{name}.running_mean": torch.randn(N), f"{name}.running_var": torch.rand(N) + 0.5}
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)
    return state


@pytest.mark.parametrize("scale", [2, 4])
def test_srresnet_of_dfsq(scale, tmp_path):
    """Each block has its own PReLU, and pixels are 0 to 255."""
    stages = (0, 3) if scale == 4 else (0,)
    ups = [(f"upscale.{at}", N, 4 * N, 3) for at in stages]
    ends = [("conv_input", 3, N, 9), ("conv_mid", N, N, 3), ("conv_output", N, 3, 9)]
    state = conv_state(*ends, *block_convs("residual"), *ups, bias=False)
    state |= norm_state("bn_mid", *(f"residual.{b}.in{i}" for b in range(BLOCKS) for i in (1, 2)))
    prelus = ["relu", *(f"residual.{b}.relu" for b in range(BLOCKS)), *(f"upscale.{at + 2}" for at in stages)]
    state |= {f"{name}.weight": torch.rand(1) / 2 for name in prelus}
    torch.save({"state_dict": state}, tmp_path / "x.pt")
    x = torch.rand(2, 3, 6, 5)
    prelu = lambda y, name: F.prelu(y, state[f"{name}.weight"])  # noqa: E731
    y = head = prelu(conv(255 * x, state, "conv_input"), "relu")
    for b in range(BLOCKS):
        z = prelu(
            norm(conv(y, state, f"residual.{b}.conv1"), state, f"residual.{b}.in1"), f"residual.{b}.relu"
        )
        y = y + norm(conv(z, state, f"residual.{b}.conv2"), state, f"residual.{b}.in2")
    y = head + norm(conv(y, state, "conv_mid"), state, "bn_mid")
    for at in stages:
        y = prelu(F.pixel_shuffle(conv(y, state, f"upscale.{at}"), 2), f"upscale.{at + 2}")
    model = load_checkpoint(tmp_path / "x.pt")
    assert isinstance(model, SRResNet)
    assert model.scale == scale
    assert torch.allclose(model(x), conv(y, state, "conv_output") / 255, rtol=1e-3, atol=1e-4)


def test_srresnet_of_daq_as_its_code_saves_it(tmp_path):
    """A ReLU in the blocks, mean shifts that its forward leaves out, no biases, 0 to 255."""
    ends = [("head.0", 3, N, 9), (f"body.{BLOCKS}", N, N, 3), ("tail.1", N, 3, 9)]
    ups = [(f"tail.0.{at}", N, 4 * N, 3) for at in (0, 3)]
    state = conv_state(*ends, *block_convs("body"), *ups, bias=False)
    state |= norm_state(f"body.{BLOCKS + 1}", *(f"body.{b}.bn{i}" for b in range(BLOCKS) for i in (1, 2)))
    state |= {f"{name}.weight": torch.rand(1) / 2 for name in ("head.1", "tail.0.2", "tail.0.5")}
    for name, sign in (("sub_mean", -255.0), ("add_mean", 255.0)):
        state |= {
            f"{name}.weight": torch.eye(3).view(3, 3, 1, 1),
            f"{name}.bias": sign * torch.tensor(RGB_MEAN),
        }
    torch.save(state, tmp_path / "x.pt")
    x = torch.rand(2, 3, 6, 5)
    y = head = F.prelu(conv(255 * x, state, "head.0"), state["head.1.weight"])
    for b in range(BLOCKS):
        z = norm(conv(y, state, f"body.{b}.conv1"), state, f"body.{b}.bn1").relu()
        y = y + norm(conv(z, state, f"body.{b}.conv2"), state, f"body.{b}.bn2")
    y = head + norm(conv(y, state, f"body.{BLOCKS}"), state, f"body.{BLOCKS + 1}")
    for at in (0, 3):
        y = F.prelu(F.pixel_shuffle(conv(y, state, f"tail.0.{at}"), 2), state[f"tail.0.{at + 2}.weight"])
    model = load_checkpoint(tmp_path / "x.pt")
    assert torch.allclose(model(x), conv(y, state, "tail.1") / 255, rtol=1e-3, atol=1e-4)
