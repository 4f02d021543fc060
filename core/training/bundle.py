"""What a trained network leaves: its weights in float16 and a card that says how it was made."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save
from torch import nn

from core.analysis.evaluation import evaluate
from core.images.folders import paired_folder, reduced_pairs
from core.utils.files import distinct_names, output_file, replace_file


def transfer(model: nn.Module, source: nn.Module) -> int:
    """Copy every parameter of the same name and shape (a x4 network starts from a x2 body); their number."""
    target, given = model.state_dict(), source.state_dict()
    same = {k: v for k, v in given.items() if k in target and v.shape == target[k].shape}
    model.load_state_dict(target | same)
    return len(same)


def save_bundle(model: nn.Module, out: Path, card: dict) -> None:
    """Write `out`.safetensors (float16) and the model card `out`.json; out:
    `core.utils.files.output_file`'s.
    """
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    state = {k: v.contiguous() for k, v in state.items()}
    replace_file(output_file(out, ".safetensors"), save(state))
    replace_file(output_file(out, ".json"), (json.dumps(card, indent=2) + "\n").encode())


def scores(
    model: nn.Module, scale: int, validation: Path | None, benchmark: Path | None
) -> dict[str, dict[str, float]]:
    """Mean PSNR and SSIM on the validation folder's images, and on Set5/ and Set14/ in the benchmark's."""
    folders = {validation: reduced_pairs} if validation else {}
    folders |= {benchmark / name: paired_folder for name in ("Set5", "Set14")} if benchmark else {}
    names = distinct_names(list(folders), lambda path: path.name)
    found = {}
    for name, (folder, pairs) in zip(names, folders.items(), strict=True):
        result = evaluate(model, pairs(folder, scale), scale)
        found[name] = {"psnr_y": round(result.psnr, 3), "ssim_y": round(result.ssim, 4)}
    return found


def card_of(checkpoint: Path | None) -> dict | str | None:
    """The model card beside the checkpoint, else its name."""
    if checkpoint is None:
        return None
    card = checkpoint.with_suffix(".json")
    return json.loads(card.read_text()) if card.exists() else checkpoint.name
