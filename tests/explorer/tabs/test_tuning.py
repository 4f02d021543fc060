"""Ranges tuned from the tab Methods, without a browser."""

import io

import numpy as np
import pytest
from headless import Visitor

import core
from explorer.export.report import report
from explorer.pipeline import tuning
from explorer.tabs.tuning import TUNABLE

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tabs")]
CHOICES = dict(network="xlsr_x3", tab="methods", methods=["minmax", "dfsq-exact"], activation_bits=3)


@pytest.fixture
def visitor(monkeypatch):
    monkeypatch.setattr(tuning, "PATCH", 16)
    visitor = Visitor(**CHOICES)
    visitor.state.large = "minmax"
    visitor.settle()
    return visitor


def test_which_methods_are_tuned():
    assert TUNABLE == ["minmax", "percentile", "mse", "mse-channel", "mse+", "2dquant"]


def test_tuning_shows_its_loss_and_what_it_won(visitor):
    tune, stop = visitor.widget("Tune"), visitor.widget("Stop tuning")
    assert (tune.disabled, stop.disabled) == (False, True)
    assert visitor.count("Tune learns both ends of every range of minmax W3A3") == 1
    assert visitor.figure("tuning loss") is None
    visitor.move("Steps", 50)
    visitor.press("Tune")
    visitor.settle()
    assert not visitor.session.status.errors
    assert list(visitor.column("tuning loss", "step")) == list(range(1, 51))
    before, after = visitor.picture("tuned before"), visitor.picture("tuned after")
    np.testing.assert_array_equal(before, visitor.picture("method minmax"))
    assert not np.array_equal(before, after)
    assert visitor.count(r"PSNR: before tuning \d\d\.\d\d dB, after \d\d\.\d\d dB \([+−]\d\.\d\d dB\)") == 1
    part = visitor.visit.made["methods"].tuning
    assert part.file_name() == "xlsr_x3_minmax_w3a3_tuned.safetensors"
    assert isinstance(part.file(), io.BytesIO)
    assert "minmax, ranges tuned in 50 steps" in report(visitor.state).decode()
    visitor.choose(large="dfsq-exact")
    assert tune.disabled
    assert visitor.count("Tuning takes methods with even levels between constant ends: minmax") == 1
    visitor.choose(large="minmax")
    assert visitor.count("PSNR: before tuning") == 1, "it is kept"


def test_the_tuned_network_is_read_again(visitor, tmp_path):
    visitor.move("Steps", 50)
    visitor.press("Tune")
    visitor.settle()
    path = tmp_path / "tuned.safetensors"
    path.write_bytes(visitor.visit.made["methods"].tuning.file().getvalue())
    network = core.load_quantized(path)
    assert network.scope_in_words.endswith("ranges tuned by distillation in 50 steps")


def test_stop_ends_it_and_tune_goes_on(visitor):
    visitor.move("Steps", 500)
    visitor.widget("Tune").clicks += 1
    request = visitor.visit.made["methods"].tuning.request()
    visitor.until(lambda: len(tuning.losses(request)) > 1)
    visitor.until(lambda: "left" in visitor.session.status.busy["tune"][0])
    visitor.press("Stop tuning")
    assert visitor.count(r"Stopped at step \d+ of 500") == 1
    assert not visitor.session.status.busy
    assert not tuning.tuned.known(*request)
    stopped = tuning.losses(request)
    visitor.widget("Tune").clicks += 1
    visitor.until(lambda: len(tuning.losses(request)) > len(stopped))
    visitor.press("Stop tuning")
    assert tuning.losses(request)[: len(stopped)] == stopped, "it goes on where it was"


def test_what_is_forgotten_leaves_no_checkpoint():
    held = tuning._Begun(1)
    requests = [tuning.TuningRequest("xlsr_x3", core.QuantConfig("mse"), steps) for steps in (1, 2)]
    for request in requests:
        tuning._checkpoint(request).touch()
        held[request] = []
    assert [tuning._checkpoint(request).exists() for request in requests] == [False, True]
    tuning._checkpoint(requests[1]).unlink()
