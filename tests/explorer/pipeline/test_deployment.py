from explorer.pipeline import deployment
from explorer.pipeline.deployment import FLOAT, FREE, PLAIN, Plan


def test_files_of_other_plans_have_other_names():
    plan = Plan("xlsr_x3", "coverage+crop", 64, ())
    names = [
        plan.file_name(FREE, "onnx"),
        plan._replace(number=12).file_name(FREE, "onnx"),
        plan._replace(strategy="random").file_name(FREE, "onnx"),
        plan._replace(float_layers=("conv4",)).file_name(FREE, "onnx"),
        plan._replace(own=("own:hr:1:a.png",)).file_name(FREE, "onnx"),
        plan.file_name(PLAIN, "onnx"),
    ]
    assert names[0] == "xlsr_x3_int8_clip_free_coverage_crop_64.onnx"
    assert len(set(names)) == len(names)
    assert plan.file_name(FLOAT, "onnx") == "xlsr_x3_float.onnx"


def test_the_doctor_says_what_edsrs_file_gives():
    """Its last convolutions stay float, so no INT8 range holds its outputs."""
    plan = Plan("edsr_x2", "random", 8, ())
    found = deployment.outputs(plan).range
    assert found.given is not None
    assert "which is what INT8 will span" not in str(found)
    assert f"{found.given[1]:.3f}" in found.advice["range"]
    card = deployment.card(plan)
    assert '"output range": null' in card
