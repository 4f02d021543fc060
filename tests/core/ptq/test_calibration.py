import math

import pytest
import torch
from torch import nn

from core import calibration_patches
from core.ptq.calibration import MAX_BATCH_PIXELS, batches, layer_inputs, observe, recorded, with_share


class Shift(nn.Module):
    """conv (identity) - shift, so that what the second layer sees is known."""

    def __init__(self, shift: float = 0.0):
        super().__init__()
        self.first, self.second = (nn.Conv2d(3, 3, 1, bias=False) for _ in range(2))
        self.first.weight.data = torch.eye(3).view(3, 3, 1, 1)
        self.unused = nn.Linear(2, 2)
        self.shift = shift

    def forward(self, x):
        return self.second(input=self.first(x) + self.shift)


class Collector:
    def __init__(self):
        self.seen = []

    def update(self, x):
        self.seen.append(x)

    def finish(self):
        pass


def test_batches_bound_the_memory_and_lose_nothing():
    images = torch.rand(5, 3, 96, 192)
    cut = list(batches(images))
    assert max(b.shape[0] * 96 * 192 for b in cut) <= MAX_BATCH_PIXELS
    assert torch.equal(torch.cat(cut), images)
    mixed = [torch.rand(1, 3, 8, 8), torch.rand(2, 3, 4, 9)]
    assert [b.shape for b in batches(mixed)] == [(1, 3, 8, 8), (2, 3, 4, 9)]


def test_the_share_done():
    images = torch.rand(9, 3, 96, 96)
    assert [share for _, share in with_share(images)] == [8 / 9, 1]
    assert [share for _, share in with_share(list(images.split(3)))] == [3 / 9, 6 / 9, 1]
    assert all(math.isnan(share) for _, share in with_share(iter(images.split(3))))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "at least one image, got none"),
        (torch.empty(0, 3, 4, 4), "must not be empty"),
        (torch.rand(3, 4, 4), r"shape \(N, 3, H, W\), got \(3, 4, 4\)"),
        (torch.rand(1, 2, 4, 4), r"shape \(N, 3, H, W\)"),
        ([torch.rand(1, 3, 4, 4), torch.full((1, 3, 4, 4), torch.nan)], "NaN or infinity"),
        (torch.full((1, 3, 4, 4), torch.inf), "NaN or infinity"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "floating point"),
        (["image.png"], "got str"),
    ],
)
def test_images_that_cannot_calibrate(images, message):
    with pytest.raises(ValueError, match=message):
        list(batches(images))


def test_recorded_sees_inputs_and_leaves_no_hook():
    model, seen, x = Shift(1.0), {}, torch.rand(1, 3, 2, 2)
    with recorded(model, ["first", "second"], seen.__setitem__):
        model(x)
    assert torch.equal(seen["first"], x)
    assert torch.allclose(seen["second"], x + 1)
    with pytest.raises(RuntimeError), recorded(model, ["first"], seen.__setitem__):
        model(torch.rand(1, 5, 2, 2))
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_observe_feeds_every_layer_and_reports_progress():
    images, done = torch.rand(9, 3, 96, 96), []
    observers = {name: Collector() for name in ("first", "second", "unused")}
    ran = observe(Shift(), images, observers, lambda *told: done.append(told))
    assert ran == {"first", "second"}
    assert torch.equal(torch.cat(observers["first"].seen), images)
    assert not torch.cat(observers["second"].seen).requires_grad
    assert done == [("Calibrating", 8 / 9), ("Calibrating", 1)]


def test_observe_can_be_cancelled():
    def cancel(what, share):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        observe(Shift(), torch.rand(1, 3, 4, 4), {"first": Collector()}, cancel)


@pytest.mark.parametrize("shift", [float("nan"), float("inf")])
def test_activations_that_are_not_finite_name_their_layer(shift):
    with pytest.raises(ValueError, match="the input of second holds NaN or infinity"):
        observe(Shift(shift), torch.rand(1, 3, 4, 4), {n: Collector() for n in ("first", "second")})


def test_layer_inputs():
    images, done = torch.rand(9, 3, 96, 96), []
    model = Shift(2.0)
    assert torch.allclose(layer_inputs(model, "second", images, lambda *told: done.append(told)), images + 2)
    assert done == [("Recording activations", 8 / 9), ("Recording activations", 1)]
    assert model.training
    with pytest.raises(ValueError, match="unused is not called"):
        layer_inputs(model, "unused", images)


def test_patches_are_parts_of_the_images():
    images = [torch.rand(1, 3, 20, 9), torch.rand(1, 3, 6, 30)]
    patches = calibration_patches(images, n_patches=12, size=6, seed=3)
    assert patches.shape == (12, 3, 6, 6)
    windows = [
        i.unfold(2, 6, 1).unfold(3, 6, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 6, 6) for i in images
    ]
    sources = [[bool((w == patch).all((1, 2, 3)).any()) for w in windows] for patch in patches]
    assert all(any(row) for row in sources)
    assert all(any(row[i] for row in sources) for i in range(2))


def test_patches_depend_on_the_seed():
    images = [torch.rand(1, 3, 40, 40)]
    first, again, other = (calibration_patches(images, 4, 8, seed=s) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_small_images_are_passed_over():
    small, large = torch.zeros(1, 3, 7, 50), torch.ones(1, 3, 8, 8)
    assert (calibration_patches([small, large], 5, 8) == 1).all()
    with pytest.raises(ValueError, match="no image is at least 8 pixels on both sides"):
        calibration_patches([small], 5, 8)
