"""A network whose overshoot is known by hand: it stretches contrast about mid-grey by a quarter."""

import pytest
import torch
from stretch import Stretch, flat
from torch import nn

from core import representative_images
from core.deploy.representative import CHOICES, OVERSHOOT, TAMINGS, TILE, tiles
from core.models import XLSR

# Outputs: [0, 1], [-0.125, 1.125], [0.375, 0.625], [0.125, 1].
POOL = [flat(0.1, 0.9), flat(0, 1), flat(0.4, 0.6), flat(0.2, 0.9)]


def chosen(result):
    return [next(i for i, image in enumerate(POOL) if torch.equal(image, r)) for r in result]


def test_first_and_random():
    assert chosen(representative_images(Stretch(), POOL, "first", 2)) == [0, 1]
    draws = [chosen(representative_images(Stretch(), POOL, "random", 2, seed)) for seed in range(8)]
    assert draws[3] == chosen(representative_images(Stretch(), POOL, "random", 2, 3))
    assert len(set(map(tuple, draws))) > 2
    assert all(len(set(draw)) == 2 for draw in draws)
    assert len(representative_images(Stretch(), POOL, "random", 99)) == 4


def test_coverage_takes_outputs_that_end_at_0_and_1():
    """Away from [0, 1] at both ends together: 0, 0.25, 0.75, 0.125."""
    assert chosen(representative_images(Stretch(), POOL, "coverage", 1)) == [0]
    assert chosen(representative_images(Stretch(), POOL, "coverage", 3)) == [0, 1, 3]


def test_crop_drops_what_overshoots_and_nothing_else():
    (left,) = representative_images(Stretch(), POOL, "first+crop")
    assert torch.equal(left, torch.cat([POOL[0], POOL[2], POOL[3]]))
    wide = torch.cat([flat(0.2, 0.2), flat(0.2, 1)], 3)  # its right half is white on one side
    (left,) = representative_images(Stretch(), [wide], "crop")
    assert torch.equal(left, flat(0.2, 0.2))


def test_contrast_is_reduced_where_needed_and_no_more():
    (tamed,) = representative_images(Stretch(), POOL, "first+contrast")
    assert torch.equal(tamed[[0, 2, 3]], torch.cat([POOL[0], POOL[2], POOL[3]]))
    # 1.25 x - 0.125 = 1.02 and -0.02
    ends = torch.tensor([(0.125 - OVERSHOOT) / 1.25, (1.125 + OVERSHOOT) / 1.25])
    assert torch.allclose(tamed[1], flat(*ends)[0], atol=1e-6)


def test_only_the_end_that_overshoots_moves():
    """Output [0.25, 1.125]: the dark tone stays, but for what the network adds to it."""
    (tamed,) = representative_images(Stretch(), [flat(0.3, 1)], "contrast")
    assert tamed.min() == pytest.approx(0.3, abs=0.01)
    assert 1.0 < 1.25 * tamed.max() - 0.125 <= 1 + OVERSHOOT


def test_steps_follow_each_other():
    """Overshoots of 0, 0.125, 0.0375 and 0.025: before contrast, crop drops only the one beyond 0.05."""
    pool = [flat(0.1, 0.9), flat(0, 1), flat(0.07, 0.5), flat(0.2, 0.92)]
    (one,) = representative_images(Stretch(), pool, "first+crop")
    assert torch.equal(one, pool[0])
    (both,) = representative_images(Stretch(), pool, "first+crop+contrast")
    assert len(both) == 3
    assert torch.equal(both[0], pool[0][0])
    output = 1.25 * both - 0.125
    assert -OVERSHOOT - 1e-6 <= output.min() < 0
    assert 1 < output.max() <= 1 + OVERSHOOT + 1e-6
    (other,) = representative_images(Stretch(), pool, "coverage+contrast+crop")
    assert len(other) == 4


@pytest.mark.parametrize("steps", ["contrast", "crop", "coverage+crop+contrast"])
def test_a_real_architecture_is_tamed(steps):
    """Random XLSR: far from commuting with contrast, but its outputs end inside."""
    model = XLSR(3).eval()
    for parameter in model.parameters():
        parameter.data *= 1.3
    pool = list(torch.rand(6, 1, 3, 2 * TILE, 40))
    pool += [0.5 + 0.02 * image for image in pool]  # calm ones, so that crop finds something
    seen = model.conv4.register_forward_hook(lambda module, args, out: ends.append((out.min(), out.max())))
    ends = []
    with torch.no_grad():
        model(torch.cat(pool))
        assert ends[0][0] < -OVERSHOOT or ends[0][1] > 1 + OVERSHOOT
        ends.clear()
        model(torch.cat(representative_images(model, pool, steps)))
    seen.remove()
    assert ends[-1][0] >= -OVERSHOOT - 1e-5
    assert ends[-1][1] <= 1 + OVERSHOOT + 1e-5


def test_tiles_cover_the_image():
    image = torch.arange(3 * 70 * 40, dtype=torch.float32).view(1, 3, 70, 40) / 8400
    found = tiles([image, torch.zeros(1, 3, 8, 99)])
    assert found.shape == (3 * 2, 3, TILE, TILE)
    assert torch.equal(found.unique(), image.unique())


def test_the_pool_is_left_as_it_is():
    before = [image.clone() for image in POOL]
    for choose in CHOICES:
        for tame in TAMINGS:
            representative_images(Stretch(), POOL, f"{choose}+{tame}")
    assert all(torch.equal(a, b) for a, b in zip(before, POOL, strict=True))


def test_progress_may_cancel():
    def cancel(what, share):
        raise KeyboardInterrupt

    for strategy in ("coverage", "crop", "contrast"):
        with pytest.raises(KeyboardInterrupt):
            representative_images(Stretch(), POOL, strategy, progress=cancel)


@pytest.mark.parametrize(
    ("images", "strategy", "sentence"),
    [
        ([], "first", "at least one image, got 0"),
        (POOL, "brighter", "strategy 'brighter': 'brighter' is no step; there are one of first, random"),
        (POOL, "crop+first", "'first' is no step"),
        (
            [flat(0, 1)],
            "crop",
            r"every region's output overshoots \[0, 1\] by more than 0.02, the calmest one",
        ),
        ([torch.rand(1, 3, 8, 8)], "contrast", "no image is at least 32 pixels on both sides"),
        ([torch.full((1, 3, 40, 40), torch.nan)], "first", "must be finite"),
    ],
)
def test_bad_input(images, strategy, sentence):
    with pytest.raises(ValueError, match=sentence):
        representative_images(Stretch(), images, strategy)


def test_a_network_of_nan():
    class Broken(nn.Module):
        def forward(self, x):
            return x / 0 * 0

    with pytest.raises(ValueError, match="gives out NaN or infinity"):
        representative_images(Broken(), POOL, "coverage")
