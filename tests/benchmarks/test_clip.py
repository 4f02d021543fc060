"""What the clip at the end costs ONNX Runtime in INT8, by the way it is written."""

import pytest
import torch
from torch import nn

import core
from core.commands.cfqp import TIMED, Minimum

pytestmark = pytest.mark.benchmark


class Behind(nn.Module):
    """The clip after the pixel shuffle, where it meets scale² times the pixels of each channel."""

    def __init__(self, model, clip):
        super().__init__()
        self.scale, self.model, self.clip = model.scale, model, clip

    def forward(self, x):
        return self.clip(self.model(x))


def convs(network):
    return [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]


def test_clip_against_clip_free(capsys):
    model = core.create_model("xlsr", 3)
    free = core.without_clip(model)
    minimum = core.without_clip(model)
    minimum.clip = Minimum()
    networks = {
        "clip-free": free,
        "clip before the shuffle": model,
        "clip behind the shuffle": Behind(free, nn.Hardtanh(0.0, 1.0)),
        "min(relu(x), 1) before": minimum,
        "min(relu(x), 1) behind": Behind(free, Minimum()),
    }
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    graphs = {
        name: core.quantize_int8(network, images, layers=convs(network)) for name, network in networks.items()
    }
    ms = core.time_onnx(graphs, torch.rand(1, 3, *TIMED), runs=21)
    with capsys.disabled():
        print(f"\nXLSR x3 in INT8, one thread, {TIMED[1]}x{TIMED[0]} LR")
        for name, spent in ms.items():
            print(f"{name:26}{spent:7.1f} ms {100 * (1 - ms['clip-free'] / spent):5.0f} % less without")
    # Up to 12 % less was measured; a test must hold on a busy machine.
    assert ms["clip-free"] < 1.2 * min(ms.values())
