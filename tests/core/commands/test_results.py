import sys

import pandas as pd
import pytest

from core import measured
from core.analysis.comparison import ABLATION, EVERY_VARIANT, INGREDIENT_TABLE, SHARED_TEXTS, VARIANTS
from core.commands import results
from core.commands.report import read_rows


def rows():
    """Two draws of a network nobody measured: what a variant loses is 1 dB, 0.2 more in the second draw."""
    found = []
    for draw in (0, 1):
        for name in (
            "float",
            "dfsq",
            "dfsq+",
            *[v for pair in INGREDIENT_TABLE.values() for v in pair],
            *ABLATION,
        ):
            for bits in ("W32A32",) if name == "float" else ("W4A4", "W2A2"):
                lost = 0.0 if name == "float" else (0.4 if name == "dfsq+" else 1.0) + 0.2 * draw
                found.append(
                    {"network": "n x2", "draw": draw, "variant": name, "bits": bits, "set": "Set5/x2"}
                    | {"psnr": 38 - lost, "ssim": 0.9, "drop": lost, "weight_bits": 4.1}
                    | {"activation_bits": 4.5, "kib": 10.0, "dynamic": "" if name == "float" else "static"}
                    | {"question": f"q{draw}", "gbitops": 9.0, "simulated": "", "seconds": 1.0}
                )
    return pd.DataFrame(found).drop_duplicates()


def test_mean_and_spread_over_the_draws():
    found = measured.over_draws(rows())
    own = found[(found["variant"] == "dfsq") & (found["bits"] == "W4A4")].iloc[0]
    assert (own["lost"], own["spread"], own["draws"]) == pytest.approx((1.1, 0.1, 2))
    assert measured.loss(found, "n x2", "dfsq+", "W2A2") == pytest.approx(0.5)
    assert measured.loss(found, "n x2", "nothing", "W2A2") is None


def test_the_tables_say_what_was_measured():
    text = results.markdown(rows())
    assert "| `dfsq` | static | 4.10 / 4.50 | 1.10 ±0.10 | 1.10 ±0.10 |" in text
    assert "1.10 → 0.50 (45 %)" in text
    assert "| per channel and image (DFSQ's) | 0.50 → 1.10 |" in text
    assert "| SwinIR-light ×2" in text
    assert "-0.00" not in text


def test_the_command_writes_both_files(tmp_path, monkeypatch):
    rows().to_csv(tmp_path / "in.csv", index=False)
    monkeypatch.setattr(sys, "argv", ["results", str(tmp_path / "in.csv"), f"--out={tmp_path}"])
    results.main()
    assert pd.read_csv(tmp_path / "results.csv").shape == rows().shape
    again = read_rows(tmp_path / "results.csv", may_lack=SHARED_TEXTS)
    assert len(again) == len(rows()), "core report takes them up"
    assert (tmp_path / "RESULTS.md").read_text() == results.markdown(rows())
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    monkeypatch.setattr(sys, "argv", ["results", str(tmp_path / "bad.csv")])
    with pytest.raises(SystemExit):
        results.main()


def test_what_was_written_by_hand_stays():
    page = f"# old\n{results.MARK}\n## Peers\n"
    assert results.with_tables(page, "# new\n") == f"# new\n\n{results.MARK}\n## Peers\n"
    assert results.with_tables("", "# new\n") == "# new\n"


def test_ingredients_of_a_network():
    found = measured.over_draws(rows())
    table = measured.ingredients(found, "n x2", "W4A4")
    assert table.loc["per channel and image (DFSQ's)"].tolist() == pytest.approx([0.5, 1.1, 4.5])
    assert measured.ingredients(found, "other x2", "W4A4") is None


def test_every_cell_of_the_table_of_ingredients_is_a_variant():
    assert {name for pair in INGREDIENT_TABLE.values() for name in pair} <= set(EVERY_VARIANT)
    assert set(VARIANTS) <= set(EVERY_VARIANT)
