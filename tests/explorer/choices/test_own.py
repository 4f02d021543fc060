"""Files of a visitor's own: what they are resolved to, and who can see them."""

import io
import pickle
import queue

import cachetools
import numpy as np
import panel as pn
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import core
from core.models import SwinIR, new_model
from explorer.choices import catalog, sources, visitor_files
from explorer.choices.region import WHOLE, Region
from explorer.choices.state import ExplorerState
from explorer.choices.status import Status
from explorer.choices.uploads import Uploads
from explorer.choices.visitor_files import VisitorFiles, other_role
from explorer.jobs.cache import shared
from explorer.jobs.token import Token
from explorer.page.files_panel import files_panel
from explorer.pipeline import activations, pictures, regions
from explorer.pipeline.protocol import protocol

SIDE = 132


def png(side=SIDE, seed=0) -> bytes:
    small = np.random.default_rng(seed).integers(0, 256, (side // 6, side // 6, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(data, "PNG")
    return data.getvalue()


def checkpoint(model, path) -> bytes:
    save_file({name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}, path)
    return path.read_bytes()


@pytest.fixture
def files():
    mine = VisitorFiles()
    yield mine
    mine.close()


@pytest.fixture
def xlsr(tmp_path) -> bytes:
    return checkpoint(core.create_model("xlsr", 3), tmp_path / "mine.safetensors")


def test_an_image_is_taken_as_hr_and_as_lr(files):
    key, _ = files.add("folder/photo.png", png())
    assert list(files.labels("hr", "lr")) == ["own: photo.png, as HR", "own: photo.png, as LR"]
    hr = core.load_image(png())
    as_hr, as_lr = (activations.pair(k, 2, WHOLE) for k in (key, other_role(key)))
    assert torch.equal(as_hr.hr, hr)
    assert torch.equal(as_hr.lr, core.make_lr(hr, 2))
    assert torch.equal(as_lr.lr, hr)
    assert as_lr.hr is None


NAMES = [
    "photo.jfif",
    "photo.jpe",
    "photo.JPG",
    "photo",
    "a.dib",
    "image.avif",
    "..png",
    ".png",
    "a:b.png",
    "..",
]
LONG = ["\U0001f600" * 100, "超解像" * 40, "a" * 300, "\ud800b"]


@pytest.mark.parametrize("name", [*NAMES, *(f"{start}.png" for start in LONG)])
def test_an_image_of_any_name(files, name):
    key, _ = files.add(name, png())
    assert catalog.pixels(key).shape == (SIDE, SIDE, 3)
    assert len(visitor_files.file_name(key).encode()) <= 200
    assert list(files.labels("hr").values()) == [key]


@pytest.mark.parametrize(
    "name",
    ["net.ckpt", "net.pth.tar", "net.bin", "net.PTH", "net", "..", "...pth", *(f"{n}.pth" for n in LONG)],
)
def test_a_network_of_any_name(files, xlsr, name):
    key, _ = files.add(name, xlsr)
    assert catalog.scale_of(key) == 3
    files.delete([key])
    old = io.BytesIO()
    torch.save(core.create_model("xlsr", 3).state_dict(), old)
    assert catalog.scale_of(files.add(name, old.getvalue())[0]) == 3


@pytest.mark.parametrize("place", ["centre", "0,0", "1000,1000", "310,720"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_region_is_a_crop_of_the_whole(files, place, scale):
    key, _ = files.add("photo.png", png(scale * 150 + 1))
    hr = core.modcrop(core.load_image(png(scale * 150 + 1)), scale)
    lr = core.make_lr(hr, scale)
    found = activations.pair(key, scale, place)
    top, left, height, width = Region.parse(place).window(*lr.shape[-2:])
    assert (height, width) == (128, 128)
    assert torch.equal(found.lr, lr[..., top : top + 128, left : left + 128])
    rows, columns = (slice(scale * n, scale * (n + 128)) for n in (top, left))
    assert torch.equal(found.hr, hr[..., rows, columns])


def test_a_network_of_ones_own_is_what_its_file_holds(files, xlsr):
    key, _ = files.add("mine.safetensors", xlsr)
    state = ExplorerState()
    state.offer_uploads(files.labels("network"), files.labels("hr", "lr"))
    state.network = key
    assert state.param.layer.objects == list(catalog.layer_channels("xlsr_x3"))
    assert catalog.scale_of(key) == 3
    assert catalog.about(key).startswith("XLSR ×3, 22 k parameters, your file.")
    assert state.run == "own"
    where = (state.image, "centre", state.configs()(4))
    mine, bundled = (pictures.picture(name, *where) for name in (key, "xlsr_x3"))
    assert np.array_equal(mine.rgb, bundled.rgb)
    assert state.copy().network == key
    state.offer_uploads({}, {})
    assert state.network == "edsr_x2"


def test_without_ground_truth_scores_are_against_the_float_picture(files):
    key, _ = files.add("photo.png", png())
    lr, config = other_role(key), ExplorerState().configs()(3)
    reference, shown = (pictures.picture("xlsr_x3", lr, "centre", what) for what in ("float", config))
    assert (reference.psnr, reference.against, shown.against) == (None, "float SR", "float SR")
    a, b = (torch.from_numpy(p.rgb.copy()).permute(2, 0, 1)[None] / 255 for p in (shown, reference))
    assert shown.psnr == pytest.approx(core.psnr_y(a, b, border=3), abs=1e-9)
    with pytest.raises(ValueError, match=r"photo\.png is an LR image without ground truth"):
        pictures.picture("xlsr_x3", lr, "centre", "hr")
    state = ExplorerState(left="hr")
    state.offer_uploads({}, files.labels("hr", "lr"))
    state.image = lr
    assert "hr" not in state.param.left.objects
    assert state.left == "bicubic"


def test_a_large_image_is_not_shown_whole(files):
    key, _ = files.add("large.png", png(1200))
    assert regions.too_large(key, 2) == ""
    with pytest.raises(ValueError, match=r"has 5\.8 megapixels; the limit is 4"):
        activations.pair(other_role(key), 2, WHOLE)


def test_by_tiles_the_float_picture_is_that_of_the_whole(files, monkeypatch):
    key, _ = files.add("photo.png", png(660))
    told = []
    token = Token(lambda what, share: told.append(share))
    found = pictures.picture("xlsr_x3", other_role(key), WHOLE, "float", token=token)
    with torch.no_grad():
        sr = core.create_model("xlsr", 3)(core.load_image(png(660)))
    assert np.abs(found.rgb.astype(int) - core.images.to_uint8(sr)[0]).max() <= 1
    assert told[-9:] == pytest.approx([n / 9 for n in range(1, 10)])


class Evil:
    def __reduce__(self):
        return (print, ("code was run",))


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def with_nan(tmp_path) -> bytes:
    model = core.create_model("xlsr", 3)
    next(model.parameters()).data[0] = float("nan")
    return checkpoint(model, tmp_path / "nan.safetensors")


def quantized(tmp_path) -> bytes:
    model, config = core.create_model("xlsr", 3), core.QuantConfig("minmax", 4, 4)
    core.save_quantized(
        core.quantize_model(model, torch.rand(1, 3, 24, 24), config), tmp_path / "q.safetensors"
    )
    return (tmp_path / "q.safetensors").read_bytes()


WRONG = {
    "truncated": ("x.safetensors", lambda folder, good: truncated(good), "not a readable checkpoint"),
    "of another kind": (
        "x.safetensors",
        lambda folder, good: checkpoint(torch.nn.Linear(3, 3), folder / "l.safetensors"),
        "belongs to no network known here",
    ),
    "with NaN": ("x.safetensors", lambda folder, good: with_nan(folder), "NaN"),
    "with code": ("x.pth", lambda folder, good: pickle.dumps(Evil()), "was not loaded"),
    "quantized": ("x.safetensors", lambda folder, good: quantized(folder), "is quantized already"),
    "too large a network": (
        "x.safetensors",
        lambda folder, good: checkpoint(new_model("rdn", 2), folder / "r.safetensors"),
        "has 0.2 million parameters; the limit is 0 million",
    ),
    "of tokens": (
        "x.safetensors",
        lambda folder, good: checkpoint(SwinIR(2), folder / "s.safetensors"),
        "are not all convolutions",
    ),
    "no image": ("x.png", lambda folder, good: b"not an image", "not a readable image"),
    "a truncated image": ("x.png", lambda folder, good: truncated(png()), "not a readable image"),
    "too small an image": ("x.png", lambda folder, good: png(36), "36×36 pixels; at least 64×64 are needed"),
    "something else": ("x.txt", lambda folder, good: b"text", "neither an image nor a checkpoint"),
    "too large a file": ("x.png", lambda folder, good: bytes(33 * 10**6), "has 33 MB; the limit is 32 MB"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_file_is_a_sentence(what, files, xlsr, tmp_path, monkeypatch, capsys):
    if what == "too large a network":
        monkeypatch.setattr(visitor_files, "PARAMETERS", 100_000)
    name, make, sentence = WRONG[what]
    with pytest.raises(ValueError, match=sentence) as error:
        files.add(name, make(tmp_path, xlsr))
    assert "\n" not in str(error.value)
    assert files.labels("network", "hr", "lr") == {}
    assert "code was run" not in capsys.readouterr().out


def test_files_take_no_more_than_a_visitor_may_have(files, monkeypatch):
    monkeypatch.setattr(visitor_files, "TOGETHER_MB", 0.06)
    files.add("photo.png", png())
    files.add("photo.png", png(seed=1))
    with pytest.raises(ValueError, match="remove one first"):
        files.add("other.png", png())


def test_what_gives_way_is_there_until_it_is_dropped(files):
    first, _ = files.add("photo.png", png())
    second, before = files.add("photo.png", png(seed=1))
    assert before == [first, other_role(first)]
    assert catalog.pixels(first).shape == (SIDE, SIDE, 3)
    files.delete(before)
    with pytest.raises(ValueError, match=r"photo\.png is no longer loaded"):
        catalog.pixels(first)
    assert catalog.pixels(second).shape == (SIDE, SIDE, 3)


def held(name: str) -> list:
    """Everything in the caches of the process that was computed of `name`."""
    found = [getattr(f, "cache", None) for m in (activations, pictures, regions) for f in vars(m).values()]
    caches = [cache for cache in found if isinstance(cache, cachetools.Cache)]
    return [key for cache in caches for key in cache if name in repr(key)]


def test_two_visitors(xlsr):
    before = {*sources._known}  # of other tests' visitors
    mine, theirs = VisitorFiles(), VisitorFiles()
    image, _ = mine.add("photo.png", png())
    network, _ = mine.add("mine.safetensors", xlsr)
    again, _ = theirs.add("photo.png", png())
    assert again != image, "the same file of another visitor has another key"
    state = ExplorerState()
    state.offer_uploads(theirs.labels("network"), theirs.labels("hr", "lr"))
    for name, key in (("image", image), ("network", network)):
        with pytest.raises(ValueError, match="own:"):
            setattr(state, name, key)
    config = ExplorerState().configs()(3)
    shown = pictures.picture(network, image, "centre", config)
    theirs_shown = pictures.picture("xlsr_x3", again, "centre", config)
    assert np.array_equal(shown.rgb, theirs_shown.rgb)
    assert held(image)
    assert held(network)
    mine.close()
    assert not held(image)
    assert not held(network)
    assert held(again)
    with pytest.raises(ValueError, match="is no longer loaded"):
        pictures.picture(network, image, "centre", config)
    with pytest.raises(ValueError, match="is no longer loaded"):
        pictures.picture("xlsr_x3", image, "centre", config)
    mine.add("late.png", png())
    assert mine.labels("hr") == {}
    theirs.close()
    assert not sources._known.keys() - before


def test_what_is_under_way_is_not_kept_when_its_file_goes():
    @shared(8)
    def slow(key, token):
        sources.forget("own:x")
        return key

    assert slow(("a", "own:x")) == ("a", "own:x")
    assert slow("other") == "other"
    assert list(slow.cache) == [("other",)]


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
    assert sources.source(key).code == "core.load_checkpoint('edsr.pth', res_scale=1)"


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
    assert sources.source(key).code.endswith("res_scale=0.1)")
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
        finished.get(timeout=60)()
    (field,) = panel.select(pn.widgets.FloatInput)
    assert field.value == 1
    guessed = state.network
    field.value = 0.1
    for _ in range(2):  # what came, and that no file is being read any more
        finished.get(timeout=60)()
    assert state.network != guessed
    assert catalog.make_network(state.network).res_scale == 0.1
    assert [shown.value for shown in panel.select(pn.widgets.FloatInput)] == [0.1]
    uploads.remove("edsr.pth")
    assert panel.select(pn.widgets.FloatInput) == []
    assert state.network == "edsr_x2"
    uploads.files.close()


def test_an_onnx_file_is_named_as_such(files):
    with pytest.raises(ValueError, match=r"net\.onnx is an ONNX graph; load the PyTorch checkpoint"):
        files.add("net.onnx", b"\x08\x0a")


def test_transparent_pixels_are_said(files):
    pixels = np.full((90, 90, 4), 255, np.uint8)
    for name, alpha in (("opaque.png", 255), ("see-through.png", 10)):
        pixels[0, 0, 3] = alpha
        data = io.BytesIO()
        Image.fromarray(pixels, "RGBA").save(data, "PNG")
        key, _ = files.add(name, data.getvalue())
        state = ExplorerState()
        state.offer_uploads({}, files.labels("hr", "lr"))
        state.image = key
        assert ("transparent pixels of see-through.png are put on white" in protocol(state)) == (alpha < 255)
