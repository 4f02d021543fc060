import sys
import types

import pytest
import torch
from torch import nn

import core
from explorer.choices import catalog, server_networks, visitor_files
from explorer.choices.links import uploaded_keys
from explorer.choices.state import ExplorerState
from explorer.export import script
from explorer.pipeline import pictures


class Small(nn.Module):
    """A network that no checkpoint describes."""

    def __init__(self):
        super().__init__()
        self.first, self.middle = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, x):
        x = self.last(self.middle(self.first(x).relu()).relu())
        return nn.functional.pixel_shuffle(x, 2)


@pytest.fixture
def module(monkeypatch):
    def build():
        torch.manual_seed(0)
        return Small()

    made = types.ModuleType("my_networks")
    made.build, made.number, made.broken = build, lambda: 3, lambda: 1 / 0
    monkeypatch.setitem(sys.modules, "my_networks", made)
    yield made
    for key in [key for key in visitor_files._known if server_networks.is_added(key)]:
        del visitor_files._known[key]


def test_a_network_of_own_code(module, monkeypatch):
    monkeypatch.setenv(server_networks.VARIABLE, "my_networks:build")
    (label, key), *others = server_networks.added().items()
    assert (label, others) == ("my_networks:build ×2", [])
    monkeypatch.setitem(catalog.NETWORK_NAMES, label, key)
    state = ExplorerState()
    state.offer_uploads({}, {})
    state.network = key
    assert state.param.layer.objects == ["middle"]
    assert (
        catalog.about(key)
        == "Small ×2, 2 k parameters. Added by my_networks:build when this server was started."
    )
    assert uploaded_keys(f"?network={key}") == []
    picture = pictures.picture(key, state.image, "centre", state.configs()(4))
    code = script.code(state)
    assert "import importlib" in code
    (line,) = [line for line in code.splitlines() if line.startswith("model = ")]
    namespace = {}
    exec(f"import importlib\n{line}", namespace)
    lr = core.make_lr(core.demo_image(state.image), 2)[..., :40, :40]
    assert torch.equal(namespace["model"](lr), pictures.network(key)(lr))
    assert picture.psnr > 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere:build", r"nowhere:build gives no network \(ModuleNotFoundError"),
        ("my_networks:nothing", "gives no network .AttributeError"),
        ("my_networks:broken", r"gives no network \(ZeroDivisionError: division by zero\); name a function"),
        ("my_networks:number", "returns int; return an nn.Module"),
    ],
)
def test_what_gives_no_network_is_one_sentence(module, monkeypatch, name, said):
    monkeypatch.setenv(server_networks.VARIABLE, name)
    with pytest.raises(ValueError, match=said):
        server_networks.added()
