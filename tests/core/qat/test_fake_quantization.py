import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.qat import fake_quantization as fake
from core.qat.fake_quantization import ClippedWeight, FakeQuantize, LearnedRange
from core.qat.odm_loss import COOPERATION, PENALTIES, conflict, cosine
from core.quantizers.uniform import OffsetQuantizer, uniform


def test_the_gradients_of_a_hand_computed_case():
    x = torch.tensor([-1.0, 0.2, 0.9, 3.0], requires_grad=True)
    low, high = torch.zeros((), requires_grad=True), torch.tensor(1.5, requires_grad=True)
    quantized = FakeQuantize.apply(x, low, high, 2)
    assert quantized.tolist() == [0, 0, 1, 1.5]
    quantized.backward(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert x.grad.tolist() == [0, 2, 3, 0]
    within = (2 * 0.2 + 3 * (0.9 - 1.0)) / 1.5
    assert low.grad.item() == pytest.approx(1 + within)
    assert high.grad.item() == pytest.approx(4 - within)


@given(st.integers(2, 8), st.floats(-2, 0), st.floats(0.1, 3), st.integers(0, 10**6))
def test_the_gradients_are_those_of_the_formula(bits, low, width, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(5, 3, 4, 4, generator=generator, dtype=torch.float64)
    weights = torch.randn(values.shape, generator=generator, dtype=torch.float64)
    found = []
    for function in (FakeQuantize.apply, uniform):
        leaves = [values.clone(), torch.tensor(low).double(), torch.tensor(low + width).double()]
        leaves = [leaf.requires_grad_() for leaf in leaves]
        quantized = function(*leaves, bits)
        quantized.backward(weights)
        found.append([quantized.detach(), *(leaf.grad for leaf in leaves)])
    for own, formula in zip(*found, strict=True):
        torch.testing.assert_close(own, formula)


def test_a_range_that_closes_stays_finite():
    low, high = torch.tensor(0.5, requires_grad=True), torch.tensor(0.4, requires_grad=True)
    x = torch.linspace(0, 1, 5, requires_grad=True)
    FakeQuantize.apply(x, low, high, 2).sum().backward()
    assert all(torch.isfinite(t.grad).all() for t in (x, low, high))


def test_weights_are_clipped_at_gamma_times_the_percentile():
    weight = torch.linspace(-1, 1, 201)
    corrected = ClippedWeight(2, correction=True, percentile=99)
    with torch.no_grad():
        corrected.gamma.fill_(0.5)
    high = 0.5 * np.percentile(weight.abs().numpy(), 99)
    assert corrected(weight).unique().tolist() == pytest.approx([-high, -high / 3, high / 3, high])
    assert ClippedWeight(2, correction=False, percentile=99).high(weight) == 1


def test_gamma_learns_and_the_percentile_does_not():
    weight = torch.linspace(-1, 1, 201, requires_grad=True)
    clipped = ClippedWeight(2, correction=True, percentile=90)
    clipped(weight).square().sum().backward()
    outside = weight.detach().abs() > clipped.high(weight)
    assert outside.any()
    assert (weight.grad[outside] == 0).all()
    assert clipped.gamma.grad > 0


@pytest.mark.parametrize("offsets", [("shift",), ("scale",), ("shift", "scale")])
def test_offsets_fold_into_the_beginning_of_each_channels_codes(offsets):
    generator = torch.Generator().manual_seed(1)
    shift = torch.randn(5, generator=generator) if "shift" in offsets else None
    scale = torch.rand(5, generator=generator) + 0.5 if "scale" in offsets else None
    learned = LearnedRange(-0.5, 1.0, 3, -3, shift=shift, scale=scale)
    frozen = learned.frozen()
    assert isinstance(frozen, OffsetQuantizer)
    x = torch.randn(2, 5, 9, 9, generator=generator)
    moved = x * (scale if scale is not None else torch.ones(5)).view(5, 1, 1)
    moved = moved + (shift if shift is not None else torch.zeros(5)).view(5, 1, 1)
    tie = ((moved + 0.5) / (1.5 / 7) % 1 - 0.5).abs() < 1e-3  # float32 may round these either way
    with torch.no_grad():
        torch.testing.assert_close(frozen(x)[~tie], learned(x)[~tie])
    assert np.allclose(frozen.levels(2)[[0, -1]], [frozen.low[2], frozen.high[2]])


def test_penalties_of_hand_computed_cases():
    x = torch.tensor([[0.0, 2.0], [4.0, 6.0]], requires_grad=True)
    quantized = torch.tensor([[0.0, 2.0], [4.0, 3.0]])
    value = PENALTIES["mismatch"](x, quantized)
    assert value == 3
    value.backward()
    assert x.grad.tolist() == [[0, 0], [0, 1]]
    assert PENALTIES["variance"](x, quantized).item() == pytest.approx(5**0.5)


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_against_finite_differences(name):
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    quantized = x.detach().round()
    assert torch.autograd.gradcheck(lambda x: PENALTIES[name](x, quantized), x)


def test_cooperation_by_angle_at_cos_1_0_and_minus_1():
    main_gradient = torch.tensor([1.0, 0.0])
    for regularizer, share in (([3.0, 0.0], 1), ([0.0, 3.0], 0.5), ([-3.0, 0.0], 0)):
        regularizer = torch.tensor(regularizer)
        assert cosine(main_gradient, regularizer) == 2 * share - 1
        assert torch.equal(COOPERATION["angle"](main_gradient, regularizer), share * regularizer)


def test_cooperation_by_sign_is_element_by_element():
    main_gradient = torch.tensor([1.0, 1.0, -2.0, -2.0, 0.0])
    regularizer = torch.tensor([5.0, -5.0, 5.0, -5.0, 5.0])
    assert COOPERATION["sign"](main_gradient, regularizer).tolist() == [5, 0, 0, -5, 0]
    assert conflict(main_gradient, regularizer).item() == pytest.approx(2 / 5)


def test_no_gradient_no_angle():
    assert cosine(torch.zeros(3), torch.ones(3)) == 0


@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.5), (0.1, 1.0), (-0.7, 0.9)])
def test_one_pass_equals_tensor_operations(low, high, format):
    x = torch.randn(2, 5, 7, 6).relu().to(memory_format=format)
    grad, low, high = torch.randn(2, 7, 6, 5).movedim(-1, 1), torch.tensor(low), torch.tensor(high)
    found = fake._levels_in_one_pass(x, low, high, 3)
    assert torch.equal(found, fake._levels_of(x, low, high - low, 3))
    arguments = grad, x, found, low, high, high - low
    for one, expected in zip(
        fake._gradients_in_one_pass(*arguments), fake._gradients(*arguments), strict=True
    ):
        torch.testing.assert_close(one, expected, atol=1e-5, rtol=1e-5)


def test_nan_stays_nan():
    x = torch.tensor([[0.2, float("nan"), 3.0]], requires_grad=True)
    quantized = FakeQuantize.apply(x, torch.tensor(0.0), torch.tensor(1.0), 2)
    assert quantized.isnan().tolist() == [[False, True, False]]


@pytest.mark.parametrize("share", [0.51, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("n", [1, 2, 5, 101, 4096])
def test_the_upper_quantile(n, share):
    values = torch.rand(n, dtype=torch.float64)
    torch.testing.assert_close(fake._upper_quantile(values, share), torch.quantile(values, share))
