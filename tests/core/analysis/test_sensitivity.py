import copy

import pytest
import torch
from networks import NETWORKS

from core import QuantConfig, luma, quantize_model
from core.analysis.sensitivity import sensitivity
from core.images import round_8bit

CONFIG = QuantConfig("minmax", 3, 3)


def rms(a, b):
    with torch.no_grad():
        a, b = (luma(round_8bit(x)) for x in (a, b))
    return float((a - b).square().mean().sqrt())


def test_against_networks_quantized_in_part(tiny_edsr, images):
    quantized = quantize_model(tiny_edsr, images, CONFIG)
    shown = [images[:1], images[1:2]]
    total, found = sensitivity(tiny_edsr, quantized, shown)
    layers = [f"body.{i}.body.{j}" for i in range(2) for j in (0, 2)]
    assert list(found) == layers

    def output(model):
        # One by one, as there: a batch is summed in another order, which can turn a rounding.
        return torch.cat([model(image) for image in shown])

    with torch.no_grad():
        reference = output(tiny_edsr)
        assert total == pytest.approx(rms(output(quantized), reference), rel=1e-4)
        for name in layers:
            alone = quantize_model(tiny_edsr, images, CONFIG, [name])
            weights = quantize_model(tiny_edsr, images, QuantConfig("minmax", 32, 3), [name])
            activations = quantize_model(tiny_edsr, images, QuantConfig("minmax", 3, 32), [name])
            rest = quantize_model(tiny_edsr, images, CONFIG, [n for n in layers if n != name])
            expected = [rms(output(m), reference) for m in (alone, weights, activations, rest)]
            assert found[name] == pytest.approx(expected, rel=1e-4)


def test_both_networks_are_left_as_they_are(tiny_edsr, images):
    quantized = quantize_model(tiny_edsr, images, CONFIG)
    before = [copy.deepcopy(network)(images).detach() for network in (tiny_edsr, quantized)]
    sensitivity(tiny_edsr, quantized, [images[:1]])
    for network, output in zip((tiny_edsr, quantized), before, strict=True):
        assert torch.equal(network(images).detach(), output)


@pytest.mark.parametrize("network", NETWORKS)
def test_any_network(network, images):
    model = network().eval()
    quantized = quantize_model(model, images, QuantConfig("dfsq+", 4, 4))
    total, found = sensitivity(model, quantized, [images[:1]])
    assert all(value >= 0 for layer in found.values() for value in layer)
    assert total > 0


def test_progress_can_cancel(tiny_edsr, images):
    class Stop(Exception):
        pass

    shares = []

    def progress(what, share):
        shares.append(share)
        if share > 0.5:
            raise Stop

    quantized = quantize_model(tiny_edsr, images, CONFIG)
    with pytest.raises(Stop):
        sensitivity(tiny_edsr, quantized, [images[:1]], progress)
    assert shares == sorted(shares)


def test_what_is_not_quantized(tiny_edsr, images):
    with pytest.raises(ValueError, match="needs a float network and what quantize_model made of it"):
        sensitivity(tiny_edsr, tiny_edsr, [images[:1]])
