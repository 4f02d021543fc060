"""Image files that strangers send."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from core import load_image
from core.images import reading as image_files
from core.images import to_uint8

RNG = np.random.default_rng(0)
RGB = Image.fromarray(RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8))


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(data):
    return to_uint8(load_image(data))[0]


def png_header(width, height, depth=8, colour=2):
    """A PNG that ends where its pixels begin."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    checked = header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + checked + struct.pack(">I", 99) + b"IDAT"


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_pixels_from_path_and_bytes(tmp_path, kind):
    data = encoded(RGB, kind, **({"lossless": True} if kind == "WEBP" else {}))
    (tmp_path / "a.wrong").write_bytes(data)  # what it is called does not matter
    assert (pixels(data) == np.asarray(RGB)).all()
    assert torch.equal(load_image(data), load_image(tmp_path / "a.wrong"))
    assert torch.equal(load_image(data), load_image(str(tmp_path / "a.wrong")))


def test_kinds_of_pixels():
    grey = RGB.convert("L")
    for image in (grey, grey.convert("1"), RGB.quantize(16), RGB.convert("YCbCr"), RGB.convert("CMYK")):
        kind = "TIFF" if image.mode in ("YCbCr", "CMYK") else "PNG"
        assert (pixels(encoded(image, kind)) == np.asarray(image.convert("RGB"))).all(), image.mode
    ink = Image.new("CMYK", (2, 2), (0, 255, 255, 0))
    assert np.abs(pixels(encoded(ink, "JPEG"))[0, 0].astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_rounded(kind):
    values = np.array([[0, 128, 129, 257, 32768, 65407, 65535]], dtype=np.uint16)
    assert pixels(encoded(Image.fromarray(values), kind))[0, :, 1].tolist() == [0, 0, 1, 1, 128, 255, 255]


def test_what_is_transparent_lies_on_white():
    rgba = Image.new("RGBA", (2, 1), (200, 100, 0, 0))
    rgba.putpixel((1, 0), (200, 100, 0, 51))  # a fifth
    assert pixels(encoded(rgba))[0].tolist() == [[255, 255, 255], [244, 224, 204]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 100, 0, 9, 9, 9])
    palette.putpixel((1, 0), 1)
    assert pixels(encoded(palette, transparency=0))[0].tolist() == [[255, 255, 255], [9, 9, 9]]
    assert pixels(encoded(palette, transparency=b"\x00\xff"))[0, 0].tolist() == [255, 255, 255]
    assert pixels(encoded(Image.new("LA", (1, 1), (0, 0))))[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_turned_as_exif_says(kind):
    half = Image.new("RGB", (32, 16))
    half.paste((255, 255, 255), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera turned: the left is the top
    upright = pixels(encoded(half, kind, exif=exif))
    assert upright.shape == (32, 16, 3)
    assert (upright[:14] > 200).all()
    assert (upright[18:] < 50).all()


def with_tags(entries, orientation=6, extra=b"", image=RGB):
    """A JPEG whose EXIF has the orientation and (tag, type, count, 4 bytes) more."""
    tags = sorted([(0x0112, 3, 1, struct.pack("<HH", orientation, 0)), *entries])
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags))
    exif += b"".join(struct.pack("<HHI", *tag[:3]) + tag[3] for tag in tags) + bytes(4) + extra
    data = encoded(image, "JPEG")
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


@pytest.mark.parametrize("kind", range(14))
@pytest.mark.parametrize("tag", [282, 33434, 34665, 34853, 37377, 37500, 40000, 40965])
def test_an_odd_tag_breaks_no_picture(tag, kind):
    for count, value in ((1, 0), (1, 0x7FC00000), (2, 38), (9, 38), (60_000, 40), (1, 9_000_000)):
        data = with_tags([(tag, kind, count, struct.pack("<I", value))], extra=b"\xff" * 72)
        assert pixels(data).shape == (30, 40, 3)


def test_an_orientation_that_cannot_be_read_turns_nothing():
    for orientation in (0, 9, 77):
        assert pixels(with_tags([], orientation)).shape == (40, 30, 3)
    text = struct.pack("<HHI", 0x0112, 2, 4)
    assert pixels(with_tags([]).replace(struct.pack("<HHI", 0x0112, 3, 1), text)).shape == (40, 30, 3)


@pytest.mark.parametrize("packed", [False, True])
def test_long_texts_in_a_png(packed):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("workflow", "a" * 2_000_000, zip=packed)
    texts.add_itxt("XML:com.adobe.xmp", "b" * 2_000_000, zip=packed)
    assert (pixels(encoded(RGB, pnginfo=texts)) == np.asarray(RGB)).all()
    assert (pixels(encoded(RGB, icc_profile=b"c" * 2_000_000)) == np.asarray(RGB)).all()
    many = PngImagePlugin.PngInfo()
    many.add_text("prompt", "d" * 70_000_000)
    assert (pixels(encoded(RGB, pnginfo=many)) == np.asarray(RGB)).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "MPO"])
def test_first_frame(kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    first = pixels(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert np.abs(first[0, 0].astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1)])
def test_odd_sizes(size):
    assert load_image(encoded(Image.new("RGB", size))).shape == (1, 3, size[1], size[0])


TOO_LARGE = "has more than 33,554,432 pixels; crop it or reduce its size"
NOT_TAKEN = {
    "empty": (b"", "is empty; copy or download it again"),
    "text": (b"no image", "none of PNG, JPEG, BMP, TIFF, WEBP; save it as one of these"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "none of PNG"),
    "gif": (encoded(RGB, "GIF"), "none of PNG"),
    "cut png": (encoded(RGB)[:900], "not a readable image .*truncated.*; save it again as PNG"),
    "cut jpeg": (encoded(RGB, "JPEG")[:900], "not a readable image .*truncated"),
    "no pixels": (png_header(4, 4), "not a readable image"),
    "no rows": (png_header(0, 4), "not a readable image"),
    "64 megapixels": (png_header(8000, 8000), TOO_LARGE),
    "100 megapixels, of which Pillow warns": (png_header(10_000, 10_000), TOO_LARGE),
    "2**62 pixels, which Pillow refuses": (png_header(2**31 - 1, 2**31 - 1), TOO_LARGE),
    "floats": (encoded(Image.new("F", (4, 4)), "TIFF"), "pixels of the kind F; save it as RGB or grey"),
    "integers": (encoded(Image.new("I", (4, 4)), "TIFF"), "pixels of the kind I;"),
    "scans": (encoded(RGB, "JPEG") + b"\xff\xda" * 600, "more than 500 JPEG scans; save it again"),
}


@pytest.mark.parametrize("kind", NOT_TAKEN)
def test_one_sentence_for_what_is_not_taken(kind):
    data, message = NOT_TAKEN[kind]
    with pytest.raises(ValueError, match=f"^cat.png .*{message}"):
        load_image(data, "cat.png")


def test_bomb_is_refused_before_it_is_decoded(monkeypatch):
    bomb = encoded(Image.new("1", (6000, 6000)))
    assert len(bomb) < 10_000
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=r"^the image has more than 33,554,432 pixels"):
        load_image(bomb)


def test_a_file_of_200_mb_is_not_read(tmp_path):
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(200 * 2**20)
    with pytest.raises(ValueError, match=r"^huge.png has more than 100 MiB; choose a smaller image"):
        load_image(tmp_path / "huge.png")


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no image at .*none\.png"):
        load_image(tmp_path / "none.png")
    with pytest.raises(ValueError, match="it is not a file"):
        load_image(tmp_path)
    with pytest.raises(ValueError, match="it is not a file"):
        load_image("/dev/zero")


WHOLE = [encoded(RGB, kind) for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP")]
changes = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=8)


@given(st.sampled_from(WHOLE), changes, st.integers(0, 2**16))
@example(WHOLE[0], [(20, 255), (21, 255)], 2**16)
def test_damaged_files_end_in_pixels_or_a_sentence(whole, changed, length):
    data = bytearray(whole)
    for place, value in changed:
        data[place % len(data)] = value
    try:
        image = load_image(bytes(data[: 1 + length % len(data)]), "cat.png")
    except ValueError as error:
        sentence = str(error)
    else:
        sentence = "cat.png is taken"
        assert image.shape[-2] * image.shape[-1] <= image_files.MAX_PIXELS
    assert sentence.startswith("cat.png ")
    assert "\n" not in sentence
