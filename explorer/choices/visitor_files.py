"""A visitor's own files: read once, checked, and held in memory for as long as the visitor's page is open.

Their keys begin with `PREFIX` and hold a secret of the visit, so that nobody else's page can name them.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import re
import secrets
import threading
from collections.abc import Iterable

from core.checkpoints.loading import set_res_scale
from explorer.choices.file_reading import UploadedNetwork, read_file
from explorer.choices.sources import PREFIX, ImageSource, file_name, hold, is_own, release, source

NAME_LETTERS, NAME_BYTES = 80, 200  # a label, and a file, hold no longer name
TOGETHER_MB = 128  # in memory, decoded
_reading = threading.Lock()  # one file at a time: decoding takes several times its memory

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
            things = read_file(name, content)
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
