"""Folders of images in the layouts of public benchmarks: which LR belongs to which HR."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from core.images import IMAGE_SUFFIXES, Pair, load_image, make_lr, modcrop

HR = r"(?:HR|GT(?:mod\d+)?)"
LR = r"(?:LR|LQ)(?:BI|[_-]?bic(?:ubic)?)?"
DEPTH = 3  # levels of folders searched below a folder named LR or HR
LAYOUTS = "HR and LR as folders (also GTmod12 and LRbicx2, or LR_bicubic/X2), or babyx2.png beside baby.png"


def image_files(path: str | Path) -> list[Path]:
    """Return the image files of a folder, found by suffix and sorted by name.

    Hidden files and folders are skipped. FileNotFoundError if there is no image.
    """
    files = _images(Path(path))
    if not files:
        raise FileNotFoundError(f"{path} holds no image")
    return files


def paired_folder(path: str | Path, scale: int) -> Iterator[Pair]:
    """Yield (name, lr, hr) for a folder of HR images and their LR, sorted by name, loaded one at a time.

    path: one of these layouts.
    - A folder with `HR/` and `LR/`, directly or inside its `x2/`; also under the names that EDSR, DIV2K and
      BasicSR use (`GTmod12/`, `LRbicx2/`).
    - A folder of HR whose LR lies beside it (`DIV2K_valid_HR`, RCAN's `HR/Set5/x2`).
    - A folder that holds both, as SelfExSR's, or `baby.png` and `babyx2.png`.

    An HR file pairs with the LR of the same stem, else with the LR whose stem is the same without marks such
    as `x2`, `_LRBI_x2`, `_SRF_2_LR`. HR is cropped to a multiple of `scale`, and LR to the size that fits it.
    Raises at the call FileNotFoundError for a missing folder or file and ValueError where several fit; while
    iterating, ValueError for a pair whose sizes do not fit.
    """
    hr, lr, where = _hr_and_lr(Path(path), scale)
    matched = _matched(hr, lr, where, scale)
    return (_load_pair(*files, scale) for files in matched)


def _images(path: Path) -> list[Path]:
    return sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and not file.is_dir()
    )


def _folders(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_dir() and not file.name.startswith("."))


def _called(name: str, role: str, scale: int) -> str | None:
    """Return what precedes the role in a folder's name (DIV2K_train_), None if it has another role."""
    found = re.fullmatch(rf"(.*[_-])?{role}(?:[_-]?x?{scale})?", name, re.IGNORECASE)
    return found and (found[1] or "")


def _hr_and_lr(path: Path, scale: int) -> tuple[list[Path], list[Path], Path]:
    """Return the HR files, the LR files, and the folder of the LR files."""
    if not path.is_dir():
        raise FileNotFoundError(f"no folder {path}; it must hold the folders HR and LR")
    folders = _folders(path)
    if hr := [folder for folder in folders if _called(folder.name, HR, scale) is not None]:
        if len(hr) > 1:
            names = ", ".join(folder.name for folder in hr)
            raise ValueError(f"{path} holds several folders of HR images ({names}); give one of them")
        return _beside(hr[0], (), scale)
    if images := _images(path):
        own = _one_folder(images, scale)
        if own[1]:
            return *own, path
        for base in (path, *path.absolute().parents[:DEPTH]):
            if _called(base.name, HR, scale) is not None:
                return _beside(base, path.absolute().relative_to(base.absolute()).parts, scale)
        raise FileNotFoundError(f"{path} holds no pairs of HR and LR for x{scale}; give {LAYOUTS}")
    inner = [f for f in folders if re.fullmatch(rf"(?:.*[_-])?(?:x|SRF_){scale}", f.name, re.IGNORECASE)]
    if len(inner) == 1:
        return _hr_and_lr(inner[0], scale)
    raise FileNotFoundError(f"{path} must hold the folders HR and LR; HR is missing")


def _beside(hr: Path, subfolders: Sequence[str], scale: int) -> tuple[list[Path], list[Path], Path]:
    """Return the files of `hr` / `subfolders`, those of the LR folder beside `hr`, and that folder."""
    prefix = _called(hr.name, HR, scale)
    siblings = [f for f in _folders(hr.absolute().parent) if _called(f.name, LR, scale) == prefix]
    if not siblings:
        raise FileNotFoundError(f"{hr.parent} must hold the folders HR and LR; {prefix}LR is missing")
    hr_folder, hr_files = _holding([hr], subfolders, scale)
    if not hr_files:
        raise FileNotFoundError(f"{hr_folder} holds no image")
    lr_folder, lr_files = _holding(siblings, subfolders, scale)
    return hr_files, lr_files, lr_folder


def _holding(tops: Sequence[Path], subfolders: Sequence[str], scale: int) -> tuple[Path, list[Path]]:
    """Return the folder at or below `tops` that matches `subfolders` and holds images, and its images."""
    wanted, found = _unmarked(subfolders, scale), []
    for top in tops:
        below = [top]
        for _ in range(DEPTH + 1):
            fit = [f for f in below if _unmarked(f.relative_to(top).parts, scale) == wanted and _images(f)]
            if fit:
                found += fit
                break
            below = [inner for folder in below for inner in _folders(folder)]
    if len(found) > 1:
        names = ", ".join(map(str, found))
        raise ValueError(f"there are several folders of images for x{scale} ({names}); keep one of them")
    return (found[0], _images(found[0])) if found else (tops[0], [])


def _unmarked(parts: Sequence[str], scale: int) -> list[str]:
    """Return the parts of a path without those that only name the role (HR, LR) or the scale."""
    marks = rf"x?{scale}|BI|(?:.*[_-])?(?:{HR}|{LR})(?:[_-]?x?{scale})?"
    return [part.lower() for part in parts if not re.fullmatch(marks, part, re.IGNORECASE)]


class _Name(NamedTuple):
    """A file's stem in parts: baby_LRBI_x2 is the bare name baby, the marks _LRBI_x2 and the scales {2}."""

    bare: str
    marks: str
    scales: set[str]


def _stem(file: Path) -> str:
    """Return the stem with each accent and its letter as one character, of which macOS makes two."""
    return unicodedata.normalize("NFC", file.stem)


def _parse_name(file: Path) -> _Name:
    stem = _stem(file)
    mark = rf"[_-](?:{HR}|{LR}|SRF[_-]?\d)|[_-]?x\d"
    bare = re.sub(rf"(?:{mark})+$", "", stem, flags=re.IGNORECASE)
    marks = stem[len(bare) :]
    return _Name(bare, marks, set(re.findall(r"\d", re.sub(HR, "", marks, flags=re.IGNORECASE))))


def _one_folder(images: Sequence[Path], scale: int) -> tuple[list[Path], list[Path]]:
    """Return the HR and LR files of a folder that holds both.

    HR files are those with an HR mark or, if no file has one, those without any mark.
    """
    names = {file: _parse_name(file) for file in images}
    names = {file: name for file, name in names.items() if name.scales <= {str(scale)}}
    hr = [file for file, name in names.items() if re.search(HR, name.marks, re.IGNORECASE)]
    hr = hr or [file for file, name in names.items() if not name.marks]
    there = {names[file].bare for file in hr}
    return hr, [file for file, name in names.items() if name.marks and name.bare in there and file not in hr]


def _matched(hr: Sequence[Path], lr: Sequence[Path], where: Path, scale: int) -> list[tuple[Path, Path]]:
    """Return each HR file with its LR file; `where` is the folder of LR, for errors."""
    stems, bare, taken = defaultdict(list), defaultdict(list), {}
    for file in lr:
        stems[_stem(file)].append(file)
        if (name := _parse_name(file)).scales <= {str(scale)}:
            bare[name.bare].append(file)
    for file in hr:
        name = _parse_name(file)
        if re.search(HR, name.marks, re.IGNORECASE) and not name.scales <= {str(scale)}:
            continue  # of another scale, as baby_HR_x3.png
        likely = (_stem(file), f"{_stem(file)}x{scale}", f"{_stem(file)}_x{scale}")
        found = next((stems[stem] for stem in likely if stem in stems), bare[name.bare])
        if not found:
            raise FileNotFoundError(f"{where} holds no image for {file.name} at x{scale}")
        if len(found) > 1:
            names = ", ".join(other.name for other in found)
            raise ValueError(f"{where} holds several images for {file.name} ({names}); keep one of them")
        if (twin := taken.setdefault(found[0], file)) != file:
            raise ValueError(
                f"{file.parent} holds {twin.name} and {file.name} for one LR, {found[0].name}; keep one of "
                "them"
            )
    if not taken:
        raise FileNotFoundError(f"{hr[0].parent} holds no image for x{scale}")
    return [(file, own) for own, file in taken.items()]


def _load_pair(hr_file: Path, lr_file: Path, scale: int) -> Pair:
    lr, hr = load_image(lr_file), load_image(hr_file)
    for given, whole in zip(lr.shape[-2:], hr.shape[-2:], strict=True):
        # An LR made without cropping the HR first has ceil(HR / scale) pixels.
        if given not in (whole // scale, -(-whole // scale)) or whole < scale:
            raise ValueError(
                f"{hr_file.name}: HR {tuple(hr.shape[-2:])} is not x{scale} of LR {tuple(lr.shape[-2:])}"
            )
    height, width = (side // scale for side in hr.shape[-2:])
    return Pair(hr_file.stem, lr[..., :height, :width], hr[..., : height * scale, : width * scale])


def load_folder(path: Path) -> list[torch.Tensor]:
    """Load every image of a folder, sorted by name; FileNotFoundError if there is none."""
    return [load_image(file) for file in image_files(path)]


def reduced_pairs(path: Path, scale: int) -> list[Pair]:
    """Load the HR images of a folder and pair each with its bicubic LR."""
    images = [modcrop(image, scale) for image in load_folder(path)]
    return [Pair(f"{i:03d}", make_lr(hr, scale), hr) for i, hr in enumerate(images)]
