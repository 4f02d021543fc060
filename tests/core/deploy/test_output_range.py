import pytest
import torch
from stretch import Stretch, flat
from torch import nn

from core import OnnxNetwork, output_range, quantize_int8
from core.models import XLSR


class Tint(nn.Module):
    """The float network, its output clipped, and two 8-bit levels more red."""

    def forward(self, x):
        return Stretch()(x) + torch.tensor([2 / 255, 0, 0]).view(3, 1, 1)


class Stretched(Stretch):
    """The same by a convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.conv.weight.data = 1.25 * torch.eye(3).view(3, 3, 1, 1)
        self.conv.bias.data.fill_(-0.125)

    def forward(self, x):
        return self.clip(self.conv(x))


def test_findings_by_hand():
    """Left half black, right half white: -0.125 and 1.125, all of it beyond [0, 1]."""
    found = output_range(Stretch(), torch.cat([flat(0, 1), flat(0.5, 0.5)]))
    assert (found.low, found.high, found.beyond) == (-0.125, 1.125, 0.5)
    assert found.wasted == pytest.approx(0.25 / 1.25)
    assert (found.black, found.white, found.colour_shift) == (True, True, None)
    assert found.advice["range"].startswith("The outputs lie between −0.125 and 1.125,")
    assert "50.00 % of the values" in found.advice["beyond"]
    assert "51 of 256 levels" in found.advice["wasted"]
    assert set(found.advice) == {"range", "beyond", "wasted", "black", "white"}


def test_ends_that_are_not_reached():
    found = output_range(Stretch(), flat(0.3, 0.7))  # 0.25 and 0.75
    assert (found.beyond, found.wasted, found.black, found.white) == (0, 0, False, False)
    assert "darker than 0.250" in found.advice["black"]
    assert "saturates at 0.750" in found.advice["white"]
    assert str(found).count("\n") == 4


def test_images_may_come_in_any_number_and_size():
    pool = [flat(0, 0.5, 40, 36), flat(0.2, 1)]
    found = output_range(Stretch(), pool)
    assert (found.low, found.high) == (-0.125, 1.125)
    assert found.beyond == pytest.approx((40 * 18 + 32 * 16) / (40 * 36 + 32 * 32))


def test_colour_shift_of_a_known_tint():
    found = output_range(Stretch(), torch.cat([flat(0.3, 0.7), flat(0.4, 0.5)]), Tint())
    assert found.colour_shift == pytest.approx(2, abs=0.01)
    assert found.advice["colour_shift"].startswith("INT8 shifts the mean colour of these images by 2.00")


def test_what_the_doctor_says_is_what_int8_does():
    """Calibrated on dull images, the INT8 network saturates where the doctor says."""
    model, dull = Stretched(), flat(0.3, 0.7)
    found = output_range(model, dull)
    int8 = OnnxNetwork(quantize_int8(model, dull, layers=["conv"]))
    assert not found.white
    assert float(int8(flat(0, 1)).max()) == pytest.approx(found.high, abs=0.01)
    assert output_range(model, flat(0.1, 0.9), int8).colour_shift > 10


def test_no_images_and_cancelling():
    with pytest.raises(ValueError, match="at least one image, got none"):
        output_range(Stretch(), [])

    def cancel(what, share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        output_range(XLSR(3).eval(), torch.rand(1, 3, 8, 8), progress=cancel)


class TwoConvs(nn.Module):
    """A convolution that may be quantized, and a last one."""

    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.conv.weight.data = 0.1 * torch.rand(3, 3, 3, 3)
        self.last.weight.data = 1.2 * torch.eye(3).view(3, 3, 1, 1)
        self.last.bias.data.fill_(-0.125)

    def forward(self, x):
        return self.last(self.conv(x))


def test_float_last_layers_have_no_range_of_their_own():
    """The range of the doctor is then what the file gives, beyond what the float network gives."""
    model, dull = TwoConvs(), torch.cat([flat(0.3, 0.7), flat(0.45, 0.5)])
    int8 = OnnxNetwork(quantize_int8(model, dull, layers=["conv"]))
    found = output_range(model, dull, int8)
    made = int8(dull)
    assert int8.float_output
    assert found.given == (float(made.min()), float(made.max()))
    assert (found.wasted, found.black, found.white) == (0, True, True)
    assert "which is what INT8 will span" not in str(found)
    assert f"gives {found.given[0]:.3f} to {found.given[1]:.3f}".replace("-", "−") in found.advice["range"]


def test_int8_to_the_end_keeps_its_range():
    model = XLSR(3).eval()
    lr = torch.rand(2, 3, 24, 24)
    int8 = OnnxNetwork(quantize_int8(model, lr))
    assert not int8.float_output
    assert output_range(model, lr, int8).given is None
