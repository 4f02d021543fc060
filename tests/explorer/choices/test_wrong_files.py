"""Files that are no image or network: each a sentence."""

import pickle

import pytest
import torch
from headless import photo
from networks import checkpoint

import core
from core.models import SwinIR, new_model
from explorer.choices import visitor_files


class Evil:
    def __reduce__(self):
        return (print, ("code was run",))


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def with_nan(tmp_path) -> bytes:
    model = core.create_model("xlsr", 3)
    next(model.parameters()).data[0] = float("nan")
    return checkpoint(model, tmp_path / "nan.safetensors")


def quantized(tmp_path) -> bytes:
    model, config = core.create_model("xlsr", 3), core.QuantConfig("minmax", 4, 4)
    core.save_quantized(
        core.quantize_model(model, torch.rand(1, 3, 24, 24), config), tmp_path / "q.safetensors"
    )
    return (tmp_path / "q.safetensors").read_bytes()


WRONG = {
    "truncated": ("x.safetensors", lambda folder, good: truncated(good), "not a readable checkpoint"),
    "of another kind": (
        "x.safetensors",
        lambda folder, good: checkpoint(torch.nn.Linear(3, 3), folder / "l.safetensors"),
        "belongs to no network known here",
    ),
    "with NaN": ("x.safetensors", lambda folder, good: with_nan(folder), "NaN"),
    "with code": ("x.pth", lambda folder, good: pickle.dumps(Evil()), "was not loaded"),
    "quantized": ("x.safetensors", lambda folder, good: quantized(folder), "is quantized already"),
    "too large a network": (
        "x.safetensors",
        lambda folder, good: checkpoint(new_model("rdn", 2), folder / "r.safetensors"),
        "has 0.2 million parameters; the limit is 0 million",
    ),
    "of tokens": (
        "x.safetensors",
        lambda folder, good: checkpoint(SwinIR(2), folder / "s.safetensors"),
        "are not all convolutions",
    ),
    "no image": ("x.png", lambda folder, good: b"not an image", "not a readable image"),
    "a truncated image": ("x.png", lambda folder, good: truncated(photo(132)), "not a readable image"),
    "too small an image": (
        "x.png",
        lambda folder, good: photo(36),
        "36×36 pixels; at least 64×64 are",
    ),
    "something else": ("x.txt", lambda folder, good: b"text", "neither an image nor a checkpoint"),
    "too large a file": ("x.png", lambda folder, good: bytes(33 * 10**6), "has 33 MB; the limit is 32 MB"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_file_is_a_sentence(what, files, xlsr, tmp_path, monkeypatch, capsys):
    if what == "too large a network":
        monkeypatch.setattr(visitor_files, "PARAMETERS", 100_000)
    name, make, sentence = WRONG[what]
    with pytest.raises(ValueError, match=sentence) as error:
        files.add(name, make(tmp_path, xlsr))
    assert "\n" not in str(error.value)
    assert files.labels("network", "hr", "lr") == {}
    assert "code was run" not in capsys.readouterr().out


def test_an_onnx_file_is_named_as_such(files):
    with pytest.raises(ValueError, match=r"net\.onnx is an ONNX graph; load the PyTorch checkpoint"):
        files.add("net.onnx", b"\x08\x0a")
