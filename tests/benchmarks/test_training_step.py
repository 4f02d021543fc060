"""What a step of quantization-aware training costs, as ratios within one run."""

import pytest
import torch
from measure import seconds

import core
from core.qat.config import OdmConfig
from core.qat.training import QuantizedTraining
from core.training.patches import PatchSampler

pytestmark = pytest.mark.benchmark


def test_a_step_of_odm_against_a_plain_quantized_step(edsr_x2, capsys):
    images = [core.demo_image(name) for name in core.demo_names()]
    sampler = PatchSampler(images, 2, 32)

    def steps(config):
        training = QuantizedTraining(edsr_x2, sampler, config)
        wanted = config.regularization != "none"
        return seconds(lambda: training.advance(training.gradients(wanted)))

    def float_steps():
        lr, hr = sampler.batch(8, 0, 0)
        model = core.create_model("edsr", 2).to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.Adam(p for p in model.parameters() if p.requires_grad)

        def step():
            optimizer.zero_grad()
            (model(lr) - hr).abs().mean().backward()
            optimizer.step()

        return seconds(step)

    plain = steps(OdmConfig(regularizer="none"))
    taken = {name: steps(OdmConfig(version=name)) for name in ("v2", "v1")}
    with capsys.disabled():
        print(f"\nA training step at W2A2 to a plain quantized one of {plain:.2f} s (8 patches of 32x32):")
        for name, time in taken.items():
            print(f"  ODM {name} {time / plain:.2f}")
        print(f"  float {float_steps() / plain:.2f}")
    assert max(taken.values()) < 2.5 * plain
