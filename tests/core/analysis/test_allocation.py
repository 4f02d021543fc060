import dataclasses

import numpy as np
import pytest
import torch
from networks import Mixed
from torch import nn

from core import (
    QuantConfig,
    adabm,
    adabm_layer_bits,
    allocate_bits,
    audit,
    calibrate,
    create_model,
    luma,
    quantize_model,
)
from core.analysis.adabm import gradient_magnitude
from core.analysis.allocation import BitAllocator
from core.analysis.cost import cost, effective_cost, layer_macs

XLSR = ["conv1", "conv2", "Gblocks.0.conv0", "Gblocks.1.conv0"]


@pytest.fixture(scope="module")
def xlsr():
    return create_model("xlsr", 3), torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def spent(model, images, config, layers, unit="bitops"):
    """The effective cost of the quantized layers, from the audit."""
    rows = audit(quantize_model(model, images, config, layers))
    macs = layer_macs(model, 360, 640)
    total = 0
    for row in (row for row in rows if not row.reason):
        weights, activations = row.effective
        total += (
            np.prod(row.weight_shape) * weights if unit == "bytes" else macs[row.name] * weights * activations
        )
    return total


def error(model, images, config, layers):
    with torch.no_grad():
        quantized = quantize_model(model, images, config, layers)
        pictures = [luma(network(images).clamp(0, 1)) for network in (quantized, model)]
        return float((pictures[0] - pictures[1]).square().mean())


@pytest.mark.parametrize("method", ["mse", "dfsq+"])
@pytest.mark.parametrize("budget", [0.6, 1.0])
def test_the_budget_is_kept_and_the_picture_no_worse(method, budget, xlsr):
    model, images = xlsr
    config = QuantConfig(method)
    found = allocate_bits(model, images, config, budget, layers=XLSR)
    assert dataclasses.replace(found, layer_bits=()) == config
    assert {name for name, _, _ in found.layer_bits} <= set(XLSR)
    least = spent(model, images, config, XLSR)
    assert spent(model, images, found, XLSR) <= budget * least * (1 + 1e-6)
    if budget == 1:
        assert error(model, images, found, XLSR) <= error(model, images, config, XLSR)


def test_a_layer_that_does_nothing_gives_its_bits_to_the_others():
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))).eval()
    with torch.no_grad():
        model[1].weight[:] = 0  # whatever its input, its output is its bias: its input needs no bits
    images = torch.rand(2, 3, 16, 16)
    found = allocate_bits(model, images, QuantConfig("mse"), layers=["1", "2"])
    assert found.for_layer("1").activation_bits == 2
    assert found.for_layer("1").weight_bits == 2
    assert found.for_layer("2").weight_bits * found.for_layer("2").activation_bits > 16


def test_bytes_buy_bits_of_weights_alone(xlsr):
    model, images = xlsr
    found = allocate_bits(model, images, QuantConfig("mse"), 0.75, "bytes", layers=XLSR)
    assert {bits for _, _, bits in found.layer_bits} == {4}
    least = spent(model, images, QuantConfig("mse"), XLSR, "bytes")
    assert spent(model, images, found, XLSR, "bytes") <= 0.75 * least


def test_one_calibration_serves(xlsr):
    model, images = xlsr
    config = QuantConfig("mse")
    calibration = calibrate(model, images, config, XLSR)
    whole = allocate_bits(model, images, config, layers=XLSR)
    assert allocate_bits(model, calibration, config) == whole


def test_a_list_and_a_generator_measure_the_picture_on_as_many_images(xlsr):
    model, images = xlsr
    config, asked = QuantConfig("mse"), []
    for calibration in (images, list(images.split(1)), (image for image in images.split(1))):
        asked.append(BitAllocator(model, calibration, config, layers=["conv1", "conv2"]).allocate())
    assert asked[0] == asked[1] == asked[2]
    of_generator = calibrate(model, iter(images.split(1)), config, XLSR)
    with pytest.raises(ValueError, match="keeps no images to measure the picture on; calibrate on a list"):
        allocate_bits(model, of_generator, config)


def test_formats_keep_to_the_bits_they_have(xlsr):
    model, images = xlsr
    found = allocate_bits(model, images, QuantConfig("mx", 6, 6), layers=["conv1", "conv2"])
    assert {bits for _, *own in found.layer_bits for bits in own} <= {4, 6, 8}


def test_what_cannot_be(xlsr):
    model, images = xlsr
    with pytest.raises(ValueError, match="no unit 'macs'; there are bitops, bytes"):
        allocate_bits(model, images, QuantConfig("mse"), unit="macs")
    with pytest.raises(ValueError, match="the budget must be a share above 0"):
        allocate_bits(model, images, QuantConfig("mse"), 0.0)
    with pytest.raises(
        ValueError, match=r"the budget of 10 % is below [23]\d\.\d %, what the fewest bits cost"
    ):
        allocate_bits(model, images, QuantConfig("mse"), 0.1, layers=["conv1"])
    with pytest.raises(ValueError, match="a float configuration has no bits to allocate"):
        allocate_bits(model, images, QuantConfig("mse", 32, 32))
    with pytest.raises(ValueError, match="no layer is quantized"):
        allocate_bits(model, images, QuantConfig("mse"), layers=[])


def test_progress_may_cancel(xlsr):
    class Stop(Exception):
        pass

    def stop(what, share):
        if what == "Quantizing one layer at a time":
            raise Stop

    model, images = xlsr
    with pytest.raises(Stop):
        allocate_bits(model, images, QuantConfig("mse"), layers=XLSR, progress=stop)


def test_macs_by_layer_add_up():
    model = Mixed().eval()
    assert sum(layer_macs(model, 20, 30).values()) == pytest.approx(cost(model, 20, 30).macs, abs=6)


class Scaled(nn.Module):
    """Five layers; the input of each is the image times its own number."""

    def __init__(self, scales):
        super().__init__()
        self.scales = scales
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in scales)

    def forward(self, x):
        return sum(conv(x * scale) for conv, scale in zip(self.convs, self.scales, strict=True))


def test_adabm_by_hand():
    images = torch.rand(4, 3, 12, 12)
    # The 30th percentile of five is a fifth of the way from the second to the third: below it are two.
    config = adabm_layer_bits(
        Scaled([4, 1, 3, 5, 2]), images, QuantConfig("mse", 4, 6), [f"convs.{i}" for i in range(5)]
    )
    bits = [config.for_layer(f"convs.{i}").activation_bits for i in range(5)]
    assert bits == [5, 3, 4, 5, 3]
    assert {config.for_layer(f"convs.{i}").weight_bits for i in range(5)} == {6}
    with pytest.raises(ValueError, match="AdaBM chooses bits of activations, and they are float here"):
        adabm_layer_bits(Scaled([1]), images, QuantConfig("mse", 32, 4))


def test_adabm_gives_flat_images_a_bit_less_and_busy_ones_a_bit_more():
    torch.manual_seed(0)
    images = torch.rand(1, 3, 12, 12) * torch.linspace(0.02, 1, 20)[:, None, None, None]
    model, config = Scaled([4, 1, 3, 5, 2]), QuantConfig("mse", 3, 8)
    layers = [f"convs.{i}" for i in range(5)]
    network = adabm(model, images, config, layers)
    # The 10th percentile of twenty lies between the second and the third.
    assert network.shifts(images).tolist() == [-1, -1, *[0] * 16, 1, 1]
    bits = [{row.name: row.activation_bits for row in audit(own)} for own in network.networks]
    own = adabm_layer_bits(model, images, config, layers)
    assert [bits[1][name] for name in layers] == [own.for_layer(name).activation_bits for name in layers]
    assert [bits[0][name] for name in layers] == [3, 2, 2, 3, 2], "never below 2"
    assert [bits[2][name] for name in layers] == [5, 3, 4, 5, 3]
    with torch.no_grad():
        for i, which in ((0, 0), (10, 1), (19, 2)):
            alone = network.networks[which](images[i : i + 1])
            assert torch.equal(network(images)[i : i + 1], alone)
            assert torch.equal(network(images[i : i + 1]), alone)


def test_a_gradient_by_hand():
    ramp = torch.arange(6.0)[None, None, None].expand(1, 1, 5, 6) / 6
    # The slope, but half of it at the two edges, which are repeated.
    assert gradient_magnitude(ramp).item() == pytest.approx((4 + 2 * 0.5) / 6 / 6)
    assert gradient_magnitude(torch.ones(2, 3, 5, 5)).tolist() == [0, 0]


def test_one_allocator_serves_all_budgets_and_keeps_what_it_measured(xlsr):
    model, images = xlsr
    config, told = QuantConfig("mse"), []

    class Stopped(Exception):
        pass

    def stop(what, share):
        if what.startswith("Quantizing one layer"):
            raise Stopped

    allocator = BitAllocator(model, images, config, layers=XLSR)
    with pytest.raises(Stopped):
        allocator.allocate(0.8, stop)
    found = allocator.allocate(0.8, lambda what, share: told.append(what))
    assert not any(what.startswith("Measuring the layers at all bits") for what in told)
    assert found == allocate_bits(model, images, config, 0.8, layers=XLSR)
    assert allocator.allocate(1.2) == allocate_bits(model, images, config, 1.2, layers=XLSR)
    with pytest.raises(ValueError, match=r"the budget of 10 % is below 2\d\.\d %, what the fewest"):
        allocator.allocate(0.1)


def test_the_effective_cost_is_that_of_the_budget(xlsr):
    model, images = xlsr
    for unit in ("bitops", "bytes"):
        own = getattr(effective_cost(quantize_model(model, images, QuantConfig("mse"), XLSR)), unit)
        least = spent(model, images, QuantConfig("mse"), XLSR, unit)
        assert own == pytest.approx(least / (8 if unit == "bytes" else 1))
