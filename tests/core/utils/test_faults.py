"""Faults of the machine: full disks and damaged files of our own lose nothing and end in one sentence."""

import contextlib
import errno
import os
import shutil

import pytest
import torch

from core import EDSR, QuantConfig, load_quantized, quantize_model, save_quantized, zoo
from core.commands.report import COLUMNS, read_rows, write_rows
from core.qat.config import OdmConfig
from core.qat.training import QuantizedTraining
from core.sweep.store import Store, read_sweep
from core.training.loop import TrainConfig, train
from core.training.patches import PatchSampler
from core.utils.files import replace_file
from explorer.choices.catalog import about

WAY_ON = r"could not be written \(.*\); make room there or choose another place, then start again"


@contextlib.contextmanager
def no_room(size):
    """A limit of this process: files take so many bytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    replace_file(tmp_path / "new" / "a", b"old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(
        OSError, match=rf"^{tmp_path}/new/a could not be written \(No space left on device\); m"
    ):
        replace_file(tmp_path / "new" / "a", b"new")
    assert [(file.name, file.read_bytes()) for file in (tmp_path / "new").iterdir()] == [("a", b"old")]


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=WAY_ON):
        replace_file(tmp_path / "file" / "a", b"")


CONFIG = TrainConfig(steps=6, batch=1, patch=4)


def a_sampler():
    return PatchSampler([torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))], 2, 4)


def test_training_goes_on_after_the_disk_was_full(tmp_path):
    torch.manual_seed(0)
    model = EDSR(2, 1, 4)
    torch.manual_seed(0)
    whole = train(EDSR(2, 1, 4), a_sampler(), CONFIG, tmp_path / "a.ckpt")

    def fill(step, loss):
        if step == 4:
            stack.enter_context(no_room(1000))

    with contextlib.ExitStack() as stack, pytest.raises(OSError, match=rf"b\.ckpt {WAY_ON}"):
        train(model, a_sampler(), CONFIG, tmp_path / "b.ckpt", fill, save_every=2)
    steps = []
    again = train(EDSR(2, 1, 4), a_sampler(), CONFIG, tmp_path / "b.ckpt", lambda step, _: steps.append(step))
    assert steps == [4, 5]
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in again.state_dict().items())


@pytest.mark.parametrize("damage", [lambda data: data[:99], lambda data: b"", lambda data: data[::-1]])
def test_a_damaged_state_of_a_training(tmp_path, damage):
    path = tmp_path / "a.ckpt"
    train(EDSR(2, 1, 4), a_sampler(), CONFIG, path)
    path.write_bytes(damage(path.read_bytes()))
    sentence = (
        r"a\.ckpt is damaged, so the run cannot go on; delete it and begin anew, or choose another --out"
    )
    with pytest.raises(ValueError, match=sentence):
        train(EDSR(2, 1, 4), a_sampler(), CONFIG, path)
    training = QuantizedTraining(EDSR(2, 1, 4), a_sampler(), OdmConfig(steps=2, batch=1, patch=4))
    with pytest.raises(ValueError, match=sentence):
        training.resume(path)


def test_a_network_that_finds_no_room(tmp_path, images, tiny_edsr):
    path = tmp_path / "a.safetensors"
    quantized = quantize_model(tiny_edsr, images, QuantConfig("minmax"))
    save_quantized(quantized, path)
    with no_room(1000), pytest.raises(OSError, match=WAY_ON):
        save_quantized(quantize_model(tiny_edsr, images, QuantConfig("mse")), path)
    assert load_quantized(path).quant_config == quantized.quant_config


def a_row(i):
    return {"key": f"k{i}", "method": "dfsq", "psnr": float(i), "error": "", "reason": ""}


def test_a_sweep_goes_on_after_the_disk_was_full(tmp_path):
    with Store(tmp_path) as store:
        store.add([a_row(0)])
    with Store(tmp_path) as store:
        store.add([a_row(1)])
        with no_room(1000), pytest.raises(OSError, match=rf"part-00000\.parquet {WAY_ON}"):
            store.flush()
        assert read_sweep(tmp_path)["psnr"].tolist() == [0]
    with Store(tmp_path) as store:
        assert store.keys == {"k0", "k1"}
    assert read_sweep(tmp_path)["psnr"].tolist() == [0, 1]


@pytest.mark.parametrize(
    "damage", [lambda data: data[:99], lambda data: b"", lambda data: data[:8] + data[9:]]
)
def test_a_damaged_part_of_a_sweep(tmp_path, damage):
    with Store(tmp_path) as store:
        store.add([a_row(i) for i in range(9)])
    path = tmp_path / "part-00000.parquet"
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    for look in (Store, read_sweep):
        with pytest.raises(ValueError, match=r"part-00000\.parquet holds no rows of a sweep, or is damaged"):
            look(tmp_path)
    path.write_bytes(whole)
    assert len(read_sweep(tmp_path)) == 9


@pytest.mark.parametrize("damage", [b"\xff\x00\r\n", b"1," * 99])
def test_a_damaged_report(tmp_path, damage):
    path = tmp_path / "report.csv"
    write_rows(path, [dict.fromkeys(COLUMNS, "1")])
    path.write_bytes(path.read_bytes() + b"half,a,row\r\n")
    assert read_rows(path)[0] == dict.fromkeys(COLUMNS, "1")
    path.write_bytes(path.read_bytes() + damage)
    with pytest.raises(ValueError, match=r"report\.csv is damaged .*; move it away and start again"):
        read_rows(path)


@pytest.mark.parametrize("card", [None, b"", b"{", b"\xff\xfe"])
def test_a_bundled_network_whose_card_is_damaged(tmp_path, monkeypatch, card):
    shutil.copy(zoo.ASSETS / "edsr_x2.safetensors", tmp_path)
    monkeypatch.setattr(zoo, "ASSETS", tmp_path)
    if card is not None:
        (tmp_path / "edsr_x2.json").write_bytes(card)
    with pytest.raises(
        ValueError, match=r"edsr_x2\.json is missing or damaged .*; fetch the project's assets"
    ):
        zoo.model_card("edsr", 2)
    assert "edsr_x2.json is missing or damaged" in about("edsr_x2")
    assert zoo.create_model("edsr", 2).scale == 2
    (tmp_path / "edsr_x2.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(ValueError, match=r"edsr_x2\.safetensors is not a readable checkpoint"):
        zoo.create_model("edsr", 2)
