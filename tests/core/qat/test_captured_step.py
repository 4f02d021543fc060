import pytest
import torch

from core import EDSR, demo_image, demo_names
from core.qat.captured_step import Captured
from core.qat.config import OdmConfig
from core.qat.training import QuantizedTraining
from core.training.patches import PatchSampler
from core.utils.device import use_device

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def test_on_the_cpu_every_call_runs_the_function():
    calls = []
    doubled = Captured(lambda x: calls.append(1) or 2 * x)
    for value in (1.0, 2.0, 3.0):
        assert doubled(torch.tensor(value)) == 2 * value
    assert len(calls) == 3
    assert doubled.result is None


@CUDA
def test_a_replay_computes_what_the_function_does():
    total = torch.zeros((), device="cuda")
    doubled = Captured(lambda x: 2 * x)
    for value in (1.0, 2.0, 3.0, 4.0):
        result = doubled(torch.tensor(value, device="cuda"))
        assert float(result) == 2 * value
        if doubled.result is result:
            doubled.follow(total.add_)
    assert float(total) == 4 + 6 + 8


def test_a_device_that_is_not_there_is_a_sentence():
    with pytest.raises(ValueError, match="--device nonsense cannot be used here; choose cpu"):
        use_device("nonsense")


@CUDA
def test_training_on_a_gpu_gives_the_weights_of_the_cpu():
    torch.manual_seed(0)
    model = EDSR(2, n_blocks=1, n_feats=4, rgb_range=1.0)
    sampler = PatchSampler([demo_image(demo_names()[0])], 2, 16)
    states = []
    for device in ("cpu", use_device("cuda")):
        training = QuantizedTraining(
            model.to(device), sampler, OdmConfig(steps=8, batch=2, patch=16, lr=1e-3)
        )
        for _ in range(8):
            training.advance(training.gradients(True))
        states.append({name: parameter.detach().cpu() for name, parameter in training.trained()})
    for name, expected in states[0].items():
        assert (states[1][name] - expected).abs().max() < 1e-4, name
