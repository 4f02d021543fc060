"""Who may import whom stands in pyproject.toml and is checked here, with what packages promise to others."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import core

ROOT = Path(core.__file__).resolve().parents[1]


def test_contracts_are_kept():
    """In a process of its own: import-linter sets up logging for the whole of one."""
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as c; c()",
        "--no-cache",
    ]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


def test_no_folder_holds_more_than_fourteen_modules():
    modules = [path for part in ("core", "explorer") for path in (ROOT / part).rglob("*.py")]
    number = Counter(path.parent for path in modules if path.name != "__init__.py")
    assert {str(folder): n for folder, n in number.items() if n > 14} == {}


def test_no_two_test_modules_share_a_name():
    """Pytest takes the second for the first, and stops."""
    number = Counter(path.name for path in (ROOT / "tests").rglob("*.py"))
    assert [name for name, n in number.items() if n > 1] == []


def test_public_names():
    stable = """UniversalSet Moments select_points SELECTORS QuantConfig METHODS quantize_model audit
    create_model load_checkpoint EDSR psnr_y ssim_y paired_folder evaluate super_resolve fold_batchnorm"""
    assert set(stable.split()) <= set(core.__all__)
    assert all(hasattr(core, name) for name in core.__all__)


def test_no_name_of_core_shadows_a_module():
    modules = {path.stem for path in (ROOT / "core").iterdir()}
    assert set(core.__all__) & modules == set()
