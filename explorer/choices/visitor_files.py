"""A visitor's own files: read once, checked, and held in memory for as long as the visitor's page is open.

Their keys begin with `PREFIX` and hold a secret of the visit, so that nobody else's page can name them.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import re
import secrets
import tempfile
import threading
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from torch import nn

import core
from core.checkpoints.loading import guessed_res_scale, set_res_scale
from core.images import IMAGE_SUFFIXES, to_uint8
from core.images.reading import has_transparent_pixels
from core.networks.folding import fold_parametrizations
from core.ptq.scope import choose_layers
from explorer.choices.checks import convolutions, example, tried
from explorer.choices.sources import (
    PREFIX,
    ImageSource,
    NetworkSource,
    file_name,
    hold,
    is_own,
    release,
    source,
)

CHECKPOINT_SUFFIXES = {".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar"}  # .pth.tar
IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"GIF8")
SCALES = (2, 3, 4)
NAME_LETTERS, NAME_BYTES = 80, 200  # a label, and a file, hold no longer name
FILE_MB = 32
MEGAPIXELS = 24
SMALLEST = 64  # pixels of a side: at x4 16 of the LR
PARAMETERS = 4_000_000  # more would keep a visitor waiting for minutes
TOGETHER_MB = 128  # in memory, decoded
LIMITS = (
    f"Images: PNG, JPEG, BMP, TIFF, WebP, up to {MEGAPIXELS} megapixels. Networks: .safetensors, .pth, "
    f".ckpt, up to {PARAMETERS // 10**6} million parameters. Files up to {FILE_MB} MB."
)
_reading = threading.Lock()  # one file at a time: decoding takes several times its memory


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


is_uploaded, uploaded = is_own, source  # a program's own networks and images are as a visitor's


class VisitorFiles:
    """One visitor's files: name -> keys, of an image as HR and as LR, or of a network."""

    def __init__(self):
        self._secret, self._lock, self._closed = secrets.token_bytes(16), threading.Lock(), False
        self._files: dict[str, list[str]] = {}
        self._held: set[str] = set()  # also of replaced files, until they are deleted

    def add(self, name: str, content: bytes) -> tuple[str, list[str]]:
        """Check and store a file; return its key (an image's HR key), and those of the file it replaces.

        That is one of the same name. Its keys stay valid, since the page may show it: `delete` them
        afterwards. ValueError says in a sentence what is wrong with the file.
        """
        name = clean(name)
        with _reading:
            things = _read(name, content)
        token = hashlib.blake2b(content, key=self._secret, digest_size=6).hexdigest()
        made = {f"{PREFIX}{kind}:{token}:{name}": thing for kind, thing in things.items()}
        with self._lock:
            others = sum(source(keys[0]).bytes for other, keys in self._files.items() if other != name)
            if others + next(iter(made.values())).bytes > TOGETHER_MB * 10**6:
                raise ValueError(f"Your files take more than {TOGETHER_MB} MB together; remove one first")
            before = [key for key in self._files.get(name, []) if key not in made]
            if not self._closed:
                self._hold(made)
                self._files[name] = list(made)
        return next(iter(made)), before

    def rescale(self, name: str, res_scale: float) -> tuple[str, list[str]]:
        """Replace a network by one with another `res_scale`; returns as `add`, ValueError if it has none."""
        with self._lock:
            before = list(self._files.get(clean(name), []))
        if not before:
            raise ValueError(f"{name} is no longer loaded; choose it again")
        found = source(before[0])
        model = copy.deepcopy(found.model)
        set_res_scale(model, res_scale)
        note = f"Its res_scale of {res_scale:g} is your choice; the file does not say it."
        made = dataclasses.replace(found, model=model, note=note, res_scale=res_scale)
        token = hashlib.blake2b(f"{before[0]} {res_scale}".encode(), key=self._secret, digest_size=6)
        key = f"{PREFIX}network:{token.hexdigest()}:{found.name}"
        with self._lock:
            if not self._closed and self._files.get(found.name) == before:
                self._hold({key: made})
                self._files[found.name] = [key]
        return key, before

    def _hold(self, made: dict[str, ImageSource | UploadedNetwork]) -> None:
        hold({key: thing for key, thing in made.items() if key not in self._held})
        self._held.update(made)

    def res_scale(self, name: str) -> float | None:
        """Return the factor of an EDSR's residual blocks where its file does not say it; None otherwise."""
        keys = self._files.get(name)
        return getattr(source(keys[0]), "res_scale", None) if keys else None

    def hide(self, name: str) -> list[str]:
        """Stop offering a file; return its keys, to `delete` when nothing shows them."""
        with self._lock:
            return self._files.pop(clean(name), [])

    def delete(self, keys: Iterable[str]) -> None:
        """Delete what the keys name, and all that was computed from it."""
        with self._lock:
            ours = self._held.intersection(keys)
            self._held -= ours
            release(ours)

    def close(self) -> None:
        """Delete all files, and store no more."""
        with self._lock:
            self._closed = True
            self._files.clear()
        self.delete(list(self._held))

    def names(self) -> list[str]:
        """List the files that are offered."""
        return list(self._files)

    def labels(self, *kinds: str) -> dict[str, str]:
        """Return label -> key of the files offered; kinds: "network", "hr", "lr"."""
        keys = [key for keys in self._files.values() for key in keys]
        return {_label(key): key for key in keys if kind_of(key) in kinds}


def kind_of(key: str) -> str:
    """Return the kind of an uploaded key: network, hr or lr."""
    return key.split(":", 2)[1]


def other_role(key: str) -> str:
    """Return the key of the same image as LR instead of HR, or the other way round."""
    _, kind, rest = key.split(":", 2)
    return f"{PREFIX}{'lr' if kind == 'hr' else 'hr'}:{rest}"


def clean(name: str) -> str:
    """Return the last part of a path, of printable characters, no longer than a label or file name may be."""
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(c for c in last if c.isprintable())[-NAME_LETTERS:]
    kept = kept.encode()[-NAME_BYTES:].decode(errors="ignore")
    return kept if kept.strip(".") else "file"


def _label(key: str) -> str:
    role = {"hr": ", as HR", "lr": ", as LR", "network": ""}[kind_of(key)]
    return f"own: {file_name(key)}{role}"


def _read(name: str, content: bytes) -> dict[str, ImageSource | UploadedNetwork]:
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
