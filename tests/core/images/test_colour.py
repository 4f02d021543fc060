import numpy as np
import torch
from skimage.color import rgb2ycbcr

from core import bicubic
from core.images import round_8bit
from core.images.colour import luma_of, with_chroma


def test_luma_is_that_of_scikit_image():
    rgb = torch.rand(2, 3, 5, 7)
    expected = rgb2ycbcr(rgb.permute(0, 2, 3, 1).numpy())[..., 0] / 255
    assert np.allclose(luma_of(rgb)[:, 0], expected, atol=1e-6)


def test_an_image_is_put_together_again():
    rgb = torch.rand(1, 3, 9, 8)
    # Chroma is rounded to 8 bits on its way: at most half a level times 2 * (1 - 0.114) * 255 / 224.
    assert (with_chroma(luma_of(rgb), rgb) - rgb).abs().max() < 0.5 / 255 * 2.1


def test_chroma_is_enlarged_bicubically():
    lr = round_8bit(torch.rand(1, 3, 6, 5))
    sr = with_chroma(torch.rand(1, 1, 12, 10), lr)
    found = rgb2ycbcr(sr[0].permute(1, 2, 0).double().numpy())
    expected = rgb2ycbcr(lr[0].permute(1, 2, 0).double().numpy())[..., 1:]
    enlarged = bicubic(torch.from_numpy(expected).permute(2, 0, 1) / 255, 2) * 255
    assert np.allclose(found[..., 1:], enlarged.permute(1, 2, 0), atol=1e-3)
