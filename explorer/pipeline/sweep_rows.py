"""The rows of a sweep, made ready for the plots: choices -> data, cached over all sessions.

As in `explorer.pipeline.activations`: plain, hashable choices and a `token`; results are shared, so read
them only.
"""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd

from core import METHODS
from core.sweep.estimate import estimate
from core.sweep.grid import Networks, expand
from core.sweep.store import read_part, read_sweep
from core.utils.parallel import CORES
from explorer.choices import catalog
from explorer.choices.sweep_grid import COSTS, MEAN
from explorer.choices.visitor_files import file_name, is_uploaded, uploaded
from explorer.jobs import sweep_runs
from explorer.jobs.cache import shared
from explorer.jobs.token import Token

CONFIGURATION = [
    "network", "scale", "layers", "method", "activation_bits", "weight_bits", "words", "terms", "set_size",
    "selector", "seed", "normalization", "levels", "ranges", "weights", "refine", "block", "side_bits",
    "layer_bits", "tune",
]  # fmt: skip
OWN_SELECTOR = {name: method.selector for name, method in METHODS.items()}
NUMBERS = ["psnr", "ssim", "drop", *COSTS.values()]
CHOSEN = ["normalization", "levels", "ranges", "weights", "refine", "layer_bits"]  # texts, if any
# Default of every field, at which a plot fixes the fields that it does not show, if the sweep contains it.
DEFAULTS = {
    "layers": lambda found: found["layers"] == "all",
    "weight_bits": lambda found: found["weight_bits"] == found["activation_bits"],
    "set_size": lambda found: (found["words"] == 4) & (found["terms"] == 4),
    "selector": lambda found: (
        found["selector"].isna() | (found["selector"] == found["method"].map(OWN_SELECTOR))
    ),
    "tune": lambda found: found["tune"] == 0,
} | {field: lambda found, field=field: found[field].isna() for field in CHOSEN}


@dataclasses.dataclass(frozen=True)
class Preview:
    """The size of a grid, and how long it takes."""

    rows: int
    seconds: float


@shared(64)
def preview(grids: str, token: Token) -> Preview:
    """Estimate grids given as JSON; ValueError if they have more than `MAX_ROWS` rows."""
    parts = json.loads(grids)
    own = {name for part in parts for name in part["network"] if is_uploaded(name)}
    networks = Networks(given={key: (uploaded(key).model, uploaded(key).scale) for key in own})
    choices = expand(parts, networks)
    images = parts[0]["images"]
    rows = len(choices) * len(images)
    if rows > sweep_runs.MAX_ROWS:
        raise ValueError(
            f"These are {rows:,} rows, and a sweep from this page has at most {sweep_runs.MAX_ROWS:,}; "
            "choose fewer, or run python -m core sweep."
        )
    token.check()
    pixels = {name: math.prod(catalog.pixels(name).shape[:2]) for name in images}
    return Preview(rows, estimate(choices, pixels, networks, CORES))


@shared(8)
def rows(name: str, version: tuple, token: Token) -> pd.DataFrame:
    """Read all rows of a sweep; `version`: that of `sweep_runs.version` now."""
    path = sweep_runs.place(name)
    if not version:
        raise ValueError(f"There is no sweep named {name}; choose another one, or start it.")
    found = read_part(path).to_pandas() if path.is_file() else read_sweep(path)
    networks, images = sweep_runs.own_keys(name)
    bundled = found["network"] + "_x" + found["scale"].astype(str)
    pairs = zip(found["network"], bundled, strict=True)
    found["network"] = [networks.get(name, key) for name, key in pairs]
    found["image"] = [images.get(image, image) for image in found["image"]]
    return found


def file_of_rows(name: str, suffix: str) -> bytes:
    """Write the rows of a sweep as csv or parquet; own files by their names."""
    found = rows(name, sweep_runs.version(name))
    found = found.assign(**{field: found[field].map(file_name) for field in ("network", "image")})
    return found.to_csv(index=False).encode() if suffix == "csv" else found.to_parquet(index=False)


@dataclasses.dataclass(frozen=True)
class Shown:
    """The part of a sweep that the plots show."""

    networks: list[str]
    images: list[str]
    network: str  # of these, the one shown
    image: str
    dots: dict[str, list]  # of each configuration: CONFIGURATION, NUMBERS, "label", "number" of images
    by_bits: dict[str, tuple[list, list]]  # method -> bits and PSNR, other fields at their defaults
    by_set: list[tuple[str, int, list, list]]  # method, bits, sizes of the set and PSNR
    front: dict[str, tuple[list, list]]  # of COSTS -> cost and PSNR of the Pareto front
    reasons: dict[str, int]  # what went wrong, and how often
    protocol: str


def scores(found: pd.DataFrame, network: str, image: str) -> pd.DataFrame:
    """Average each configuration over all images, or take one image; drop those without all images."""
    own = found[(found["network"] == network) & (found["error"] == "")]
    own = own if image == MEAN else own[own["image"] == image]
    groups = own.groupby(CONFIGURATION, dropna=False, sort=True)
    table = groups[NUMBERS].mean()
    table["number"] = groups["image"].nunique()
    return table[table["number"] == table["number"].max()].reset_index()


def shown(name: str, network: str, image: str, token: Token) -> Shown:
    """Prepare the plots; where the sweep lacks network or image, of its first network and the mean."""
    found = rows(name, sweep_runs.version(name), token=token)
    networks, images = list(found["network"].unique()), [MEAN, *found["image"].unique()]
    network = network if network in networks else next(iter(networks), "")
    image = image if image in images else MEAN
    table = _by_method(
        fix_other_fields(
            scores(found, network, image), "weight_bits", "set_size", "selector", "tune", *CHOSEN
        )
    )
    table["label"] = [_label(row) for row in table.itertuples()]
    own = found[found["network"] == network]
    return Shown(
        networks,
        images,
        network,
        image,
        {column: table[column].tolist() for column in table},
        {method: _best(group) for method, group in fix_other_fields(table).groupby("method", sort=False)},
        _by_set(table),
        {cost: front(table[cost], table["psnr"]) for cost in COSTS.values()},
        own.loc[own["error"] != "", "reason"].value_counts().to_dict(),
        _protocol(own),
    )


def fix_other_fields(found: pd.DataFrame, *shown: str) -> pd.DataFrame:
    """Keep rows whose fields but `shown` have their defaults, so that only comparable rows remain."""
    for field, is_default in DEFAULTS.items():
        kept = is_default(found)
        if field not in shown and kept.any():
            found = found[kept]
    return found


def _by_method(table: pd.DataFrame) -> pd.DataFrame:
    """Sort the rows in the order of `METHODS`."""
    return table.sort_values("method", key=_rank, kind="stable").reset_index(drop=True)


def _rank(methods: pd.Series) -> pd.Series:
    order = {name: i for i, name in enumerate(METHODS)}
    return methods.map(lambda name: order.get(name, len(order)))


def _label(row) -> str:
    parts = [f"{row.method} W{row.weight_bits}A{row.activation_bits}"]
    if not np.isnan(row.set_size):
        parts.append(f"{row.selector}, set of {row.set_size:,.0f}")
    if row.layers != "all":
        parts.append(f"only {row.layers}")
    parts += [text for name in CHOSEN if isinstance(text := getattr(row, name), str) and text]
    parts += [f"ranges tuned in {row.tune:,} steps"] if row.tune else []
    return ", ".join(parts)


def _best(group: pd.DataFrame) -> tuple[list, list]:
    best = group.groupby("activation_bits")["psnr"].max()
    return best.index.tolist(), best.tolist()


def _by_set(table: pd.DataFrame) -> list[tuple[str, int, list, list]]:
    """Make a line for each group of configurations that differ in their set alone."""
    same = [name for name in CONFIGURATION if name not in ("words", "terms", "set_size")]
    lines = []
    found = fix_other_fields(table, "set_size")
    for _, group in found[found["set_size"].notna()].groupby(same, dropna=False, sort=False):
        group = group.sort_values("set_size")
        first = group.iloc[0]
        bits = int(first["activation_bits"])
        lines.append((first["method"], bits, group["set_size"].tolist(), group["psnr"].tolist()))
    return lines


def enough(lines: list[tuple[str, int, list, list]], within: float) -> dict[str, dict[int, int]]:
    """Find the smallest set that is within so many dB of the best: method -> bits -> its points.

    lines: as `Shown.by_set`; one of a single size says nothing, and is left out.
    """
    found: dict[str, dict[int, int]] = {}
    for method, bits, sizes, psnr in lines:
        if len(sizes) > 1:
            smallest = min(
                size for size, value in zip(sizes, psnr, strict=True) if value >= max(psnr) - within
            )
            known = found.setdefault(method, {})
            known[bits] = max(int(smallest), known.get(bits, 0))
    return found


def front(cost: pd.Series, psnr: pd.Series) -> tuple[list, list]:
    """Find the Pareto front: cost and PSNR, by cost, of those better than all that cost no more."""
    order = np.lexsort((-psnr.to_numpy(), cost.to_numpy()))
    best, kept = -np.inf, []
    for i in order:
        if psnr.iloc[i] > best:
            best = psnr.iloc[i]
            kept.append(i)
    return cost.iloc[kept].tolist(), psnr.iloc[kept].tolist()


def _protocol(own: pd.DataFrame) -> str:
    if own.empty:
        return ""
    scopes = "; ".join(own["scope"].unique())
    return (
        f"Quantized: {scopes}; everything else stays float. Calibration: {own['calibration'].iloc[0]}. "
        f"PSNR and SSIM: {own['metric'].iloc[0]}. Made with {own['versions'].iloc[0]}."
    )


@dataclasses.dataclass(frozen=True)
class Table:
    """The mean of a number for every two values of two fields."""

    across: list[str]
    down: list[str]
    cells: dict[str, list]  # "x", "y", "value", "number" of rows


def table(name: str, network: str, image: str, across: str, down: str, value: str, token: Token) -> Table:
    """Average over the rows of one network and image, unless these are the fields themselves."""
    found = rows(name, sweep_runs.version(name), token=token)
    found = found[found["error"] == ""]
    if "network" not in (across, down):
        found = found[found["network"] == network]
    if image != MEAN and "image" not in (across, down):
        found = found[found["image"] == image]
    found = fix_other_fields(found, across, down)
    texts = pd.DataFrame({"x": _texts(found[across]), "y": _texts(found[down]), "value": found[value]})
    cells = texts.groupby(["x", "y"], sort=False)["value"].agg(["mean", "size"]).reset_index()
    columns = {"x": cells["x"].tolist(), "y": cells["y"].tolist()}
    columns |= {"value": cells["mean"].tolist(), "number": cells["size"].tolist()}
    return Table(_in_order(found[across]), _in_order(found[down]), columns)


def _in_order(column: pd.Series) -> list[str]:
    kept = column.dropna().drop_duplicates()
    if pd.api.types.is_numeric_dtype(column):
        kept = kept.sort_values()
    elif column.name == "method":
        kept = kept.sort_values(key=_rank)
    return [*_texts(kept), *(["–"] if column.isna().any() else [])]


def _texts(column: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(column):
        return column.map(lambda x: "–" if pd.isna(x) else f"{x:,.0f}")
    return column.fillna("–")
