"""Trained methods against what their authors' own code gives, as in the tests of the quantizers."""

import pytest
import torch
from reference import REFERENCE, close, load

from core.qat.fake_quantization import ClippedWeight, FakeQuantize
from core.qat.odm_loss import by_angle, cosine, mismatch_penalty
from core.quantizers.pams import PamsRange, PamsWeight
from core.quantizers.weights import WEIGHTS, nearest

pytestmark = pytest.mark.skipif(
    not REFERENCE.is_dir(),
    reason="the reference vectors (shared/reference beside the repository) are not here",
)


@pytest.mark.parametrize("alpha", ["1.7", "10.0"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("kind", ["signed", "post_relu"])
def test_pams_activations(kind, bits, alpha):
    data = load("pams.npz")
    x = torch.from_numpy(data[f"{kind}.x"]).requires_grad_()
    learned = PamsRange(bits, 1, high=float(alpha))
    found = learned(x)
    key = f"{kind}.b{bits}.alpha{alpha}"
    assert close(found.detach(), data[f"{key}.output"])
    found.backward(torch.from_numpy(data["upstream"]))
    assert close(x.grad, data[f"{key}.grad_x"])
    assert close(learned.high.grad, data[f"{key}.grad_alpha"].reshape(()), 5e-5)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_pams_weights(bits):
    data = load("pams.npz")
    weight = torch.from_numpy(data["weight"])
    rows = weight.flatten(1)
    expected = data[f"weight.b{bits}.quantized"]
    found = nearest(rows, WEIGHTS["symmetric"].levels(rows, bits, None)).view(weight.shape)
    assert close(found, expected)
    assert close(PamsWeight(bits)(weight), expected)


def test_pams_start():
    data = load("pams.npz")
    learned = PamsRange(4, 1, ema_epochs=2)
    for batch, epoch, after in zip(
        data["start.batches"], data["start.epochs"], data["start.alpha_after"], strict=True
    ):
        learned.follow(torch.from_numpy(batch), int(epoch))
        assert close(learned.high.detach(), after)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("case", ["a", "b"])
def test_odm_formula(case, bits):
    data = load("odm_formula.npz")
    x = torch.from_numpy(data["x"]).double().requires_grad_()
    low, high = (
        torch.tensor(float(end), dtype=torch.float64, requires_grad=True)
        for end in data[f"{case}.b{bits}.range"]
    )
    found = FakeQuantize.apply(x, low, high, bits)
    assert close(found.detach(), data[f"{case}.b{bits}.quantized"])
    found.backward(torch.from_numpy(data["upstream"]).double())
    assert close(x.grad, data[f"{case}.b{bits}.grad_x"])
    assert close([float(low.grad), float(high.grad)], data[f"{case}.b{bits}.grad_range"], 2e-6)
    x.grad = None
    penalty = mismatch_penalty(x, found.detach())
    penalty.backward()
    assert close(penalty.item(), data[f"{case}.b{bits}.mismatch"])
    assert close(x.grad, data[f"{case}.b{bits}.mismatch_grad_x_q_fixed"])


@pytest.mark.parametrize("gamma", ["1.0", "0.85"])
@pytest.mark.parametrize("bits", [2, 4])
def test_odm_weights(bits, gamma):
    data = load("odm_formula.npz")
    weight = torch.from_numpy(data["weight"]).double()
    clipped = ClippedWeight(bits, True, 99.0).double()
    with torch.no_grad():
        clipped.gamma.fill_(float(gamma))
    assert close(clipped.high(weight).detach(), data[f"weight.b{bits}.gamma{gamma}.u"])
    assert close(clipped(weight).detach(), data[f"weight.b{bits}.gamma{gamma}.quantized"])


def test_odm_cooperation():
    data = load("odm_formula.npz")
    for r, m, sim in zip(data["sim.grad_r"], data["sim.grad_m"], data["sim.value"], strict=True):
        r, m = torch.from_numpy(r), torch.from_numpy(m)
        assert close((cosine(r, m) + 1) / 2, sim)
        assert close(by_angle(r, m), sim * m.numpy())
