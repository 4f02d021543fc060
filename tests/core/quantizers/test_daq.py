import pytest
import torch

from core.quantizers.daq import GaussianQuantizer, rounded_deviations


def test_signed_by_hand():
    # Mean 0, deviation sqrt(4/3); step 1.596 of it at 2 bits, levels +-0.5 and +-1.5 steps.
    x = torch.tensor([-1.0, 1.0, -1.0, 1.0]).view(1, 1, 2, 2)
    step = 1.596 * (4 / 3) ** 0.5
    for kind in (x, x.double()):
        found = GaussianQuantizer(2, 1)(kind)
        assert found.flatten().tolist() == pytest.approx([-step / 2, step / 2, -step / 2, step / 2])


def test_post_relu_by_hand():
    # Positive values 2 and 4 with one count more: mean 2, deviation sqrt(20/3 - 4); levels from 0 up.
    x = torch.tensor([0.0, 2.0, 4.0, 0.0]).view(1, 1, 2, 2)
    step = 1.596 * (20 / 3 - 4) ** 0.5
    for kind in (x, x.double()):
        found = GaussianQuantizer(2, 1)(kind)
        assert found.flatten().tolist() == pytest.approx([0, step, 2 * step, 0])


def test_post_relu_levels_have_no_end():
    x = torch.zeros(1, 1, 16, 16)
    x[0, 0, 0, :8], x[0, 0, 0, 8] = 1.0, 40.0
    found = GaussianQuantizer(2, 1)(x)
    assert found.max() == pytest.approx(40, abs=10)


@pytest.mark.parametrize("post_relu", [False, True])
@pytest.mark.parametrize(
    ("shape", "dim"), [((2, 3, 9, 8), 1), ((3, 9, 8), -3), ((2, 10, 3), -1), ((4, 5), -1)]
)
@pytest.mark.parametrize("deviation_bits", [16, 8, 4])
def test_compiled_equals_tensor_operations(shape, dim, post_relu, deviation_bits):
    x = torch.randn(shape) + 0.2
    x = x.relu() if post_relu else x
    quantizer = GaussianQuantizer(3, dim, deviation_bits)
    found, plain = quantizer(x), quantizer(x.double()).float()
    assert found.shape == x.shape
    assert ((found - plain).abs() > 1e-4).float().mean() < 0.01  # ties


@pytest.mark.parametrize("value", [0.0, 0.7, -3.0])
def test_constant_channels_stay(value):
    x = torch.full((1, 2, 4, 4), value)
    assert torch.allclose(GaussianQuantizer(4, 1)(x), x, atol=1e-6)
    assert torch.allclose(GaussianQuantizer(4, 1)(x.double()), x.double(), atol=1e-6)


def test_deviations_of_few_bits_by_hand():
    # Mean 2.5, deviation sqrt(5/3); at 4 bits steps of 0.586 of it around the mean.
    deviation = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    step = 0.586 * (5 / 3) ** 0.5
    expected = [2.5 + (round((d - 2.5) / step + 0.5) - 0.5) * step for d in (1, 2, 3, 4)]
    assert rounded_deviations(deviation, 4, 1)[0].tolist() == pytest.approx(expected)
    assert (rounded_deviations(torch.tensor([[0.0, 0.0, 9.0]]), 4, 1) >= 0).all()
    assert torch.equal(rounded_deviations(deviation, 16, 1), deviation)
    assert torch.equal(rounded_deviations(deviation[:, :1], 8, 1), deviation[:, :1])


def test_gradient_passes_straight_through():
    x = torch.randn(1, 2, 3, 3, requires_grad=True)
    GaussianQuantizer(2, 1)(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
