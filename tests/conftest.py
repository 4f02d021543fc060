from pathlib import Path

import pytest
import torch
from browser import chromium, explorer, server  # noqa: F401
from hypothesis import settings

from core import EDSR, create_model

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

settings.register_profile("core", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("core")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def benchmark_data() -> Path:
    path = SHARED_DATA / "benchmark"
    if not path.is_dir():
        pytest.skip("the benchmark images (shared/data beside the repository) are not here")
    return path


@pytest.fixture
def tiny_edsr() -> EDSR:
    return EDSR(2, n_blocks=2, n_feats=6, rgb_range=1.0).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 14, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def edsr_x2() -> EDSR:
    return create_model("edsr", 2)


def pytest_collection_modifyitems(items):
    """What takes longest comes first, so that two processes end at about the same time."""
    items.sort(key=lambda item: not ({"browser", "slow"} & set(item.keywords)))
