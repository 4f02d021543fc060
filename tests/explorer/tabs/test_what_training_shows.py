"""What a visitor's choices make of the tab Training, without a browser."""

import pytest
from headless import Visitor

pytestmark = pytest.mark.slow


CURVES = ("curve psnr_y", "curve mismatch", "curve cosine", "curve conflict")


def test_a_recorded_run_plays():
    visitor = Visitor(tab="training")
    for name in CURVES:
        assert len(visitor.column(name, "step")) >= 15, name
    assert visitor.count(r"PSNR at step 20,000: \d\d\.\d\d dB") == 1
    before = visitor.drawn("layer in training")
    figures = [visitor.figure(name) for name in CURVES]
    visitor.move("Moment / % of the steps", 80)
    assert visitor.drawn("layer in training") != before
    assert [visitor.column(name, "moment") for name in CURVES] == [[16000]] * 4
    assert [visitor.figure(name) for name in CURVES] == figures, "changed in place"
    assert visitor.column("layer in training", "top") != []
    assert visitor.count(r"PSNR at step 1[56],\d\d\d: \d\d\.\d\d dB") == 1
    for name in ("Float", "Before training", "After training", "Without training: dfsq+"):
        assert visitor.picture(f"trained {name}").size > 50, name
    assert visitor.count(r"\d\d\.\d\d dB · SSIM 0\.\d{3}") == 4
    before = [visitor.drawn(name) for name in CURVES[1:]]
    visitor.move("Layer", "body.3.body.2")
    assert all(visitor.drawn(name) != was for name, was in zip(CURVES[1:], before, strict=True))
    assert [visitor.column(name, "moment") for name in CURVES] == [[16000]] * 4
    assert visitor.figure("layer in training").title.text.startswith("Input of body.3.body.2")
