import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from core.ptq.scope import channel_dim_of, choose_layers

EXAMPLE = torch.rand(1, 3, 6, 6)


class Chain(nn.Module):
    """Called in another order than defined: d, a, b, c."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Conv2d(3, 3, 1) for _ in range(4))
        self.norm = nn.BatchNorm2d(3)
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        return self.c(self.fc(self.norm(self.b(self.a(self.d(x))))))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 3, 1)
        self.two = self.one
        self.act = nn.ReLU()

    def forward(self, x):
        return self.two(self.act(self.one(x)))


def test_default_is_all_but_the_first_and_last_conv_called():
    names, reasons = choose_layers(Chain().eval(), None, EXAMPLE)
    assert names == ["a", "b"]
    assert reasons == dict.fromkeys(["c", "d", "fc"], "outside the scope")


def test_declared_scope(tiny_edsr):
    names, reasons = choose_layers(tiny_edsr, None, EXAMPLE)
    assert names == [f"body.{block}.body.{conv}" for block in range(2) for conv in (0, 2)]
    assert set(reasons) == {"sub_mean", "add_mean", "head.0", "body.2", "tail.0.0", "tail.1"}


def test_predicate_sees_every_module():
    model, seen = Chain(), []
    names, reasons = choose_layers(model, lambda name, module: bool(seen.append(name) or module), EXAMPLE)
    assert seen == [name for name, _ in model.named_modules()]
    assert names == ["a", "b", "c", "d", "fc"]
    assert reasons == {"norm": "BatchNorm2d is not quantized here"}


@pytest.mark.parametrize("layers", [["c", "fc"], ("fc", "c"), iter(["c", "fc"])])
def test_list_of_names(layers):
    assert choose_layers(Chain(), layers, EXAMPLE)[0] == ["c", "fc"]


def test_one_name():
    assert choose_layers(Chain(), "fc", EXAMPLE)[0] == ["fc"]


def test_unknown_names_list_what_exists():
    with pytest.raises(ValueError, match="no layer named e, f; there are a, b, c, d, fc"):
        choose_layers(Chain(), ["a", "e", "f"], EXAMPLE)


def test_listed_layers_without_weights_get_a_reason():
    names, reasons = choose_layers(Shared(), ["one", "act"], EXAMPLE)
    assert names == ["one"]
    assert reasons == {"act": "ReLU is not quantized here"}


def test_shared_modules_go_by_their_first_name():
    assert choose_layers(Shared(), ["two"], EXAMPLE)[0] == ["one"]


def test_computed_weights_stay_float():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), weight_norm(nn.Conv2d(3, 3, 1)))
    names, reasons = choose_layers(model, lambda name, module: True, EXAMPLE)
    assert names == ["0"]
    assert reasons["1"] == "its weight is computed, not stored"


def test_kinds():
    assert channel_dim_of(nn.Conv2d(1, 1, 1)) == -3
    assert channel_dim_of(nn.ConvTranspose2d(1, 1, 1)) == -3
    assert channel_dim_of(nn.Linear(1, 1)) == -1
    assert channel_dim_of(nn.Conv1d(1, 1, 1)) is None
