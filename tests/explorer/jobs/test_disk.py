import os
import subprocess
import sys
import time

import numpy as np
import pytest

from explorer.jobs import disk


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path))
    return tmp_path


def test_arrays_come_back_as_they_were():
    arrays = {"body.0|count": np.arange(6.0).reshape(2, 3), "text": np.array("ä b"), "yes": np.array(True)}
    disk.write("key", arrays)
    found = disk.read("key")
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())
    assert found["yes"].item() is True
    assert disk.read("other") is None


def test_nothing_is_unpickled(caplog):
    disk.write("key", {"x": np.array([{"a": 1}], dtype=object)})  # as somebody else might put it there
    assert disk.read("key") is None
    assert "computed anew" in caplog.text


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_a_damaged_file_is_none(place, damage, caplog):
    disk.write("key", {"x": np.arange(10000.0)})
    path = place / "key.npz"
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes({"cut": data[:3000], "flip": data, "empty": b"", "text": b"nothing"}[damage])
    assert disk.read("key") is None
    assert "key.npz is computed anew" in caplog.text
    disk.write("key", {"x": np.ones(2)})
    assert disk.read("key")["x"].tolist() == [1, 1]


@pytest.fixture
def each_time(monkeypatch):
    """Look at the sizes after every file."""
    monkeypatch.setattr(disk, "TRIM_EVERY", 1)


@pytest.mark.parametrize("bound", ["MAX_BYTES", "MAX_FILES"])
def test_what_was_not_used_for_longest_goes_first(place, each_time, monkeypatch, bound):
    array = {"x": np.zeros(1000)}
    for age, key in enumerate(("new", "older", "oldest")):
        disk.write(key, array)
        os.utime(place / f"{key}.npz", (time.time() - 100 * (age + 1),) * 2)
    disk.read("oldest")  # now it is the newest
    monkeypatch.setattr(
        disk, bound, {"MAX_BYTES": 3 * (place / "new.npz").stat().st_size, "MAX_FILES": 3}[bound]
    )
    disk.write("last", array)
    assert sorted(path.stem for path in place.iterdir()) == ["last", "new", "oldest"]


def test_not_every_file_looks_at_all_others(place, monkeypatch):
    looked = []
    monkeypatch.setattr(disk, "_trim", looked.append)
    monkeypatch.setattr(disk, "_since_trim", disk.TRIM_EVERY)
    for i in range(disk.TRIM_EVERY + 1):
        disk.write(f"key{i}", {"x": np.zeros(2)})
    assert len(looked) == 2  # at the first one, and after as many as that


def test_half_files_of_killed_processes_go(place, each_time):
    (place / "keyabc.partial").write_bytes(b"x")
    (place / "keyxyz.partial").write_bytes(b"x")
    os.utime(place / "keyabc.partial", (time.time() - 2 * disk.ABANDONED,) * 2)
    disk.write("key", {"x": np.zeros(2)})
    assert sorted(path.name for path in place.iterdir()) == ["key.npz", "keyxyz.partial"]


def test_a_full_disk_is_said_and_changes_nothing(monkeypatch, place, caplog):
    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    disk.write("key", {"x": np.zeros(2)})
    assert "No space left on device" in caplog.text
    assert not list(place.iterdir())


def test_nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("EXPLORER_CACHE", "")
    disk.write("key", {"x": np.zeros(2)})
    assert disk.read("key") is None
    assert not list(tmp_path.iterdir())


WRITER = """
import sys
import numpy as np
from explorer.jobs import disk
for i in range(60):
    disk.write("key", {"x": np.full(20000, float(i))})
    found = disk.read("key")
    assert found is not None and len(set(found["x"])) == 1, i
"""


@pytest.mark.slow
def test_two_processes_write_and_read_the_same(place):
    both = [subprocess.Popen([sys.executable, "-c", WRITER], stderr=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert b"computed anew" not in said[0] + said[1]
    assert [path.name for path in place.iterdir()] == ["key.npz"]
