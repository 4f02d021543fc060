"""What torch.save wrote, read without unpickling: nothing but tensors and plain values can come of a file.

`torch.load(weights_only=True)` runs no code either, but a small file can crash it (a key of nested tuples),
keep it busy for ever (the same, shared) or take all memory (a bytearray, a compressed record).
"""

from __future__ import annotations

import io
import math
import pickletools
import re
import zipfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import torch

from core.models.state_dict import State

MAX_OPERATIONS = 1_000_000  # of a pickle; a tensor takes about 30
MAX_RECORDS = 10_000  # of a zip file; a tensor takes one
MAX_DIMENSIONS = 8
MAX_NESTING = 8  # dicts in dicts; deeper than any checkpoint known, and names stay short
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # the two pickles that torch.save began with before 1.6
DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINBYTES", "SHORT_BINBYTES"}
VALUES |= {"BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"}
EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# Records of a training that stand beside the tensors: read past, never made.
RECORDS = {"numpy.dtype", "numpy.ndarray", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"}
RECORDS |= {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "_codecs.encode"}
RECORDS |= {
    "argparse.Namespace",
    "__builtin__.set",
    "builtins.set",
    "torch.Size",
    "torch.device",
    "datetime.datetime",
    "datetime.timedelta",
}
RECORDS |= {"datetime.datetime", "datetime.timedelta"}
RECORDS |= {"pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.WindowsPath", "pathlib.PureWindowsPath"}
# Keys of dicts that hold the state of a training, and no network.
TRAINING = re.compile(r"opt(im.*|s|_.*)?|.*optim(izer)?s?|.*sched.*|.*scaler|callbacks|loops", re.IGNORECASE)
# A file that only archives of this kind have.
ARCHIVES = {"constants.pkl": "TorchScript, which torch.jit.load reads"}
ARCHIVES |= {"archive_format": "torch.export, which torch.export.load reads"}


class MoreThanTensorsError(ValueError):
    """A pickle asks for something that is neither a tensor nor a plain value: its name."""


class _Storage(NamedTuple):
    """Numbers that lie elsewhere in the file."""

    key: str
    dtype: torch.dtype
    numel: int


class _View(NamedTuple):
    """A tensor: part of a storage."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Global(NamedTuple):
    module: str
    name: str


def read_torch_file(data: bytes) -> State:
    """All tensors of a file but those of optimizers and schedulers, however deep its dicts and lists lie.

    A tensor's name is its keys, joined by dots: {"net": {"head.weight": x}} has net.head.weight. A dict that
    is there twice counts once. Raises `MoreThanTensorsError`, and whatever a damaged file provokes.
    """
    if data.startswith(b"PK"):
        found, records = _zip_file(data)
    else:
        found, records = _legacy_file(io.BytesIO(data))
    views = dict(_named(found))
    if sum(math.prod(view.size) for view in views.values()) > len(data):
        raise ValueError("its tensors claim more numbers than the file has bytes")
    storages = {storage: _numbers(storage, records) for storage in {view.storage for view in views.values()}}
    # as_strided checks offset, size and stride against the storage.
    return {name: storages[v.storage].as_strided(v.size, v.stride, v.offset) for name, v in views.items()}


def _named(found: object) -> Iterator[tuple[str, _View]]:
    """Each tensor with its keys, joined by dots."""
    seen: set[int] = set()
    rest = [("", found, 0)]
    while rest:
        name, value, depth = rest.pop()
        if isinstance(value, _View):
            if name:  # a file may hold a tensor alone
                yield name[1:], value
        elif isinstance(value, dict | list | tuple) and id(value) not in seen and depth < MAX_NESTING:
            seen.add(id(value))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            kept = [(key, inner) for key, inner in items if not _of_training(key, inner)]
            rest += [(f"{name}.{key}", inner, depth + 1) for key, inner in reversed(kept)]


def _of_training(key: int | str, value: object) -> bool:
    if isinstance(value, dict) and "param_groups" in value:
        return True
    return isinstance(value, dict | list) and TRAINING.fullmatch(str(key)) is not None


def _numbers(storage: _Storage, records: dict[str, bytes]) -> torch.Tensor:
    """The numbers of a storage, one after the other."""
    _, dtype, numel = storage
    data = records[storage.key] if numel else b""
    if len(data) != numel * dtype.itemsize:
        raise ValueError(f"a tensor has {len(data)} bytes instead of {numel * dtype.itemsize}")
    return torch.frombuffer(bytearray(data), dtype=dtype) if numel else torch.empty(0, dtype=dtype)


def _zip_file(data: bytes) -> tuple[object, dict[str, bytes]]:
    """As torch has saved since 1.6: a record a storage, none of them compressed."""
    if data.count(b"PK\x01\x02") > MAX_RECORDS:  # every entry of the directory begins so
        raise ValueError(f"it has more than {MAX_RECORDS:,} records")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = archive.infolist()
        for name in archive.namelist():
            if (writer := ARCHIVES.get(name.rpartition("/")[2])) is not None:
                raise MoreThanTensorsError(f"an archive of {writer}")
        if any(r.compress_type != zipfile.ZIP_STORED or r.flag_bits & 1 for r in records):
            raise ValueError("its records are compressed or encrypted, as torch.save never does")
        if sum(record.file_size for record in records) > len(data):
            raise ValueError("its records claim more bytes than the file has")
        names = archive.namelist()
        folder = next((n.removesuffix("data.pkl") for n in names if n.endswith("/data.pkl")), None)
        if folder is None:
            raise ValueError("it has no data.pkl")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("its numbers are big-endian")
        found = _plain(io.BytesIO(archive.read(f"{folder}data.pkl")), {})
        start = f"{folder}data/"
        return found, {n.removeprefix(start): archive.read(n) for n in names if n.startswith(start)}


def _legacy_file(stream: BinaryIO) -> tuple[object, dict[str, bytes]]:
    """As torch saved before 1.6: pickles one after the other, then the storages."""
    if _plain(stream, {}) != MAGIC or _plain(stream, {}) != PROTOCOL:
        raise ValueError("torch.save did not write it")
    if not _plain(stream, {})["little_endian"]:
        raise ValueError("its numbers are big-endian")
    known: dict[str, _Storage] = {}
    found, keys = _plain(stream, known), _plain(stream, {})
    storages = {}
    for key in keys:
        numel = int.from_bytes(stream.read(8), "little")
        if numel != known[key].numel:
            raise ValueError(f"a tensor has {numel} numbers instead of {known[key].numel}")
        storages[key] = stream.read(numel * known[key].dtype.itemsize)
    return found, storages


def _plain(stream: BinaryIO, storages: dict[str, _Storage]) -> object:
    """Run one pickle whose operations make plain values and views; the storages it names go to `storages`."""
    stack: list = []
    marks: list[int] = []
    memo: dict[int, object] = {}

    def since_mark() -> list:
        at = marks.pop()
        items = stack[at:]
        del stack[at:]
        return items

    for count, (operation, argument, _) in enumerate(pickletools.genops(stream)):
        if count > MAX_OPERATIONS:
            raise ValueError(f"its pickle has more than {MAX_OPERATIONS:,} operations")
        name = operation.name
        if name in VALUES:
            stack.append(argument)
        elif name in EMPTY:
            stack.append(EMPTY[name]())
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in TUPLES:
            stack[-TUPLES[name] :] = [tuple(stack[-TUPLES[name] :])]
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(since_mark()))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else since_mark()
            _of_type(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else since_mark()
            _of_type(stack[-1], dict).update(_pairs(zip(items[::2], items[1::2], strict=True)))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "GLOBAL":
            stack.append(_Global(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack.append(_Global(_of_type(stack.pop(-2), str), _of_type(stack.pop(), str)))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments = _of_type(stack.pop(), tuple)
            stack.append(_made(_of_type(stack.pop(), _Global), arguments))
        elif name == "BUILD":
            stack.pop()  # the version of a module's format, kept on its state_dict; what a record holds
            _of_type(stack[-1], dict | None)
        elif name == "BINPERSID":
            storage = _storage(*_of_type(stack.pop(), tuple))
            storages[storage.key] = storage
            stack.append(storage)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise MoreThanTensorsError(name)
    return stack.pop()


def _of_type(value: object, kind: type) -> object:
    if not isinstance(value, kind):
        expected = getattr(kind, "__name__", kind)
        raise ValueError(f"its pickle has {type(value).__name__} in the place of {expected}")
    return value


def _pairs(pairs) -> dict:
    """A dict whose keys are texts and whole numbers: the hash of others may take for ever."""
    return {_of_type(key, int if isinstance(key, int) else str): value for key, value in pairs}


def _made(what: _Global, arguments: tuple) -> object:
    """What calling one of the few known functions gives; None for a record."""
    full = f"{what.module}.{what.name}"
    if full in RECORDS:
        return None
    if full in ("collections.defaultdict", "collections.Counter") or what.name == "AttributeDict":
        return {}  # of optimizers and schedulers; Lightning's hyperparameters, under changing modules
    if what == ("collections", "OrderedDict"):
        return _pairs(arguments[0] if arguments else ())
    if what.module == "torch._utils":
        if what.name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            storage, offset, size, stride = arguments[:4]
            if len(_of_type(size, tuple)) > MAX_DIMENSIONS:
                raise ValueError(f"a tensor has {len(size)} dimensions")
            for number in (offset, *size, *_of_type(stride, tuple)):
                if _of_type(number, int) < 0:
                    raise ValueError(f"a tensor has a size of {number}")
            return _View(_of_type(storage, _Storage), offset, size, stride)
        if what.name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
            return _of_type(arguments[0], _View)
    raise MoreThanTensorsError(full)


def _storage(kind: str, storage_type: _Global, *rest) -> _Storage:
    """What a persistent id names; with a whole module, torch before 1.6 kept the source of its class."""
    if kind == "module" and isinstance(storage_type, _Global):
        raise MoreThanTensorsError(f"{storage_type.module}.{storage_type.name}")
    key, _place, numel, part = (*rest, None)[:4]
    if kind != "storage" or part is not None:
        raise ValueError("a tensor lies in no storage of its own")
    name = _of_type(storage_type, _Global).name
    if storage_type.module != "torch" or name not in DTYPES:
        raise MoreThanTensorsError(f"{storage_type.module}.{name}")
    return _Storage(_of_type(key, str), DTYPES[name], _of_type(numel, int))
