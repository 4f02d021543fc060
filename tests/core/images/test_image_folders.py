"""Folders as benchmarks and strangers lay them out."""

import numpy as np
import pytest
import torch
from PIL import Image

from core import bicubic, evaluate, load_image, paired_folder, psnr_y
from core.images import to_uint8
from core.images.folders import image_files


def save(path, height, width, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.mark.parametrize("suffix", ["", "x2", "_x2"])
def test_paired_folder(tmp_path, suffix):
    for i, name in enumerate(["b", "a"]):
        save(tmp_path / "HR" / f"{name}.png", 9, 13, i)
        save(tmp_path / "LR" / f"{name}{suffix}.png", 4, 6, i)
    (tmp_path / "HR" / "notes.txt").write_text("not an image")
    pairs = list(paired_folder(tmp_path, 2))
    assert [pair.name for pair in pairs] == ["a", "b"]
    assert [(pair.lr.shape, pair.hr.shape) for pair in pairs] == [((1, 3, 4, 6), (1, 3, 8, 12))] * 2
    assert torch.equal(pairs[0].hr, load_image(tmp_path / "HR" / "a.png")[..., :8, :12])


def test_folders_that_do_not_fit(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold the folders HR and LR; HR is missing"):
        paired_folder(tmp_path, 2)  # at once, before anything is read
    (tmp_path / "HR").mkdir()
    with pytest.raises(FileNotFoundError, match="LR is missing"):
        list(paired_folder(tmp_path, 2))
    (tmp_path / "LR").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no image"):
        list(paired_folder(tmp_path, 2))
    save(tmp_path / "HR" / "a.png", 8, 8)
    with pytest.raises(FileNotFoundError, match=r"holds no image for a\.png"):
        list(paired_folder(tmp_path, 2))
    save(tmp_path / "LR" / "a.png", 4, 4)
    for scale in (3, 4):
        with pytest.raises(ValueError, match=rf"a\.png: HR \(8, 8\) is not x{scale} of LR \(4, 4\)"):
            list(paired_folder(tmp_path, scale))


# What is asked for, and where the projects put an HR and its LR at x2.
LAYOUTS = {
    "ours": ("Set5/x2", "Set5/x2/HR/baby.png", "Set5/x2/LR/baby.png"),
    "ours, the set alone": ("Set5", "Set5/x2/HR/baby.png", "Set5/x2/LR/baby.png"),
    "EDSR's and SwinIR's benchmarks": ("Set5", "Set5/HR/baby.png", "Set5/LR_bicubic/X2/babyx2.png"),
    "DIV2K": ("D", "D/DIV2K_train_HR/0001.png", "D/DIV2K_train_LR_bicubic/X2/0001x2.png"),
    "DIV2K as its zip unpacks": (
        "D",
        "D/DIV2K_valid_HR/0801.png",
        "D/DIV2K_valid_LR_bicubic_X2/DIV2K_valid_LR_bicubic/X2/0801x2.png",
    ),
    "DIV2K by its HR": (
        "D/DIV2K_valid_HR", "D/DIV2K_valid_HR/0801.png", "D/DIV2K_valid_LR_bicubic/X2/0801x2.png"
    ),
    "BasicSR": ("Set5", "Set5/GTmod12/baby.png", "Set5/LRbicx2/baby.png"),
    "BasicSR with scales in the names": ("Set5", "Set5/GTmod12/baby.png", "Set5/LRbicx2/babyx2.png"),
    "BasicSR's words": ("Set5", "Set5/GT/baby.png", "Set5/LQ/baby.png"),
    "RCAN": ("HR/Set5/x2", "HR/Set5/x2/baby_HR_x2.png", "LR/LRBI/Set5/x2/baby_LRBI_x2.png"),
    "RCAN's names": ("Set5", "Set5/HR/baby_HR_x2.png", "Set5/LR/baby_LRBI_x2.png"),
    "SelfExSR": (
        "Set14/image_SRF_2",
        "Set14/image_SRF_2/img_001_SRF_2_HR.png",
        "Set14/image_SRF_2/img_001_SRF_2_LR.png",
    ),
    "SelfExSR, the set alone": (
        "Set14", "Set14/image_SRF_2/img_001_SRF_2_HR.png", "Set14/image_SRF_2/img_001_SRF_2_LR.png"
    ),
    "SelfExSR's names": ("Set14", "Set14/HR/img_001_SRF_2_HR.png", "Set14/LR/img_001_SRF_2_LR.png"),
    "beside each other": ("Set5", "Set5/baby.png", "Set5/babyx2.png"),
    "beside each other, marked": ("Set5", "Set5/baby_HR.png", "Set5/baby_LR.png"),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_benchmarks(layout, tmp_path, monkeypatch):
    asked, hr, lr = LAYOUTS[layout]
    save(tmp_path / hr, 24, 36, 1)
    save(tmp_path / lr, 12, 18, 2)
    for scale, side in ((3, 8), (4, 6)):  # the other scales beside it
        other = lr.replace("x2", f"x{scale}").replace("X2", f"X{scale}").replace("SRF_2", f"SRF_{scale}")
        if other != lr:
            save(tmp_path / other, side, side, 3)
            save(tmp_path / hr.replace("x2", f"x{scale}").replace("SRF_2", f"SRF_{scale}"), 24, 36, 1)
    monkeypatch.chdir(tmp_path)
    for path in (asked, tmp_path / asked):
        (pair,) = paired_folder(path, 2)
        assert torch.equal(pair.hr, load_image(tmp_path / hr))
        assert torch.equal(pair.lr, load_image(tmp_path / lr))


def test_results_beside_an_original_are_no_original(tmp_path):
    for i, kind in enumerate(["HR", "LR", "bicubic", "SRCNN", "A+"]):
        save(tmp_path / f"img_001_SRF_2_{kind}.png", *((4, 4) if kind == "LR" else (8, 8)), i)
    (pair,) = paired_folder(tmp_path, 2)
    assert (pair.name, pair.hr.shape[-1], pair.lr.shape[-1]) == ("img_001_SRF_2_HR", 8, 4)


def test_what_is_missing_or_too_many_is_said(tmp_path):
    for name in ("baby", "bird"):
        save(tmp_path / "plain" / f"{name}.png", 8, 8)
    with pytest.raises(FileNotFoundError, match="holds no pairs of HR and LR for x2; give HR and LR as fold"):
        paired_folder(tmp_path / "plain", 2)
    for kind in ("train", "valid"):
        save(tmp_path / f"D/DIV2K_{kind}_HR/1.png", 8, 8)
        save(tmp_path / f"D/DIV2K_{kind}_LR_bicubic/X2/1x2.png", 4, 4)
    with pytest.raises(ValueError, match=r"several folders of HR images \(DIV2K_train_HR, DIV2K_valid_HR\)"):
        paired_folder(tmp_path / "D", 2)
    assert len(list(paired_folder(tmp_path / "D/DIV2K_valid_HR", 2))) == 1
    with pytest.raises(FileNotFoundError, match=r"holds no image for 1\.png at x3"):
        paired_folder(tmp_path / "D/DIV2K_valid_HR", 3)
    save(tmp_path / "B/GTmod12/a.png", 8, 8)
    save(tmp_path / "B/LRbicx4/a.png", 2, 2)
    with pytest.raises(FileNotFoundError, match="LR is missing"):
        paired_folder(tmp_path / "B", 2)
    for folder in ("LR", "LR_bicubic"):
        save(tmp_path / f"B/{folder}/a.png", 4, 4)
    with pytest.raises(
        ValueError, match=r"several folders of images for x2 \(.*LR, .*LR_bicubic\); keep one"
    ):
        paired_folder(tmp_path / "B", 2)


def test_images_of_one_name(tmp_path):
    for name in ("a.png", "a.bmp"):
        save(tmp_path / "HR" / name, 8, 8)
    save(tmp_path / "LR/a.png", 4, 4)
    with pytest.raises(ValueError, match=r"HR holds a\.bmp and a\.png for one LR, a\.png; keep one of them"):
        paired_folder(tmp_path, 2)
    (tmp_path / "HR/a.bmp").unlink()
    save(tmp_path / "LR/a.bmp", 4, 4)
    with pytest.raises(ValueError, match=r"LR holds several images for a\.png \(a\.bmp, a\.png\); keep one"):
        paired_folder(tmp_path, 2)


def test_guests_of_folders_are_passed_over(tmp_path):
    for folder, side in (("HR", 8), ("LR", 4)):
        save(tmp_path / folder / "a.png", side, side)
        (tmp_path / folder / "._a.png").write_bytes(b"\0\5\x16\7" + bytes(200))  # as a Mac leaves
        (tmp_path / folder / ".hidden.png").write_bytes(b"")
        (tmp_path / folder / "thumbs.png").mkdir()
    (tmp_path / "._HR").write_bytes(b"")
    (tmp_path / ".HR").mkdir()
    assert [pair.name for pair in paired_folder(tmp_path, 2)] == ["a"]
    assert [file.name for file in image_files(tmp_path / "HR")] == ["a.png"]
    (tmp_path / "HR/b.png").write_bytes(b"")
    save(tmp_path / "LR/b.png", 4, 4)
    with pytest.raises(ValueError, match=r"^b\.png is empty; copy or download it again$"):
        list(paired_folder(tmp_path, 2))


@pytest.mark.parametrize("size", [(120, 132), (121, 133), (120, 133), (121, 132)])
def test_an_lr_of_an_uncropped_hr_is_scored_in_the_common_part(tmp_path, size):
    pixels = save(tmp_path / "HR/a.png", *size)
    hr = load_image(tmp_path / "HR/a.png")
    lr = bicubic(hr, 1 / 2)
    assert lr.shape[-2:] == (-(-size[0] // 2), -(-size[1] // 2))
    (tmp_path / "LR").mkdir()
    Image.fromarray(to_uint8(lr)[0]).save(tmp_path / "LR/a.png")
    (pair,) = paired_folder(tmp_path, 2)
    assert (to_uint8(pair.hr)[0] == pixels[:120, :132]).all()
    assert torch.equal(pair.lr, lr[..., :60, :66])
    enlarge = torch.nn.Upsample(scale_factor=2)
    expected = psnr_y(enlarge(lr)[..., :120, :132], hr[..., :120, :132], border=2)
    assert evaluate(enlarge, [pair], 2).psnr == pytest.approx(expected)


def test_accents_as_macos_writes_them(tmp_path):
    for kind, name, side in (("HR", "caf\u00e9.png", 24), ("LR", "cafe\u0301x2.png", 12)):
        (tmp_path / kind).mkdir()
        Image.new("RGB", (side, side)).save(tmp_path / kind / name)
    assert [pair.name for pair in paired_folder(tmp_path, 2)] == ["caf\u00e9"]
