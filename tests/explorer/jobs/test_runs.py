"""A visitor's training in its process; that it ends with its result is in tests/ui/test_training_tab.py."""

import time

import pytest

from core.qat.config import OdmConfig
from explorer.jobs import training_run
from explorer.jobs.training_run import Run

pytestmark = pytest.mark.slow

LONG = OdmConfig(steps=5000, batch=1, patch=8)


def wait_for(condition, seconds=900):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def new_run():
    made = []

    def make(config):
        made.append(Run("xlsr_x3", "xlsr", 3, config))
        return made[-1]

    yield make
    for run in made:
        run.cancel()


def test_a_run_that_is_paused_or_killed_goes_on_where_it_was(new_run, monkeypatch):
    run = new_run(LONG)
    assert not run.alive
    run.start()
    assert run.status_text() == "Starting …"
    wait_for(lambda: run.begun and run.card()["done"] >= 100)
    assert run.status_text().startswith("Training, step ")
    monkeypatch.setattr(training_run, "MAX_TRAININGS", 1)
    with pytest.raises(ValueError, match="1 trainings run on this server already; start yours when"):
        new_run(LONG).start()
    run.pause()  # as when whoever started it ends: nobody holds its input open
    wait_for(lambda: not run.alive)
    assert run.status_text().endswith("press Start to continue")
    before = run.card()["done"]
    assert run.result() is None
    run.start()
    wait_for(lambda: run.card()["done"] > before)
    assert run.card()["record"]["step"].count(0) == 1
    assert not run.can_go_on
    run.kill()
    wait_for(lambda: not run.alive)
    assert run.can_go_on
    assert run.status_text() == (
        "The training was killed, probably because memory ran out; start it again to continue."
    )
    folder = run.out.parent
    run.cancel()
    assert not folder.exists()


def test_what_ended_it_is_said(new_run):
    run = new_run(OdmConfig(steps=4, batch=1, patch=4000))
    run.start()
    wait_for(lambda: not run.alive)
    assert run.status_text() == (
        "The training stopped: no training image is at least 12000 pixels on both sides; take larger ones or "
        "a smaller patch"
    )
