"""Networks of one channel: the luma is the network's, the colours come of upscaling."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr

from core import (
    EDSR,
    QuantConfig,
    audit,
    load_checkpoint,
    load_quantized,
    luma,
    quantize_model,
    save_quantized,
)
from core.models import RDN, MSRResNet, SRResNet, SwinIR
from core.models.luma import Luma

NETWORKS = {
    EDSR: lambda: EDSR(2, 2, 6, colours=1),
    RDN: lambda: RDN(2, 1, 2, 4, 4, rgb_range=1.0, colours=1),
    SRResNet: lambda: SRResNet(2, 1, 4, rgb_range=1.0, colours=1),
    MSRResNet: lambda: MSRResNet(2, 1, 6, colours=1),
    SwinIR: lambda: SwinIR(2, 4, (2,), 2, 4, 6, colours=1),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_luma_of_the_result_is_what_the_network_gives(kind, tmp_path):
    inner, x = NETWORKS[kind]().eval(), torch.rand(2, 3, 8, 9)
    torch.save({"params": inner.state_dict()}, tmp_path / "net.pth")
    model = load_checkpoint(tmp_path / "net.pth")
    assert isinstance(model, Luma)
    assert model.scale == 2
    assert type(model.model) is kind
    sr, y = model(x), inner((luma(x) / 255).float())
    assert sr.shape == (2, 3, 16, 18)
    assert torch.allclose(luma(sr), 255 * y.double(), atol=1e-3)
    hwc = np.moveaxis(sr.detach().double().numpy(), 1, -1)  # skimage's YCbCr, by its own formulas
    bicubic = torch.nn.functional.interpolate(x, scale_factor=2, mode="bicubic")
    colours = rgb2ycbcr(np.moveaxis(bicubic.double().numpy(), 1, -1))[..., 1:]
    assert np.allclose(rgb2ycbcr(hwc)[..., 1:], colours, atol=1e-3)


def test_it_is_quantized_where_its_network_says_and_comes_back(tmp_path):
    torch.save(NETWORKS[EDSR]().state_dict(), tmp_path / "net.pth")
    model, x = load_checkpoint(tmp_path / "net.pth"), torch.rand(4, 3, 12, 12)
    quantized = quantize_model(model, x, QuantConfig("dfsq", 4, 4))
    names = [row.name for row in audit(quantized) if row.weight_bits == 4]
    assert names == [f"model.body.{b}.body.{c}" for b in (0, 1) for c in (0, 2)]
    assert quantized.scope_in_words == EDSR.scope_in_words
    save_quantized(quantized, tmp_path / "q.safetensors")
    assert torch.equal(load_quantized(tmp_path / "q.safetensors")(x), quantized(x))


def test_a_luma_edsr_of_another_range_comes_back():
    """Its mean shift of 0 does not show the range; its own files say it."""
    for rgb_range in (1.0, 255.0):
        model = EDSR(2, 1, 4, rgb_range=rgb_range, colours=1)
        assert EDSR.from_state(model.state_dict()).rgb_range == rgb_range


@pytest.mark.parametrize("kind", NETWORKS)
def test_other_numbers_of_channels(kind, tmp_path):
    """A square of them would be made for EDSR's mean shift: a small file could take all memory."""
    state = NETWORKS[kind]().state_dict()
    first = next(name for name, value in state.items() if name.startswith(("head", "conv_first", "SFENet1")))
    state[first] = state[first].repeat(1, 50_000, 1, 1)[:, :, :1, :1].clone()
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(
        ValueError, match=rf"looks like {kind.__name__} .*1 or 3 channels, and {first} takes 50000"
    ):
        load_checkpoint(tmp_path / "net.pth")
