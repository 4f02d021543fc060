"""The setting that the long measurements share: a bundled network, calibration draws, images never seen."""

import argparse
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import nn

import core
from core.images.folders import load_folder, paired_folder, reduced_pairs
from core.ptq.calibration import PATCHES, calibration_patches, patch_size
from core.zoo import bundled

SCALES = dict(reversed(bundled()))  # of each network, the smallest one that is bundled


class Setting(NamedTuple):
    """A network, the LR images that it is calibrated on, the test sets and its own PSNR on them."""

    name: str
    model: nn.Module
    lr: list[torch.Tensor]
    sets: dict[str, list]
    psnr: dict[str, float]

    def patches(self, draw: int) -> torch.Tensor:
        """Return the calibration patches of a draw."""
        return calibration_patches(self.lr, PATCHES, patch_size(SCALES[self.name]), draw)

    def drops(self, network: nn.Module) -> dict[str, float]:
        """Return what the network loses on each test set, in dB of PSNR."""
        scale = SCALES[self.name]
        return {n: self.psnr[n] - core.evaluate(network, p, scale).psnr for n, p in self.sets.items()}


def parser(about: str) -> argparse.ArgumentParser:
    """Return a parser of the arguments that all these measurements have."""
    made = argparse.ArgumentParser(description=about.splitlines()[0])
    made.add_argument("--networks", nargs="+", default=["edsr"])
    made.add_argument("--draws", type=int, default=3)
    made.add_argument(
        "--images", nargs="+", required=True, help="folders with HR/ and LR/; {scale}: the scale"
    )
    made.add_argument("--validation", type=Path, help="folder of HR images, reduced here")
    made.add_argument("--calibration", type=Path, required=True, help="folder of HR images")
    made.add_argument("--out", type=Path, required=True)
    return made


def setting(name: str, args: argparse.Namespace) -> Setting:
    """Return the setting of a network."""
    scale = SCALES[name]
    model = core.create_model(name, scale)
    lr = [core.make_lr(image, scale) for image in load_folder(args.calibration)]
    folders = [Path(text.format(scale=scale)) for text in args.images]
    sets = {folder.parent.name: list(paired_folder(folder, scale)) for folder in folders}
    if args.validation:
        sets[args.validation.name] = list(reduced_pairs(args.validation, scale))
    psnr = {which: core.evaluate(model, pairs, scale).psnr for which, pairs in sets.items()}
    return Setting(name, model, lr, sets, psnr)


class Rows:
    """The rows of a CSV file, written after every measurement: what is there is not measured again."""

    def __init__(self, out: Path, key: list[str]):
        self._file, self._key = out.with_suffix(".csv"), key
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self.frame = pd.read_csv(self._file) if self._file.exists() else pd.DataFrame(columns=key)

    def has(self, *key) -> bool:
        """Return whether there are rows of this key."""
        return bool((self.frame[self._key] == list(key)).all(axis=1).any())

    def add(self, rows: list[dict], *key) -> None:
        """Add rows of this key."""
        own = dict(zip(self._key, key, strict=True))
        self.frame = pd.concat([self.frame, pd.DataFrame([own | row for row in rows])])
        self.frame.to_csv(self._file, index=False)
        print(", ".join(map(str, key)), flush=True)
