import dataclasses

import pytest
from networks import NETWORKS, Twice
from torch import nn

from core import METHODS, QuantConfig, audit, calibrate, is_dynamic, quantize_model
from core.models import XLSR

DFSQ = QuantConfig()


def every_layer(name, module):
    return True


@pytest.mark.parametrize("network", NETWORKS)
def test_every_layer_is_in_the_audit(network, images):
    rows = audit(quantize_model(network(), images, DFSQ, every_layer))
    layers = [
        n for n, m in network().named_modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    ]
    assert [row.name for row in rows] == layers
    left = {row.name: row.reason for row in rows if row.reason}
    idle = {"read", "idle"} if network is Twice else set()
    assert left == dict.fromkeys(idle, "never called during calibration")


def test_a_calibration_keeps_why_a_layer_was_silent(images):
    calibration = calibrate(Twice(), images, DFSQ, every_layer)
    rows = {
        row.name: row.reason for row in audit(quantize_model(Twice(), calibration, DFSQ, ["conv", "idle"]))
    }
    assert rows["idle"] == "never called during calibration"
    assert rows["conv"] == ""


def test_audit_of_edsr(images, tiny_edsr):
    table = audit(quantize_model(tiny_edsr, images, QuantConfig("percentile", 3, 5)))
    done = [row for row in table if not row.reason]
    assert [row.name for row in done] == [f"body.{i}.body.{j}" for i in range(2) for j in (0, 2)]
    assert {dataclasses.astuple(row)[1:6] for row in done} == {("Conv2d", (6, 6, 3, 3), "percentile", 5, 3)}
    assert {(row.weight_bits, row.activation_bits, row.reason) for row in table if row.reason} == {
        (32, 32, "outside the scope")
    }
    lines = str(table).splitlines()
    assert lines[0].split() == [
        "layer",
        "type",
        "weight",
        "method",
        "bits",
        "effective",
        "input",
        "constants",
    ]
    assert lines[-1] == f"Quantized: {tiny_edsr.scope_in_words}."
    assert lines[-2].split() == ["tail.1", "Conv2d", "3x6x3x3", "float", "outside", "the", "scope"]
    assert "W5A3" in str(table)
    assert {row.constants for row in done} == {2}
    # A row of 54 weights has two numbers of 16 bits.
    weights, activations = 5 + 32 / 54, 3 + 32 / (6 * 360 * 640)
    assert all(row.effective == pytest.approx((weights, activations)) for row in done)
    blocks = audit(quantize_model(tiny_edsr, images, QuantConfig("uniform+block", refine=())))
    assert "4.59, 4.50" in str(blocks)


def test_audit_of_a_float_network(tiny_edsr):
    assert {row.reason for row in audit(tiny_edsr)} == {"the model is not quantized"}
    assert "Quantized:" not in str(audit(tiny_edsr))


@pytest.mark.parametrize(
    ("network", "layers", "scope"),
    [
        (Twice, None, "every learned conv but the first and the last that is called"),
        (Twice, ["conv"], "the layers that were asked for"),
        (XLSR, None, "every conv, as a mobile engine runs it (CFQP, arXiv 2308.11365)"),
    ],
)
def test_the_audit_says_what_the_scope_is(network, layers, scope, images):
    quantized = quantize_model(network().eval(), images, QuantConfig("minmax"), layers)
    assert audit(quantized).scope == scope


def test_dynamic_methods(images, tiny_edsr):
    found = {m: is_dynamic(quantize_model(tiny_edsr, images, QuantConfig(m))) for m in METHODS}
    assert found == {name: method.dynamic for name, method in METHODS.items()}
    by_input = ["dfsq", "dfsq-exact", "dfsq+", "dfsq+block", "uniform+", "uniform+block", "daq"]
    assert [name for name in found if found[name]] == by_input
    assert not is_dynamic(tiny_edsr)


@pytest.mark.parametrize("method", METHODS)
def test_w32a32_is_float_and_audited_so(method, images, tiny_edsr):
    quantized = quantize_model(tiny_edsr, images, QuantConfig(method, 32, 32))
    assert {row.reason for row in audit(quantized)} >= {"float by configuration (W32A32)"}
    assert all(row.reason for row in audit(quantized))
