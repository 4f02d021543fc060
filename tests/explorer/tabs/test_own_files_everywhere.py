"""A visitor's own network and images on every tab."""

import io
import time

import pytest
import torch
from headless import Visitor, photo

from core import EDSR
from explorer.choices.sweep_grid import MEAN
from explorer.jobs import sweep_runs
from explorer.pipeline.protocol import protocol


@pytest.fixture
def visitor(monkeypatch, tmp_path):
    monkeypatch.setattr(sweep_runs, "FOLDER", tmp_path / "sweeps")
    torch.manual_seed(0)
    weights = io.BytesIO()
    torch.save(EDSR(2, n_blocks=2, n_feats=6, rgb_range=1.0).state_dict(), weights)
    visitor = Visitor(activation_bits=3, compared_bits=[])
    visitor.take("mine.pth", weights.getvalue())
    visitor.take("photo.png", photo(240))
    yield visitor
    visitor.session.leave()


def test_own_images_calibrate_the_page(visitor):
    assert visitor.shown(visitor.widget("Network"))
    hr = visitor.session.uploads.files.labels("hr")["own: photo.png, as HR"]
    visitor.choose(details=["by image"])
    before = visitor.drawn("heat map", "by image", "histogram", "staircase")
    picture = visitor.data("picture 3")["image"][0].copy()
    visitor.choose(calibration=[hr])
    assert "patches of your own images (photo.png), the one shown among them" in protocol(visitor.state)
    after = visitor.drawn("heat map", "by image", "histogram", "staircase")
    assert after != before
    assert (visitor.data("picture 3")["image"][0] != picture).any()
    visitor.session.uploads.remove("photo.png")
    visitor.settle()
    assert visitor.state.calibration == []
    assert "patches of the packaged photographs" in protocol(visitor.state)


@pytest.mark.slow
def test_a_sweep_of_own_files(visitor):
    visitor.choose(tab="sweep")
    sweeper = visitor.visit.made["sweep"].sweeper
    network, hr = visitor.state.network, visitor.state.image
    sweeper.form = True
    sweeper.choices.param.update(networks=[network], images=[hr], methods=["minmax"], bits=[3])
    visitor.settle()
    assert visitor.count("the sweep is yours alone") == 1
    sweeper.start()
    visitor.until(lambda: sweeper.running)
    name = visitor.state.sweep
    assert name.startswith("private-")
    end = time.monotonic() + 300
    while sweep_runs.current().alive:
        assert time.monotonic() < end
        time.sleep(0.1)
    sweeper._watch()
    visitor.settle()
    assert visitor.session.status.errors == {}
    sweeper.choices.shown_image = MEAN
    visitor.settle()
    assert len(visitor.column("sweep bits", "psnr")) == 1
    assert visitor.count("my-sweep \\(yours alone\\): 1 of 1 rows") == 1
    sweeper.open(0)
    visitor.settle()
    assert (visitor.state.tab, visitor.state.network, visitor.state.method) == ("explore", network, "minmax")
    folder = sweep_runs.place(name)
    visitor.choose(tab="sweep")
    assert not visitor.shown(visitor.widget("Delete it for good"))
    visitor.move("Delete", True)
    assert folder.exists(), "a second press is needed"
    visitor.press("Delete it for good")
    assert visitor.state.sweep == "bundled"
    assert not visitor.shown(visitor.widget("Delete it for good"))
    assert not folder.exists()


@pytest.mark.slow
def test_a_training_of_an_own_network(visitor):
    visitor.choose(tab="training", train_steps=50)
    trainer = visitor.visit.made["training"].trainer
    assert visitor.shown(visitor.widget("Start"))
    trainer.start()
    assert trainer.own is not None, trainer.text
    visitor.until(lambda: not trainer.own.alive)
    assert trainer.own.status_text() == "Done, step 50 of 50"
    trainer._watch()
    visitor.settle()
    assert visitor.session.status.errors == {}
