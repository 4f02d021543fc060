"""16 bits a value, written by hand: round(v / 257), whatever the file's kind."""

import struct
import zlib

import numpy as np
import pytest

from core import load_image
from core.images import to_uint8

RNG = np.random.default_rng(0)
ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
COLOURS = {"grey": (0, 1), "RGB": (2, 3), "grey and alpha": (4, 2), "RGBA": (6, 4)}


def pixels(data):
    return to_uint8(load_image(data, "a.png"))[0].astype(int)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(values, colour, interlaced=False, transparent=b""):
    """PNG of (H, W, C) uint16."""
    height, width, _ = values.shape
    rows = b""
    for y, x, down, right in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        part = values[y::down, x::right]
        if part.size:
            rows += b"".join(b"\0" + row.astype(">u2").tobytes() for row in part)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, interlaced)
    extra = chunk(b"tRNS", transparent) if transparent else b""
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(values, order="<", photometric=2, extra=None, planar=1, orientation=1, deflated=False):
    """TIFF of (H, W, C) uint16."""
    height, width, channels = values.shape
    values = np.moveaxis(values, 2, 0) if planar == 2 else values
    data = values.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if deflated else data
    tags = {256: width, 257: height, 258: None, 259: 8 if deflated else 1, 262: photometric}
    tags |= {273: None, 274: orientation, 277: channels, 278: height, 279: len(data), 284: planar}
    tags |= {} if extra is None else {338: extra}
    bits = 10 + 12 * len(tags) + 4
    out = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(tags))
    for tag, value in sorted(tags.items()):
        number = channels if tag == 258 else 1
        value = {258: bits, 273: bits + 2 * channels}.get(tag, value)
        if tag in (258, 273, 279):
            out += struct.pack(f"{order}HHII", tag, 3 if tag == 258 else 4, number, value)
        else:
            out += struct.pack(f"{order}HHIHH", tag, 3, number, value, 0)
    return out + bytes(4) + struct.pack(f"{order}{channels}H", *[16] * channels) + data


def noise(channels):
    return RNG.integers(0, 65536, (19, 13, channels), dtype=np.uint16)


def nearest(values):
    return np.floor(values / 257 + 0.5).astype(int)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("kind", COLOURS)
def test_png(kind, interlaced):
    colour, channels = COLOURS[kind]
    values = noise(channels)
    seen = values.astype(float)
    if "A" in kind or "alpha" in kind:
        alpha = seen[..., -1:] / 65535
        seen = seen[..., :-1] * alpha + 65535 * (1 - alpha)
    assert (pixels(png(values, colour, interlaced)) == nearest(seen)).all()


@pytest.mark.parametrize(("colour", "key"), [(0, [700]), (2, [1, 2, 3])])
def test_png_with_one_transparent_colour(colour, key):
    values = np.full((1, 2, len(key)), 1000, np.uint16)
    values[0, 0] = key
    found = pixels(png(values, colour, transparent=struct.pack(f">{len(key)}H", *key)))
    assert found[0].tolist() == [[255] * 3, [4] * 3]


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff(order, deflated):
    values = noise(3)
    assert (pixels(tiff(values, order, deflated=deflated)) == nearest(values)).all()
    turned = pixels(tiff(values, order, orientation=6, deflated=deflated))
    assert (turned == np.rot90(nearest(values), -1)).all()


def test_tiff_with_alpha_or_ink():
    values = noise(4).astype(int)
    colours, alpha = values[..., :3], values[..., 3:]
    over = colours * (alpha / 65535) + (65535 - alpha)
    assert (pixels(tiff(values, extra=2)) == nearest(over)).all()
    assert (pixels(tiff(values, extra=0)) == nearest(colours)).all()  # alpha is something else
    premultiplied = np.minimum(colours, alpha)
    stored = np.concatenate([premultiplied, alpha], 2)
    assert (pixels(tiff(stored, extra=1)) == nearest(premultiplied + 65535 - alpha)).all()
    ink = np.array([[[0, 65535, 65535, 0]]])
    assert pixels(tiff(ink, photometric=5))[0, 0].tolist() == [255, 0, 0]


def test_planes_that_pillow_reads_wrongly_are_refused():
    with pytest.raises(ValueError, match=r"^a\.png has 16 bits a value in separate planes; save it as PNG$"):
        load_image(tiff(noise(3), planar=2), "a.png")
