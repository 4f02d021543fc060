import pytest
import torch
from torch import nn

from core.models import SRResNet
from core.networks.batchnorm import fold_batchnorm


def with_statistics(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.normal_()
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.5, 2)
    return model


def test_srresnet_is_the_same_without_batchnorm():
    model, x = with_statistics(SRResNet(4, n_blocks=2, n_feats=6)).eval(), torch.rand(2, 3, 9, 8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded = fold_batchnorm(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert torch.allclose(folded(x), model(x), atol=1e-5)
    assert isinstance(folded, SRResNet)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


class Awkward(nn.Module):
    """A conv read twice, a BatchNorm called twice, one at the start."""

    def __init__(self):
        super().__init__()
        self.first, self.shared, self.last = (nn.BatchNorm2d(3) for _ in range(3))
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 1, bias=False) for _ in range(3))

    def forward(self, x):
        y = self.a(self.first(x))
        y = y + self.shared(y)
        return self.last(self.c(self.shared(self.b(y))))


def test_what_cannot_be_folded_stays():
    model, x = with_statistics(Awkward()).eval(), torch.rand(2, 3, 4, 4)
    folded = fold_batchnorm(model)
    kept = [name for name, module in folded.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert kept == ["first", "shared"]
    assert torch.allclose(folded(x), model(x), atol=1e-5)


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_untraceable_networks():
    with pytest.raises(ValueError, match=r"Branching cannot be traced by torch\.fx: "):
        fold_batchnorm(Branching())
