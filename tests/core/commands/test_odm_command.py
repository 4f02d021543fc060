import json
import signal
import sys

import pytest
import torch
from PIL import Image

from core import (
    EDSR,
    audit,
    demo_image,
    demo_names,
)
from core.commands.odm import main
from core.commands.odm_table import main as table_main
from core.ptq.saving import load_quantized as load
from core.qat.training import QuantizedTraining


def photographs(n=2, side=40):
    return [demo_image(name)[..., :side, :side] for name in demo_names()[:n]]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    for i, image in enumerate(photographs()):
        array = (image[0] * 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(array).save(tmp_path / "photos" / f"{i}.png")
    return tmp_path


def command(folder, *more):
    photos = str(folder / "photos")
    return [
        "odm",
        "--model",
        "edsr",
        "--scale",
        "2",
        "--data",
        photos,
        "--validation",
        photos,
        "--out",
        str(folder / "out" / "run"),
        "--batch",
        "2",
        "--patch",
        "8",
        *more,
    ]


def test_the_command(folder, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", command(folder, "--steps", "4", "--no-correction", "--regularizer", "naive")
    )
    main()
    assert "odm W2A2, naive regularizer: " in capsys.readouterr().out
    card = json.loads((folder / "out" / "run.json").read_text())
    assert card["scores"]["photos"]["psnr_y"] > 10
    assert card["correction"] is False
    assert card["validation"] == "photos, the middle 96x96 LR pixels"
    assert len(audit(load(folder / "out" / "run.safetensors"))) > 4


def test_the_command_says_what_is_wrong(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", command(folder, "--bits", "9"))
    with pytest.raises(SystemExit, match="bits must be 2 to 8, got 9"):
        main()


def test_names_with_dots_and_a_checkpoint_of_another_scale(folder, monkeypatch, capsys):
    torch.save(EDSR(3, n_blocks=1, n_feats=4).state_dict(), folder / "net.pth")
    asked = ["--checkpoint", str(folder / "net.pth"), "--steps", "1", "--out", str(folder / "w2.v1.1")]
    monkeypatch.setattr(sys, "argv", command(folder, *asked))
    with pytest.raises(SystemExit, match=r"net\.pth enlarges x3, not x2; give --scale 3"):
        main()
    monkeypatch.setattr(sys, "argv", command(folder, *asked, "--scale", "3"))
    main()
    assert sorted(file.name for file in folder.glob("w2*")) == [
        f"w2.v1.1.{suffix}" for suffix in ("ckpt", "json", "safetensors")
    ]
    card = json.loads((folder / "w2.v1.1.json").read_text())
    assert (card["model"], card["checkpoint"]) == ("net.pth", str(folder / "net.pth"))
    assert load(folder / "w2.v1.1.safetensors").scale == 3
    monkeypatch.setattr(sys, "argv", command(folder, "--out", ".."))
    with pytest.raises(SystemExit, match="--out must end with a name"):
        main()
    capsys.readouterr()


def test_the_command_stops_and_goes_on(folder, monkeypatch):
    """SIGTERM, as it comes from the system, in the middle of the third step."""
    advance, steps = QuantizedTraining.advance, []

    def interrupted(training, gradients):
        advance(training, gradients)
        steps.append(training.step)
        if len(steps) == 3:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(QuantizedTraining, "advance", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit, match="the same command goes on from"):
            main(command(folder, "--steps", "5")[1:])
    finally:
        signal.signal(signal.SIGTERM, before)
    state = torch.load(folder / "out" / "run.ckpt", weights_only=True)
    assert state["step"] == 3
    main(command(folder, "--steps", "5")[1:])
    assert steps == [1, 2, 3, 4, 5]


def test_the_table_is_the_mean_over_seeds(tmp_path, monkeypatch, capsys):
    common = {"model": "edsr", "scale": 2, "steps": 9, "patch": 8, "lambda_m": 1e-5}
    cards = [
        common | {"label": "a", "scores": {"Set5": {"psnr_y": 30.0}}},
        common | {"label": "a", "scores": {"Set5": {"psnr_y": 31.0}}},
        common | {"label": "b", "scores": {"Set5": {"psnr_y": 29.5}}},
        common | {"label": "b"},
        common | {"model": "net.pth", "checkpoint": "a/net.pth", "label": "a", "scores": {}},
        common | {"model": "net.pth", "checkpoint": "b/net.pth", "label": "a", "scores": {}},
    ]
    for i, card in enumerate(cards):
        (tmp_path / f"{i}.json").write_text(json.dumps(card))
    monkeypatch.setattr(sys, "argv", ["odm-table", *map(str, sorted(tmp_path.glob("*.json")))])
    table_main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 runs are not over and left out"
    assert lines[2].split() == ["edsr", "x2", "a", "9", "8", "1e-05", "2", "30.500", "±0.707"]
    assert lines[3].split()[-2:] == ["1", "29.500"]
    assert [line.split()[0] for line in lines[4:]] == ["a/net.pth", "b/net.pth"]
