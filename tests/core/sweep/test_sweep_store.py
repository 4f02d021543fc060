import threading
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pyarrow.parquet as pq
import pytest

from core.sweep import store as store_module
from core.sweep.store import Store, read_sweep


def a_row(i: int, error: str = "") -> dict:
    return {"key": f"k{i}", "method": "dfsq", "psnr": float(i), "error": error, "reason": error}


def test_parts_are_filled_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "PART_ROWS", 4)
    with Store(tmp_path) as store:
        for i in range(11):
            store.add([a_row(i)])
            store.flush()
    assert [pq.read_metadata(p).num_rows for p in store_module.parts(tmp_path)] == [4, 4, 3]
    with Store(tmp_path) as store:
        store.add([a_row(11), a_row(12)])
    assert read_sweep(tmp_path)["psnr"].tolist() == list(range(13))
    with Store(tmp_path) as store, pytest.raises(ValueError, match="k3 is there already"):
        store.add([a_row(3)])


def test_what_another_try_may_mend_is_tried_again(tmp_path):
    with Store(tmp_path) as store:
        store.add([a_row(0), a_row(1, "ValueError"), a_row(2, "KilledWorker")])
    with Store(tmp_path) as store:
        assert store.keys == {"k0", "k1"}
        store.add([a_row(2)])
    assert read_sweep(tmp_path)["error"].tolist() == ["", "ValueError", ""]


def test_a_write_that_was_cut_off_leaves_the_rows_as_they_were(tmp_path, monkeypatch):
    with Store(tmp_path) as store:
        store.add([a_row(0)])

    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", cut)
    with pytest.raises(KeyboardInterrupt), Store(tmp_path) as store:
        store.add([a_row(1)])
    monkeypatch.undo()
    assert len(read_sweep(tmp_path)) == len(pd.read_parquet(tmp_path)) == 1
    with Store(tmp_path) as store:
        store.add([a_row(1)])
    assert len(pd.read_parquet(tmp_path)) == 2


def test_rows_are_read_while_more_are_written(tmp_path):
    with Store(tmp_path) as store:
        store.add([a_row(0)])
        store.flush()
        seen, done = [], threading.Event()

        def read():
            while not done.is_set():
                seen.append(len(read_sweep(tmp_path)))

        with ThreadPoolExecutor(1) as pool:
            reader = pool.submit(read)
            try:
                for i in range(1, 200):
                    store.add([a_row(i)])
                    store.flush()
            finally:
                done.set()
            reader.result()
    assert seen == sorted(seen)
    assert len(seen) > 20


def test_two_sweeps_do_not_write_to_one_folder(tmp_path):
    with Store(tmp_path), pytest.raises(ValueError, match="another sweep is writing"):
        Store(tmp_path)
    Store(tmp_path).__exit__()


def test_a_folder_of_something_else(tmp_path):
    (tmp_path / "part-00000.parquet").write_text("no")
    with pytest.raises(ValueError, match="holds no rows of a sweep"):
        Store(tmp_path)
    with pytest.raises(FileNotFoundError, match="no sweep at"):
        read_sweep(tmp_path / "none")


def test_rows_from_before_layers_had_bits_of_their_own(tmp_path):
    with Store(tmp_path) as store:
        store.add([a_row(0)])
    path = next(tmp_path.glob("part-*"))
    pq.write_table(pq.read_table(path).drop_columns(["layer_bits", "tune"]), path)
    assert read_sweep(tmp_path)["layer_bits"].isna().all()
    assert (read_sweep(tmp_path)["tune"] == 0).all()
