import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from core import audit, load_quantized, save_quantized
from core.analysis.cost import cost
from core.models import EDSR, RDN
from core.qat.config import OdmConfig
from core.qat.frozen import quantized_before
from core.qat.training import QuantizedTraining
from core.quantizers.pams import (
    PamsRange,
    PamsWeight,
    ResidualQuantizer,
    attach_residual_quantizer,
    attention_loss,
    residual_blocks,
)
from core.training.patches import PatchSampler

PAMS = OdmConfig(3, "pams", steps=60, batch=2, patch=12)


def training(model, config=PAMS):
    images = [torch.rand(1, 3, 48, 52, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    return QuantizedTraining(model, PatchSampler(images, 2, config.patch), config)


def test_levels_and_gradients_by_hand():
    learned = PamsRange(3, 1, high=1.5)  # Q = 3
    x = torch.tensor([-2.0, -0.6, 0.2, 0.3, 1.5, 4.0], requires_grad=True)
    found = learned(x)
    assert found.tolist() == pytest.approx([-1.5, -0.5, 0, 0.5, 1.5, 1.5])
    found.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0.5, 0]
    within = (0.1 - 0.2 + 0.2 + 0) / 1.5  # (q - x) / a of -0.6, 0.2, 0.3 and 1.5
    assert learned.high.grad.item() == pytest.approx(-1 + within + 1)


def test_the_first_epoch_clips_nothing_and_follows_the_batch():
    learned = PamsRange(2, 1)
    learned.epoch = 1
    x = torch.tensor([[[0.5, -1.0]], [[3.0, 0.2]]])
    found = learned(x).detach()
    assert learned.high.item() == pytest.approx(2.0)  # the mean of 1 and 3
    assert found.flatten().tolist() == pytest.approx([0, 0, 4, 0])  # a half goes to the even code, 1.5 to 2
    learned.epoch = 2
    assert learned(x).max().item() == pytest.approx(2.0)


def test_frozen_is_the_same_and_has_a_level_at_zero():
    learned = PamsRange(4, 1, high=0.7)
    x = torch.randn(2, 3, 8, 8)
    frozen = learned.frozen()
    assert torch.allclose(frozen(x), learned(x), atol=1e-6)
    assert len(frozen.levels(0)) == 15
    assert 0 in frozen.levels(0)


def test_weights_pass_the_gradient_straight_through():
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    found = PamsWeight(3)(weight)
    assert len(found.unique()) <= 7
    found.sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))


def test_attention_loss_by_hand():
    a, b = torch.zeros(1, 2, 1, 2), torch.zeros(1, 2, 1, 2)
    a[0, :, 0, 0] = torch.tensor([1.0, 1.0])  # sums of squares 2 and 0: direction (1, 0)
    b[0, :, 0, 1] = torch.tensor([3.0, 0.0])  # direction (0, 1)
    assert attention_loss(a, b) == pytest.approx(1.0)
    assert attention_loss(a, 5 * a) == pytest.approx(0.0)


def test_skip_and_branch_of_a_block_are_quantized_and_nothing_else(tiny_edsr):
    block = copy.deepcopy(tiny_edsr.body[0])
    x = torch.randn(1, 6, 5, 5)
    branch = block(x) - x
    attach_residual_quantizer(block, ResidualQuantizer(nn.Threshold(0.2, 0.0), nn.Hardtanh(-0.1, 0.1)))
    expected = torch.nn.functional.threshold(x, 0.2, 0.0) + branch.clamp(-0.1, 0.1)
    assert torch.allclose(block(x), expected, atol=1e-6)


def test_its_places_in_a_network(tiny_edsr):
    run = training(tiny_edsr)
    assert list(run.quantizers()) == ["body.0.body.2", "body.1.body.2"]  # behind the ReLUs
    assert list(residual_blocks(run.model)) == ["body.0", "body.1"]
    assert all(q.high > 0 for q in run.quantizers().values())
    rates = [group["lr"] for group in run.optimizer.param_groups]
    assert len(run.optimizer.param_groups[1]["params"]) == 2 + 2 * 2
    run.advance(run.gradients(False))
    rates = [group["lr"] for group in run.optimizer.param_groups]
    assert rates == pytest.approx([1e-4, 1e-2])
    run.step = 20  # after ten of thirty epochs
    run.advance(run.gradients(False))
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(0.5e-4)


def test_the_loss_is_reconstruction_and_attention(tiny_edsr):
    run = training(tiny_edsr)
    lr, hr = run.batch(0)
    loss = run.gradients(False).loss
    plain = (run.model(lr) - hr).abs().mean()
    expected = (plain + 1000 * run.pams.attention_loss(lr)).item()
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_what_comes_out_is_kept(tiny_edsr, tmp_path: Path):
    run = training(tiny_edsr)
    for _ in range(4):
        run.advance(run.gradients(False))
    done = run.quantized()
    x = torch.rand(1, 3, 14, 12)
    save_quantized(done, tmp_path / "a.safetensors")
    for model in (None, EDSR(2, n_blocks=2, n_feats=6, rgb_range=1.0)):
        loaded = load_quantized(tmp_path / "a.safetensors", model)
        assert torch.equal(loaded(x), done(x))
        assert audit(loaded) == audit(done)
    rows = {row.name: row for row in audit(done)}
    assert rows["body.0"].type == "ResBlock, skip and output"
    assert (rows["body.0.body.0"].weight_bits, rows["body.0.body.0"].activation_bits) == (3, 32)
    assert (rows["body.0.body.2"].weight_bits, rows["body.0.body.2"].activation_bits) == (3, 3)
    assert all(len(m.weight.unique()) <= 7 for n, m in done.named_modules() if hasattr(m, "quantization"))
    assert cost(done, 20, 20).weight_bits == pytest.approx(3, abs=0.3)


def test_before_training(tiny_edsr):
    run = training(tiny_edsr)
    record = {"layers": list(run.quantizers()), "low": [[-1.0, -1.0]], "high": [[1.0, 1.0]]}
    card = PAMS.constants() | {"record": record, "quantized_layers": run.layers, "started": run.started}
    x = torch.rand(1, 3, 9, 9)
    assert torch.equal(quantized_before(tiny_edsr, card)(x), run.quantized()(x))


def test_a_network_without_residual_blocks():
    model = RDN(2, n_blocks=1, n_convs=2, growth=4, n_feats=6)
    with pytest.raises(ValueError, match=r"PAMS quantizes residual blocks, and RDN has no module that says"):
        training(model)


def test_lambda_of_odm_follows_the_network():
    assert OdmConfig(2).for_network("RDN").weight == 1e-6
    assert OdmConfig(2).for_network("EDSR").weight == 1e-5
    assert OdmConfig(2, lambda_m=3e-4).for_network("RDN").weight == 3e-4
    assert OdmConfig(2, "v1").for_network("RDN").weight == 1e-3
