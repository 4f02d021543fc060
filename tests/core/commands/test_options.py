"""--res-scale of the commands, and warnings as sentences."""

import sys
import warnings

import pytest
import torch
from PIL import Image

from core import EDSR, Pair, evaluate, make_lr
from core.commands import odm, report
from core.commands.common import warnings_as_sentences
from core.images import round_8bit, to_uint8
from core.sweep.run import prepared


@pytest.fixture
def network():
    torch.manual_seed(0)
    return EDSR(2, n_blocks=2, n_feats=8, res_scale=0.3, rgb_range=1.0).eval()


@pytest.fixture
def folder(tmp_path, network):
    """A network's file as others write it, which does not say its res_scale, and a set of one image."""
    state = {name: tensor for name, tensor in network.state_dict().items() if "extra" not in name}
    torch.save(state, tmp_path / "net.pth")
    hr = round_8bit(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    for kind, image in (("HR", hr), ("LR", make_lr(hr, 2))):
        (tmp_path / "set" / kind).mkdir(parents=True)
        Image.fromarray(to_uint8(image)[0]).save(tmp_path / "set" / kind / "a.png")
    return tmp_path


def run_report(folder, monkeypatch, *more):
    asked = ["--model", folder / "net.pth", "--images", folder / "set", "--bits", 8, "--methods", "minmax"]
    monkeypatch.setattr(sys, "argv", ["report", *map(str, asked), "--out", str(folder / "out"), *more])
    report.main()
    return report.read_rows(folder / "out.csv")


def test_the_report_takes_a_res_scale_and_says_a_guess_in_a_sentence(folder, network, monkeypatch, capsys):
    hr = round_8bit(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    expected = evaluate(network, [Pair("a", make_lr(hr, 2), hr)], 2).psnr
    (row,) = [r for r in run_report(folder, monkeypatch, "--res-scale", "0.3") if r["variant"] == "float"]
    assert float(row["psnr"]) == pytest.approx(expected, abs=1e-4)
    assert "res_scale" not in capsys.readouterr().err
    with warnings.catch_warnings():  # which pytest would keep to itself
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = lambda *warning: sys.stderr.write(warnings.formatwarning(*warning[:4]))
        guessed = next(r for r in run_report(folder, monkeypatch) if r["variant"] == "float")
    assert float(guessed["psnr"]) != pytest.approx(expected, abs=1e-3)
    told = [line for line in capsys.readouterr().err.splitlines() if "res_scale" in line]
    assert len(told) == 1
    assert told[0].startswith("python -m core report: net.pth does not say its res_scale, so 1 was taken")
    assert told[0].endswith("--res-scale in a command")


def test_the_other_commands_take_it_too(folder, monkeypatch):
    path = str(folder / "net.pth")
    hr = {"a": torch.rand(1, 3, 192, 192)}
    inputs, _ = prepared({"network": [path], "method": ["minmax"]}, hr, list(hr.values()), res_scale=0.3)
    assert inputs.networks.model(path, 2).res_scale == 0.3
    trained = ["odm", "--checkpoint", path, "--out", str(folder / "o"), "--res-scale", "0.3"]
    monkeypatch.setattr(sys, "argv", trained)
    assert odm._network(odm._arguments(None)).res_scale == 0.3


def test_without_a_checkpoint_it_is_refused(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["report", "--model", "edsr", "--res-scale", "0.3"])
    with pytest.raises(SystemExit):
        report.main()
    sentence = "res_scale is for checkpoints, and no network here is one; leave it out"
    assert sentence in capsys.readouterr().err
    with pytest.raises(ValueError, match=sentence):
        prepared({"network": ["edsr"], "method": ["minmax"]}, {"a": torch.rand(1, 3, 96, 96)}, res_scale=0.3)


@pytest.mark.filterwarnings("always")
def test_other_warnings_keep_their_place(capsys):
    usual = warnings.formatwarning
    with warnings_as_sentences("prog"):
        assert warnings.formatwarning("a sentence", UserWarning, "file.py", 3) == "prog: a sentence\n"
        assert "file.py:3: RuntimeWarning" in warnings.formatwarning("odd", RuntimeWarning, "file.py", 3)
    assert warnings.formatwarning is usual
