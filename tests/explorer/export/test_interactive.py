"""The interactive page: what it holds, and that it works from a file without the net."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from served import LONGEST

from explorer.choices.state import BITS, ExplorerState
from explorer.export import interactive
from explorer.export.interactive import MAX_BYTES, MAX_SIDE
from explorer.pipeline import pictures, points

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def state() -> ExplorerState:
    """Of a small network, a small region and two quick methods."""
    made = ExplorerState(network="xlsr_x3", method="minmax", region="0,0")
    made.methods = ["mse"]
    return made


@pytest.fixture(scope="module")
def page(state) -> str:
    return interactive.interactive(state).decode()


def frames(page: str) -> dict:
    return json.loads(re.search(r"const \{.*?\} = (\{.*\});\n", page)[1])


def test_it_holds_every_method_at_all_bits_as_the_explorer_has_them(page, state):
    assert len(page) < MAX_BYTES
    data = frames(page)
    assert data["first"] == "minmax 4"
    assert not data["problems"]
    assert data["figures"].keys() == {f"{method} {bits}" for method in ("minmax", "mse") for bits in BITS}
    for method, bits in (("minmax", 2), ("mse", 5)):
        config = state.configs(method)(bits)
        found = points.points(state.network, state.layer, state.channel, config, (), False, False)
        shown = data["figures"][f"{method} {bits}"]
        assert f"{len(found.levels)} points, {found.used} of them used" in shown["histogram"]["title"]
        heads = shown["histogram"]["data"][-1]["x"]
        assert np.allclose(heads, found.levels, atol=1e-5)
        assert len(set(shown["staircase"]["data"][0]["q"])) == found.distinct
        picture = pictures.picture(state.network, state.image, state.region, config)
        held = data["pictures"][f"{method} {bits}"]
        assert f"{picture.psnr:.2f} dB" in held["text"]
        image = np.array(
            Image.open(io.BytesIO(base64.b64decode(held["src"].partition(",")[2]))).convert("RGB")
        )
        assert max(image.shape) <= MAX_SIDE
        top, left = ((a - b) // 2 for a, b in zip(picture.rgb.shape[:2], image.shape[:2], strict=True))
        assert np.array_equal(image, picture.rgb[top : top + image.shape[0], left : left + image.shape[1]])


def test_texts_of_files_become_no_html(state, monkeypatch):
    monkeypatch.setattr(interactive, "name_of", lambda key: "<script>alert(1)</script>")
    monkeypatch.setattr(interactive, "_frames", lambda state: [(("minmax", 4), state.configs()(4))])
    assert "<script>alert(1)" not in interactive.interactive(state).decode()


def test_too_large_a_page_is_a_sentence(state, monkeypatch):
    monkeypatch.setattr(interactive, "MAX_BYTES", 1_000_000)
    monkeypatch.setattr(interactive, "_frames", lambda state: [(("minmax", 4), state.configs()(4))])
    with pytest.raises(ValueError, match="and 8 MB are the limit; choose fewer methods"):
        interactive.interactive(state)


@pytest.mark.browser
def test_it_works_from_a_file_on_a_phone_without_the_net(page, chromium, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(page)
    context = chromium.new_context(viewport={"width": 390, "height": 844}, offline=True)
    tab, asked, complaints = context.new_page(), [], []
    tab.on(
        "request", lambda r: asked.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else 0
    )
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    tab.set_default_timeout(1000 * LONGEST)
    tab.goto(file.as_uri())
    data = frames(page)

    def shown() -> tuple[str, str, str, str]:
        title = "Bokeh.documents[0].get_model_by_name('{}').title.text"
        titles = [tab.evaluate(title.format(name)) for name in ("histogram", "staircase")]
        return (*titles, tab.locator("#score").inner_text(), tab.locator("#picture").get_attribute("src"))

    def expected(key: str, view: str = "") -> tuple[str, str, str, str]:
        figures, picture = data["figures"][key], data["pictures"][view or key]
        return figures["histogram"]["title"], figures["staircase"]["title"], picture["text"], picture["src"]

    tab.wait_for_function("document.getElementById('score').textContent")
    assert shown() == expected("minmax 4")
    tab.locator("#bits").press("ArrowLeft")
    assert shown() == expected("minmax 3")
    tab.get_by_role("button", name="mse", exact=True).click()
    assert shown() == expected("mse 3")
    tab.get_by_role("button", name="HR, ground truth").click()
    assert shown() == expected("mse 3", "hr")
    heads = "Bokeh.documents[0].get_model_by_name('histogram').renderers.at(-1).data_source.data.x.length"
    assert tab.evaluate(heads) == 8
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()
    assert not asked
    assert not complaints
