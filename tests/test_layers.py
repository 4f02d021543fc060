import ast
from pathlib import Path

import pytest

import core

CORE = Path(__file__).resolve().parents[1] / "core"
GUI = {"panel", "bokeh", "holoviews", "hvplot", "datashader", "param", "tornado", "explorer", "notebooks"}

# Each module imports only from those above it.
ORDER = [
    "device",
    "captured_step",
    "files",
    "sixteen_bits",
    "image_files",
    "images",
    "image_folders",
    "metrics",
    "colour",
    "running",
    "tiles",
    "universal_set",
    "parallel",
    "moments",
    "selection_kernels",
    "point_selection",
    "range_kernels",
    "ranges",
    "histogram",
    "levels",
    "folding",
    "models.state",
    "models.edsr",
    "models.rdn",
    "models.srresnet",
    "models.mobile",
    "models.swinir",
    "models.msrresnet",
    "models.dialects",
    "models.luma",
    "models.community",
    "models.torch_files",
    "models.wrapping",
    "models.checkpoints",
    "models.folding",
    "models.official",
    "models",
    "normalization",
    "lookup_kernels",
    "lookup",
    "quantizers",
    "normalized",
    "daq",
    "microscaling",
    "weights",
    "observers",
    "calibration",
    "held_weights",
    "scope",
    "mismatch",
    "methods",
    "config",
    "pams",
    "weight_levels",
    "rounding",
    "audit",
    "rounding_kernels",
    "compensation",
    "quantize",
    "representative",
    "output_range",
    "fixed_size",
    "computed_kernels",
    "onnx_files",
    "onnx_network",
    "export",
    "int8",
    "timing",
    "deploy",
    "checkpoint",
    "zoo",
    "evaluation",
    "sensitivity",
    "training",
    "cost",
    "cooperation",
    "fake_quantization",
    "odm_config",
    "pams_places",
    "odm_frozen",
    "odm_training",
    "odm_record",
    "odm",
    "odm_table",
    "comparison",
    "published",
    "results",
    "report_html",
    "report",
    "cluster",
    "grid_file",
    "sweep_grid",
    "sweep_store",
    "sweep_tasks",
    "sweep_run",
    "sweep",
    "sweep_estimate",
    "cfqp",
]


def module_name(path):
    parts = path.relative_to(CORE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in sorted(CORE.rglob("*.py"))}


def imports(path):
    """Absolute names of all that is imported anywhere in the file, but for type checkers alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name.removeprefix("core.") in MODULES else node.module


def test_every_module_has_its_place():
    assert sorted(MODULES) == sorted(["", *ORDER]), "add the new module of core to ORDER"


@pytest.mark.parametrize("name", ORDER)
def test_modules_import_only_from_above(name):
    own = [i.removeprefix("core.") for i in imports(MODULES[name]) if i == "core" or i.startswith("core.")]
    above = ORDER[: ORDER.index(name)]
    assert [i for i in own if i not in above] == []


@pytest.mark.parametrize("name", MODULES)
def test_no_gui_in_core(name):
    assert GUI & {i.split(".")[0] for i in imports(MODULES[name])} == set()


def test_public_names():
    stable = """UniversalSet Moments select_points SELECTORS QuantConfig METHODS quantize_model audit
    create_model load_checkpoint EDSR psnr_y ssim_y paired_folder evaluate super_resolve"""
    assert set(stable.split()) <= set(core.__all__)
    assert all(hasattr(core, name) for name in core.__all__)


VIEWS = Path(core.__file__).resolve().parents[1] / "explorer" / "views"


@pytest.mark.parametrize("path", sorted(VIEWS.glob("*.py")), ids=lambda path: path.stem)
def test_views_do_not_import_each_other(path):
    shared = {"explorer.views.theme", "explorer.views.format", "explorer.views.canvas"}
    own = {".".join(name.split(".")[:3]) for name in imports(path) if name.startswith("explorer.views")}
    assert own <= shared
