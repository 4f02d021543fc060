"""Equalized channels: the same network, whose channels reach nearly one maximum."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

import core
from core.networks.equalization import MOST, SHARE, equalize_channels
from core.networks.tracing import traced


class Joined(nn.Module):
    """Two branches that are joined, a grouped conv, and a sum that fixes what it adds."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1, bias=False)
        self.act = nn.PReLU(4)
        self.mix = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.head, self.skip = nn.Conv2d(8, 6, 1), nn.Conv2d(3, 6, 1)
        self.tail = nn.Conv2d(6, 12, 3, padding=1)
        with torch.no_grad():
            self.left.weight[1] *= 0.01
            self.left.bias[1] *= 0.01
            self.left.weight[2], self.left.bias[2] = 0, 0
            self.right.weight[3] *= 20

    def forward(self, x):
        joined = torch.cat((self.act(self.left(x)), self.right(x)), 1)
        y = self.head(self.mix(joined).relu())
        return nn.functional.pixel_shuffle(self.tail((y + self.skip(x)).relu()), 2)


def largest(model, name, lr):
    seen = []
    handle = model.get_submodule(name).register_forward_pre_hook(lambda m, x: seen.append(x[0]))
    with torch.no_grad():
        model(lr)
    handle.remove()
    return seen[0].abs().amax((0, 2, 3))


@pytest.fixture
def lr():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_channels_that_are_read_together_come_closer_to_one_maximum_and_the_picture_stays(lr):
    model = Joined().eval()
    equal = equalize_channels(model, lr)
    assert largest(model, "mix", lr)[2] == 0  # a still channel, which has no factor
    for name in ("mix", "head"):
        before = largest(model, name, lr)
        factors = ((before.max() / before.clamp(min=1e-9)) ** SHARE).clamp(max=MOST)
        assert torch.allclose(largest(equal, name, lr), before * factors, rtol=1e-4)
    with torch.no_grad():
        assert torch.allclose(equal(lr), model(lr), atol=1e-5)


def test_what_is_added_keeps_its_scale_and_the_model_its_weights(lr):
    model = Joined().eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    equal = equalize_channels(model, [lr])
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(equal.skip.weight, model.skip.weight)
    assert torch.equal(equal.tail.weight, model.tail.weight)
    assert torch.allclose(largest(equal, "tail", lr), largest(model, "tail", lr), rtol=1e-4)


def test_a_layer_called_twice_and_tied_weights_are_left(lr):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(3, 3, 1) for _ in range(3))
            self.c.weight = self.b.weight

        def forward(self, x):
            return self.c(self.b(self.a(self.a(x))).relu())

    model = Twice().eval()
    equal = equalize_channels(model, [lr])
    for name, tensor in model.state_dict().items():
        assert torch.equal(equal.state_dict()[name], tensor)


@pytest.mark.parametrize("name", ["xlsr", "abpn", "edsr", "rdn"])
def test_the_networks_of_the_zoo_compute_the_same(name, lr):
    scale = 3 if name in ("xlsr", "abpn") else 2
    model = core.create_model(name, scale)
    equal = equalize_channels(model, [lr])
    changed = [n for n, p in model.named_parameters() if not torch.equal(p, equal.get_parameter(n))]
    assert changed
    with torch.no_grad():
        expected = model(lr)
        assert (equal(lr) - expected).abs().max() < 1e-5 * expected.abs().max().clamp(min=10)


def test_weights_that_are_used_in_another_way_are_noticed(lr):
    class Again(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 12, 1)

        def forward(self, x):
            y = self.b(self.a(x).relu()) + self.b.weight.sum()
            return nn.functional.pixel_shuffle(y, 2)

    with pytest.raises(ValueError, match="Again changes with the scale of its channels"):
        equalize_channels(Again(), [lr])


def test_a_network_that_cannot_be_traced_is_refused():
    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ValueError, match=r"Branch cannot be traced by torch.fx"):
        equalize_channels(Branch(), [torch.rand(1, 3, 8, 8)])


def test_a_network_runs_in_another_thread_while_one_is_traced(lr):
    model, done = core.create_model("xlsr", 3), threading.Event()
    with torch.no_grad():
        expected = model(lr)

    def run():
        runs = 0
        with torch.no_grad():
            while not done.is_set() or not runs:
                assert torch.equal(model(lr), expected)
                runs += 1
        return runs

    with ThreadPoolExecutor(3) as pool:
        running = pool.submit(run)
        tracing = [
            pool.submit(lambda: [traced(core.create_model("edsr", 2)) for _ in range(10)]) for _ in range(2)
        ]
        graphs = [len(graph.nodes) for found in tracing for graph in found.result()]
        done.set()
        assert running.result() > 0
    assert len(set(graphs)) == 1
