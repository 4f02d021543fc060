"""Networks of luma alone."""

import copy

import pytest
import torch
from networks import Small

from core import (
    Pair,
    QuantConfig,
    evaluate,
    psnr_y,
    quantize_model,
    super_resolve,
)
from core.images.colour import luma_of
from core.networks.running import image_alone, run, takes_luma


def test_networks_of_one_channel():
    model, lr, hr = Small(channels=1).eval(), torch.rand(1, 3, 20, 15), torch.rand(1, 3, 40, 30)
    assert takes_luma(model)
    assert not takes_luma(Small())
    y = luma_of(lr)
    with torch.no_grad():
        expected = model(y)
    assert torch.equal(super_resolve(model, y), expected)
    assert torch.equal(run(model, lr), expected)
    rgb = super_resolve(model, lr)
    assert rgb.shape == (1, 3, 40, 30)
    assert torch.allclose(luma_of(rgb), expected, atol=1e-5)
    score = evaluate(model, [Pair("a", lr, hr)], 2)
    assert score.psnr == psnr_y(expected, hr, border=2)
    assert evaluate(model, [Pair("a", y, luma_of(hr))], 2).psnr == pytest.approx(score.psnr, abs=0.05)
    assert torch.allclose(super_resolve(model, lr, tile=8), rgb, atol=1e-5)
    assert torch.equal(image_alone(copy.deepcopy(model), lr)(y), expected)
    wide = Small(channels=3)
    with pytest.raises(ValueError, match="Small does not run on images of 15×20 pixels and 1 channels"):
        super_resolve(wide, y)


def test_networks_of_one_channel_are_calibrated_on_luma(images):
    model, config = Small(channels=1).eval(), QuantConfig("minmax", 4, 4)
    from_rgb, from_luma = (quantize_model(model, x, config) for x in (images, luma_of(images)))
    assert torch.equal(super_resolve(from_rgb, images), super_resolve(from_luma, images))
    assert torch.equal(run(from_rgb, images), run(from_rgb, luma_of(images)))
