"""Checkpoints that strangers send: whatever comes ends in a network or in one sentence."""

import io
import json
import struct
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as safetensors_bytes
from safetensors.torch import save_file

from core import EDSR, MODELS, load_checkpoint, load_quantized
from core.checkpoints import loading as checkpoints
from core.checkpoints.torch_reader import read_torch_file
from core.models import RDN, SwinIR


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    data = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(size, stride, numel=4, offset=0, kind="FloatStorage", rebuild="_rebuild_tensor_v2"):
    """The operations of a pickle that make a tensor."""
    storage = text("storage") + f"ctorch\n{kind}\n".encode() + text("0") + text("cpu") + number(numel)
    view = number(offset) + numbers(size) + numbers(stride) + b"\x89ccollections\nOrderedDict\n)R"
    return f"ctorch._utils\n{rebuild}\n".encode() + b"((" + storage + b"tQ" + view + b"tR"


def state_dict(value, key=None):
    """The pickle of {key: value}."""
    return b"\x80\x02}" + (key or text("w")) + value + b"s."


def zipped(pickle, storage=b"\0" * 16, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        archive.writestr("a/data.pkl", pickle)
        archive.writestr("a/data/0", storage)
    return file.getvalue()


def safetensors(header, data=b""):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data


def shared_tuples(depth):
    """A tuple of tuples whose hash takes 2**depth steps."""
    twice = (b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(depth))
    return b")" + b"".join(twice)


FLOATS = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
CLAIM = "claim more numbers than the file has bytes"
HOSTILE = {
    "stride 0 claims 4 TB": (zipped(state_dict(tensor([10**12], [0]))), CLAIM),
    "storage claims 4 GB": (zipped(state_dict(tensor([10**9], [1], 10**9))), CLAIM),
    "storage is larger than its record": (zipped(state_dict(tensor([8], [1], 8))), "16 bytes instead of 32"),
    "view beyond its storage": (zipped(state_dict(tensor([4], [1], offset=2))), "out of bounds"),
    "negative offset": (zipped(state_dict(tensor([4], [1], offset=-4))), "a size of -4"),
    "negative size": (zipped(state_dict(tensor([-4], [1]))), "a size of -4"),
    "many dimensions": (zipped(state_dict(tensor([1] * 99, [1] * 99))), "99 dimensions"),
    "compressed": (zipped(state_dict(tensor([4], [1])), compression=zipfile.ZIP_DEFLATED), "are compressed"),
    "bomb": (
        zipped(b"\x80\x02}.", b"\0" * 10**7, compression=zipfile.ZIP_DEFLATED),
        "compressed or encrypted",
    ),
    "key that crashes": (zipped(state_dict(b"N", b")" + b"\x85" * 100_000)), "tuple in the place of str"),
    "key that takes for ever": (zipped(state_dict(b"N", shared_tuples(60))), "tuple in the place of str"),
    "name that takes for ever": (zipped(b"\x80\x04" + shared_tuples(60) + b"\x8c\x01a\x93."), "tuple in the"),
    "endless pickle": (zipped(b"N" * 1_100_000 + b"."), "more than 1,000,000 operations"),
    "no pickle": (zipped(b""), "exhausted before seeing STOP"),
    "only a mark": (zipped(b"\x80\x02(t."), "must hold a dict of tensors"),
    "memory": (
        zipped(state_dict(b"c__builtin__\nbytearray\n" + number(10**11) + b"\x85R")),
        "__builtin__.bytea",
    ),
    "code": (
        zipped(state_dict(b"cos\nsystem\n" + text("true") + b"\x85R")),
        r"more than tensors .*\(os.system\)",
    ),
    "complex": (
        zipped(state_dict(tensor([2], [1], 2, kind="ComplexFloatStorage"))),
        "torch.ComplexFloatStorage",
    ),
    "quantized": (
        zipped(state_dict(tensor([2], [1], rebuild="_rebuild_qtensor"))),
        "_utils._rebuild_qtensor",
    ),
    "sparse": (zipped(state_dict(tensor([2], [1], rebuild="_rebuild_sparse_tensor"))), "_rebuild_sparse"),
    "number as a name": (
        zipped(state_dict(tensor([4], [1]), number(3))),
        "(belongs to no|holds no quantized) network",
    ),
    "empty tensor": (zipped(state_dict(tensor([0, 10**9], [1, 1]))), "holds an empty tensor, w"),
    "empty file": (b"", "not a readable checkpoint"),
    "zip of nothing": (zipfile.ZipFile(file := io.BytesIO(), "w").close() or file.getvalue(), "no data.pkl"),
    "web page": (b"<!doctype html><title>404</title>", "not a readable checkpoint"),
    "header claims 4 GB": (struct.pack("<Q", 2**32) + b'{"a', "its header claims 4,294,967,296 bytes"),
    "tensor claims 2 GB": (
        safetensors({"w": {"dtype": "F32", "shape": [2**29], "data_offsets": [0, 2**31]}}),
        "not a readable checkpoint",
    ),
    "offsets that overlap": (
        safetensors({"a": FLOATS, "b": FLOATS}, b"\0" * 16),
        "not a readable checkpoint",
    ),
    "deep header": (safetensors(b'{"a":' + b"[" * 100_000, b""), "not a readable checkpoint"),
    "header of another kind": (safetensors(b"{}[]"), "not a readable checkpoint"),
    "bytes more than tensors": (safetensors({"w": FLOATS}, b"\0" * 99), "not a readable checkpoint"),
    "texts that are numbers": (safetensors({"__metadata__": {"a": 1}}), "not a readable checkpoint"),
    "complex numbers": (
        safetensors_bytes({"w": torch.zeros(2, dtype=torch.complex64)}),
        "numbers of the kind complex64 in w; save them as float32",
    ),
    "bytes of floats": (
        safetensors_bytes({"w": torch.zeros(2, dtype=torch.float8_e5m2)}),
        "numbers of the kind float8_e5m2 in w",
    ),
    "not a number": (safetensors_bytes({"w": torch.tensor(torch.nan)}), "NaN or infinite weights in w"),
    "too large for float32": (
        safetensors_bytes({"w": torch.tensor(1e300, dtype=torch.float64)}),
        "NaN or infinite weights in w",
    ),
    "too many": (safetensors_bytes({str(i): torch.zeros(1) for i in range(5001)}), "more than 5,000 tensors"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_end_in_one_sentence(tmp_path, kind):
    data, message = HOSTILE[kind]
    (tmp_path / "x.pth").write_bytes(data)
    for load in (load_checkpoint, load_quantized):
        with pytest.raises(ValueError, match=rf"^x\.pth .*{message}") as found:
            load(tmp_path / "x.pth")
        assert "\n" not in str(found.value)
        assert len(str(found.value)) < 400


def test_too_large_a_file_is_not_read(tmp_path):
    with (tmp_path / "x.pth").open("wb") as file:
        file.truncate(checkpoints.MAX_BYTES + 1)
    with pytest.raises(ValueError, match="has more than 512 MiB; save the weights alone"):
        load_checkpoint(tmp_path / "x.pth")


STATE = {
    "a": torch.arange(6.0).view(2, 3),
    "b": torch.arange(6).view(2, 3).T,  # strides
    "c": torch.tensor(2.5, dtype=torch.bfloat16),
    "d": torch.nn.Parameter(torch.ones(2)),
    "e": torch.tensor([True, False]),
    "none": torch.zeros(0, 3),
}
STATE["view"] = STATE["a"][1:]
STATE["noted"] = torch.nn.Parameter(torch.zeros(3))
STATE["noted"].note = "kept with the parameter"


@pytest.mark.parametrize("zip_file", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_torch_files_come_back_as_torch_reads_them(zip_file, protocol):
    file = io.BytesIO()
    saved = {"epoch": 3, "note": ["x", 0.5, None], "params": STATE}
    torch.save(saved, file, pickle_protocol=protocol, _use_new_zipfile_serialization=zip_file)
    found = read_torch_file(file.getvalue())
    assert list(found) == [f"params.{name}" for name in STATE]
    for name, value in STATE.items():
        assert found[f"params.{name}"].dtype == value.dtype
        assert torch.equal(found[f"params.{name}"], value)


def test_a_module_is_saved_with_the_versions_of_its_parts():
    file, network = io.BytesIO(), torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2))
    torch.save(network.state_dict(), file)
    found = read_torch_file(file.getvalue())
    assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())


def saved(state, zip_file=True):
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=zip_file)
    return file.getvalue()


WHOLE = [saved(EDSR(2, 1, 4).state_dict(), zip_file) for zip_file in (True, False)]
WHOLE.append(safetensors_bytes(EDSR(2, 1, 4).state_dict()))
# A damaged name may make that it does not say its res_scale.
pytestmark = pytest.mark.filterwarnings("ignore:x.pth does not say its res_scale")
changes = st.lists(st.tuples(st.integers(0, 2**12), st.integers(0, 255)), min_size=1, max_size=6)


@given(st.sampled_from(WHOLE), changes, st.booleans(), st.integers(0, 2**15))
def test_damaged_files_end_in_a_network_or_a_sentence(tmp_path_factory, whole, changed, cut, length):
    data = bytearray(whole)
    for place, value in changed:
        data[place % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "x.pth"
    path.write_bytes(data[: length % len(data)] if cut else data)
    try:
        sentence = f"x.pth is taken: {load_checkpoint(path)(torch.rand(1, 3, 4, 4)).shape}"
    except ValueError as error:
        sentence = str(error)
    assert sentence.startswith("x.pth ")
    assert "\n" not in sentence


def edsr(**change):
    return EDSR(2, n_blocks=1, n_feats=4, rgb_range=1.0).state_dict() | change


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (edsr(**{"tail.0.0.weight": torch.zeros(25 * 4, 4, 3, 3)}), "scale must be 2, 3 or 4, got 5"),
        (edsr(**{"head.0.weight": torch.zeros(4)}), "head.0.weight must have 4 dimensions"),
        (edsr(**{"body.0.body.0.weight": torch.zeros(4, 4, 3, 3, dtype=torch.int64)}), "does not fit EDSR"),
        (edsr(**{"body.7.body.0.weight": torch.zeros(1)}), r"does not fit EDSR: .*body\.1"),
        ({"conv0_0.conv.weight": torch.zeros(1), "conv4.weight": torch.zeros(1, 1, 1, 1)}, "XLSR"),
        ({"SFENet1.weight": torch.zeros(1)}, "looks like RDN but is not: SFENet1.weight must have 4"),
    ],
)
def test_tensors_of_another_shape(tmp_path, state, message):
    save_file(state, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=rf"^x\.pth .*{message}"):
        load_checkpoint(tmp_path / "x.pth")


def test_a_range_of_pixels_must_be_a_positive_number(tmp_path):
    state = RDN(2, 1, 1, 4, 4, rgb_range=1.0).state_dict()
    for value in (torch.zeros(()), torch.tensor(-1.0), torch.ones(2)):
        save_file(state | {"rgb_range.value": value}, tmp_path / "x.pth")
        with pytest.raises(ValueError, match=r"rgb_range.value must be one positive number"):
            load_checkpoint(tmp_path / "x.pth")


def test_sizes_that_a_file_does_not_bound(tmp_path):
    """A table of 400 kB stands for an index of 2.6 billion pairs of pixels."""
    state = SwinIR(2, n_feats=2, depths=(1,), n_heads=1, window=2, hidden=2).state_dict()
    table = "layers.0.residual_group.blocks.0.attn.relative_position_bias_table"
    save_file(state | {table: torch.zeros(319**2, 1)}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="the window must have at most 32 pixels a side, got 160"):
        load_checkpoint(tmp_path / "x.pth")


def test_the_largest_scale(tmp_path):
    save_file(MODELS["xlsr"](9).state_dict(), tmp_path / "x.pth")
    with pytest.raises(ValueError, match="looks like XLSR but is not: scale must be 2 to 8, got 9"):
        load_checkpoint(tmp_path / "x.pth")
