from pathlib import Path

import panel as pn
import pytest
import torch
from bokeh.document import Document
from bokeh.io.doc import patch_curdoc
from browser import chromium, explorer  # noqa: F401
from hypothesis import HealthCheck, settings
from networks import checkpoint
from reference import SHARED
from served import server  # noqa: F401

from core import EDSR, create_model

# However long an example takes on a busy machine.
settings.register_profile(
    "core",
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("core")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Keep what the tests compute apart from what a server here has kept; also in the servers they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPLORER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _no_page():
    """Begin without the page of an earlier test, which stays the current one where its server ended early.

    Panel's current page is first its own, else Bokeh's; an empty document is none.
    """
    pn.state.curdoc = None
    nothing = Document()
    with patch_curdoc(nothing):
        yield


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def benchmark_data() -> Path:
    path = SHARED / "data" / "benchmark"
    if not path.is_dir():
        pytest.skip("the benchmark images (shared/data beside the repository) are not here")
    return path


@pytest.fixture
def tiny_edsr() -> EDSR:
    return EDSR(2, n_blocks=2, n_feats=6, rgb_range=1.0).eval()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> str:
    """The path of a small network's checkpoint."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("network") / "tiny.pth"
    torch.save(EDSR(2, n_blocks=2, n_feats=6, rgb_range=1.0).state_dict(), path)
    return str(path)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 14, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def files():
    """A visitor's own files."""
    from explorer.choices.visitor_files import VisitorFiles  # the tests of core need none of the explorer

    mine = VisitorFiles()
    yield mine
    mine.close()


@pytest.fixture(scope="session")
def xlsr(tmp_path_factory) -> bytes:
    """The file of a bundled network, as a visitor brings it."""
    return checkpoint(create_model("xlsr", 3), tmp_path_factory.mktemp("xlsr") / "mine.safetensors")


@pytest.fixture(scope="session")
def edsr_x2() -> EDSR:
    return create_model("edsr", 2)


# Their tests start processes or kernels and share nothing: each goes wherever there is room.
APART = {
    f"test_{name}" for name in ("notebooks", "runs", "sweep_command", "odm_command", "faults", "take_away")
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Keep a file's tests on one worker, where they share fixtures; what takes longest comes first."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None and item.path.stem not in APART:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items.sort(key=lambda item: not ({"browser", "slow"} & set(item.keywords)))
