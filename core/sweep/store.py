"""Store the rows of a sweep in a Parquet dataset that is complete at every moment.

A folder of `part-00000.parquet` and so on. Each part is replaced in one step by a longer one until it is
full, so if the process is killed, every row that was written is there, once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from core.utils.files import replace_file

PART_ROWS = 1000
FINAL = ("", "ValueError")  # no error, or one that would occur again
ABOUT = "_sweep.json"  # Parquet readers skip names that begin with _ or .

SCHEMA = pa.schema(
    [
        ("key", pa.string()),  # hash of the question: configuration, weights, calibration, image
        ("network", pa.string()),
        ("scale", pa.int16()),
        ("image", pa.string()),
        ("layers", pa.string()),  # "all", or names joined by spaces
        ("method", pa.string()),
        ("activation_bits", pa.int16()),
        ("weight_bits", pa.int16()),
        ("words", pa.int16()),
        ("terms", pa.int16()),
        ("set_size", pa.int32()),  # points of the universal set; null for methods that take none from it
        ("selector", pa.string()),
        ("seed", pa.int64()),
        ("normalization", pa.string()),
        ("levels", pa.string()),
        ("ranges", pa.string()),
        ("weights", pa.string()),
        ("refine", pa.string()),  # joined by +
        ("block", pa.int32()),
        ("side_bits", pa.int16()),
        ("layer_bits", pa.string()),  # as conv2:W8A4, joined by spaces; null for the same bits in all layers
        ("tune", pa.int32()),  # steps of tuned ranges; 0 for none
        ("psnr", pa.float64()),  # dB
        ("ssim", pa.float64()),
        ("float_psnr", pa.float64()),  # dB, of the float network on the same image
        ("drop", pa.float64()),  # dB lost against it
        ("effective_weight_bits", pa.float64()),  # with side information, a value
        ("effective_activation_bits", pa.float64()),
        ("kib", pa.float64()),  # of weights and codebooks
        ("gbitops", pa.float64()),  # of one output of 1280x720 pixels
        ("quantize_seconds", pa.float64()),  # once a configuration
        ("seconds", pa.float64()),  # of this image
        ("error", pa.string()),  # class of the error; empty for a score
        ("reason", pa.string()),  # the message of the error
        ("scope", pa.string()),
        ("calibration", pa.string()),
        ("metric", pa.string()),
        ("versions", pa.string()),
        ("finished", pa.timestamp("ms", tz="UTC")),
    ]
)


class Store:
    """The dataset in `folder`, which no other process writes to while it is open.

    Opening it removes rows of errors that may not occur again. ValueError if the folder is in use or holds
    something else.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(
                f"another sweep is writing to {folder}; wait for it or give another folder"
            ) from None
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise

    def _open(self) -> None:
        self.keys: set[str] = set()
        self._last, self._rows = 0, []  # the number of the part that is not full, and its rows
        for path in parts(self.folder):
            table = read_part(path)
            final = table.filter(pc.field("error").isin(FINAL))
            if len(final) < len(table):
                replace_part(path, final)
            self.keys.update(final["key"].to_pylist())
            self._last, self._rows = int(path.stem.split("-")[1]), final.to_pylist()
        self._written = len(self._rows)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_) -> None:
        try:
            self.flush()
        finally:
            self._lock.release()

    def describe(self, about: dict) -> None:
        """Save a description of the sweep beside the rows."""
        replace_file(self.folder / ABOUT, json.dumps(about, indent=1, default=str).encode())

    def add(self, rows: Iterable[dict]) -> None:
        """Add rows, which `flush` will write; ValueError for a row that is already there."""
        for row in rows:
            if row["key"] in self.keys:
                raise ValueError(f"the row {row['key']} is there already")
            self.keys.add(row["key"])
            self._rows.append(row)

    def flush(self) -> None:
        """Write the added rows."""
        while len(self._rows) > self._written:
            part = self._rows[:PART_ROWS]
            replace_part(_part(self.folder, self._last), pa.Table.from_pylist(part, SCHEMA))
            self._written = len(part)
            if len(part) == PART_ROWS:
                self._last, self._rows, self._written = self._last + 1, self._rows[PART_ROWS:], 0


def read_sweep(path: str | Path) -> pd.DataFrame:
    """Return the rows of a sweep's folder, or of one Parquet file, in the order of their writing.

    FileNotFoundError if there is none; ValueError for a damaged one.
    """
    path = Path(path)
    if path.is_file():
        return read_part(path).to_pandas()
    if not path.is_dir():
        raise FileNotFoundError(f"no sweep at {path}")
    tables = [read_part(part) for part in parts(path)]
    return pa.concat_tables([SCHEMA.empty_table(), *tables]).to_pandas()


def described(folder: str | Path) -> dict:
    """Return what `Store.describe` saved."""
    return json.loads((Path(folder) / ABOUT).read_text())


def parts(folder: Path) -> list[Path]:
    """Return the files of the dataset in order."""
    return sorted(folder.glob("part-*.parquet"))


def read_part(path: Path) -> pa.Table:
    """Read one file of a dataset; ValueError if it is no part of a sweep, or damaged."""
    try:
        # Given a path, Arrow opens it twice, and may mix the old file and the one that replaces it.
        table = pq.read_table(pa.BufferReader(path.read_bytes()))
        if "layer_bits" not in table.column_names:  # written before layers had bits of their own
            table = table.append_column("layer_bits", pa.nulls(len(table), pa.string()))
        if "tune" not in table.column_names:  # written before ranges could be tuned
            table = table.append_column("tune", pa.array([0] * len(table), pa.int32()))
        return table.select(SCHEMA.names).cast(SCHEMA)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, KeyError, OSError, ValueError) as error:  # Arrow raises all of these
        raise ValueError(
            f"{path} holds no rows of a sweep, or is damaged; move it away, or give another folder"
        ) from error


def replace_part(path: Path, table: pa.Table) -> None:
    """Replace the file by the table in one step."""
    sink = pa.BufferOutputStream()
    pq.write_table(table.cast(SCHEMA), sink, compression="zstd")
    replace_file(path, sink.getvalue().to_pybytes())


def _part(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.parquet"
