"""Files as strangers send them: read once, and checked against what this page can show."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tempfile
import warnings
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from torch import nn

import core
from core.checkpoints.loading import guessed_res_scale
from core.images import IMAGE_SUFFIXES, to_uint8
from core.images.reading import has_transparent_pixels
from core.networks.folding import fold_parametrizations
from core.ptq.scope import choose_layers
from explorer.choices.checks import convolutions, example, tried
from explorer.choices.sources import ImageSource, NetworkSource

CHECKPOINT_SUFFIXES = {".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar"}  # .pth.tar
IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"GIF8")
SCALES = (2, 3, 4)
FILE_MB = 32
MEGAPIXELS = 24
SMALLEST = 64  # pixels of a side: at x4 16 of the LR
PARAMETERS = 4_000_000  # more would keep a visitor waiting for minutes
LIMITS = (
    f"Images: PNG, JPEG, BMP, TIFF, WebP, up to {MEGAPIXELS} megapixels. Networks: .safetensors, .pth, "
    f".ckpt, up to {PARAMETERS // 10**6} million parameters. Files up to {FILE_MB} MB."
)


@dataclasses.dataclass(frozen=True)
class UploadedNetwork(NetworkSource):
    """A checkpoint that was read and checked."""

    name: str  # of the file
    model: nn.Module  # float, in eval mode
    scale: int
    layers: dict[str, int]  # those that are quantized, and their input channels
    note: str = ""  # what a person should know of how the file was read
    res_scale: float | None = None  # of an EDSR whose file does not say it

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def bytes(self) -> int:
        """Size of the weights in memory."""
        return 4 * self.parameters

    def make(self) -> nn.Module:
        """Return the network that was read."""
        return self.model

    @property
    def about(self) -> str:
        """What it is, and how it was read."""
        kind = type(self.model)
        facts = f"{kind.__name__} ×{self.scale}, {self.parameters / 1e3:,.0f} k parameters, your file."
        return " ".join(filter(None, (facts, getattr(kind, "about", ""), self.note)))

    @property
    def stem(self) -> str:
        """The file's name in letters, digits and _."""
        return re.sub(r"\W+", "_", Path(self.name).stem)

    @property
    def code(self) -> str:
        """The call that reads the file."""
        more = "" if self.res_scale is None else f", res_scale={self.res_scale:g}"
        return f"core.load_checkpoint({self.name!r}{more})"


def read_file(name: str, content: bytes) -> dict[str, ImageSource | UploadedNetwork]:
    """Read and check a file; return what it holds by kind. ValueError says in a sentence what is wrong."""
    if len(content) > FILE_MB * 10**6:
        raise ValueError(f"{name} has {len(content) / 1e6:.0f} MB; the limit is {FILE_MB} MB")
    suffix = Path(f"_{name}").suffix.lower()  # .png has one too
    if suffix == ".onnx":
        raise ValueError(f"{name} is an ONNX graph; load the PyTorch checkpoint that it was exported from")
    known = suffix in CHECKPOINT_SUFFIXES
    if not known and (suffix in IMAGE_SUFFIXES or content.startswith(IMAGE_STARTS)):
        pixels, transparent = read_pixels(name, content), has_transparent_pixels(content)
        read = f"core.load_image({name!r})"
        return {kind: ImageSource(name, pixels, kind == "lr", read, transparent) for kind in ("hr", "lr")}
    if not (known or _holds_tensors(content)):
        raise ValueError(f"{name} is neither an image nor a checkpoint. {LIMITS}")
    with tempfile.TemporaryDirectory(prefix="explorer-own-") as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return {"network": read_network(path)}


def read_pixels(name: str, content: bytes) -> np.ndarray:
    """Decode an image, (H, W, 3) uint8, read-only; ValueError if it is too large or too small."""
    image = core.load_image(content, name)
    height, width = image.shape[-2:]
    if height * width > MEGAPIXELS * 10**6:
        raise ValueError(
            f"{name} has {height * width / 1e6:.0f} megapixels; the limit is {MEGAPIXELS}, crop it"
        )
    if min(height, width) < SMALLEST:
        raise ValueError(f"{name} has {width}×{height} pixels; at least {SMALLEST}×{SMALLEST} are needed")
    pixels = np.ascontiguousarray(to_uint8(image)[0])
    pixels.setflags(write=False)
    return pixels


def read_network(path: Path) -> UploadedNetwork:
    """Load a checkpoint that the page can show; ValueError as of `checked`, and for one that is quantized."""
    name = path.name
    if _is_quantized(path):
        raise ValueError(
            f"{name} is quantized already, and the page starts from float weights; load the float "
            "checkpoint, or use core.load_quantized in Python"
        )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        model = core.load_checkpoint(path)
    note = " ".join(f"{w.message!s}." for w in said if w.category is UserWarning)
    guess = guessed_res_scale(model)
    if guess is not None:
        note = (
            f"{name} does not say its res_scale, so {guess:g} was taken, as in the authors' network of its "
            "width; if it was trained with another, enter that below the file."
        )
    return checked(name, model, note, guess)


def checked(name: str, model: nn.Module, note: str = "", res_scale: float | None = None) -> UploadedNetwork:
    """Check that the page can show a float network; ValueError says in a sentence why it cannot.

    The layers to quantize must be convolutions. note and res_scale: as of `UploadedNetwork`.
    """
    kind, model = type(model).__name__, fold_parametrizations(model)
    size = sum(p.numel() for p in model.parameters())
    if size > PARAMETERS:
        raise ValueError(
            f"{name} has {size / 1e6:.1f} million parameters; the limit is {PARAMETERS // 10**6} million, "
            "use core.quantize_model in Python"
        )
    scale, _ = tried(name, model)
    if scale not in SCALES:
        raise ValueError(
            f"{name} holds a network that does not enlarge images by 2, 3 or 4; load one that does"
        )
    layers, _ = choose_layers(model, None, example())
    channels = convolutions(name, kind, model, layers)
    return UploadedNetwork(name, model, scale, channels, note, res_scale)


def _holds_tensors(content: bytes) -> bool:
    """Tell whether the file begins as safetensors, a zip file or a pickle does."""
    return content[8:9] == b"{" or content.startswith((b"PK\3\4", b"\x80"))


def _is_quantized(path: Path) -> bool:
    """Tell whether the checkpoint is quantized, by the header that `core.save_quantized` writes."""
    with contextlib.suppress(SafetensorError, OSError), safe_open(str(path), "pt") as file:
        return "quantization" in (file.metadata() or {})
    return False
