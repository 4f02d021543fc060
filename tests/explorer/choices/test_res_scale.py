"""A number that a file may leave open, and its field beside the file."""

import io
import queue

import numpy as np
import panel as pn
import pytest
import torch
from networks import checkpoint

import core
from explorer.choices import catalog
from explorer.choices.sources import source
from explorer.choices.state import ExplorerState
from explorer.choices.status import Status
from explorer.choices.uploads import Uploads
from explorer.page.files_panel import files_panel
from explorer.pipeline import activations, pictures


def without_res_scale(res_scale: float) -> tuple[core.EDSR, bytes]:
    """An EDSR and its file, as others write it: it does not say its res_scale."""
    torch.manual_seed(0)
    model = core.EDSR(2, n_blocks=2, n_feats=16, res_scale=res_scale, rgb_range=1.0).eval()
    content = io.BytesIO()
    torch.save({name: v for name, v in model.state_dict().items() if "extra" not in name}, content)
    return model, content.getvalue()


def test_what_a_file_leaves_open_is_said_beside_it(files):
    key, _ = files.add("edsr.pth", without_res_scale(0.1)[1])
    assert "edsr.pth does not say its res_scale, so 1 was taken" in catalog.about(key)
    assert "enter that below the file" in catalog.about(key)
    assert files.res_scale("edsr.pth") == 1
    assert source(key).code == "core.load_checkpoint('edsr.pth', res_scale=1)"


def test_a_res_scale_can_be_given(files):
    model, content = without_res_scale(0.1)
    guessed, _ = files.add("edsr.pth", content)
    key, before = files.rescale("edsr.pth", 0.1)
    assert before == [guessed]
    assert list(files.labels("network").values()) == [key]
    files.delete(before)
    lr = activations.pair(core.demo_names()[0], 2, "centre").lr
    picture = pictures.picture(key, core.demo_names()[0], "centre", "float")
    assert np.array_equal(picture.rgb, core.images.to_uint8(core.super_resolve(model, lr))[0])
    assert "Its res_scale of 0.1 is your choice" in catalog.about(key)
    assert source(key).code.endswith("res_scale=0.1)")
    for wrong in (0.0, -1.0, float("inf")):
        with pytest.raises(ValueError, match="res_scale must be a positive number"):
            files.rescale("edsr.pth", wrong)
    with pytest.raises(ValueError, match=r"other\.pth is no longer loaded"):
        files.rescale("other.pth", 0.1)


def test_a_file_that_says_its_res_scale_leaves_none_to_give(files, tmp_path):
    files.add("edsr.safetensors", checkpoint(without_res_scale(0.1)[0], tmp_path / "edsr.safetensors"))
    assert files.res_scale("edsr.safetensors") is None


def test_the_field_beside_the_file_changes_the_network():
    state = ExplorerState()
    finished = queue.Queue()
    uploads = Uploads(state, Status(), lambda call: finished.put(call))
    panel = files_panel(state, uploads)
    uploads.take("edsr.pth", without_res_scale(0.1)[1])
    for _ in range(2):  # what came, and that no file is being read any more
        finished.get(timeout=600)()
    (field,) = panel.select(pn.widgets.FloatInput)
    assert field.value == 1
    guessed = state.network
    field.value = 0.1
    for _ in range(2):  # what came, and that no file is being read any more
        finished.get(timeout=600)()
    assert state.network != guessed
    assert catalog.make_network(state.network).res_scale == 0.1
    assert [shown.value for shown in panel.select(pn.widgets.FloatInput)] == [0.1]
    uploads.remove("edsr.pth")
    assert panel.select(pn.widgets.FloatInput) == []
    assert state.network == "edsr_x2"
    uploads.files.close()
