"""What was measured on the bundled networks: the rows of assets/results.csv, and what they say."""

from __future__ import annotations

import pandas as pd

from core.analysis.comparison import INGREDIENT_TABLE
from core.zoo import ASSETS


def measured() -> pd.DataFrame:
    """Return the bundled rows: one a network, draw of calibration patches, variant, bits and test set."""
    return pd.read_csv(ASSETS / "results.csv", dtype={"dynamic": str}, keep_default_na=False)


def over_draws(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row a network, variant, bits and set: the mean over draws, and half their range.

    Columns lost and spread in dB, psnr, and effective weight_bits and activation_bits.
    """
    by = ["network", "variant", "bits", "set"]
    groups = rows.groupby(by, sort=False)
    found = groups[["psnr", "weight_bits", "activation_bits", "kib"]].mean()
    found["lost"] = groups["drop"].mean()
    found["spread"] = (groups["drop"].max() - groups["drop"].min()) / 2
    found["draws"] = groups["draw"].nunique()
    found["dynamic"] = groups["dynamic"].first()
    return found.reset_index()


def loss(found: pd.DataFrame, network: str, variant: str, bits: str) -> float | None:
    """Return the mean of all sets of what a variant loses in dB; None where it was not measured."""
    own = found[(found["network"] == network) & (found["variant"] == variant) & (found["bits"] == bits)]
    return None if own.empty else float(own["lost"].mean())


def ingredients(found: pd.DataFrame, network: str, bits: str) -> pd.DataFrame | None:
    """Return what each normalization loses with points of the set and with uniform levels; None if unknown.

    One row a normalization (`core.analysis.comparison.INGREDIENT_TABLE`): dB lost with `points` and
    `uniform`, the mean of all sets, and the effective `bits` of an activation. found: as `over_draws`
    returns it.
    """
    rows = {}
    for name, pair in INGREDIENT_TABLE.items():
        lost = [loss(found, network, variant, bits) for variant in pair]
        if None in lost:
            return None
        own = found[(found["network"] == network) & (found["variant"] == pair[0]) & (found["bits"] == bits)]
        rows[name] = [*lost, own["activation_bits"].mean()]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["points", "uniform", "bits"])
