import pytest
from browser import trainings, until

pytestmark = pytest.mark.browser


def test_a_run_of_ones_own_is_trained_paused_and_cancelled(explorer):
    explorer.open("?tab=training&network=xlsr_x3&train_steps=5000&train_bits=4")
    assert explorer.count("No run yet") == 1
    explorer.press("Start")
    until(lambda: explorer.figure("curve cosine"), explorer)
    until(lambda: max(len(d.get("step", [])) for d in explorer.figure("curve cosine")["data"]) > 1, explorer)
    assert explorer.count(r"Training, step \d+ of 5,000") == 1
    assert len(trainings()) == 1
    explorer.press("Pause")
    until(lambda: explorer.count(r"Paused at step \d+ of 5,000; press Start to continue"), explorer)
    assert not trainings()
    explorer.press("Start")
    until(lambda: explorer.count(r"Training, step \d+ of 5,000"), explorer)
    explorer.press("Cancel")
    until(lambda: explorer.count("No run yet"), explorer)
    until(lambda: not trainings(), explorer)
    explorer.settle()


def test_a_short_run_ends_with_its_picture(explorer):
    explorer.open("?tab=training&network=xlsr_x3&train_steps=50&train_version=v1&train_regularizer=naive")
    explorer.press("Start")
    until(lambda: explorer.count("Done, step 50 of 50"), explorer)
    until(lambda: len(explorer.figure("trained After training")["data"][0]["image"]) > 50, explorer)
    explorer.settle()
    assert explorer.count("odm-v1 W2A2, naive regularizer, offsets") == 1
