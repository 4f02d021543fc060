import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.checkpoints import packed
from core.points.universal_set import UniversalSet
from core.quantizers.weights import WEIGHTS, nearest


def test_codes_by_hand():
    assert packed.pack_codes(np.array([1, 2, 3]), 4).tolist() == [0x12, 0x30]
    assert packed.pack_codes(np.array([1, 0, 1, 1, 0, 0, 0, 1, 1]), 1).tolist() == [0b10110001, 0b10000000]
    assert packed.pack_codes(np.array([5, 6, 7]), 3).tolist() == [0b10111011, 0b10000000]


BITS = st.integers(1, 8)


@given(BITS.flatmap(lambda b: st.tuples(st.just(b), st.lists(st.integers(0, 2**b - 1), min_size=1))))
def test_codes_come_back(case):
    bits, codes = case
    made = packed.pack_codes(np.array(codes), bits)
    assert len(made) == -(-len(codes) * bits // 8)
    assert packed.unpack_codes(made, bits, len(codes)).tolist() == codes


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("rule", WEIGHTS)
def test_weights_of_every_rule_come_back_to_the_bit(rule, bits):
    torch.manual_seed(bits)
    rows = torch.randn(12, 288) * torch.rand(12, 1)
    rows[3] = 0.25  # a constant row, and one of a single sign
    rows[4] = rows[4].abs()
    rounded = nearest(rows, WEIGHTS[rule].levels(rows, bits, UniversalSet()))
    made = packed.pack(rounded, bits)
    if (rule, bits) == ("subset", 8):  # nearly as many levels in a row as weights
        assert made is None or packed.LEVELS in made
        return
    assert torch.equal(packed.unpack(made, (12, 32, 3, 3), bits), rounded.view(12, 32, 3, 3))
    size = sum(value.nbytes for value in made.values()) / rounded.nbytes
    # Beside the codes: two numbers a row, 2**bits levels for all, or as many for each row.
    side = {"minmax": 24 / 1152, "mse": 24 / 1152, "subset": 4 * 2**bits / 1152}
    assert size <= bits / 32 + side.get(rule, 4 * 2**bits / rounded.nbytes) + 1e-9


def test_levels_fitted_in_double_come_back():
    """As refined weights: offset + scale * level, rounded once."""
    torch.manual_seed(0)
    index = torch.randint(0, 256, (40, 500)).double()
    rows = (torch.randn(40, 1).double() + torch.rand(40, 1).double() / 99 * index).float()
    made = packed.pack(rows, 8)
    assert packed.LINE in made
    assert torch.equal(packed.unpack(made, tuple(rows.shape), 8), rows)


def test_float_weights_stay():
    assert packed.pack(torch.randn(4, 300), 8) is None
    assert packed.pack(torch.zeros(4, 300, dtype=torch.float64), 4) is None


def test_what_does_not_fit_is_refused():
    rows = nearest(torch.randn(4, 90), torch.linspace(-1, 1, 16).expand(4, -1))
    made = packed.pack(rows, 4)
    for shape, bits in (((4, 91), 4), ((4, 90), 3), ((2, 2**40), 4), ((), 4), ((4, 90.0), 4), ((4, 90), 9)):
        with pytest.raises(ValueError, match=r"shape|codes"):
            packed.unpack(made, shape, bits)
    with pytest.raises(ValueError, match="levels that do not fit"):
        packed.unpack(made | {packed.LEVELS: made[packed.LEVELS][:, :3]}, (4, 90), 4)
    line = {packed.CODES: made[packed.CODES], packed.LINE: torch.full((4, 3), 1e300, dtype=torch.float64)}
    with pytest.warns(RuntimeWarning, match="overflow"), pytest.raises(ValueError, match="infinite"):
        packed.unpack(line, (4, 90), 4)
    with pytest.raises(ValueError, match="lines than rows"):
        packed.unpack(line, (2, 180), 4)
    with pytest.raises(KeyError):
        packed.unpack({}, (4, 90), 4)
