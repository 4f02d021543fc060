import os
import pickle

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from core import EDSR, MODELS, create_model, evaluate, load_checkpoint, paired_folder
from core.models import RDN, RGB_MEAN, new_model
from core.zoo import ASSETS, bundled, model_card


def authors_state(scale, n_blocks=2, n_feats=4):
    """A state_dict with the names and shapes of the authors' EDSR, written down independently."""
    convs = {"head.0": (n_feats, 3), f"body.{n_blocks}": (n_feats, n_feats), "tail.1": (3, n_feats)}
    for block in range(n_blocks):
        for conv in (0, 2):
            convs[f"body.{block}.body.{conv}"] = (n_feats, n_feats)
    factors = {2: [(0, 4)], 3: [(0, 9)], 4: [(0, 4), (2, 4)]}[scale]
    convs |= {f"tail.0.{i}": (factor * n_feats, n_feats) for i, factor in factors}
    state = {}
    for name, shape in convs.items():
        state[f"{name}.weight"], state[f"{name}.bias"] = (
            torch.randn(*shape, 3, 3) * 0.1,
            torch.randn(shape[0]),
        )
    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        state[f"{name}.weight"] = torch.eye(3).view(3, 3, 1, 1)
        state[f"{name}.bias"] = sign * 255 * torch.tensor(RGB_MEAN)
    return state


def conv(x, state, name):
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)


def authors_forward(x, state, scale, res_scale, n_blocks=2):
    """EDSR in [0, 255], step by step."""
    mean = 255 * torch.tensor(RGB_MEAN).view(3, 1, 1)
    head = y = conv(x * 255 - mean, state, "head.0")
    for block in range(n_blocks):
        inner = conv(y, state, f"body.{block}.body.0").relu()
        y = y + res_scale * conv(inner, state, f"body.{block}.body.2")
    y = head + conv(y, state, f"body.{n_blocks}")
    for stage in range(2 if scale == 4 else 1):
        y = F.pixel_shuffle(conv(y, state, f"tail.0.{2 * stage}"), 2 if scale == 4 else scale)
    return (conv(y, state, "tail.1") + mean) / 255


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_authors_checkpoints_load_as_they_are(tmp_path, scale, suffix):
    state, x = authors_state(scale), torch.rand(2, 3, 7, 6)
    path = tmp_path / f"edsr{suffix}"
    save_file(state, str(path)) if suffix == ".safetensors" else torch.save(state, path)
    model = load_checkpoint(path, res_scale=1.0)
    assert not model.training
    assert model.scale == scale
    assert torch.allclose(model(x), authors_forward(x, state, scale, 1.0), atol=1e-4)


def test_the_large_network_has_residual_scaling(tmp_path):
    state = authors_state(2, n_blocks=1, n_feats=256)
    torch.save(state, tmp_path / "edsr.pt")
    x = torch.rand(1, 3, 3, 3)
    expected = authors_forward(x, state, 2, 0.1, n_blocks=1)
    with pytest.warns(UserWarning, match=r"edsr\.pt does not say its res_scale, so 0\.1 was taken"):
        model = load_checkpoint(tmp_path / "edsr.pt")
    assert torch.allclose(model(x), expected, rtol=1e-3, atol=1e-3)


def test_residual_scaling_that_is_given_goes_before_a_guess_and_stays_with_the_network(tmp_path):
    state, x = authors_state(2), torch.rand(1, 3, 5, 5)
    torch.save(state, tmp_path / "edsr.pt")
    with pytest.warns(UserWarning, match=r"edsr\.pt does not say its res_scale, so 1 was taken"):
        guessed = load_checkpoint(tmp_path / "edsr.pt")
    assert torch.allclose(guessed(x), authors_forward(x, state, 2, 1.0), atol=1e-4)
    model = load_checkpoint(tmp_path / "edsr.pt", res_scale=0.1)
    assert model.body[0].res_scale == 0.1
    assert torch.allclose(model(x), authors_forward(x, state, 2, 0.1), atol=1e-4)
    half = {name: value.half() for name, value in model.state_dict().items()}
    save_file(half, str(tmp_path / "own.safetensors"))
    own = load_checkpoint(tmp_path / "own.safetensors")  # no warning: its own files say it
    assert (own.res_scale, own.body[1].res_scale, own.rgb_range) == (0.1, 0.1, 255)
    assert load_checkpoint(tmp_path / "own.safetensors", res_scale=0.5).body[0].res_scale == 0.5


def test_residual_scaling_comes_with_a_state_dict():
    model, other = EDSR(2, 1, 4, res_scale=0.3, rgb_range=1.0).eval(), EDSR(2, 1, 4).eval()
    other.load_state_dict(model.state_dict())
    x = torch.rand(1, 3, 4, 4)
    assert torch.equal(other(x), model(x))
    other.load_state_dict(authors_state(2, n_blocks=1))  # which says none: what it has stays
    assert other.res_scale == 0.3


def test_residual_scaling_that_cannot_be(tmp_path):
    torch.save(authors_state(2), tmp_path / "edsr.pt")
    torch.save(RDN(2, 1, 1, 4, 4).state_dict(), tmp_path / "rdn.pt")
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"res_scale must be a positive number, got {value}"):
            load_checkpoint(tmp_path / "edsr.pt", res_scale=value)
    with pytest.raises(ValueError, match=r"rdn\.pt holds RDN, and res_scale is for EDSR alone; leave it out"):
        load_checkpoint(tmp_path / "rdn.pt", res_scale=1.0)
    for extra in (torch.zeros(2), torch.ones(1)):
        torch.save(authors_state(2) | {"_extra_state": extra}, tmp_path / "edsr.pt")
        with pytest.raises(ValueError, match=r"edsr\.pt looks like EDSR but is not: res_scale and rgb_range"):
            load_checkpoint(tmp_path / "edsr.pt")


@pytest.mark.parametrize("rgb_range", [1.0, 255.0])
def test_range_is_read_from_the_file(tmp_path, rgb_range):
    model = EDSR(2, n_blocks=1, n_feats=4, rgb_range=rgb_range).eval()
    torch.save(model.state_dict(), tmp_path / "edsr.pth")
    loaded, x = load_checkpoint(tmp_path / "edsr.pth"), torch.rand(1, 3, 5, 5)
    assert loaded.rgb_range == rgb_range
    assert torch.equal(loaded(x), model(x))


def test_checkpoints_without_the_mean_shift_or_in_float16(tmp_path):
    state = authors_state(2)
    x = torch.rand(1, 3, 5, 5)
    expected = authors_forward(x, state, 2, 1.0)
    half = {k: v.half() for k, v in state.items() if "mean" not in k}
    torch.save(half, tmp_path / "edsr.pt")
    model = load_checkpoint(tmp_path / "edsr.pt", res_scale=1.0)
    assert next(model.parameters()).dtype == torch.float32
    assert torch.allclose(model(x), expected, atol=0.05)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_truncated_files(tmp_path, suffix, share):
    path, state = tmp_path / f"cut{suffix}", authors_state(2)
    save_file(state, str(path)) if suffix == ".safetensors" else torch.save(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(
        ValueError, match=f"cut{suffix} (is not a readable checkpoint|holds more than tensors)"
    ):
        load_checkpoint(path)


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_run(tmp_path, zipped):
    path, trace = tmp_path / "code.pt", tmp_path / "trace"
    if zipped:
        torch.save({"head.0.weight": Hostile(trace)}, path)
    else:
        path.write_bytes(pickle.dumps(Hostile(trace)))
    with pytest.raises(ValueError, match="holds more than tensors and was not loaded"):
        load_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"x.0": torch.zeros(3)}, "belongs to no network known here"),
        (lambda s: {}, "must hold a dict of tensors"),
        (lambda s: s | {"extra.weight": torch.zeros(1)}, r"does not fit EDSR: .*extra\.weight"),
        (
            lambda s: {k: v for k, v in s.items() if k != "tail.1.bias"},
            r"does not fit EDSR: .*tail\.1\.bias",
        ),
        (lambda s: s | {"tail.1.weight": torch.zeros(3, 5, 3, 3)}, "does not fit EDSR"),
        (lambda s: s | {"head.0.bias": torch.full((4,), torch.nan)}, "holds NaN or infinite weights"),
        (lambda s: {"step": 3}, "must hold a dict of tensors"),
        (lambda s: torch.zeros(3), "must hold a dict of tensors"),
        (lambda s: "text", "must hold a dict of tensors"),
    ],
)
def test_other_contents(tmp_path, change, message):
    torch.save(change(authors_state(2)), tmp_path / "other.pt")
    with pytest.raises(ValueError, match=rf"other\.pt {message}"):
        load_checkpoint(tmp_path / "other.pt")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "none.pt")


def test_names_and_scales_that_are_not_there():
    for name, scale in (("edsr", 7), ("nonet", 2)):
        with pytest.raises(ValueError, match=f"no bundled weights for {name} x{scale}; there are "):
            create_model(name, scale)
    with pytest.raises(
        ValueError, match=r"weights of edsr x2 must be one of 'bundled', 'official'.*, got 'random'"
    ):
        create_model("edsr", 2, weights="random")
    with pytest.raises(ValueError, match="no model 'nonet'; there are edsr, edsr_baseline"):
        new_model("nonet", 2)
    for name, scales in (("edsr", "2, 3 or 4"), ("rdn", "2, 3 or 4"), ("srresnet", "2 or 4")):
        with pytest.raises(ValueError, match=f"scale must be {scales}, got 5"):
            new_model(name, 5)


@pytest.mark.parametrize(
    ("name", "scale"), [(n, s) for n in MODELS for s in (2, 3, 4) if (n, s) != ("srresnet", 3)]
)
def test_architectures(name, scale):
    sr = new_model(name, scale)(torch.rand(1, 3, 6, 5))
    assert sr.shape == (1, 3, 6 * scale, 5 * scale)


def test_a_network_without_residuals_returns_the_mean_colour():
    model = EDSR(2, n_blocks=1, n_feats=4)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.zero_()
    assert torch.allclose(
        model(torch.rand(1, 3, 4, 4)), torch.tensor(RGB_MEAN).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    )


# Bicubic has 33.66 dB at x2 and 28.42 dB at x4.
LEAST = {("edsr", 2): 37.5, ("edsr", 4): 31.3, ("rdn", 2): 36.2, ("srresnet", 4): 30.95}
LEAST |= {("xlsr", 3): 32.3, ("abpn", 3): 32.5}


@pytest.mark.parametrize(("name", "scale"), bundled())
def test_bundled_networks_score_what_their_cards_say(benchmark_data, name, scale):
    card, model = model_card(name, scale), create_model(name, scale)
    result = evaluate(model, paired_folder(benchmark_data / f"Set5/x{scale}", scale), scale)
    assert result.psnr == pytest.approx(card["scores"]["Set5"]["psnr_y"], abs=0.005)
    assert result.psnr >= LEAST[name, scale]


@pytest.mark.parametrize(("name", "scale"), bundled())
def test_model_cards(name, scale):
    card, model = model_card(name, scale), create_model(name, scale)
    assert (card["model"], card["scale"], card["about"]) == (name, scale, model.about)
    assert card["parameters"] == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_the_bundled_weights_are_small():
    assert sum(file.stat().st_size for file in ASSETS.glob("*.safetensors")) < 10 * 2**20
