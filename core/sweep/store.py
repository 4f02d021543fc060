"""Where the rows of a sweep are kept: a Parquet dataset that is whole at every moment.

A folder of `part-00000.parquet` and so on. Each part is replaced at once by a longer one until it is full,
so a process killed at any moment leaves every row that was written, once.
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
FINAL = ("", "ValueError")  # errors that another try would not mend
ABOUT = "_sweep.json"  # names with _ and . in front are no part of the dataset

SCHEMA = pa.schema(
    [
        ("key", pa.string()),  # tells apart what was asked: configuration, weights, calibration, image
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
        ("error", pa.string()),  # kind of what went wrong; empty for a score
        ("reason", pa.string()),  # and in a sentence
        ("scope", pa.string()),
        ("calibration", pa.string()),
        ("metric", pa.string()),
        ("versions", pa.string()),
        ("finished", pa.timestamp("ms", tz="UTC")),
    ]
)


class Store:
    """The dataset in `folder`, which no other process writes to while this one is open.

    Rows of errors that another try may mend are taken out when it is opened. ValueError where the folder is
    in use or holds something else.
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
        self._last, self._rows = 0, []  # the part that is not full, and what it holds
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
        """Keep what was asked beside the rows."""
        replace_file(self.folder / ABOUT, json.dumps(about, indent=1, default=str).encode())

    def add(self, rows: Iterable[dict]) -> None:
        """Rows that `flush` will write; ValueError for one that is there already."""
        for row in rows:
            if row["key"] in self.keys:
                raise ValueError(f"the row {row['key']} is there already")
            self.keys.add(row["key"])
            self._rows.append(row)

    def flush(self) -> None:
        """Write what was added."""
        while len(self._rows) > self._written:
            part = self._rows[:PART_ROWS]
            replace_part(_part(self.folder, self._last), pa.Table.from_pylist(part, SCHEMA))
            self._written = len(part)
            if len(part) == PART_ROWS:
                self._last, self._rows, self._written = self._last + 1, self._rows[PART_ROWS:], 0


def read_sweep(path: str | Path) -> pd.DataFrame:
    """The rows of a sweep's folder, or of one Parquet file, as they came; FileNotFoundError for none."""
    path = Path(path)
    if path.is_file():
        return read_part(path).to_pandas()
    if not path.is_dir():
        raise FileNotFoundError(f"no sweep at {path}")
    tables = [read_part(part) for part in parts(path)]
    return pa.concat_tables([SCHEMA.empty_table(), *tables]).to_pandas()


def described(folder: str | Path) -> dict:
    """What `Store.describe` kept."""
    return json.loads((Path(folder) / ABOUT).read_text())


def parts(folder: Path) -> list[Path]:
    """The files of the dataset in their order."""
    return sorted(folder.glob("part-*.parquet"))


def read_part(path: Path) -> pa.Table:
    """ValueError if it is no part of a sweep, or damaged."""
    try:
        # By its path Arrow opens it twice, and may meet the end of one file and the pages of its successor.
        table = pq.read_table(pa.BufferReader(path.read_bytes()))
        return table.select(SCHEMA.names).cast(SCHEMA)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, KeyError, OSError, ValueError) as error:  # Arrow's own errors are of all kinds
        raise ValueError(
            f"{path} holds no rows of a sweep, or is damaged; move it away, or give another folder"
        ) from error


def replace_part(path: Path, table: pa.Table) -> None:
    """Write the table in the place of the file, whole or not at all."""
    sink = pa.BufferOutputStream()
    pq.write_table(table.cast(SCHEMA), sink, compression="zstd")
    replace_file(path, sink.getvalue().to_pybytes())


def _part(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.parquet"
