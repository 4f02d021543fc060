"""What training scripts put around a network's weights, and beside them."""

import argparse
import collections
import copy
import gzip
import pathlib
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from core import EDSR, load_checkpoint
from core.checkpoints.wrapping import plain_names, preferred, prefixes
from core.models import RDN
from core.models.reparameterized import plain_weights


def below(prefix, state):
    return {prefix + name: value for name, value in state.items()}


NET = EDSR(2, 2, 8, rgb_range=1.0).eval()
PLAIN = NET.state_dict()
OTHER = {name: value + 1 for name, value in PLAIN.items()}
MOMENTS = {"step": 3, "exp_avg": torch.ones(8, 3, 3, 3), "exp_avg_sq": torch.zeros(8, 3, 3, 3)}
OPTIMIZER = {
    "state": collections.defaultdict(dict, {0: MOMENTS}),
    "param_groups": [{"lr": 1e-4, "params": [0]}],
}
CRITIC = {"conv.weight": torch.ones(4, 3, 3, 3), "fc.weight": torch.ones(1, 4)}


class AttributeDict(dict):
    """As Lightning keeps hyperparameters."""


WRAPPED = {
    "BasicSR": {"params": PLAIN},
    "BasicSR, averaged": {"params": OTHER, "params_ema": PLAIN},
    "averaged first": {"params_ema": PLAIN, "params": OTHER},
    "with a hyphen": {"params-ema": PLAIN, "params": OTHER},
    "timm": {"state_dict": OTHER, "state_dict_ema": below("module.", PLAIN), "epoch": 3},
    "NTIRE": {"net": PLAIN, "optimizer": OPTIMIZER, "epoch": 7},
    "another name": {"our_own_name": PLAIN, "optimizer": OPTIMIZER, "best": 31.5},
    "a deep name": {"checkpoint": {"ours": {"weights": PLAIN}}},
    "a list": [PLAIN, OPTIMIZER],
    "a tuple": (3, below("module.", PLAIN)),
    "compiled": below("_orig_mod.", PLAIN),
    "compiled within DDP": below("module._orig_mod.", PLAIN),
    "DDP within a compiled": below("_orig_mod.module.", PLAIN),
    "compiled in parts": {name.replace("body.0.", "body.0._orig_mod."): v for name, v in PLAIN.items()},
    "sharded": below("_fsdp_wrapped_module.", PLAIN),
    "EDSR-PyTorch": below("model.module.", PLAIN),
    "Lightning": {
        "state_dict": below("net.", PLAIN) | below("loss.vgg.", CRITIC),
        "hyper_parameters": AttributeDict(lr=1e-3),
        "optimizer_states": [OPTIMIZER],
        "lr_schedulers": [{"milestones": collections.Counter([3])}],
        "callbacks": {"EMA": {"ema_weights": [torch.ones(3)]}},
    },
    "mmagic": {
        "meta": {"iter": 3},
        "state_dict": below("generator.", PLAIN) | below("discriminator.", CRITIC),
    },
    "mmagic, averaged": below("generator.", OTHER)
    | below("generator_ema.", PLAIN)
    | {"step_counter": torch.tensor(3)},
    "a GAN's": {"net_g": PLAIN, "net_d": CRITIC, "optimizer_g": OPTIMIZER, "optimizer_d": OPTIMIZER},
    "KAIR's names": {"netG": PLAIN, "netD": CRITIC},
    "ema-pytorch": {
        "model": OTHER,
        "ema": below("online_model.", OTHER)
        | below("ema_model.", PLAIN)
        | {"initted": torch.tensor([True]), "step": torch.tensor([9])},
    },
    "AveragedModel": below("module.", PLAIN) | {"n_averaged": torch.tensor(4)},
    "the same twice": dict.fromkeys(("params", "params_best"), PLAIN),
    "records": {
        "state_dict": PLAIN,
        "best_psnr": np.float64(31.2),
        "step": np.int64(3),
        "curve": np.arange(5.0),
        "args": argparse.Namespace(scale=[2], lr=1e-4),
        "path": pathlib.PurePosixPath("runs/1"),
        "size": torch.Size([1, 3]),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "seen": {1, 2},
        "random": torch.get_rng_state(),
        "nothing": torch.zeros(0),
        "loss": torch.tensor(torch.nan),
    },
    "half": {"net": {name: value.half() for name, value in PLAIN.items()}},
    "bfloat16": {"net": {name: value.bfloat16() for name, value in PLAIN.items()}},
    "double": {"net": {name: value.double() for name, value in PLAIN.items()}},
}


@pytest.mark.parametrize("zip_file", [True, False])
@pytest.mark.parametrize("kind", WRAPPED)
def test_the_network_is_found(kind, zip_file, tmp_path):
    torch.save(WRAPPED[kind], tmp_path / "x.ckpt", _use_new_zipfile_serialization=zip_file)
    model = load_checkpoint(tmp_path / "x.ckpt")
    tolerance = 0.01 if kind in ("half", "bfloat16") else 0
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.allclose(value, PLAIN[name], atol=tolerance, rtol=0)


def test_prefixes_in_safetensors(tmp_path):
    save_file(below("generator.", OTHER) | below("generator_ema.", PLAIN), str(tmp_path / "x.safetensors"))
    assert torch.equal(load_checkpoint(tmp_path / "x.safetensors").head[0].weight, NET.head[0].weight)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"model": PLAIN, "net": OTHER}, "holds several networks, under model and net; save the state_dict"),
        (
            {"teacher": PLAIN, "student": OTHER},
            "belongs to no network known here .*: save what lies under teacher alone, which looks like one",
        ),
        (
            {"backbone": RDN(2, 1, 1, 4, 4).state_dict(), "flow": CRITIC},
            "belongs to no .* save what lies under backbone",
        ),
        ({"optimizer": OPTIMIZER}, "must hold a dict of tensors"),
        (
            {"model": NET, "epoch": 3},
            r"holds more than tensors .*\(core\.models\.edsr\.EDSR\); save a state_dict",
        ),
        ({"net": PLAIN, "what": slice(3)}, r"holds more than tensors and was not loaded \(\w+\.slice\)"),
        (
            {"net": PLAIN | {"head.0.bias": torch.full((8,), torch.nan)}},
            "holds NaN or infinite weights in head",
        ),
        ({"net": PLAIN | {"more": torch.ones(1)}}, 'does not fit EDSR: Unexpected key.*"more"'),
    ],
)
@pytest.mark.parametrize("zip_file", [True, False])
def test_what_is_said_of_others(state, message, zip_file, tmp_path):
    torch.save(state, tmp_path / "x.pth", _use_new_zipfile_serialization=zip_file)
    with pytest.raises(ValueError, match=rf"^x\.pth {message}") as found:
        load_checkpoint(tmp_path / "x.pth")
    assert "\n" not in str(found.value)


def test_archives_of_programs(tmp_path):
    model, x = nn.Conv2d(3, 3, 1).eval(), torch.rand(1, 3, 4, 4)
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.trace(model, x), tmp_path / "script.pt")
    torch.export.save(torch.export.export(model, (x,)), tmp_path / "program.pt2")
    for name, reader in (("script.pt", "torch.jit.load"), ("program.pt2", "torch.export.load")):
        with pytest.raises(
            ValueError, match=rf"^{name} holds more than tensors .*{reader} reads\); save a state"
        ):
            load_checkpoint(tmp_path / name)


@pytest.mark.parametrize("name", ["lapsrn_epoch_100.pth", "vdsr_epoch_50.pth", "xlsr_qat_torchscript.pt"])
def test_public_files_that_hold_code(name, benchmark_data):
    file = benchmark_data.parent / "checkpoints" / name
    if not file.exists():
        pytest.skip(f"no {name} here")
    what = r"an archive of TorchScript.*" if name.endswith("pt") else r"(lapsrn|vdsr)\.Net"
    with pytest.raises(
        ValueError, match=rf"^{name} holds more than tensors and was not loaded \({what}\); save"
    ):
        load_checkpoint(file)


def test_dicts_that_hold_themselves_or_one_another_many_times(tmp_path):
    loop: dict = {"net": PLAIN}
    loop["again"] = loop
    torch.save(loop, tmp_path / "loop.pth")
    assert isinstance(load_checkpoint(tmp_path / "loop.pth"), EDSR)
    twice: dict = {"x": torch.ones(1)}
    for _ in range(60):
        twice = {"net": twice, "model": twice}
    torch.save(twice, tmp_path / "twice.pth")
    with pytest.raises(ValueError, match="must hold a dict of tensors"):
        load_checkpoint(tmp_path / "twice.pth")


def test_tensors_that_share_their_numbers_take_no_more_memory(tmp_path):
    numbers = torch.zeros(2**18)
    views = {f"body.{i}": numbers[i : i + 1] for i in range(3000)}  # 3 GB if each had its own copy
    torch.save(views, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="belongs to no network"):
        load_checkpoint(tmp_path / "x.pth")


def test_prefixes_by_hand():
    names = [
        "step",
        "state_dict.g.a.weight",
        "state_dict.g.b.c.weight",
        "state_dict.vgg.a.weight",
        "state_dict.n",
    ]
    assert list(prefixes(names)) == ["", "state_dict.", "state_dict.g."]
    assert list(prefixes(["a.b.c", "a.d.e"])) == ["", "a."]
    assert preferred(["params.", "params_ema."]) == ["params_ema."]
    assert preferred(["schema.", "demand."]) == ["schema.", "demand."]
    assert preferred(["ema.online_model.", "model.", "ema.ema_model."]) == ["ema.ema_model."]
    assert plain_names({"a._orig_mod.b": 1, "_orig_mod.c": 2, "not_orig_mod.d": 3}) == {
        "a.b": 1,
        "c": 2,
        "not_orig_mod.d": 3,
    }


def test_a_deepcopy_says_its_own_res_scale():
    copied = copy.deepcopy(EDSR(2, 1, 4, res_scale=0.1))
    copied.load_state_dict({name: v for name, v in copied.state_dict().items() if name != "_extra_state"})
    assert copied.body[0].res_scale == 0.1


@pytest.mark.parametrize("colours", [1, 3])
def test_the_network_is_float32_whatever_the_default(colours, tmp_path):
    torch.save(EDSR(2, 1, 4, colours=colours).state_dict(), tmp_path / "x.pth")
    torch.set_default_dtype(torch.float64)
    try:
        model = load_checkpoint(tmp_path / "x.pth")
    finally:
        torch.set_default_dtype(torch.float32)
    assert {p.dtype for p in [*model.parameters(), *model.buffers()]} == {torch.float32}
    assert model(torch.rand(1, 3, 4, 4)).dtype == torch.float32


def reparameterized(model, kind):
    """The state_dict of a copy whose inner convs are weight-normed or pruned."""
    copied = copy.deepcopy(model)
    for module in (copied.body[0].body[0], copied.head[0]):
        if kind == "weight_norm":
            torch.nn.utils.parametrizations.weight_norm(module)
        elif kind == "older weight_norm":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                torch.nn.utils.weight_norm(module)
        else:
            torch.nn.utils.prune.l1_unstructured(module, "weight", amount=0.3)
    return copied, copied.state_dict()


@pytest.mark.parametrize("prefix", ["", "state_dict.module."])
@pytest.mark.parametrize("kind", ["weight_norm", "older weight_norm", "pruned"])
def test_weights_that_are_computed_are_made_plain(kind, prefix, tmp_path):
    torch.manual_seed(0)
    copied, state = reparameterized(EDSR(2, 1, 4, rgb_range=1.0).eval(), kind)
    torch.save(below(prefix, state), tmp_path / "net.pth")
    x = torch.rand(1, 3, 9, 9)
    assert torch.allclose(load_checkpoint(tmp_path / "net.pth")(x), copied(x), atol=1e-5)


def test_a_pair_that_would_grow_stays_as_it_is():
    state = {"a.weight_g": torch.rand(5000, 1), "a.weight_v": torch.rand(1, 5000)}
    assert plain_weights(state) == state


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a pointer of Git LFS, and git lfs pull",
        ),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (gzip.compress(b"x", mtime=0), "compressed by gzip"),
    ],
)
def test_what_a_download_may_leave_in_its_place(content, kind, tmp_path):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(ValueError, match=f"net.pth is not a readable checkpoint: it is {kind}"):
        load_checkpoint(tmp_path / "net.pth")
