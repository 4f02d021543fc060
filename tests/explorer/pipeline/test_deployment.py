import pytest

from explorer.choices.region import CENTRE
from explorer.choices.state import IMAGE_NAMES
from explorer.export.deployment import card
from explorer.pipeline import deployment
from explorer.pipeline.deployment import (
    FLOAT,
    FREE,
    LITERT,
    ONNX,
    PHONE_CLIPS,
    PHONE_FLOAT,
    PHONE_FREE,
    PLAIN,
    Plan,
)

IMAGE = next(iter(IMAGE_NAMES.values()))


def test_files_of_other_plans_have_other_names():
    plan = Plan("xlsr_x3", "coverage+crop", 64, ())
    names = [
        plan.file_name(FREE, "onnx"),
        plan._replace(number=12).file_name(FREE, "onnx"),
        plan._replace(strategy="random").file_name(FREE, "onnx"),
        plan._replace(float_layers=("conv4",)).file_name(FREE, "onnx"),
        plan._replace(own=("own:hr:1:a.png",)).file_name(FREE, "onnx"),
        plan.file_name(PLAIN, "onnx"),
        plan.file_name(PHONE_FREE, "tflite"),
        plan._replace(size=(64, 64)).file_name(PHONE_FREE, "tflite"),
    ]
    assert names[0] == "xlsr_x3_int8_clip_free_coverage_crop_64.onnx"
    assert len(set(names)) == len(names)
    assert plan.file_name(FLOAT, "onnx") == "xlsr_x3_float.onnx"


def test_the_doctor_says_what_edsrs_file_gives(monkeypatch):
    """Its last convolutions stay float, so no INT8 range holds its outputs."""
    plan = Plan("edsr_x2", "random", 8, ())
    found = deployment.outputs(plan).range
    assert found.given is not None
    assert "which is what INT8 will span" not in str(found)
    assert f"{found.given[1]:.3f}" in found.advice["range"]
    monkeypatch.setattr(deployment, "RUNS", 1)
    assert '"output range": null' in card(plan, ONNX, IMAGE, CENTRE, (ONNX,))


def test_variants_of_what_is_installed(monkeypatch):
    monkeypatch.setattr(deployment, "is_installed", lambda package: True)
    assert deployment.variants("xlsr_x3", [LITERT]) == [PHONE_FLOAT, *PHONE_CLIPS, PHONE_FREE]
    assert deployment.variants("edsr_x2", [LITERT, ONNX])[:2] == [FLOAT, PLAIN]
    monkeypatch.setattr(deployment, "is_installed", lambda package: False)
    assert deployment.variants("edsr_x2", [LITERT, ONNX]) == [FLOAT, PLAIN]
    with pytest.raises(ValueError, match="LiteRT is not installed here"):
        deployment.variants("xlsr_x3", [LITERT])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the engine's packages warn about themselves
@pytest.mark.skipif(
    not deployment.is_there(LITERT), reason="LiteRT is not installed: pip install '.[litert]'"
)
def test_what_is_in_the_files_of_a_phones_engine():
    """The clip as converted costs two conversions and runs in float; a layer kept float is float there."""
    plan = Plan("xlsr_x3", "random", 8, (), (), (64, 64))
    found = {}
    for name in (*PHONE_CLIPS, PHONE_FREE):
        graph = deployment.graph(deployment.file(plan, name), name)
        assert graph.integer_layers == len(graph.layers) == 14
        found[name] = graph.conversions, graph.operators
    assert list(found.values()) == [(4, ("RELU_0_TO_1",)), (2, ()), (2, ())]
    kept = plan._replace(float_layers=("conv4",))
    layers = deployment.graph(deployment.file(kept, PHONE_FREE), PHONE_FREE).layers
    assert [name for name, kind in layers.items() if kind == "float"] == ["conv4"]
    assert deployment.outcome(plan, PHONE_FREE, IMAGE, CENTRE).picture.psnr > 20
