"""What the tab on training shows while the choices change one after the other."""

from explorer.choices.state import OWN_RUN, TRAINING, ExplorerState
from explorer.tabs.training import Trainer


def test_a_run_that_the_next_network_does_not_have_is_not_looked_for():
    state = ExplorerState(tab=TRAINING)
    seen = []
    state.param.watch(lambda event: seen.append((state.network, state.run)), "layer")
    trainer = Trainer(state, lambda *job: None, lambda name: None)
    trainer.update()
    run = state.run
    assert run != OWN_RUN
    state.network = "xlsr_x3"  # its layers come first, then its runs
    assert seen == [("xlsr_x3", run)], "the layer changes while the run is still the other network's"
    assert state.run == OWN_RUN
