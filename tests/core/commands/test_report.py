import copy
import csv
import re
import sys

import pytest
import torch
from PIL import Image

from core import Pair, evaluate, make_lr, quantize_model, tune_ranges
from core.analysis import comparison
from core.commands import report
from core.commands.report_html import page
from core.images import to_uint8
from core.models import XLSR
from core.ptq.config import QuantConfig
from core.zoo import bundled

TEXTS = {
    "network": "<n>",
    "question": "q",
    "draw": 0,
    "scope": "residual <blocks>",
    "calibration": "three patches",
    "metric": "luma",
}
SOME = {name: report.VARIANTS[name] for name in ("dfsq-exact", "minmax")}


@pytest.fixture
def sets():
    hr = torch.rand(2, 1, 3, 40, 36, generator=torch.Generator().manual_seed(2))
    return {"a": [Pair("1", make_lr(hr[0], 2), hr[0])], "b": [Pair("2", make_lr(hr[1], 2), hr[1])]}


def test_rows_are_what_evaluate_says(tiny_edsr, images, sets):
    found = list(report.rows(tiny_edsr, report.Benchmark(sets, images, TEXTS), SOME, (8, 2)))
    assert len(found) == 2 * (1 + 2 * 2)
    assert all(set(row) == set(report.COLUMNS) for row in found)
    row = next(r for r in found if (r["variant"], r["bits"], r["set"]) == ("minmax", "W2A2", "b"))
    quantized = quantize_model(tiny_edsr, images, QuantConfig("minmax", 2, 2))
    expected = evaluate(quantized, sets["b"], 2)
    reference = evaluate(tiny_edsr, sets["b"], 2)
    assert row["psnr"] == pytest.approx(expected.psnr, abs=1e-4)
    assert row["drop"] == pytest.approx(reference.psnr - expected.psnr, abs=1e-4)
    assert next(r["kib"] for r in found if r["variant"] == "float") > row["kib"]


def test_finished_rows_are_not_computed_again(tiny_edsr, images, sets, monkeypatch):
    whole = list(report.rows(tiny_edsr, report.Benchmark(sets, images, TEXTS), SOME, (2,)))
    done = [row for row in whole if row["variant"] != "dfsq-exact"]
    scored = []
    monkeypatch.setattr(comparison, "evaluate", lambda model, *_: scored.append(model) or evaluate(model, *_))
    found = list(report.rows(tiny_edsr, report.Benchmark(sets, images, TEXTS), SOME, (2,), done))
    timeless = [{k: v for k, v in row.items() if k != "seconds"} for row in found]
    assert timeless == [{k: row[k] for k in timeless[0]} for row in whole if row not in done]
    assert tiny_edsr not in scored


def test_tuned_ranges_stand_beside_their_method(tiny_edsr, images, sets):
    benchmark = report.Benchmark(sets, images, TEXTS)
    asked = (tiny_edsr, benchmark, SOME, (2,))
    found = list(report.rows(*asked, improve=report._tuning(3)))
    assert list(dict.fromkeys(row["variant"] for row in found)) == [
        "float", "dfsq-exact", "minmax", "minmax, ranges tuned in 3 steps",
    ]  # fmt: skip
    quantized = quantize_model(tiny_edsr, images, QuantConfig("minmax", 2, 2))
    tuned = tune_ranges(tiny_edsr, quantized, images, 3, patch=min(48, *images.shape[-2:]))
    row = next(row for row in found if "tuned" in row["variant"] and row["set"] == "b")
    assert row["psnr"] == pytest.approx(evaluate(tuned, sets["b"], 2).psnr, abs=1e-4)
    assert row["dynamic"] == "static"
    before = [row for row in found if "tuned" not in row["variant"]]
    again = list(report.rows(*asked, before, improve=report._tuning(3)))
    assert [row["variant"] for row in again] == ["minmax, ranges tuned in 3 steps"] * 2
    assert list(report.rows(*asked, found, improve=report._tuning(3))) == []


def test_networks_that_training_quantized(tiny_edsr, images, sets):
    done = quantize_model(tiny_edsr, images, QuantConfig("minmax", 3, 3))
    done.quant_config = QuantConfig("odm", 3, 3)
    found = list(report.rows(tiny_edsr, report.Benchmark(sets, images, TEXTS), {}, (8,), trained=[done]))
    assert [(row["variant"], row["bits"], row["set"]) for row in found[2:]] == [
        ("odm", "W3A3", "a"),
        ("odm", "W3A3", "b"),
    ]
    assert found[2]["psnr"] == pytest.approx(evaluate(done, sets["a"], 2).psnr, abs=1e-4)
    again = report.rows(
        tiny_edsr, report.Benchmark(sets, images, TEXTS), {}, (8,), done=found, trained=[done]
    )
    assert list(again) == []
    assert "<td>training</td>" in page(found, {"<n>": "about"})


def test_the_digest_tells_questions_apart(tiny_edsr, images, sets):
    same = report.digest(tiny_edsr, sets, images)
    assert report.digest(tiny_edsr, sets, images) == same
    assert report.digest(tiny_edsr, sets, images + 0.1) != same
    assert report.digest(tiny_edsr, {"a": sets["a"]}, images) != same


def test_csv_comes_back_and_other_questions_do_not(tmp_path, tiny_edsr, images, sets):
    found = list(report.rows(tiny_edsr, report.Benchmark(sets, images, TEXTS), SOME, (2,)))
    report.write_rows(tmp_path / "a.csv", found)
    again = report.read_rows(tmp_path / "a.csv")
    assert [{k: str(v) for k, v in row.items()} for row in found] == again
    assert report._finished(again, "q", 2) == again
    assert report._finished(again, "q", 3) == report._finished(again, "other", 2) == []
    assert report.read_rows(tmp_path / "none.csv") == []
    (tmp_path / "other.csv").write_text("variant,bits\nminmax,4\n")
    assert report.read_rows(tmp_path / "other.csv") == []
    assert report.table(again, "a") == report.table(found, "a")
    assert page(again, {"<n>": "t"}) == page(found, {"<n>": "t"})


def test_html_is_self_contained_and_escaped(tiny_edsr, images, sets):
    html = page(
        list(report.rows(tiny_edsr, report.Benchmark(sets, images, TEXTS), SOME, (3,))), {"<n>": "<b>"}
    )
    assert "&lt;b&gt;" in html
    assert "&lt;n&gt;" in html
    assert "residual &lt;blocks&gt;" in html
    assert "http" not in html
    assert (html.count("<h2>"), html.count("<h3>")) == (1, 2)


def test_networks_by_name_by_file_and_all(tmp_path, tiny_edsr):
    torch.save(tiny_edsr.state_dict(), tmp_path / "mine.pth")
    named = report.networks(["edsr", str(tmp_path / "mine.pth")], 4)
    assert [(n.title, n.scale) for n in named] == [("edsr x4", 4), ("mine.pth", 2)]
    assert [(n.title, n.scale) for n in report.networks(["all"], 2)] == [
        (f"{name} x{scale}", scale) for name, scale in bundled()
    ]


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["report", *map(str, arguments)])
    report.main()


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def benchmark(folder, scale):
    for n, name in enumerate(("a", "b")):
        hr = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(n))
        for kind, image in (("HR", hr), ("LR", make_lr(hr, scale))):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(to_uint8(image)[0]).save(folder / kind / f"{name}.png")
    return folder


def test_files_and_sets_of_one_name(tmp_path, tiny_edsr, monkeypatch, capsys):
    other = copy.deepcopy(tiny_edsr)
    for parameter in other.parameters():
        parameter.data *= 1.01
    for folder, model in (("a", tiny_edsr), ("b", other), ("c", other)):
        (tmp_path / folder).mkdir()
        torch.save(model.state_dict(), tmp_path / folder / "net_g_latest.pth")
    models = [tmp_path / folder / "net_g_latest.pth" for folder in "abca"]
    sets = [benchmark(tmp_path / folder / "Set5/x2", 2) for folder in "ab"]
    asked = ["--images", *sets, "--bits", 4, "--methods", "minmax", "--out", tmp_path / "r1.2", "--model"]
    run(monkeypatch, *asked, models[0])
    first = read(tmp_path / "r1.2.csv")
    assert {(row["network"], row["set"]) for row in first} == {
        ("net_g_latest.pth", "a/Set5/x2"),
        ("net_g_latest.pth", "b/Set5/x2"),
    }
    run(monkeypatch, *asked, *models)  # the first network goes on, under the name that tells it apart
    found = read(tmp_path / "r1.2.csv")
    titles = [f"{folder}/net_g_latest.pth" for folder in "abc"]
    assert [row for row in found if row["network"] == titles[0]] == [
        row | {"network": titles[0]} for row in first
    ]
    own = {title: [row["psnr"] for row in found if row["network"] == title] for title in titles}
    assert own[titles[0]] != own[titles[1]] == own[titles[2]]
    html = (tmp_path / "r1.2.html").read_text()
    assert re.findall("<h2>(.*?)</h2>", html) == titles
    for title, part in zip(titles, html.split("<h2>")[1:], strict=True):
        assert [f"<td>{float(psnr):.2f}</td>" in part for psnr in own[title]] == [True] * 4
    run(monkeypatch, *asked, *models)
    assert read(tmp_path / "r1.2.csv") == found
    capsys.readouterr()


@pytest.mark.parametrize("scale", [5, 6, 8])
def test_any_scale_of_a_checkpoint(scale, tmp_path, monkeypatch, capsys):
    torch.save(XLSR(scale).state_dict(), tmp_path / "xlsr.pth")
    run(
        monkeypatch,
        "--model",
        tmp_path / "xlsr.pth",
        "--bits",
        8,
        "--methods",
        "minmax",
        "--out",
        tmp_path / "r",
    )
    rows = read(tmp_path / "r.csv")
    assert [row["variant"] for row in rows] == ["float", "minmax"]
    side = 192 // scale
    assert f"32 random LR patches of {side}x{side}" in rows[0]["calibration"]
    capsys.readouterr()


@pytest.mark.parametrize("braces", ["{1}", "{Set5}", "{", "{scale", "{scale.x}"])
def test_braces_that_are_no_scale(braces, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, "--images", tmp_path / braces)
    assert stopped.value.code == 2
    assert f"no folder {tmp_path}/{braces}; it must hold the folders HR and LR" in capsys.readouterr().err
    benchmark(tmp_path / f"{braces}x2", 2)
    args = report._arguments().parse_args(["--images", f"{tmp_path}/{braces}x{{scale}}"])
    assert list(report._inputs(args, 2)[0]) == [f"{tmp_path.name}/{braces}x2"]


@pytest.mark.parametrize(
    "argument",
    [
        *("--model=nothing", "--images=/nowhere", "--out=.", "--bits=9", "--calibration=/nowhere"),
        "--methods=nvfp4 --bits=2",
    ],
)
def test_bad_arguments_end_in_a_sentence(argument, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["report", *argument.split()])
    with pytest.raises(SystemExit) as stopped:
        report.main()
    assert stopped.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_run_goes_on_where_it_was_stopped(tmp_path, tiny_edsr, images, sets, monkeypatch, capsys):
    tiny = report.Network("tiny", tiny_edsr, 2, "small")
    monkeypatch.setattr(report, "networks", lambda *asked: [tiny])
    monkeypatch.setattr(report, "_inputs", lambda args, scale: (sets, [images]))
    monkeypatch.setattr(
        sys, "argv", ["report", "--methods", "minmax", "daq", "--bits", "4", f"--out={tmp_path / 'r'}"]
    )
    report.main()
    whole = (tmp_path / "r.csv").read_text()
    lines = whole.splitlines(keepends=True)
    (tmp_path / "r.csv").write_text("".join(lines[:4]))  # half of minmax is missing
    report.main()
    with (tmp_path / "r.csv").open(newline="") as file:
        again = list(csv.DictReader(file))
    keys = [(row["variant"], row["bits"], row["set"]) for row in again]
    assert len(set(keys)) == len(keys) == len(lines) - 1
    assert (tmp_path / "r.html").exists()
    assert "minmax" in capsys.readouterr().out
