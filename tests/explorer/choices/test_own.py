"""Files of a visitor's own: what they are resolved to, and who can see them."""

import io

import cachetools
import numpy as np
import pytest
import torch
from headless import photo
from PIL import Image

import core
from explorer.choices import catalog, sources, visitor_files
from explorer.choices.region import WHOLE, Region
from explorer.choices.state import ExplorerState
from explorer.choices.visitor_files import VisitorFiles, other_role
from explorer.jobs.cache import shared
from explorer.jobs.token import Token
from explorer.pipeline import activations, pictures, regions
from explorer.pipeline.protocol import protocol

SIDE = 132


def test_an_image_is_taken_as_hr_and_as_lr(files):
    key, _ = files.add("folder/photo.png", photo(SIDE))
    assert list(files.labels("hr", "lr")) == ["own: photo.png, as HR", "own: photo.png, as LR"]
    hr = core.load_image(photo(SIDE))
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
    key, _ = files.add(name, photo(SIDE))
    assert catalog.pixels(key).shape == (SIDE, SIDE, 3)
    assert len(sources.file_name(key).encode()) <= 200
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
    key, _ = files.add("photo.png", photo(scale * 150 + 1))
    hr = core.modcrop(core.load_image(photo(scale * 150 + 1)), scale)
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
    key, _ = files.add("photo.png", photo(SIDE))
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
    key, _ = files.add("large.png", photo(1200))
    assert regions.too_large(key, 2) == ""
    with pytest.raises(ValueError, match=r"has 5\.8 megapixels; the limit is 4"):
        activations.pair(other_role(key), 2, WHOLE)


def test_by_tiles_the_float_picture_is_that_of_the_whole(files, monkeypatch):
    key, _ = files.add("photo.png", photo(660))
    told = []
    token = Token(lambda what, share: told.append(share))
    found = pictures.picture("xlsr_x3", other_role(key), WHOLE, "float", token=token)
    with torch.no_grad():
        sr = core.create_model("xlsr", 3)(core.load_image(photo(660)))
    assert np.abs(found.rgb.astype(int) - core.images.to_uint8(sr)[0]).max() <= 1
    assert told[-9:] == pytest.approx([n / 9 for n in range(1, 10)])


def test_files_take_no_more_than_a_visitor_may_have(files, monkeypatch):
    monkeypatch.setattr(visitor_files, "TOGETHER_MB", 0.06)
    files.add("photo.png", photo(SIDE))
    files.add("photo.png", photo(SIDE, 1))
    with pytest.raises(ValueError, match="remove one first"):
        files.add("other.png", photo(SIDE))


def test_what_gives_way_is_there_until_it_is_dropped(files):
    first, _ = files.add("photo.png", photo(SIDE))
    second, before = files.add("photo.png", photo(SIDE, 1))
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
    image, _ = mine.add("photo.png", photo(SIDE))
    network, _ = mine.add("mine.safetensors", xlsr)
    again, _ = theirs.add("photo.png", photo(SIDE))
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
    mine.add("late.png", photo(SIDE))
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
