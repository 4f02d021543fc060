"""What the rows of `core.commands.cfqp` say about one network, as text."""

from __future__ import annotations

from collections.abc import Sequence

from core.commands.cfqp_variants import (
    CLIP,
    FREE,
    PHONE,
    PHONE_BEHIND,
    PHONE_CLIPS,
    PHONE_FREE,
    UNFOLDED,
)
from core.utils.text_table import text_table


def best_strategy(found: Sequence[dict], name: str, validation: str) -> str:
    """Return the clip-free strategy with the highest PSNR on the validation set; the first of equals."""
    own = [r for r in found if (r["model"], r["variant"], r["set"]) == (name, FREE, validation)]
    return max(own, key=lambda row: float(row["psnr"]))["strategy"]


def summary(found: Sequence[dict], name: str, validation: str) -> str:
    """Return the table of one network, and how the best strategy compares with INT8 with the clip."""
    cells = {(r["variant"], r["strategy"], r["set"]): r for r in found if r["model"] == name}
    sets = list(dict.fromkeys(images for _, _, images in cells))
    lines = [["", *(f"{images}: dB / SSIM / shift" for images in sets), "ms"]]
    for variant, strategy in dict.fromkeys((v, s) for v, s, _ in cells):
        own = [cells[variant, strategy, images] for images in sets]
        texts = [
            f"{float(r['psnr']):.3f} / {float(r['ssim']):.4f} / {float(r['colour_shift']):.2f}" for r in own
        ]
        lines.append([f"{variant}: {strategy}".strip(": "), *texts, f"{float(own[0]['ms']):.1f}"])
    told = [text_table(lines)]
    if any(variant == FREE for variant, _, _ in cells):
        told.append(_against_clip(cells, best_strategy(found, name, validation), sets, validation))
    if any(variant == PHONE_FREE for variant, _, _ in cells):
        told.append(_clip_on_a_phone(cells, sets[0]))
    return "\n\n".join(told)


def _clip_on_a_phone(cells: dict, images: str) -> str:
    """Say what each form of the clip costs LiteRT, in time over clip-free."""
    free = float(cells[PHONE_FREE, "random", images]["ms"])
    costs = []
    for variant in (*PHONE_CLIPS, PHONE_BEHIND):
        row = cells[variant, "random", images]
        form = variant.removeprefix(f"{PHONE}INT8, ")
        costs.append(f"{form} {float(row['ms']) / free:.2f} ({row['conversions']} conversions)")
    return f"LiteRT, time over INT8 clip-free: {', '.join(costs)}."


def _against_clip(cells: dict, best: str, sets: list[str], validation: str) -> str:
    """Say how the best strategy compares with INT8 with the clip, with ONNX Runtime."""
    free, clip = ([cells[v, s, images] for images in sets] for v, s in ((FREE, best), (CLIP, "random")))
    gains = [
        f"{float(a['psnr']) - float(b['psnr']):+.3f} dB on {images}"
        for a, b, images in zip(free, clip, sets, strict=True)
    ]
    less = [1 - float(free[0]["ms"]) / float(cells[v, "random", sets[0]]["ms"]) for v in (CLIP, UNFOLDED)]
    return (
        f"Best on {validation}: {best}. Against INT8 with its clip {', '.join(gains)}; "
        f"{100 * less[0]:.0f} % less time, {100 * less[1]:.0f} % less than where the engine cannot "
        "fold the clip."
    )
