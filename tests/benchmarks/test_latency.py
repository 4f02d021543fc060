"""From a slider's release to what the browser shows, beside the bare computation."""

import statistics
import time

import pytest

import core
from explorer.pipeline import activations, points

pytestmark = [pytest.mark.browser, pytest.mark.benchmark]

MARK = """(names) => {
  const doc = window.Bokeh.documents[0];
  const source = (name) => doc.get_model_by_name(name).renderers[0].data_source;
  window.before = Object.fromEntries(names.map((name) => [name, source(name).data]));
}"""
ALL_NEW = """() => {
  const doc = window.Bokeh.documents[0];
  const source = (name) => doc.get_model_by_name(name).renderers[0].data_source;
  return Object.entries(window.before).every(([name, data]) => source(name).data !== data);
}"""
BITS = (2, 3, 4, 6, 8)


def latency(explorer, names, act, *args) -> float:
    """Seconds from `act(*args)` until every named figure has new data."""
    explorer.page.evaluate(MARK, list(names))
    start = time.perf_counter()
    act(*args)
    explorer.page.wait_for_function(ALL_NEW, polling="raf")
    seconds = time.perf_counter() - start
    explorer.settle()
    return seconds


def choose_channel(explorer, channel: int) -> None:
    field = explorer.page.get_by_label("Channel", exact=True)
    field.fill(str(channel))
    field.press("Enter")


def bare_points() -> float:
    """Seconds to choose and score the points of one channel, calibrated, nothing cached."""
    config = core.QuantConfig("dfsq-exact", 4, 4)
    key = ("edsr_x2", "body.0.body.0", 0, config)
    points.points(*key)
    points.points.cache.clear()
    points.selection.cache.clear()
    points.exact_points.cache.clear()
    start = time.perf_counter()
    points.points(*key)
    return time.perf_counter() - start


def bare_pictures(weight_bits: int) -> float:
    """Seconds to quantize the network at five bit-widths, calibrated, and run each."""
    calibration = activations.calibration("edsr_x2", activations.seen_by(core.QuantConfig()), 0)
    model, lr = core.create_model("edsr", 2), activations.pair(core.demo_names()[0], 2, "centre").lr
    start = time.perf_counter()
    for bits in BITS:
        quantized = core.quantize_model(model, calibration, core.QuantConfig("dfsq-exact", bits, weight_bits))
        core.super_resolve(quantized, lr)
    return time.perf_counter() - start


def test_latency(explorer, capsys):
    start = time.perf_counter()
    explorer.open(f"?compared_bits={list(BITS)}".replace(" ", "") + "&details=['by image']")
    cold = time.perf_counter() - start
    echo = [latency(explorer, ["by image"], choose_channel, explorer, channel) for channel in (1, 0, 1, 0)]
    points = [
        latency(explorer, ["staircase"], explorer.slide, "Activation bits", step)
        for step in (1, 1, 1, -1, -1, -1)
    ]
    # Every weight bit-width is new to the server: five networks are quantized and run.
    pictures = [
        latency(explorer, [f"picture {b}" for b in BITS], explorer.choose, "Weight bits", str(weight_bits))
        for weight_bits in (5, 7, "float")
    ]
    bare = {"points": bare_points(), "pictures": 0.0}
    bare_pictures(8)  # the first also chooses the points at 8 bits
    bare["pictures"] = statistics.median(bare_pictures(weight_bits) for weight_bits in (3, 5, 6))
    rows = [
        ("cached answer (channel across images)", echo, 0.0),
        ("new points", points, bare["points"]),
        ("five bit-widths of a 128x128 LR region", pictures, bare["pictures"]),
    ]
    with capsys.disabled():
        print(f"\nfirst visit, right after the server's start: {cold:.2f} s until all is shown")
        print(f"{'once calibrated':42}{'median':>9}{'worst':>9}{'computation alone':>20}")
        for name, seconds, alone in rows:
            print(f"{name:42}{statistics.median(seconds):8.3f}s{max(seconds):8.3f}s{alone:19.3f}s")
    # The page may cost some times as much as the networks themselves; points no more than a few echoes.
    assert statistics.median(pictures) < 6 * bare["pictures"]
    assert statistics.median(points) < 5 * statistics.median(echo) + bare["points"]
