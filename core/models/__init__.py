"""Super-resolution networks by name. Checkpoints: `core.checkpoints`; trained ones: `core.zoo`."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from core.models.edsr import EDSR, RGB_MEAN
from core.models.mobile import ABPN, XLSR, has_clip, without_clip
from core.models.msrresnet import MSRResNet
from core.models.rdn import RDN
from core.models.srresnet import SRResNet
from core.models.swinir import SwinIR

# name -> constructor of the untrained architecture, called with the scale
MODELS: dict[str, Callable[[int], nn.Module]] = {
    "edsr": lambda scale: EDSR(scale, n_blocks=8, n_feats=32, rgb_range=1.0),
    "edsr_baseline": EDSR,
    "edsr_large": lambda scale: EDSR(scale, n_blocks=32, n_feats=256, res_scale=0.1),
    "rdn": lambda scale: RDN(scale, n_blocks=4, n_convs=4, growth=16, n_feats=32, rgb_range=1.0),
    "srresnet": lambda scale: SRResNet(scale, n_blocks=8, n_feats=32, rgb_range=1.0),
    "xlsr": XLSR,
    "abpn": ABPN,
    "swinir_light": SwinIR,
}


def new_model(name: str, scale: int) -> nn.Module:
    """A randomly initialised network; ValueError lists the names that exist."""
    if name not in MODELS:
        raise ValueError(f"no model {name!r}; there are {', '.join(MODELS)}")
    return MODELS[name](scale)


__all__ = [
    "ABPN",
    "EDSR",
    "MODELS",
    "RDN",
    "RGB_MEAN",
    "XLSR",
    "MSRResNet",
    "SRResNet",
    "SwinIR",
    "has_clip",
    "new_model",
    "without_clip",
]
