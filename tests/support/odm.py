"""A training small enough to be run in a test."""

import torch

from core import EDSR, demo_image, demo_names
from core.qat.config import OdmConfig
from core.qat.run import train
from core.qat.training import QuantizedTraining
from core.training.patches import PatchSampler

CONFIG = OdmConfig(bits=3, steps=6, batch=2, patch=8, seed=3)
LAYERS = ["body.0.body.0", "body.0.body.2"]


def photographs(n=2, side=40):
    return [demo_image(name)[..., :side, :side] for name in demo_names()[:n]]


def network():
    torch.manual_seed(7)
    model = EDSR(2, n_blocks=1, n_feats=4, rgb_range=1.0)
    for p in model.body.parameters():
        p.data.mul_(3)
    return model


def new_training(config=CONFIG, model=None, layers=None):
    return QuantizedTraining(model or network(), PatchSampler(photographs(), 2, config.patch), config, layers)


def finished(config, tmp_path, name="run", **arguments):
    training = new_training(config)
    record = train(training, tmp_path / f"{name}.ckpt", **arguments)
    return training, record
