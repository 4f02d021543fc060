"""Networks known here under the names that other public code gives to their tensors."""

from __future__ import annotations

import re
from typing import NamedTuple

import torch

from core.models.edsr import RGB_MEAN
from core.models.state_dict import State, numbered

MEAN = torch.tensor(RGB_MEAN)


class Dialect(NamedTuple):
    """Names of one framework: `marks` are all there, `blocks` counts the residual blocks.

    renames: how a name begins there -> here, where N is the number of blocks and N+1 one more.
    added: tensors that the framework's code fixes and its files leave out, for RGB.
    """

    marks: frozenset[str]
    blocks: str
    renames: dict[str, str]
    added: State


BLOCK = {r"body\.(\d+)\.conv1\.": r"body.\1.body.0.", r"body\.(\d+)\.conv2\.": r"body.\1.body.2."}
BASICSR = BLOCK | {
    r"conv_first\.": "head.0.",
    r"conv_after_body\.": "body.N.",
    r"upsample\.(\d)\.(weight|bias)": r"tail.0.\1.\2",
    r"conv_last\.": "tail.1.",
}
UPSAMPLE = {r"upsample\.0\.upsample_conv\.": "tail.0.0.", r"upsample\.1\.upsample_conv\.": "tail.0.2."}

DIALECTS = {
    # It takes pixels of [0, 1] where EDSR's authors and BasicSR take 0 to 255.
    "mmagic's EDSR": Dialect(
        frozenset({"conv_first.weight", "body.0.conv1.weight", "upsample.0.upsample_conv.weight"}),
        r"body\.(\d+)\.conv1\.weight",
        BASICSR | UPSAMPLE,
        {"sub_mean.bias": -MEAN, "add_mean.bias": MEAN},
    ),
    "BasicSR's EDSR": Dialect(
        frozenset({"conv_first.weight", "body.0.conv1.weight", "conv_after_body.weight"}),
        r"body\.(\d+)\.conv1\.weight",
        BASICSR,
        {},
    ),
    "EDSR of DAQ": Dialect(
        frozenset({"head.0.weight", "body.0.conv1.weight", "body.0.conv1.bias", "tail.1.weight"}),
        r"body\.(\d+)\.conv1\.weight",
        BLOCK,
        {},
    ),
    "SRResNet of DFSQ": Dialect(
        frozenset({"conv_input.weight", "residual.0.conv1.weight", "bn_mid.weight"}),
        r"residual\.(\d+)\.conv1\.weight",
        {
            r"conv_input\.": "head.0.",
            r"relu\.": "head.1.",
            r"residual\.(\d+)\.in([12])\.": r"body.\1.bn\2.",
            r"residual\.(\d+)\.relu\.": r"body.\1.act.",
            r"residual\.": "body.",
            r"conv_mid\.": "body.N.",
            r"bn_mid\.": "body.N+1.",
            r"upscale\.": "tail.0.",
            r"conv_output\.": "tail.1.",
        },
        {},
    ),
    "MSRResNet of KAIR and mmsr": Dialect(
        frozenset({"conv_first.weight", "recon_trunk.0.conv1.weight", "HRconv.weight"}),
        r"recon_trunk\.(\d+)\.conv1\.weight",
        {r"recon_trunk\.": "body.", r"HRconv\.": "conv_hr."},
        {},
    ),
}


def translated(state: State) -> State:
    """The tensors under the names used here; as they are if they speak no dialect."""
    spoken = (d for d in DIALECTS.values() if d.marks <= state.keys() and "body.0.bn1.weight" not in state)
    dialect = next(spoken, None)
    if dialect is None:
        return state
    blocks = numbered(state, dialect.blocks)
    added = dialect.added if dialect.added and state["conv_first.weight"].shape[1:2] == (3,) else {}
    return {_renamed(name, dialect, blocks): value for name, value in state.items()} | added


def _renamed(name: str, dialect: Dialect, blocks: int) -> str:
    for pattern, here in dialect.renames.items():
        if (found := re.match(pattern, name)) is not None:
            begins = found.expand(here).replace("N+1", str(blocks + 1)).replace("N", str(blocks))
            return begins + name[found.end() :]
    return name
