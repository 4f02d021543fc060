"""Elements of trainings and tunings: their names, data and axes."""

import numpy as np
import pytest
from bokeh.models import Legend
from drawn_elements import columns, figure, labels

from explorer.elements import training

NAMES = ["conv.0", "conv.1", "conv.2"]


@pytest.fixture
def card() -> dict:
    shots = [
        {"step": step, "histograms": dict.fromkeys(NAMES, values)}
        for step, values in ((None, [1, 2, 1]), (0, [4, 2, 2]), (10, [0, 2, 2]))
    ]
    by_layer = {field: [[1, 2, 3], [4, 5, 6]] for field in ("mismatch", "cosine", "conflict", "low", "high")}
    psnr = {"step": [0, 10], "psnr_y": [30.0, 31.0]}
    spans = dict.fromkeys(NAMES, (-1.0, 2.0))
    record = by_layer | {
        "layers": NAMES, "step": [0, 10], "psnr": psnr, "snapshots": shots, "spans": spans
    }  # fmt: skip
    return {"record": record, "steps": 10, "version": "v2"}


@pytest.mark.parametrize("kind", training.CURVES, ids=lambda kind: kind.field)
def test_curves_of_a_training(kind, card):
    drawn = figure(training.curve(kind, card, "conv.2", 5))
    values = [list(v) for v in columns(drawn)["value"]]
    assert ([3, 6] if kind.by_layer else [30, 31]) in values
    assert drawn.name == f"curve {kind.field}"
    assert labels(drawn) == ("step", kind.label)
    if kind.by_layer:
        (paths,) = columns(drawn)["ys"]
        assert [list(path) for path in paths] == [[1, 4], [2, 5], [3, 6]]


def test_what_a_layer_receives_in_training(card):
    drawn = figure(training.received(card, "conv.1", 9))
    shares = [list(top) for top in columns(drawn)["top"]]
    assert shares.count([0, 0.5, 0.5]) == 2, "now and at the end, the same step"
    assert drawn.title.text == "Input of conv.1"
    assert len(drawn.select_one(Legend).items) == 3


def test_the_loss_of_a_tuning():
    losses = [(step, 1 / step) for step in range(1, 41)]
    drawn = figure(training.loss(losses, 100, "mse W4A4", "#123456"))
    (loss,), (mean,) = columns(drawn)["loss"], columns(drawn)["mean"]
    assert (len(loss), len(mean), drawn.x_range.end) == (40, 21, 100)
    assert mean[0] == pytest.approx(np.mean(loss[:20]))
