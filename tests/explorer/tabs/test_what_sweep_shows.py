"""What a visitor's choices make of the tab Sweep, without a browser."""

import types

import holoviews as hv
import numpy as np
import panel as pn
import pytest
from headless import Visitor

from explorer.choices.state import ExplorerState
from explorer.jobs import sweep_runs
from explorer.visit import Visit

pytestmark = pytest.mark.slow


PLOTS = ("sweep bits", "sweep sets", "sweep cost", "sweep table")


def test_a_link_to_a_sweep_that_is_gone_is_not_another_ones():
    visit = Visit(ExplorerState(tab="sweep", sweep="gone"))
    pn.Column(*visit.main).get_root()  # as a browser asks for it, before the session starts
    visitor = Visitor(visit)
    assert visitor.state.sweep == "gone"
    assert "There is no sweep named gone" in "".join(visitor.session.status.errors.values())


def test_the_bundled_sweep_is_there_at_once():
    visitor = Visitor(network="xlsr_x3", compared_bits=[])
    assert visitor.figure("sweep bits") is None, "the tab is not made before it is opened"
    visitor.choose(tab="sweep")
    assert len(visitor.column("sweep bits", "psnr")) > 50
    assert {"dfsq", "dfsq+", "minmax"} <= set(visitor.column("sweep bits", "method"))
    assert len(visitor.column("sweep table", "value")) > 20
    assert visitor.count("32 random LR patches of the packaged photographs") == 1
    assert visitor.count(r"Points in the set that come within 0.1 dB .* dfsq-exact at 2 bits \d+") == 1
    assert not visitor.shown(visitor.widget("Networks")), "the grid of a new sweep is folded"
    visitor.move("New sweep", True)
    assert visitor.shown(visitor.widget("Networks"))


def test_plots_follow_their_choices():
    visitor = Visitor(tab="sweep")
    before = visitor.drawn("sweep cost")
    visitor.move("Cost", "gbitops")
    assert visitor.drawn("sweep cost") != before
    assert visitor.figure("sweep cost").xaxis[0].axis_label == "GBitOPs at 1280×720"
    before = visitor.drawn("sweep table")
    visitor.move("Across", "set_size")
    assert visitor.drawn("sweep table") != before
    assert "377" in visitor.figure("sweep table").x_range.factors
    before = [visitor.drawn(name) for name in PLOTS]
    visitor.visit.made["sweep"].sweeper.choices.shown_image = "chelsea the cat (scikit-image)"
    visitor.settle()
    assert all(visitor.drawn(name) != was for name, was in zip(PLOTS, before, strict=True))


def test_configurations_selected_in_one_figure_are_selected_in_all():
    visitor = Visitor(tab="sweep")
    view = visitor.visit.made["sweep"].sweeper.view
    dots = visitor.column("sweep cost", "psnr")

    def strong(name: str) -> int:
        """How many dots are drawn at full strength."""
        found = [r for r in visitor.figure(name).renderers if "psnr" in r.data_source.data]
        return sum(len(r.data_source.data["psnr"]) for r in found if r.glyph.fill_alpha == 1)

    assert strong("sweep cost") == len(dots)
    view.link.selection_expr = (hv.dim("activation_bits") > 3.5) & (hv.dim("activation_bits") < 4.5)
    chosen = sum(bits == 4 for bits in visitor.column("sweep bits", "activation_bits"))
    assert 0 < chosen < len(dots)
    assert [strong(name) for name in PLOTS[:3]] == [chosen] * 3
    assert visitor.count(f"{chosen} of {len(dots)} configurations selected; the best of them: ") == 1
    visitor.press("Select none")
    assert strong("sweep bits") == len(dots)


def test_a_tap_on_a_dot_opens_its_configuration():
    visitor = Visitor(tab="sweep", network="xlsr_x3", compared_bits=[])
    visitor.visit.made["sweep"].sweeper.choices.shown_network = "xlsr_x3"
    visitor.settle()
    psnr, kib, methods = (visitor.column("sweep cost", name) for name in ("psnr", "cost", "method"))
    best = int(np.argmax(psnr))
    visitor.tap("sweep cost", kib[best] + 0.01, psnr[best] + 0.001)
    assert (visitor.state.tab, visitor.state.method) == ("explore", methods[best])


def test_a_sweep_without_rows_yet_shows_nothing_of_another(monkeypatch):
    visitor = Visitor(tab="sweep")
    assert visitor.figure("sweep bits") is not None
    run = types.SimpleNamespace(
        name="new", alive=True, cancelled=False, progress=lambda: (0, 3), seconds_left=lambda: None
    )
    monkeypatch.setattr(sweep_runs, "current", lambda: run)
    visitor.choose(sweep="new")
    assert all(visitor.figure(name) is None for name in PLOTS)
    assert visitor.count("The first rows of new are being computed.") == 1
    assert visitor.count("new: 0 of 3 rows") == 1
    visitor.visit.made["sweep"].sweeper.leave()


def test_the_preview_follows_the_grid():
    visitor = Visitor(tab="sweep")
    sweeper = visitor.visit.made["sweep"].sweeper

    def ahead() -> str:
        visitor.settle()
        return sweeper.ahead

    assert ahead().startswith("18 of at most 5,000 rows, about ")
    sweeper.choices.methods = [m for m in sweeper.choices.methods if m != "minmax"]
    assert ahead().startswith("12 of at most 5,000 rows, about ")
    sweeper.choices.images = sweeper.choices.images[:1]
    assert ahead().startswith("6 of at most 5,000 rows, about ")
    sweeper.choices.images = []
    visitor.settle()
    assert visitor.count("Choose at least one image.") == 1


@pytest.mark.parametrize(
    ("title", "said"), [("../other", "A sweep's name has"), ("bundled", "cannot be changed")]
)
def test_names_that_cannot_be(title, said):
    visitor = Visitor(tab="sweep")
    visitor.visit.made["sweep"].sweeper.choices.title = title
    visitor.visit.made["sweep"].sweeper.start()
    visitor.settle()
    assert visitor.count(said) == 1


def test_a_sweep_that_is_not_there():
    visitor = Visitor(tab="sweep", sweep="nobody")
    assert visitor.count("There is no sweep named nobody") == 1
    assert visitor.figure("sweep bits") is None
