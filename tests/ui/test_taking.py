from pathlib import Path

import pytest
from served import LONGEST

from core import load_quantized

pytestmark = pytest.mark.browser


def taken(explorer, label):
    """The file that a button gives; Panel makes it at the first click and offers it at once."""
    with explorer.page.expect_download() as download:
        explorer.page.get_by_text(label, exact=True).click()
    return download.value.suggested_filename, Path(download.value.path())


def test_everything_is_taken_away(explorer, chromium):
    explorer.open("?network=xlsr_x3&activation_bits=3&compared_bits=[3]")
    explorer.press("Export")
    name, path = taken(explorer, "Quantized network")
    assert name == "xlsr_x3_dfsq-exact_w3a3.safetensors"
    assert load_quantized(path).quant_config.activation_bits == 3
    name, path = taken(explorer, "Levels (CSV)")
    assert name.endswith("_levels.csv")
    assert path.read_text().startswith("network,layer,channel")
    name, path = taken(explorer, "Report (HTML)")
    page, complaints = chromium.new_page(), []
    page.set_default_timeout(1000 * LONGEST)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    path = path.rename(path.with_suffix(".html"))
    page.on("request", lambda r: r.url.startswith((path.as_uri(), "data:")) or complaints.append(r.url))
    page.goto(path.as_uri())
    page.wait_for_function("window.Bokeh?.documents?.length && Bokeh.documents.every((d) => d.is_idle)")
    assert page.locator(".bk-Figure").count() == 6
    page.close()
    assert not complaints
    explorer.page.get_by_text("The same in Python").click()
    explorer.shows("core.QuantConfig", 1)
