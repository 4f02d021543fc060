"""What a visitor's choices make of the tab Deployment, without a browser."""

import pytest
from headless import Visitor

from explorer.pipeline import deployment

pytestmark = pytest.mark.slow


def test_int8_variants_are_compared(monkeypatch):
    monkeypatch.setattr(deployment, "RUNS", 1)
    visitor = Visitor(network="xlsr_x3", representatives=12, compared_bits=[])
    assert visitor.figure("outputs") is None, "the tab is not made before it is opened"
    visitor.choose(tab="deployment")
    assert visitor.count("14 of 14") >= 1
    assert len(visitor.column("outputs", "top")) > 20
    for name in ("Float", "INT8 with clip", "INT8 clip-free"):
        assert visitor.picture(f"deployed {name}").size > 50, name
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
