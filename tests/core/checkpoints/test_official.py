import functools
import hashlib
import http.server
import threading

import pytest
import torch

from core import EDSR, create_model
from core.checkpoints import official


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A server of files, and an empty cache."""
    (tmp_path / "www").mkdir()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    handler = functools.partial(Quiet, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(official, "SITE", f"http://127.0.0.1:{server.server_port}")
        yield tmp_path / "www"
        server.shutdown()
        thread.join()


def publish(folder, monkeypatch, damage=b""):
    """A file of the authors' structure under a name with its hash."""
    model = EDSR(2, n_blocks=1, n_feats=4).eval()
    torch.save(model.state_dict(), folder / "file.pt")
    content = (folder / "file.pt").read_bytes()
    name = f"edsr_baseline_x2-{hashlib.sha256(content).hexdigest()[:8]}.pt"
    (folder / name).write_bytes(content + damage)
    monkeypatch.setitem(official.FILES, ("edsr_baseline", 2), name)
    return model, name


def test_downloaded_once(site, monkeypatch):
    model, name = publish(site, monkeypatch)
    x = torch.rand(1, 3, 5, 4)
    assert torch.equal(create_model("edsr_baseline", 2, weights="official")(x), model(x))
    (site / name).unlink()
    assert torch.equal(create_model("edsr_baseline", 2, weights="official")(x), model(x))


def test_another_file_under_the_name(site, monkeypatch):
    publish(site, monkeypatch, damage=b"!")
    with pytest.raises(ValueError, match="is not that file: invalid hash value"):
        create_model("edsr_baseline", 2, weights="official")
    assert not list((site.parent / "cache").rglob("*.pt"))


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", None])
def test_offline_it_says_what_to_fetch_and_where_to_put_it(address, site, monkeypatch):
    """Nobody listens; a server without the file."""
    monkeypatch.setattr(official, "SITE", address or official.SITE)
    put = rf"put it at {site.parent}/cache/hub/checkpoints/edsr_x4-4f62e9ef\.pt"
    with pytest.raises(ConnectionError, match=rf"edsr_x4-4f62e9ef\.pt could not be fetched .*{put}"):
        create_model("edsr_large", 4, weights="official")


def test_what_there_is():
    with pytest.raises(ValueError, match="no official weights for rdn x2; there are edsr_baseline x2"):
        create_model("rdn", 2, weights="official")
