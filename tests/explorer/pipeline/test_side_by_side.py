import numpy as np
import pytest
import torch

import core
from explorer.choices.state import ExplorerState
from explorer.pipeline import pictures
from explorer.pipeline.method_comparison import PROFILE, Inspection, inspect

STATE = ExplorerState(network="xlsr_x3")
REQUEST = pictures.PictureRequest("xlsr_x3", STATE.image, "centre", STATE.configs("minmax")(4))
HR = REQUEST.reference
SIDE = 384


def test_whole_image():
    found, shown = inspect(REQUEST, Inspection(), None), pictures.picture(*REQUEST)
    truth = pictures.picture(*HR).rgb.astype(float)
    assert (found.psnr, found.ssim) == (shown.psnr, shown.ssim)
    assert np.allclose(found.error, np.abs(shown.rgb - truth).mean(2), atol=1e-4)
    inner = (slice(3, -3), slice(3, -3))
    shift = np.abs((shown.rgb - truth)[inner].mean((0, 1))).max()
    assert found.shift == pytest.approx(shift, abs=1e-6)
    assert inspect(REQUEST, Inspection(), None).error is found.error


def test_a_region_is_scored_alone():
    inspection = Inspection(box=(300, 200, 340, 260))
    found, shown = inspect(REQUEST, inspection, None), pictures.picture(*REQUEST)
    truth = pictures.picture(*HR)
    a, b = (
        torch.from_numpy(p.rgb[200:260, 300:340].copy()).permute(2, 0, 1)[None] / 255 for p in (shown, truth)
    )
    assert found.psnr == core.psnr_y(a, b, border=0)
    assert found.ssim == core.ssim_y(a, b, border=0)
    assert found.shift == core.images.metrics.colour_shift(a, b)
    small = inspect(REQUEST, Inspection(box=(0, 0, 10, 40)), None)
    assert small.ssim is None, "smaller than the window of SSIM"
    assert small.psnr > 0


@pytest.mark.parametrize(
    ("box", "region"),
    [
        ((), None),
        ((5, 6), None),
        ((10, 20, 30, 40), (10, 20, 30, 40)),
        ((30, 40, 10, 20), (10, 20, 30, 40)),
        ((-50, -9, 20, 10**9), (0, 0, 20, SIDE)),
        ((500, 0, 900, 50), None),
    ],
)
def test_regions_that_do_not_fit_give_way(box, region):
    assert Inspection(box=box).region(SIDE, SIDE) == region


def test_a_line_across_an_edge():
    truth = pictures.picture(*HR)
    y = core.luma(torch.from_numpy(truth.rgb.copy()).permute(2, 0, 1)[None] / 255)[0, 0].numpy()
    row = inspect(HR, Inspection(spot=(100, 7)), None).profile
    assert np.array_equal(row, y[7, 68:132])
    column = inspect(HR, Inspection(spot=(9, 380), direction="column"), None).profile
    assert np.array_equal(column, y[SIDE - PROFILE :, 9])
    assert Inspection(spot=(-5, 10**6)).line(SIDE, 40) == (SIDE - 1, 0, 40), "a narrow image has a short line"
    assert inspect(HR, Inspection(), None).error is None
