"""What torch.save wrote, read without unpickling: nothing but tensors and plain values can come of a file.

`torch.load(weights_only=True)` runs no code either, but a small file can crash it (a key of nested tuples),
keep it busy for ever (the same, shared) or take all memory (a bytearray, a compressed record).
"""

from __future__ import annotations

import io
import math
import pickletools
import zipfile
from typing import BinaryIO, NamedTuple

import torch

MAX_OPERATIONS = 1_000_000  # of a pickle; a tensor takes about 30
MAX_RECORDS = 10_000  # of a zip file; a tensor takes one
MAX_DIMENSIONS = 8
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
VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
VALUES |= {"BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"}
EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


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


def read_torch_file(data: bytes, wrappers: tuple[str, ...]) -> object:
    """The state_dict that a file holds, plain or as the value of one of `wrappers`: a dict with tensors.

    Values that are no tensors stay. Raises `MoreThanTensorsError`, and whatever a damaged file provokes.
    """
    if data.startswith(b"PK"):
        found, storages = _zip_file(data)
    else:
        found, storages = _legacy_file(io.BytesIO(data))
    for wrapper in wrappers:
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    if not isinstance(found, dict):
        return found
    views = {name: value for name, value in found.items() if isinstance(value, _View)}
    if sum(math.prod(view.size) for view in views.values()) > len(data):
        raise ValueError("its tensors claim more numbers than the file has bytes")
    return found | {name: _tensor(view, storages) for name, view in views.items()}


def _tensor(view: _View, storages: dict[str, bytes]) -> torch.Tensor:
    """as_strided checks offset, size and stride against the storage."""
    if 0 in view.size:
        return torch.empty(view.size, dtype=view.storage.dtype)
    _, dtype, numel = view.storage
    data = storages[view.storage.key]
    if len(data) != numel * dtype.itemsize:
        raise ValueError(f"a tensor has {len(data)} bytes instead of {numel * dtype.itemsize}")
    return torch.frombuffer(bytearray(data), dtype=dtype).as_strided(view.size, view.stride, view.offset)


def _zip_file(data: bytes) -> tuple[object, dict[str, bytes]]:
    """As torch has saved since 1.6: a record a storage, none of them compressed."""
    if data.count(b"PK\x01\x02") > MAX_RECORDS:  # every entry of the directory begins so
        raise ValueError(f"it has more than {MAX_RECORDS:,} records")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = archive.infolist()
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
        elif name == "REDUCE":
            arguments = _of_type(stack.pop(), tuple)
            stack.append(_made(_of_type(stack.pop(), _Global), arguments))
        elif name == "BUILD":
            stack.pop()  # the version of a module's format, kept on its state_dict
            _of_type(stack[-1], dict)
        elif name == "BINPERSID":
            storage = _storage(*_of_type(stack.pop(), tuple))
            storages[storage.key] = storage
            stack.append(storage)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise MoreThanTensorsError(name)
    return stack.pop()


def _of_type(value: object, kind: type) -> object:
    if not isinstance(value, kind):
        raise ValueError(f"its pickle has {type(value).__name__} in the place of {kind.__name__}")
    return value


def _pairs(pairs) -> dict:
    """A dict whose keys are texts and whole numbers: the hash of others may take for ever."""
    return {_of_type(key, int if isinstance(key, int) else str): value for key, value in pairs}


def _made(what: _Global, arguments: tuple) -> object:
    """What calling one of the few known functions gives."""
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
        if what.name == "_rebuild_parameter":
            return _of_type(arguments[0], _View)
    raise MoreThanTensorsError(f"{what.module}.{what.name}")


def _storage(kind: str, storage_type: _Global, key: str, _place: str, numel: int, part=None) -> _Storage:
    if kind != "storage" or part is not None:
        raise ValueError("a tensor lies in no storage of its own")
    name = _of_type(storage_type, _Global).name
    if storage_type.module != "torch" or name not in DTYPES:
        raise MoreThanTensorsError(f"{storage_type.module}.{name}")
    return _Storage(_of_type(key, str), DTYPES[name], _of_type(numel, int))
