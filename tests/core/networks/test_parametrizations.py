"""Weights that are computed are made plain, in a copy."""

import copy
import threading
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from core.networks.folding import fold_parametrizations


def _quietly(norm):
    def apply(conv):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of the older weight_norm's age
            return norm(conv)

    return apply


class Halved(nn.Module):
    def forward(self, weight):
        return weight / 2


def _halved(conv):
    parametrize.register_parametrization(conv, "weight", Halved())
    parametrize.register_parametrization(conv, "bias", Halved())
    return conv


def _pruned(conv):
    prune.l1_unstructured(conv, "weight", 0.3)
    prune.random_structured(conv, "weight", 2, dim=0)
    return prune.l1_unstructured(conv, "bias", 1)


NORMS = {
    "weight_norm, hook": _quietly(nn.utils.weight_norm),
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm, hook": nn.utils.spectral_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "pruned": _pruned,
    "custom": _halved,
}


def network(norm):
    torch.manual_seed(0)
    sizes = ((3, 8), (8, 24), (24, 12))
    convs = [norm(nn.Conv2d(i, o, 3, padding=1)) for i, o in sizes]
    return nn.Sequential(*convs, nn.PixelShuffle(2))


@pytest.mark.parametrize("moment", ["fresh", "after a training step", "after loading"])
@pytest.mark.parametrize("kind", NORMS)
def test_the_copy_stores_the_weights_that_the_network_runs_with(kind, moment):
    model, x = network(NORMS[kind]), torch.rand(1, 3, 12, 10)
    if moment == "after a training step":
        model(x).mean().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(parameter.grad)
    elif moment == "after loading":  # a hook's weight is then of the state before
        model.load_state_dict({k: v * 1.5 if v.ndim > 1 else v for k, v in model.state_dict().items()})
    model.eval()
    folded = fold_parametrizations(model)
    names = {f"{i}.{name}" for i in range(3) for name in ("weight", "bias")}
    assert {name for name, _ in folded.named_parameters()} == set(folded.state_dict()) == names
    assert all(type(folded[i]) is nn.Conv2d for i in range(3))
    for got in (folded, copy.deepcopy(folded)):
        assert torch.allclose(got(x), model(x), atol=1e-6)


@pytest.mark.parametrize("kind", NORMS)
def test_the_network_is_left_as_it_is(kind):
    model, x = network(NORMS[kind]), torch.rand(1, 3, 12, 10)
    model(x)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    folded = fold_parametrizations(model)
    assert folded.training
    assert model.training
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.zero_()
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[k], v) for k, v in before.items())
    model(x).mean().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_frozen_weight_stays_frozen():
    conv = parametrizations.weight_norm(nn.Conv2d(3, 3, 1))
    conv.requires_grad_(False)
    assert not any(p.requires_grad for p in fold_parametrizations(conv).parameters())


class Remembers(nn.Module):
    """Keeps its activations, and a parameter whose name only looks like that of a norm."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.scale_g = nn.Parameter(torch.full((1,), 2.0))
        self.seen = {"all": []}

    def forward(self, x):
        y = self.conv(x) * self.scale_g
        self.seen["all"].append((y,))
        self.last = y
        return y


def test_remembered_activations_do_not_stand_in_the_way():
    model, x = Remembers(), torch.rand(1, 3, 5, 4)
    expected = model(x)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)
    folded = fold_parametrizations(model)
    assert torch.equal(folded(x), expected)
    assert torch.equal(folded.seen["all"][0][0], expected)
    assert len(model.seen["all"]) == 1


def test_tied_modules_stay_one():
    conv = parametrizations.weight_norm(nn.Conv2d(3, 3, 1))
    folded = fold_parametrizations(nn.Sequential(conv, nn.ReLU(), conv))
    assert folded[0] is folded[2]


def test_what_was_compiled_is_replaced_by_what_is_inside():
    model, x = network(lambda conv: conv), torch.rand(1, 3, 12, 10)
    expected = model(x)
    model[1] = torch.compile(model[1], backend="eager")
    folded = fold_parametrizations(torch.compile(model, backend="eager"))
    assert [name for name, _ in folded.named_modules()] == ["", "0", "1", "2", "3"]
    assert torch.equal(folded(x), expected)


def test_what_cannot_be_copied_is_told_in_a_sentence():
    model = network(lambda conv: conv)
    model.lock = threading.Lock()
    with pytest.raises(ValueError, match=r"^Sequential cannot be copied \(.*lock.*\); remove that attribute"):
        fold_parametrizations(model)
