import pytest
from browser import until
from served import trainings

pytestmark = pytest.mark.browser


def test_a_run_of_ones_own_is_trained_paused_and_cancelled(explorer):
    explorer.open("?tab=training&network=xlsr_x3&train_steps=5000&train_bits=4")
    explorer.shows("No run yet", 1)
    explorer.press("Start")
    until(lambda: explorer.figure("curve cosine"), explorer)
    until(lambda: max(len(d.get("step", [])) for d in explorer.figure("curve cosine")["data"]) > 1, explorer)
    explorer.shows(r"Training, step \d+ of 5,000", 1)
    until(lambda: len(trainings()) == 1, explorer)
    explorer.press("Pause")
    explorer.shows(r"Paused at step \d+ of 5,000; press Start to continue")
    assert not trainings()
    explorer.press("Start")
    explorer.shows(r"Training, step \d+ of 5,000")
    explorer.press("Cancel")
    explorer.shows("No run yet")
    until(lambda: not trainings(), explorer)
    explorer.settle()


def test_a_short_run_ends_with_its_picture(explorer):
    explorer.open("?tab=training&network=xlsr_x3&train_steps=50&train_version=v1&train_regularizer=naive")
    explorer.press("Start")
    explorer.shows("Done, step 50 of 50")
    until(lambda: len(explorer.figure("trained After training")["data"][0]["image"]) > 50, explorer)
    explorer.settle()
    explorer.shows("odm-v1 W2A2, naive regularizer, offsets", 1)
