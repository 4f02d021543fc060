import io

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import core
from explorer.choices.state import ExplorerState
from explorer.choices.visitor_files import VisitorFiles
from explorer.jobs.token import Token
from explorer.pipeline import activations, kept, pictures, points

NAME, LAYER = "xlsr_x3", "conv2"
COMPUTED = (
    activations.calibration_patches,
    activations.calibration,
    activations.activations,
    activations.distribution,
    activations.mismatch,
    points.exact_points,
    points.selection,
    points.points,
    pictures.quantized,
    pictures.picture,
)


def forget_all() -> None:
    """Begin as a new server does."""
    for function in COMPUTED:
        function.cache.clear()


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "kept"))
    forget_all()
    yield tmp_path / "kept"
    forget_all()


def file_names(place) -> set[str]:
    return {path.name.split("-")[0] for path in place.glob("*")}


def shown(method: str) -> tuple:
    """What the page shows of a network, in numbers."""
    config = core.QuantConfig(method, 3, 3)
    distribution = activations.distribution(NAME, LAYER)
    chosen = points.points(NAME, LAYER, 2, config)
    picture = pictures.picture(NAME, core.demo_names()[0], "centre", config)
    return (
        [value.tolist() if isinstance(value, np.ndarray) else value for value in vars(distribution).values()],
        activations.mismatch(NAME),
        {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(chosen).items()},
        (picture.rgb.tolist(), picture.psnr, picture.ssim, picture.effective),
    )


@pytest.mark.parametrize("method", ["dfsq-exact", "dfsq+", "mse", "percentile", "daq"])
def test_a_new_server_shows_the_same_without_computing_it(method, monkeypatch, place):
    first = shown(method)
    forget_all()

    def never(*args, **kwargs):
        raise AssertionError("computed again")

    monkeypatch.setattr(core, "calibrate", never)
    monkeypatch.setattr(core, "mismatch", never)
    assert shown(method) == first
    assert {"calibration_patches", "calibration", "distribution", "mismatch"} <= file_names(place)


def test_a_calibration_measures_the_mismatch_in_its_own_pass(monkeypatch):
    alone = core.mismatch(
        core.create_model("xlsr", 3),
        activations.calibration_patches(3),
        list(activations.layer_channels(NAME)),
    )
    monkeypatch.setattr(core, "mismatch", None)
    activations.calibration(NAME, activations.seen_by(core.QuantConfig("minmax")), 0)
    found = activations.mismatch(NAME)
    assert found.keys() == alone.keys()
    for layer, spreads in found.items():
        assert spreads == pytest.approx(alone[layer], rel=1e-4)


def test_other_weights_are_another_result(monkeypatch, place):
    shown("minmax")
    before = file_names(place), len(list(place.glob("*")))
    forget_all()
    activations.weights_digest.cache.clear()
    monkeypatch.setattr(activations, "fingerprint", lambda tensors: "others")
    activations.distribution(NAME, LAYER)
    assert file_names(place) == before[0]
    assert len(list(place.glob("*"))) == before[1] + 1
    activations.weights_digest.cache.clear()


def test_other_code_is_another_result(monkeypatch, place):
    activations.mismatch(NAME)
    monkeypatch.setattr(kept, "made_by", lambda: "another version")
    forget_all()
    activations.mismatch(NAME)
    assert sum(path.name.startswith("mismatch") for path in place.glob("*")) == 2


def test_a_file_that_does_not_fit_is_computed_anew(place, caplog):
    first = activations.distribution(NAME, LAYER)
    (path,) = place.glob("distribution-*")
    np.savez(path, layer=np.array("conv2"), edges=np.zeros(3))  # the fields of another time
    forget_all()
    assert np.array_equal(activations.distribution(NAME, LAYER).counts, first.counts)
    assert "computed anew" in caplog.text


def photo(seed: int, side: int = 300) -> bytes:
    data = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side // 4, side // 4, 3), np.uint8)
    Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def mine(tmp_path):
    files = VisitorFiles()
    weights = core.create_model("xlsr", 3).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, tmp_path / "mine.safetensors")
    files.add("mine.safetensors", (tmp_path / "mine.safetensors").read_bytes())
    files.add("photo.png", photo(0))
    yield files
    files.close()


def test_nothing_of_a_visitors_files_is_written(place, mine):
    (network,), (hr, lr) = mine.labels("network").values(), mine.labels("hr", "lr").values()
    state = ExplorerState()
    state.offer_uploads(mine.labels("network"), mine.labels("hr", "lr"))
    state.network = network
    for method in ("dfsq-exact", "minmax"):
        state.method = method
        config = state.configs()(3)
        for own in ((), (hr,), (hr, lr)):
            activations.distribution(network, state.layer, own)
            activations.mismatch(network, own)
            points.points(network, state.layer, 0, config, (), False, True, own)
            pictures.picture(network, hr, "centre", config, (), None, own)
    own = (hr,)
    activations.distribution(NAME, LAYER, own)
    activations.mismatch(NAME, own)
    points.points(NAME, LAYER, 0, core.QuantConfig("dfsq-exact", 3, 3), (), False, True, own)
    assert file_names(place) <= {"calibration_patches"}  # of the packaged photographs
    assert len(list(place.glob("*"))) == 1


def test_own_images_calibrate(mine):
    hr, lr = mine.labels("hr", "lr").values()
    patches = activations.calibration_patches(3, (hr,))
    assert patches.shape == (32, 3, 64, 64)
    whole = core.make_lr(core.load_image(photo(0), "photo.png"), 3)
    assert torch.equal(patches, core.calibration_patches([whole], 32, 64))
    as_lr = activations.calibration_patches(3, (lr,))
    assert torch.equal(as_lr, core.calibration_patches([core.load_image(photo(0), "photo.png")], 32, 64))
    assert not torch.equal(patches, activations.calibration_patches(3))
    config = core.QuantConfig("minmax", 4, 4)
    own = activations.observer(NAME, LAYER, config, (hr,), token=Token()).quantizer(config)
    model = core.create_model("xlsr", 3)
    expected = core.calibrate(model, patches, config, [LAYER]).observers[LAYER].quantizer(config)
    assert own.levels(0).tolist() == pytest.approx(expected.levels(0).tolist())


def test_images_too_small_to_calibrate_are_refused():
    files = VisitorFiles()
    files.add("small.png", photo(1, 160))
    hr = files.labels("hr")["own: small.png, as HR"]
    with pytest.raises(ValueError, match="at least 64 pixels on both sides"):
        activations.calibration_patches(3, (hr,))
    files.close()


def test_what_was_of_a_deleted_file_is_forgotten(mine):
    (hr, _) = mine.labels("hr", "lr").values()
    activations.mismatch(NAME, (hr,))
    activations.calibration(NAME, activations.seen_by(core.QuantConfig("minmax")), 0, (hr,))
    assert (NAME, (hr,)) in activations.mismatch.cache
    mine.delete([hr])
    for function in COMPUTED:
        assert not any((hr,) in key for key in function.cache), function
    with pytest.raises(ValueError, match="no longer loaded"):
        activations.mismatch(NAME, (hr,))
