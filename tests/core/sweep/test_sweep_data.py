"""What the tab on sweeps computes, without a browser."""

import errno
import json

import pandas as pd
import pyarrow as pa
import pytest

from core import demo_names
from core.sweep.estimate import START, estimate
from core.sweep.grid import Networks, expand
from core.sweep.store import SCHEMA, Store, replace_part
from explorer.choices.state import SWEEP, ExplorerState
from explorer.choices.sweep_grid import MEAN, SweepChoices
from explorer.jobs import sweep_runs
from explorer.jobs.token import Token
from explorer.pipeline import sweep_rows
from explorer.tabs.sweeper import Sweeper, format_duration


def row(i, method, bits, image, psnr, **own):
    known = {"key": f"{i}", "network": "edsr", "scale": 2, "layers": "all", "method": method, "image": image}
    known |= {"activation_bits": bits, "weight_bits": bits, "words": 4, "terms": 4, "selector": "exact"}
    known |= {
        "seed": 0,
        "tune": 0,
        "psnr": psnr,
        "drop": 40 - psnr,
        "kib": 10.0 * bits,
        "gbitops": 1.0 * bits,
    }
    return (
        known
        | {"error": "", "reason": "", "scope": "s", "calibration": "c", "metric": "m", "versions": "v"}
        | own
    )


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_runs, "FOLDER", tmp_path)
    rows = [
        row(0, "minmax", 2, "a", 20.0),
        row(1, "minmax", 2, "b", 30.0),
        row(2, "dfsq-exact", 4, "a", 31.0, set_size=377),
        row(3, "dfsq-exact", 4, "b", 35.0, set_size=377),
        row(4, "dfsq-exact", 4, "a", 29.0, set_size=107, words=3),
        row(5, "dfsq-exact", 4, "b", 31.0, set_size=107, words=3),
        row(6, "dfsq-exact", 8, "a", 39.0, set_size=377),  # b has not come yet
        row(7, "dfsq-exact", 8, "a", 0.0, error="ValueError", reason="too few", set_size=5),
    ]
    with Store(tmp_path / "mine") as store:
        store.add(rows)
    return "mine"


def test_dots_are_means_over_the_images_where_all_are_there(kept):
    data = sweep_rows.shown(kept, "", "", token=Token())
    assert (data.networks, data.network, data.image) == (["edsr_x2"], "edsr_x2", MEAN)
    assert data.images == [MEAN, "a", "b"]
    assert dict(zip(data.dots["label"], data.dots["psnr"], strict=True)) == {
        "dfsq-exact W4A4, exact, set of 107": 30.0,
        "dfsq-exact W4A4, exact, set of 377": 33.0,
        "minmax W2A2": 25.0,
    }
    assert data.by_bits == {"dfsq-exact": ([4], [33.0]), "minmax": ([2], [25.0])}
    assert data.by_set == [("dfsq-exact", 4, [107, 377], [30.0, 33.0])]
    assert data.front["kib"] == ([20.0, 40.0], [25.0, 33.0])
    assert data.reasons == {"too few": 1}
    one = sweep_rows.shown(kept, "edsr_x2", "a", token=Token())
    assert one.by_bits["dfsq-exact"] == ([4, 8], [31.0, 39.0])


def test_other_ingredients_are_dots_but_no_line(kept):
    with Store(sweep_runs.FOLDER / kept) as store:
        other = {"set_size": 377, "normalization": "block", "levels": "subset"}
        store.add([row(i, "dfsq-exact", 4, image, 38.0, **other) for i, image in ((8, "a"), (9, "b"))])
    data = sweep_rows.shown(kept, "", "", token=Token())
    label = "dfsq-exact W4A4, exact, set of 377, block, subset"
    assert dict(zip(data.dots["label"], data.dots["psnr"], strict=True))[label] == 38.0
    assert data.by_bits["dfsq-exact"] == ([4], [33.0])


def test_the_front_is_what_nothing_beats():
    cost = pd.Series([1.0, 1.0, 2.0, 3.0, 4.0])
    psnr = pd.Series([10.0, 12.0, 11.0, 15.0, 15.0])
    assert sweep_rows.front(cost, psnr) == ([1.0, 3.0], [12.0, 15.0])


def test_a_table_of_two_fields(kept):
    found = sweep_rows.table(kept, "edsr_x2", MEAN, "set_size", "method", "psnr", token=Token())
    assert found.across == ["107", "377", "–"], "a size that is an axis is not held still"
    assert found.down == ["dfsq-exact", "minmax"]
    cells = zip(found.cells["x"], found.cells["y"], found.cells["value"], found.cells["number"], strict=True)
    assert set(cells) == {
        ("107", "dfsq-exact", 30.0, 2),
        ("377", "dfsq-exact", 35.0, 3),
        ("–", "minmax", 25.0, 2),
    }


def test_like_is_compared_with_like(kept, monkeypatch):
    more = [
        row(10, "minmax", 4, "a", 33.0, weight_bits=8),
        row(11, "minmax", 4, "b", 33.0, weight_bits=8),
        row(12, "minmax", 4, "a", 31.0),
        row(13, "minmax", 4, "b", 31.0),
        row(14, "minmax", 4, "a", 39.0, layers="body.0"),
        row(15, "minmax", 4, "b", 39.0, layers="body.0"),
    ]
    with Store(sweep_runs.FOLDER / "more") as store:
        store.add(more)
    data = sweep_rows.shown("more", "", "", token=Token())
    assert sorted(data.dots["psnr"]) == [31.0, 33.0], "a single layer is not beside the whole network"
    assert data.by_bits == {"minmax": ([4], [31.0])}
    for axes, expected in (
        (("activation_bits", "method"), {31.0}),
        (("activation_bits", "weight_bits"), {31.0, 33.0}),
        (("layers", "method"), {31.0, 39.0}),
    ):
        found = sweep_rows.table("more", "edsr_x2", MEAN, *axes, "psnr", token=Token())
        assert set(found.cells["value"]) == expected


def test_a_sweep_that_is_not_there_says_so(kept):
    with pytest.raises(ValueError, match="There is no sweep named nobody"):
        sweep_rows.shown("nobody", "", "", token=Token())
    for name in ("../up", "", ".hidden", "a" * 41, "a/b"):
        with pytest.raises(ValueError, match="A sweep's name has"):
            sweep_runs.place(name)
    with pytest.raises(ValueError, match="cannot be changed"):
        sweep_runs.start("bundled", [])
    assert sweep_runs.names() == [kept, "bundled"]


def test_a_sweep_that_an_earlier_server_saw_end(kept):
    assert (
        sweep_runs.last_progress(kept)
        == sweep_runs.last_progress("nobody")
        == sweep_runs.last_progress("../up")
        == (0, 0)
    )
    (sweep_runs.FOLDER / kept / sweep_runs.LOG).write_text("Traceback of something\n3 9\n5 9\n")
    assert sweep_runs.last_progress(kept) == (5, 9)
    with pytest.raises(ValueError, match=f"The grid of the sweep {kept} was not saved; choose it again"):
        sweep_runs.go_on(kept)


def test_a_full_disk_when_a_sweep_begins(kept, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    said = []
    state = ExplorerState(tab=SWEEP, sweep=kept)

    def at_once(name, work, *_):
        try:
            for show in work(Token()):
                show()
        except ValueError as error:
            said.append(str(error))

    sweeper = Sweeper(state, at_once, lambda output: None, said.append, lambda call: call())
    sweeper.choices.title = "full"
    sweeper.start()
    assert len(said) == 1
    assert "_grid.yaml could not be written (No space left on device); make room there" in said[0]


def test_the_bundled_sweep_has_scores_of_every_plot():
    data = sweep_rows.shown("bundled", "edsr_x2", MEAN, token=Token())
    assert {"dfsq", "dfsq-exact", "dfsq+", "minmax", "mse"} <= set(data.by_bits)
    assert any(len(sizes) > 2 for _, _, sizes, _ in data.by_set)
    assert len(data.front["kib"][0]) > 3
    assert "32 random LR patches" in data.protocol


def test_grids_of_the_page():
    choices = SweepChoices(networks=["edsr_x2", "xlsr_x3"], weight_bits=[0, 8, 32], sets=[(3, 4)])
    grids = choices.grids()
    assert [(g["network"], g["scale"]) for g in grids] == [(["edsr"], [2])] * 2 + [(["xlsr"], [3])] * 2
    assert grids[0]["bits"] == grids[1]["activation_bits"] == [2, 4, 8]
    assert grids[1]["weight_bits"] == [8, 32]
    assert sweep_rows.preview(json.dumps(grids), token=Token()).rows == len(expand(grids, Networks())) * 2
    tuned = SweepChoices(methods=["mse", "dfsq-exact"], bits=[4], tunes=[0, 100]).grids()
    steps = {choice.method: set() for choice in expand(tuned, Networks())}
    for choice in expand(tuned, Networks()):
        steps[choice.method].add(choice.tune)
    assert steps == {"mse": {0, 100}, "dfsq-exact": {0}}, "only static methods with even levels have them"
    with pytest.raises(ValueError, match="Choose at least one method"):
        SweepChoices(methods=[]).grids()


def test_too_many_rows_are_refused_before_they_are_begun(monkeypatch):
    monkeypatch.setattr(sweep_runs, "MAX_ROWS", 4)
    with pytest.raises(ValueError, match="These are 18 rows, and a sweep from this page has at most 4"):
        sweep_rows.preview(json.dumps([*SweepChoices().grids()]) + " ", token=Token())


def test_an_estimate_grows_with_what_is_asked():
    networks = Networks()
    pixels = {demo_names()[0]: 504 * 504}
    grid = {"network": ["edsr"], "scale": [2], "method": ["minmax"], "bits": [4]}
    few = estimate(expand(grid, networks), pixels, networks, 1)
    many = estimate(expand(grid | {"seed": list(range(200))}, networks), pixels, networks, 1)
    assert START < few < many / 3
    refined = estimate(expand(grid | {"method": ["dfsq+"]}, networks), pixels, networks, 1)
    assert refined > few


def test_durations_in_words():
    assert [format_duration(s) for s in (0.2, 59, 61, 3000, 7200)] == [
        "1 s",
        "59 s",
        "1 min",
        "50 min",
        "2.0 h",
    ]


def test_an_older_file_of_other_columns_is_refused(tmp_path):
    replace_part(tmp_path / "part-00000.parquet", SCHEMA.empty_table())
    pa.parquet.write_table(pa.table({"key": ["a"]}), tmp_path / "part-00000.parquet")
    with pytest.raises(ValueError, match="holds no rows of a sweep"):
        Store(tmp_path)


def test_tuned_ranges_and_bits_by_layer_are_configurations_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_runs, "FOLDER", tmp_path)
    rows = [
        row(0, "mse", 4, "a", 30.0),
        row(1, "mse", 4, "a", 32.0, tune=100),
        row(2, "mse", 4, "a", 34.0, layer_bits="conv2:W8A8"),
    ]
    with Store(tmp_path / "mine") as store:
        store.add(rows)
    data = sweep_rows.shown("mine", "edsr_x2", MEAN, token=Token())
    labels = dict(zip(data.dots["label"], data.dots["psnr"], strict=True))
    assert {label.split("points")[-1]: psnr for label, psnr in labels.items()} == {
        "mse W4A4": 30, "mse W4A4, ranges tuned in 100 steps": 32, "mse W4A4, conv2:W8A8": 34,
    }  # fmt: skip
    assert data.by_bits == {"mse": ([4], [30.0])}, "lines are of what nobody changed"
    found = sweep_rows.table("mine", "edsr_x2", MEAN, "tune", "method", "psnr", token=Token())
    assert found.across == ["0", "100"]
