"""Results that are kept on disk, so that a new server has them at once; nothing of a visitor's files."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import platform
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from explorer.choices.visitor_files import is_uploaded
from explorer.jobs import disk
from explorer.jobs.child import ROOT
from explorer.jobs.token import Token

log = logging.getLogger(__name__)
PACKAGES = ("sr-quantization-explorer", "torch", "numpy", "numba", "pillow", "scikit-image", "scikit-learn")
Arrays = Mapping[str, np.ndarray]


@functools.cache
def made_by() -> str:
    """Return what results depend on besides their arguments: this project's code, and what it is built on."""
    seen = hashlib.blake2b(digest_size=16)
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):  # run from its folder, without being installed
            seen.update(f"{package} {version(package)}\n".encode())
    seen.update(f"{platform.machine()} {platform.python_version()}\n".encode())
    for path in sorted([*ROOT.glob("core/**/*.py"), *ROOT.glob("explorer/pipeline/*.py")]):
        seen.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return seen.hexdigest()


def of_visitor(key: object) -> bool:
    """Tell whether the key of a result names a visitor's file."""
    if isinstance(key, str):
        return is_uploaded(key)
    return isinstance(key, tuple) and any(map(of_visitor, key))


def kept(
    pack: Callable[[Any], Arrays],
    unpack: Callable[..., Any],
    identity: Callable[..., Iterable[str]] = lambda *key, token: (),
):
    """Keep what `f(*key, token)` returned on disk, unless its key names a visitor's file.

    pack: result -> arrays. unpack(arrays, *key, token=token) makes the result of them. identity(*key,
    token=token): what the result depends on besides its key and this project, such as the digest of weights.
    The function gets an attribute `keep(*key, value, token)`, for a result that came another way.
    """

    def decorate(f):
        def name(key: tuple, token: Token) -> str:
            key = key[:-1] if key[-1] == () else key  # said or left out: the same
            parts = (f.__qualname__, repr(key), made_by(), *identity(*key, token=token))
            return f"{f.__name__}-{hashlib.blake2b('|'.join(parts).encode(), digest_size=16).hexdigest()}"

        @functools.wraps(f)
        def call(*key, token: Token):
            if of_visitor(key):
                return f(*key, token=token)
            place = name(key, token)
            if (arrays := disk.read(place)) is not None:
                try:
                    return unpack(arrays, *key, token=token)
                except (LookupError, TypeError, ValueError) as error:
                    log.warning("%s is computed anew, since its file does not fit (%s)", place, error)
            value = f(*key, token=token)
            disk.write(place, pack(value))
            return value

        def keep(*key, value, token: Token) -> None:
            if not of_visitor(key):
                disk.write(name(key, token), pack(value))

        call.keep = keep
        return call

    return decorate


def fields(value: object) -> Arrays:
    """Return the fields of a dataclass as arrays."""
    return {name: np.asarray(field) for name, field in vars(value).items()}


def values(arrays: Arrays) -> dict[str, Any]:
    """Return fields from their arrays: texts, numbers and truth values as such."""
    return {name: array.item() if array.ndim == 0 else array for name, array in arrays.items()}
