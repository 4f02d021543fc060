"""What a visitor's choices make of each tab, without a browser."""

import html
import itertools
import re
import types

import holoviews as hv
import numpy as np
import panel as pn
import pytest
from bokeh.events import Tap
from headless import Visitor

from core.ptq.scope import choose_layers
from core.zoo import create_model, model_card
from explorer.choices.catalog import NETWORKS
from explorer.choices.state import ExplorerState
from explorer.elements import layers
from explorer.jobs import sweep_runs
from explorer.pipeline import deployment
from explorer.views import methods
from explorer.visit import Visit

# A test takes seconds, and those of a worker share what is computed.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tabs")]


def levels(visitor) -> list[float]:
    return list(visitor.data("histogram", 1)["x"])


def picture(visitor, name: str) -> np.ndarray:
    return np.asarray(visitor.data(name)["image"][0])


def test_every_method_has_its_levels_and_picture():
    visitor = Visitor(network="xlsr_x3", compared_bits=[4])
    for method in ("minmax", "percentile", "dfsq+", "mse-channel", "log2", "daq"):
        points, sr = levels(visitor), picture(visitor, "picture 4")
        visitor.choose(method=method)
        found = levels(visitor)
        assert found != points, method
        assert not np.array_equal(picture(visitor, "picture 4"), sr), method
        assert len(set(found)) == 16, method
        if method in ("minmax", "percentile"):
            steps = [b - a for a, b in itertools.pairwise(found)]
            assert max(steps) - min(steps) < 2e-4, method
        doubled = "Universal set: 441 points, doubled"
        assert any(w.label == doubled for w in visitor.page.select(pn.widgets.Toggle)) == (method == "dfsq+")


@pytest.mark.parametrize("key", NETWORKS)
def test_every_view_works_with_every_network(key):
    name, scale = NETWORKS[key]
    visitor = Visitor(compared_bits=[4], references=["bicubic", "float"], details=["mismatch"])
    visitor.choose(network=key)
    assert not visitor.session.status.errors
    assert visitor.count(re.escape(model_card(name, scale)["about"])) == 1
    assert picture(visitor, "heat map").size > 50
    assert len(levels(visitor)) == 16
    assert len(visitor.column("mismatch of deviations", "rank")) > 5
    assert len(visitor.column("strip", "layer")) > 5
    side = min(128, 504 // scale)  # the photograph has 504 pixels
    assert visitor.data("picture 4")["dw"] == [side * scale]
    assert visitor.count(r"\d+\.\d\d dB · SSIM 0\.\d{3}") >= 3


def test_too_small_a_set_is_said_in_a_sentence():
    said = "4 bits need 16 points but the universal set of words=1, terms=3 has 5"
    references = ["bicubic", "float"]
    visitor = Visitor(network="xlsr_x3", words=1, terms=3, tab="layers", references=references)
    assert visitor.count(said) == 1
    visitor.choose(tab="explore")
    assert levels(visitor) == []
    assert visitor.data("picture 4")["image"] == []
    assert visitor.count(said) >= 1
    assert visitor.count(r"\d\d\.\d\d dB · SSIM") >= 3, "the pictures that need fewer points are still shown"


# Methods


def tap(visitor, name: str, x: float, y: float = 0.0) -> None:
    """Tap on a figure, as a hand does, and wait for what follows."""
    figure = visitor.figure(name)
    figure._trigger_event(Tap(figure, x=x, y=y))
    visitor.settle()


def rows(visitor, text: str) -> list[list[str]]:
    """The cells, row by row, of the table beside which the text stands."""
    shown = [str(getattr(pane, "object", "")) for pane in visitor.page.select()]
    table = next(markup for markup in shown if text in markup and "<tr" in markup)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in re.findall(r"<tr.*?</tr>", table, re.S)]
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in cells if row]


def scores(visitor) -> dict[str, list[str]]:
    """Method -> the numbers of its row in the table."""
    return {name.strip("■ ").split()[0]: numbers for name, *numbers in rows(visitor, "PSNR / dB")}


def test_methods_at_the_same_bits():
    names = ["dfsq-exact", "dfsq+", "minmax", "percentile"]
    visitor = Visitor(network="xlsr_x3", tab="methods", methods=names, activation_bits=3)
    for name in names:
        assert picture(visitor, f"method {name}").size > 50
    found = scores(visitor)
    assert list(found) == ["Float", *names]
    assert float(found["dfsq+"][0]) > float(found["minmax"][0])
    first, *others = visitor.column("profile", "xs")
    assert len(others) == 4
    assert len(first) == len(visitor.column("profile", "y")) == 64
    assert len(set(visitor.column("profile", "color"))) == 5
    before = picture(visitor, "method dfsq-exact")
    visitor.choose(activation_bits=6)
    assert not np.array_equal(picture(visitor, "method dfsq-exact"), before)
    assert visitor.count("dfsq-exact W6A6") >= 1


def test_one_method_is_large_beside_the_truth_or_its_difference():
    visitor = Visitor(network="xlsr_x3", tab="methods", methods=["minmax", "mse"], activation_bits=3)

    def large() -> np.ndarray:
        return picture(visitor, "method large")

    np.testing.assert_array_equal(large(), picture(visitor, "method minmax"))
    np.testing.assert_array_equal(picture(visitor, "method beside"), picture(visitor, "method hr"))
    tap(visitor, "method mse", 10, 10)
    assert visitor.state.large == "mse"
    np.testing.assert_array_equal(large(), picture(visitor, "method mse"))
    visitor.press("minmax")
    assert visitor.state.large == "minmax"
    visitor.choose(beside="difference")
    error = np.abs(rgb(large()).astype(int) - rgb(picture(visitor, "method hr"))).mean(2)
    np.testing.assert_array_equal(rgb(picture(visitor, "method beside")), methods.heat(error))
    tap(visitor, "method large", 20, 30)
    assert visitor.state.spot == [20, large().shape[0] - 30]
    visitor.choose(box=[10, 10, 60, 60])
    assert len(scores(visitor)["mse"]) == 5, "the region's scores beside those of the whole picture"
    visitor.choose(methods=["mse"])
    np.testing.assert_array_equal(large(), picture(visitor, "method mse"))


def rgb(packed: np.ndarray) -> np.ndarray:
    return packed.view(np.uint8).reshape(*packed.shape, 4)[..., :3]


def test_a_method_that_cannot_be_says_why():
    visitor = Visitor(tab="methods", methods=["odm", "dfsq-exact"], activation_bits=3)
    assert visitor.count("odm is bundled at W2A2 and W4A4") == 1
    assert list(scores(visitor)) == ["Float", "dfsq-exact"]


def test_what_each_ingredient_is_worth():
    visitor = Visitor(tab="methods", methods=["minmax"], activation_bits=4)
    table = rows(visitor, "worth?")
    assert [html.unescape(row[0]) for row in table[2:]] == [
        "per channel and image (DFSQ's)",
        "per block of 8×8",
    ]
    numbers = [[float(cell) for cell in row[1:]] for row in table]
    assert numbers[3][2] > numbers[0][2] + 0.4, "blocks have their price"
    assert numbers[0][0] < numbers[0][1], "points are worth something with one range a layer"


# Layers


def test_bars_by_layer_and_what_keeping_one_float_is_worth():
    visitor = Visitor(network="xlsr_x3", tab="layers", activation_bits=3, method="minmax")
    names, _ = choose_layers(create_model("xlsr", 3), None, None)
    assert visitor.column("layers alone", "layer") == names
    assert all(value > 0 for part in layers.PARTS for value in visitor.column("layers alone", part))
    assert visitor.column("layers saved", "saved")[0] > 0
    assert visitor.count("with 0 kept float") == 1
    before, quantized = visitor.column("layers alone", "only"), picture(visitor, "layers kept")
    np.testing.assert_array_equal(quantized, picture(visitor, "layers whole"))
    tap(visitor, "layers alone", 1.2)
    assert (visitor.state.float_layers, visitor.state.layer) == (["conv0_0.conv"], "conv0_0.conv")
    assert visitor.column("layers alone", "alpha")[:2] == [layers.PALE, 1]
    assert visitor.count(r"with 1 kept float \d+\.\d\d dB \(\+\d\.\d\d dB\)") == 1
    assert not np.array_equal(picture(visitor, "layers kept"), quantized)
    assert visitor.column("layers alone", "only") == before, "the bars quantize every layer"
    tap(visitor, "layers saved", 0.8)
    assert visitor.count("with 0 kept float") == 1


def test_more_bits_hurt_less():
    visitor = Visitor(network="xlsr_x3", tab="layers", method="minmax", activation_bits=3)
    worse = visitor.column("layers alone", "only")
    visitor.choose(activation_bits=5)
    assert sum(visitor.column("layers alone", "only")) < sum(worse)


def test_a_trained_method_has_no_layer_by_itself():
    visitor = Visitor(tab="layers", method="odm", activation_bits=2)
    assert visitor.count("The layers of odm were trained together; choose a calibrated method") == 1
    assert visitor.figure("layers alone") is None, "no empty figure looks like a result"


def test_a_trained_network_among_the_methods():
    visitor = Visitor(method="odm", activation_bits=2, compared_bits=[2, 3], details=["protocol"])
    assert picture(visitor, "picture 2").size > 50
    assert visitor.count("odm is bundled at W2A2") >= 1, "there is none at 3 bits"
    assert visitor.count("learned in training") == 1
    visitor.choose(network="xlsr_x3")
    assert visitor.state.method.startswith("dfsq")


# Training

CURVES = ("curve psnr_y", "curve mismatch", "curve cosine", "curve conflict")


def test_a_recorded_run_plays():
    visitor = Visitor(tab="training")
    for name in CURVES:
        assert len(visitor.column(name, "step")) >= 15, name
    assert visitor.count(r"PSNR at step 2,000: \d\d\.\d\d dB") == 1
    before = visitor.drawn("layer in training")
    figures = [visitor.figure(name) for name in CURVES]
    visitor.move("Moment / % of the steps", 80)
    assert visitor.drawn("layer in training") != before
    assert [visitor.column(name, "moment") for name in CURVES] == [[1600]] * 4
    assert [visitor.figure(name) for name in CURVES] == figures, "changed in place"
    assert visitor.column("layer in training", "top") != []
    assert visitor.count(r"PSNR at step 1,[56]\d\d: \d\d\.\d\d dB") == 1
    for name in ("Float", "Before training", "After training", "Without training: dfsq+"):
        assert picture(visitor, f"trained {name}").size > 50, name
    assert visitor.count(r"\d\d\.\d\d dB · SSIM 0\.\d{3}") == 4
    before = [visitor.drawn(name) for name in CURVES[1:]]
    visitor.move("Layer", "body.3.body.2")
    assert all(visitor.drawn(name) != was for name, was in zip(CURVES[1:], before, strict=True))
    assert [visitor.column(name, "moment") for name in CURVES] == [[1600]] * 4
    assert visitor.figure("layer in training").title.text.startswith("Input of body.3.body.2")


# Deployment


def test_int8_variants_are_compared(monkeypatch):
    monkeypatch.setattr(deployment, "RUNS", 1)
    visitor = Visitor(network="xlsr_x3", representatives=12, compared_bits=[])
    assert visitor.figure("outputs") is None, "the tab is not made before it is opened"
    visitor.choose(tab="deployment")
    assert visitor.count("14 of 14") >= 1
    assert len(visitor.column("outputs", "top")) > 20
    for name in ("Float", "INT8 with clip", "INT8 clip-free"):
        assert picture(visitor, f"deployed {name}").size > 50, name
    assert visitor.count(r"The outputs lie between −?\d\.\d{3} and \d\.\d{3}") == 1
    assert visitor.count(r"\d+\.\d\d dB · SSIM") == 3
    variants = ["INT8 clip-free", "INT8 with clip", "Float"]
    assert visitor.column("variant times", "variant") == variants
    assert all(ms > 0 for ms in visitor.column("variant times", "ms"))
    assert visitor.count("Run the ONNX Runtime file without this project") == 1
    assert not visitor.widget("ONNX file").disabled


def test_without_litert_the_page_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(deployment, "RUNS", 1)
    monkeypatch.setattr(deployment, "is_installed", lambda package: False)
    visitor = Visitor(
        network="xlsr_x3", tab="deployment", representatives=8, file_size="64x64", engines=["onnx", "litert"]
    )
    assert visitor.count(r"LiteRT is not installed here; it comes by pip install '\.\[litert\]'") == 1
    assert [visitor.widget(f"{engine} file").disabled for engine in ("ONNX", "LiteRT")] == [False, True]
    assert len(visitor.column("variant times", "ms")) == 3
    assert not visitor.session.status.errors
    visitor.choose(engines=["litert"])
    assert visitor.session.status.errors == {"int8": deployment.INSTALL}
    visitor.choose(engines=[])
    assert "no engine is chosen" in visitor.session.status.errors["int8"]
    visitor.choose(engines=["onnx"])
    assert not visitor.session.status.errors


def test_a_network_without_a_clip(monkeypatch):
    monkeypatch.setattr(deployment, "RUNS", 1)
    visitor = Visitor(tab="deployment", representatives=8, strategy="random", file_size="64x64")
    assert visitor.count("EDSR has no clip at its end") == 1
    assert visitor.count("INT8 clip-free") == 0
    assert visitor.count("16 of ") == 1


# Sweep

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
    tap(visitor, "sweep cost", kib[best] + 0.01, psnr[best] + 0.001)
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
