"""What the exact points cost, measured: `make cost` writes the picture assets/cost.png.

Time of one layer (64 channels) against the size of the universal set, the bits and the calibration pixels.
"""

import sys
from pathlib import Path

import numpy as np
from bokeh.embed import file_html
from bokeh.layouts import row
from bokeh.plotting import figure
from bokeh.resources import INLINE
from measure import activations, seconds
from playwright.sync_api import sync_playwright

import core
from core.points.selection import ExactSelection, prepare

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/pages"))
from browser import FLAGS, find_browser  # noqa: E402 (tests/pages is no package)

CHANNELS, PIXELS = 64, 73_728
SETS = ((2, 4), (3, 3), (3, 4), (4, 3), (4, 4), (5, 4), (5, 5))
COLORS = dict(zip((2, 4, 6, 8), ("#56B4E9", "#0072B2", "#6A51A3", "#000000"), strict=True))


def selection(size: tuple[int, int], bits: int, data: np.ndarray) -> tuple[int, float]:
    """Candidates, and the time of the selection alone."""
    universal = core.UniversalSet(*size)
    moments = core.Moments(CHANNELS, universal.step).update(data, 0)
    ready = prepare(moments, universal.points, 2**bits)
    return len(universal), seconds(lambda: ExactSelection(ready, 2**bits))


def panel(title: str, x: str, **options) -> figure:
    fig = figure(
        title=title,
        x_axis_label=x,
        y_axis_label="seconds",
        y_axis_type="log",
        y_range=(1e-4, 1),
        width=420,
        height=340,
        toolbar_location=None,
        **options,
    )
    fig.title.text_font_size = "14px"
    return fig


def plots():
    data = activations(CHANNELS, PIXELS)
    by_set = panel("Selection alone", "candidates in the universal set", x_axis_type="log")
    for bits, color in COLORS.items():
        found = [selection(s, bits, data) for s in SETS if len(core.UniversalSet(*s)) >= 2**bits]
        found = [pair for pair in found if bits < 8 or pair[0] < 3000]
        sizes, times = zip(*sorted(found), strict=True)
        by_set.line(sizes, times, color=color, legend_label=f"{bits} bits")
        by_set.scatter(sizes, times, color=color, size=7)
        print(f"{bits} bits:", *(f"{n:,}: {t:.4f} s" for n, t in zip(sizes, times, strict=True)))
    by_set.legend.location = "top_left"
    by_bits = panel("Selection alone, 377 candidates", "bits")
    bits = list(range(2, 9))
    times = [selection((4, 4), b, data)[1] for b in bits]
    by_bits.line(bits, times, color=COLORS[4])
    by_bits.scatter(bits, times, color=COLORS[4], size=7)
    by_pixels = panel("Moments and selection, 4 bits", "values per channel", x_axis_type="log")
    pixels = [2**n for n in range(10, 21, 2)]
    universal = core.UniversalSet()
    whole = []
    for number in pixels:
        x = activations(CHANNELS, number)
        points = lambda x=x: core.select_points(  # noqa: E731
            core.Moments(CHANNELS, universal.step).update(x, 0), universal.points, 16
        )
        whole.append(seconds(points, 3))
    by_pixels.line(pixels, whole, color=COLORS[4])
    by_pixels.scatter(pixels, whole, color=COLORS[4], size=7)
    print("values per channel:", *(f"{n:,}: {t:.4f} s" for n, t in zip(pixels, whole, strict=True)))
    print("bits:", *(f"{b}: {t:.4f} s" for b, t in zip(bits, times, strict=True)))
    return row(by_set, by_bits, by_pixels)


def main(path: Path) -> None:
    html = file_html(plots(), INLINE, "cost")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 360})
        page.set_content(html)
        page.wait_for_timeout(1000)
        page.screenshot(path=path)
        browser.close()
    print(path)


if __name__ == "__main__":
    main(ROOT / "assets" / "cost.png")
