"""Times of files, and of the layers of an ONNX file."""

import pytest
import torch

import core


@pytest.fixture(scope="module")
def lr():
    return core.make_lr(core.demo_image("coffee (scikit-image)"), 2)[..., 40:72, 40:88]


@pytest.mark.parametrize("name", ["edsr", "srresnet", "rdn", "xlsr", "abpn"])
def test_every_layer_has_its_time_in_float_and_in_int8(name, lr):
    model = core.create_model(name, {"edsr": 2, "rdn": 2, "srresnet": 4}.get(name, 3))
    files = {"float": core.export_onnx(model), "INT8": core.quantize_int8(model, lr)}
    names = {row.name for row in core.audit_onnx(files["INT8"])}
    for graph in files.values():
        found = core.time_layers(graph, lr, runs=2)
        assert set(found) == names
        assert min(found.values()) > 0


def test_a_layer_of_more_work_takes_more_time(lr):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 64, 7, padding=3),
        torch.nn.Conv2d(64, 3, 1),
    )
    found = core.time_layers(core.export_onnx(model), lr, runs=5)
    assert max(found, key=found.get) == "2"


def test_runs_and_threads_must_be_there(lr):
    graph = core.export_onnx(core.create_model("xlsr", 3))
    with pytest.raises(ValueError, match="runs and threads must be at least 1, got 0 and 1"):
        core.time_layers(graph, lr, runs=0)
