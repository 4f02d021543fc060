import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image

from core import bicubic, demo_image, demo_names, luma, make_lr, modcrop, paired_folder
from core.images import check_images, round_8bit, to_tensor, to_uint8


def test_luma_by_hand():
    colours = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]).float()
    expected = [16, 235, 81.481, 144.553, 40.966]
    assert luma(colours[:, :, None, None]).flatten().tolist() == pytest.approx(expected)


def test_bicubic_weights_by_hand():
    # Enlarging an impulse twice: the cubic (a = -0.5) at distances 0.25, 0.75, 1.25 and 1.75.
    row = torch.zeros(1, 1, 1, 9)
    row[..., 4] = 1
    near = [1.5 * d**3 - 2.5 * d**2 + 1 for d in (0.25, 0.75)]
    half = [round(255 * w) for w in near]
    enlarged = (bicubic(row.expand(1, 1, 9, 9), 2) * 255).round()[0, 0, 9]
    assert enlarged.tolist() == [0] * 7 + [half[1], *[half[0]] * 2, half[1]] + [0] * 7


@pytest.mark.parametrize("factor", [1 / 2, 1 / 3, 1 / 4, 2, 3, 4])
def test_bicubic_keeps_constants(factor):
    image = torch.full((1, 3, 12, 24), 77 / 255)
    assert torch.equal(
        bicubic(image, factor), torch.full((1, 3, int(12 * factor), int(24 * factor)), 77 / 255)
    )


def test_bicubic_keeps_ramps_inside():
    ramp = (torch.arange(40) * 2.0 / 255).expand(1, 1, 16, 40)
    halved = bicubic(ramp, 1 / 2)[0, 0, 4] * 255
    assert halved[3:-3].round().tolist() == [4 * j + 1 for j in range(3, 17)]


def test_bicubic_treats_height_and_width_alike():
    image = torch.rand(1, 3, 12, 12)
    flipped = bicubic(image.flip(2, 3), 1 / 2).flip(2, 3)
    assert (bicubic(image, 1 / 2) - flipped).abs().max() <= 1.01 / 255


@pytest.mark.parametrize("dataset", ["Set5", "Set14"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_lr_equals_the_benchmarks(benchmark_data, dataset, scale):
    differ = pixels = 0
    pairs = paired_folder(benchmark_data / dataset / f"x{scale}", scale)
    for _, lr, hr in itertools.islice(pairs, 3):
        difference = np.abs(to_uint8(make_lr(hr, scale)).astype(int) - to_uint8(lr))
        assert difference.max() <= 1
        differ, pixels = differ + np.count_nonzero(difference), pixels + difference.size
    assert differ <= (0.001 * pixels if scale == 2 else 0)


def test_modcrop():
    image = torch.rand(1, 3, 11, 13)
    assert torch.equal(modcrop(image, 4), image[..., :8, :12])
    assert make_lr(image, 4).shape == (1, 3, 2, 3)
    assert make_lr(image, 11).shape == (1, 3, 1, 1)
    with pytest.raises(ValueError, match="an image of 13×11 pixels is too small for ×12; choose a larger"):
        make_lr(image, 12)


def test_eight_bits():
    image = torch.tensor([-0.2, 0.0, 0.4 / 255, 0.6 / 255, 1.3]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert (round_8bit(image)[0, 0, 0] * 255).tolist() == pytest.approx([0, 0, 0, 1, 255])
    assert to_uint8(image)[0, 0, :, 0].tolist() == [0, 0, 0, 1, 255]
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert (to_uint8(to_tensor(pixels))[0] == pixels).all()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(3, 4, 4), r"shape \(N, 3, H, W\), got \(3, 4, 4\)"),
        (np.zeros((1, 3, 4, 4)), "must be a tensor"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), r"floating point in \[0, 1\], got torch.uint8"),
        (torch.zeros(1, 3, 0, 4), "must not be empty"),
        (torch.full((1, 3, 1, 1), torch.nan), "must be finite"),
    ],
)
def test_check_images(images, message):
    with pytest.raises(ValueError, match=message):
        check_images(images)


@pytest.mark.parametrize("name", demo_names())
def test_demo_images(name):
    image = check_images(demo_image(name))
    assert image.shape[-2] % 12 == image.shape[-1] % 12 == 0
    assert image.shape[0] == 1
    assert image.min() >= 0
    assert 0.5 < image.max() <= 1


@pytest.mark.parametrize("name", ["china", "flower"])
def test_demo_images_of_scikit_learn(name):
    expected = modcrop(to_tensor(np.array(load_sample_image(f"{name}.jpg"))), 12)
    assert torch.equal(demo_image(f"{name} (scikit-learn)"), expected)


def test_unknown_demo_image_lists_what_exists():
    with pytest.raises(ValueError, match=r"no demo image 'lena'; there are astronaut \(scikit-image\)"):
        demo_image("lena")
