"""The experiment as a command, on networks and images small enough to run it for real."""

import csv
import shutil
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from core import audit_litert, load_checkpoint, paired_folder, psnr_y
from core.commands import cfqp
from core.commands.cfqp_summary import best_strategy
from core.commands.cfqp_variants import FREE
from core.deploy import OnnxNetwork
from core.deploy.litert_files import PACKAGES, is_installed
from core.images import make_lr, to_uint8
from core.models import ABPN

FEW = [*cfqp.VARIANTS[:2], cfqp.VARIANTS[3], (FREE, "random"), (FREE, "crop")]


@pytest.fixture
def folders(tmp_path):
    """Photos to calibrate on and to choose by, a benchmark, and a network; all x2."""
    random = torch.Generator().manual_seed(0)
    for folder, number in (("train", 2), ("kodak", 1), ("Set/x2/LR", 0), ("Set/x2/HR", 2)):
        (tmp_path / folder).mkdir(parents=True)
        for n in range(number):
            image = torch.nn.functional.interpolate(torch.rand(1, 3, 9, 8, generator=random), (72, 64))
            image = 0.2 + 0.6 * image  # calm, so that regions are left to crop
            Image.fromarray(to_uint8(image)[0]).save(tmp_path / folder / f"{n}.png")
            if "HR" in folder:
                Image.fromarray(to_uint8(make_lr(image, 2))[0]).save(tmp_path / "Set/x2/LR" / f"{n}.png")
    torch.manual_seed(1)
    model = ABPN(2, n_convs=1, n_feats=4)
    model.tail[1].weight.data /= 10
    model.tail[1].bias.data /= 10
    save_file(model.state_dict(), tmp_path / "net.safetensors")
    return tmp_path


def arguments(folder, *extra):
    return [
        "cfqp", f"--models={folder / 'net.safetensors'}", "--scale=2", f"--calibration={folder / 'train'}",
        f"--validation={folder / 'kodak'}", f"--images={folder / 'Set/x2'}", f"--out={folder / 'runs/out'}",
        "--engines=onnx", *extra,
    ]  # fmt: skip


def read(folder):
    with (folder / "runs/out.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_command(folders, monkeypatch, capsys):
    monkeypatch.setattr(cfqp, "VARIANTS", FEW)
    monkeypatch.setattr(sys, "argv", arguments(folders))
    cfqp.main()
    found = read(folders)
    wanted = ["model", "variant", "strategy", "set", "psnr", "ssim", "colour_shift", "ms"]
    assert list(found[0])[: len(wanted)] == wanted
    assert [(r["variant"], r["strategy"]) for r in found if r["set"] == "Set"] == FEW
    assert {r["set"] for r in found} == {"Set", "kodak"}
    assert all(float(r["ms"]) > 0 for r in found)
    assert found[0]["colour_shift"] == "0.0"

    # A row is what its file does; the float one what the network does.
    pairs = list(paired_folder(folders / "Set/x2", 2))
    model = load_checkpoint(folders / "net.safetensors")
    files = {"float": model, "INT8 clip-free": OnnxNetwork(folders / "runs/net-INT8_clip-free-crop.onnx")}
    for variant, network in files.items():
        row = [r for r in found if r["set"] == "Set" and r["variant"] == variant][-1]
        with torch.no_grad():
            psnr = sum(psnr_y(network(p.lr), p.hr, border=2) for p in pairs) / 2
        assert float(row["psnr"]) == pytest.approx(psnr, abs=1e-3)
    assert "Best on kodak" in capsys.readouterr().out

    # A run that was stopped: two rows short and without times, only the last variant is computed again.
    cfqp.write_rows(folders / "runs/out.csv", [row | {"ms": ""} for row in found[:-2]], cfqp.COLUMNS)
    made, original = [], cfqp.variant_graph
    monkeypatch.setattr(
        cfqp, "variant_graph", lambda m, v, s, pool: (made.append((v, s)), original(m, v, s, pool))[1]
    )
    cfqp.main()
    assert made == FEW[-1:]
    again = read(folders)
    same = ("variant", "strategy", "set", "psnr", "ssim", "colour_shift")
    assert [[r[key] for key in same] for r in again] == [[r[key] for key in same] for r in found]
    assert all(float(r["ms"]) > 0 for r in again)
    cfqp.main()
    assert made == FEW[-1:]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the engine's packages warn about themselves
@pytest.mark.skipif(
    not all(map(is_installed, PACKAGES)), reason="LiteRT is not installed: pip install '.[litert]'"
)
def test_the_clip_on_a_phone(folders, monkeypatch, capsys):
    monkeypatch.setattr(cfqp, "TIMED", (36, 32))
    monkeypatch.setattr(sys, "argv", arguments(folders, "--engines=litert"))
    cfqp.main()
    found = [row for row in read(folders) if row["set"] == "Set"]
    assert [(row["variant"], row["strategy"]) for row in found] == cfqp.PHONE_VARIANTS
    assert all(float(row["ms"]) > 0 for row in found)
    by_variant = {row["variant"]: row for row in found if row["strategy"] in ("", "random")}
    clips = {
        clip: audit_litert(
            folders / "runs" / f"net-{variant}-random.tflite".replace(" ", "_").replace(",", "")
        )
        for variant, clip in cfqp.PHONE_CLIPS.items()
    }
    assert [clips[c].float["RELU_0_TO_1"] for c in ("folded", "float", "integer")] == [0, 1, 0]
    assert [clips[c].integer["RELU_0_TO_1"] for c in ("folded", "float", "integer")] == [0, 0, 1]
    assert int(by_variant[cfqp.PHONE_BEHIND]["conversions"]) > int(by_variant[cfqp.PHONE_FREE]["conversions"])
    assert "LiteRT, time over INT8 clip-free: clip folded" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("images", "names"),
    [
        (["Set/x2"], ["Set"]),
        (["Set/x2", "other/Set/x2"], ["here/Set/x2", "other/Set/x2"]),
        (["Set", "other/Set"], ["here/Set", "other/Set"]),
        (["Set/x2", "kodak/x2"], ["Set", "kodak/x2"]),  # the folder of the validation images is here/kodak
    ],
)
def test_sets_of_one_name(folders, images, names, monkeypatch):
    here = folders / "here"
    for copied in ("Set", "other/Set", "kodak"):
        shutil.copytree(folders / "Set", here / copied)
    shutil.copytree(folders / "kodak", here / "kodak", dirs_exist_ok=True)
    monkeypatch.chdir(here)
    asked = ["--models", "../net.safetensors", "--scale=2", "--calibration=../train", "--validation=kodak"]
    _, sets, _ = cfqp._inputs(cfqp._arguments().parse_args([*asked, "--out=x", "--images", *images]))
    assert list(sets)[1:] == names
    assert len(sets) == 1 + len(images)


def test_the_strategy_is_chosen_on_the_validation_set_alone():
    psnr = {("a", "val"): 30.1, ("b", "val"): 30.2, ("a", "test"): 33.0, ("b", "test"): 32.0}
    found = [
        {"model": "m", "variant": FREE, "strategy": s, "set": images, "psnr": value}
        for (s, images), value in psnr.items()
    ] + [{"model": "m", "variant": cfqp.CLIP, "strategy": "random", "set": "val", "psnr": 40}]
    assert best_strategy(found, "m", "val") == "b"


def test_the_clip_that_is_not_folded_runs_as_an_operator():
    from core.models import without_clip

    model = ABPN(2, n_convs=1, n_feats=4)
    pool, ops = [torch.rand(1, 3, 36, 34)], {}
    for variant in (cfqp.CLIP, cfqp.UNFOLDED, FREE):
        ops[variant] = [n.op_type for n in cfqp.variant_graph(model, variant, "first", pool).graph.node]
    assert ops[cfqp.UNFOLDED].count("Min") == 1
    assert not {"Clip", "Min"} & {*ops[cfqp.CLIP], *ops[FREE]}
    free, x = without_clip(model), 2 * torch.rand(1, 3, 6, 6) - 0.5
    free.clip = cfqp.Minimum()
    assert torch.equal(free(x), model(x))


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("--models=unet", "no bundled weights for unet x2"),
        ("--scale=3", "net enlarges x2, but the images are for --scale 3"),
        ("--images=/nowhere", "must hold the folders HR and LR"),
        ("--calibration=/nowhere", "/nowhere"),
        ("--models=edsr", "EDSR has no clip at its end"),
    ],
)
def test_bad_arguments_end_in_a_sentence(folders, argument, sentence, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", arguments(folders, argument))
    with pytest.raises(SystemExit) as stopped:
        cfqp.main()
    assert stopped.value.code == 2
    written = capsys.readouterr().err.strip().splitlines()
    assert sentence in written[-1]
    assert len(written) == 1
