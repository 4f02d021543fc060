"""The other architectures: public names, forwards written down independently, sizes that papers state."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from core import evaluate, load_checkpoint, paired_folder
from core.checkpoints.loading import network_from_state
from core.models import ABPN, RDN, XLSR, SRResNet, SwinIR, new_model, without_clip

SMALL = {
    RDN: lambda: RDN(2, n_blocks=2, n_convs=3, growth=4, n_feats=5, rgb_range=1.0),
    SRResNet: lambda: SRResNet(4, n_blocks=2, n_feats=4, rgb_range=1.0),
    XLSR: XLSR,
    ABPN: lambda: ABPN(3, n_convs=2, n_feats=6),
    SwinIR: lambda: SwinIR(2, n_feats=8, depths=(2, 3), n_heads=2, window=4, hidden=12),
}


def random_weights(model):
    """Every tensor at random, BatchNorm's statistics too."""
    for name, tensor in model.state_dict().items():
        if "running_var" in name:
            tensor.uniform_(0.5, 2)
        elif tensor.is_floating_point() and "rgb_range" not in name:
            tensor.normal_(std=0.3)
    return model.eval()


def conv(x, state, name, **options):
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state.get(f"{name}.bias"), padding=weight.shape[-1] // 2, **options)


def norm(x, state, name):
    own = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(x, *own)


@pytest.mark.parametrize("cls", SMALL)
def test_sizes_are_read_off_the_tensors(cls, tmp_path):
    model, x = random_weights(SMALL[cls]()), torch.rand(2, 3, 9, 11)
    torch.save(model.state_dict(), tmp_path / "own.pth")
    loaded = load_checkpoint(tmp_path / "own.pth")
    assert type(loaded) is cls
    assert loaded.scale == model.scale
    assert not loaded.training
    assert torch.equal(loaded(x), model(x))


@pytest.mark.parametrize(
    ("model", "parameters"),
    [(RDN(2), 22.1e6), (SRResNet(4), 1.54e6), (XLSR(3), 21.95e3), (ABPN(3), 42.54e3), (SwinIR(2), 910e3)],
    ids=lambda x: type(x).__name__,
)
def test_defaults_have_the_published_number_of_parameters(model, parameters):
    """RDN and SwinIR by their authors' code, ABPN table 1 of its paper, XLSR the public weights."""
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=0.01)


def test_rdn_step_by_step():
    model, x = random_weights(SMALL[RDN]()), torch.rand(1, 3, 8, 7)
    state = model.state_dict()
    first = conv(x, state, "SFENet1")
    y, dense = conv(first, state, "SFENet2"), []
    for block in range(2):
        z = y
        for c in range(3):
            z = torch.cat((z, conv(z, state, f"RDBs.{block}.convs.{c}.conv.0").relu()), 1)
        y = y + conv(z, state, f"RDBs.{block}.LFF")
        dense.append(y)
    y = conv(conv(torch.cat(dense, 1), state, "GFF.0"), state, "GFF.1") + first
    y = F.pixel_shuffle(conv(y, state, "UPNet.0"), 2)
    assert torch.allclose(model(x), conv(y, state, "UPNet.2"), rtol=1e-4, atol=1e-4)


def test_srresnet_step_by_step():
    model, x = random_weights(SMALL[SRResNet]()), torch.rand(1, 3, 8, 7)
    state = model.state_dict()
    y = head = F.prelu(conv(x, state, "head.0"), state["head.1.weight"])
    for block in range(2):
        z = norm(conv(y, state, f"body.{block}.conv1"), state, f"body.{block}.bn1").relu()
        y = y + norm(conv(z, state, f"body.{block}.conv2"), state, f"body.{block}.bn2")
    y = head + norm(conv(y, state, "body.2"), state, "body.3")
    for at in (0, 3):
        y = F.pixel_shuffle(conv(y, state, f"tail.0.{at}"), 2)
        y = F.prelu(y, state[f"tail.0.{at + 2}.weight"])
    assert torch.allclose(model(x), conv(y, state, "tail.1"), rtol=1e-4, atol=1e-4)


def test_abpn_adds_the_nearest_neighbour():
    model, x = random_weights(ABPN(3)), torch.rand(1, 3, 6, 5)
    for layer in model.tail[1].parameters():
        layer.data.zero_()
    assert torch.equal(model(x), F.interpolate(x, scale_factor=3, mode="nearest"))


def window_attention(x, state, block, heads, window, shift):
    """Attention of every pixel of x (H, W, C) with those of its window, one by one; shifted cyclically."""
    h, w, c = x.shape
    table = state[f"{block}.attn.relative_position_bias_table"]
    q, k, v = F.linear(x, state[f"{block}.attn.qkv.weight"], state[f"{block}.attn.qkv.bias"]).split(c, -1)
    out = torch.zeros_like(x)
    place = lambda at, size: ((at - shift) % size) // window  # noqa: E731
    # A window of the shifted picture that wraps around holds up to 4 pieces that are strangers.
    wraps = lambda at, size: at < shift  # noqa: E731
    for i in range(h):
        for j in range(w):
            near = [
                (m, n)
                for m in range(h)
                for n in range(w)
                if (place(m, h), place(n, w)) == (place(i, h), place(j, w))
                and (wraps(m, h), wraps(n, w)) == (wraps(i, h), wraps(j, w))
            ]
            for head in range(heads):
                part = slice(head * c // heads, (head + 1) * c // heads)
                scores = []
                for m, n in near:
                    dy = (i - shift) % h % window - (m - shift) % h % window + window - 1
                    dx = (j - shift) % w % window - (n - shift) % w % window + window - 1
                    bias = table[dy * (2 * window - 1) + dx, head]
                    scores.append((q[i, j, part] * k[m, n, part]).sum() / (c // heads) ** 0.5 + bias)
                share = torch.stack(scores).softmax(0)
                out[i, j, part] = sum(s * v[m, n, part] for s, (m, n) in zip(share, near, strict=True))
    return F.linear(out, state[f"{block}.attn.proj.weight"], state[f"{block}.attn.proj.bias"])


def test_swinir_step_by_step():
    model = random_weights(SwinIR(2, n_feats=4, depths=(2,), n_heads=2, window=4, hidden=6))
    state, x = model.state_dict(), torch.rand(1, 3, 8, 8)
    mean = torch.tensor((0.4488, 0.4371, 0.4040)).view(3, 1, 1)
    normed = lambda y, name: F.layer_norm(y, (4,), state[f"{name}.weight"], state[f"{name}.bias"])  # noqa: E731
    first = conv(x - mean, state, "conv_first")
    start = y = normed(first[0].permute(1, 2, 0), "patch_embed.norm")
    for number, shift in ((0, 0), (1, 2)):
        block = f"layers.0.residual_group.blocks.{number}"
        y = y + window_attention(normed(y, f"{block}.norm1"), state, block, 2, 4, shift)
        z = normed(y, f"{block}.norm2")
        for layer, act in (("fc1", F.gelu), ("fc2", lambda t: t)):
            z = act(F.linear(z, state[f"{block}.mlp.{layer}.weight"], state[f"{block}.mlp.{layer}.bias"]))
        y = y + z
    y = start + conv(y.permute(2, 0, 1)[None], state, "layers.0.conv")[0].permute(1, 2, 0)
    y = conv(normed(y, "norm").permute(2, 0, 1)[None], state, "conv_after_body") + first
    expected = F.pixel_shuffle(conv(y, state, "upsample.0"), 2) + mean
    assert torch.allclose(model(x), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (8, 5)])
def test_swinir_takes_any_size(size):
    model = random_weights(SMALL[SwinIR]())
    assert model(torch.rand(1, 3, *size)).shape == (1, 3, 2 * size[0], 2 * size[1])


def test_swinir_files_with_what_is_computed(tmp_path):
    """The authors' files are wrapped, and hold indices and masks."""
    model, x = random_weights(SMALL[SwinIR]()), torch.rand(1, 3, 8, 8)
    state = model.state_dict()
    state["layers.0.residual_group.blocks.1.attn_mask"] = torch.zeros(256, 16, 16)
    state["layers.0.residual_group.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16)
    torch.save({"params": state}, tmp_path / "swin.pth")
    assert torch.equal(load_checkpoint(tmp_path / "swin.pth")(x), model(x))


def test_public_range_is_255():
    """EDSR-PyTorch's RDN works on 0-255 and its files do not say so."""
    model, x = random_weights(RDN(2, 1, 1, 4, 4)), torch.rand(1, 3, 5, 5)
    public = {k: v for k, v in model.state_dict().items() if k != "rgb_range.value"}
    assert torch.equal(network_from_state(public, "rdn.pt")(x), model(x))
    half = network_from_state(model.state_dict() | {"rgb_range.value": torch.tensor(1.0)}, "rdn.pt")
    assert not torch.allclose(half(x), model(x))


def test_srresnet_files_of_daq_have_an_unused_mean_shift():
    model, x = random_weights(SMALL[SRResNet]()), torch.rand(1, 3, 5, 5)
    public = {k: v for k, v in model.state_dict().items() if k != "rgb_range.value"}
    public |= {"sub_mean.weight": torch.eye(3).view(3, 3, 1, 1), "sub_mean.bias": torch.tensor([-0.4] * 3)}
    assert torch.equal(network_from_state(public, "srresnet.pt")(x), model(x))


@pytest.mark.parametrize("cls", [XLSR, ABPN])
def test_the_clip_comes_out(cls):
    model = random_weights(cls())
    x = 2 * torch.rand(1, 3, 7, 6)
    free = without_clip(model)
    assert not torch.equal(free(x), model(x))
    assert torch.equal(free(x).clamp(0, 1), model(x))
    assert isinstance(model.clip, nn.Hardtanh)


def test_a_network_without_a_clip(tiny_edsr):
    with pytest.raises(ValueError, match="EDSR has no clip at its end; XLSR and ABPN have one"):
        without_clip(tiny_edsr)


def test_a_small_file_cannot_claim_a_huge_network():
    """Shapes are compared before anything of their size is made: this one would be 40 TB."""
    state = {"head.0.weight": torch.zeros(1_000_000, 3, 1, 1), "tail.0.0.weight": torch.zeros(4, 1, 1, 1)}
    state["body.0.body.0.weight"] = torch.zeros(1, 1, 1, 1)
    with pytest.raises(ValueError, match="EDSR"):
        network_from_state(state, "tiny.pt")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("rdn", lambda s: s.pop("UPNet.0.weight")),
        ("srresnet", lambda s: s.pop("head.0.weight")),
        ("xlsr", lambda s: s.update({"conv4.weight": torch.zeros(3)})),
        ("abpn", lambda s: s.pop("tail.1.weight")),
        ("swinir_light", lambda s: s.pop("layers.0.residual_group.blocks.0.mlp.fc1.weight")),
        ("edsr", lambda s: s.update({"tail.0.0.weight": torch.zeros(3)})),
    ],
)
def test_damaged_files(name, change):
    state = new_model(name, 2).state_dict()
    change(state)
    with pytest.raises(ValueError, match=r"x\.pt looks like \w+ but is not: .*(missing|4 dimensions)"):
        network_from_state(state, "x.pt")


@pytest.mark.parametrize(("images", "psnr"), [("Set5", 33.27), ("Set14", 29.63)])
def test_public_xlsr_weights(benchmark_data, images, psnr):
    model = load_checkpoint(benchmark_data.parent / "weights/xlsr_x3.safetensors")
    result = evaluate(model, paired_folder(benchmark_data / images / "x3", 3), 3)
    assert result.psnr == pytest.approx(psnr, abs=0.01)


def test_bundled_networks_load_without_torchs_compiler():
    """Its import takes longer than all else, and two threads that begin it at once fail."""
    program = "import sys, core.zoo; [core.create_model(*network) for network in core.zoo.bundled()]"
    subprocess.run(
        [sys.executable, "-c", f"{program}; assert 'torch._dynamo' not in sys.modules"], check=True
    )
