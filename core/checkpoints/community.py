"""Community architectures through spandrel, which `pip install .[zoo]` adds."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import nn

from core.models.luma import Luma
from core.models.state_dict import State, reason


class Community(nn.Module):
    """(N, C, H, W) in [0, 1] -> (N, C, scale*H, scale*W) by any network whose sides must be a multiple.

    The last rows and columns are repeated up to the size that the network takes. Of several results the
    first is the picture.
    """

    def __init__(self, model: nn.Module, scale: int, multiple: int, minimum: int):
        super().__init__()
        self.model, self.scale, self.multiple, self.minimum = model, scale, multiple, minimum

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, w = x.shape[-2:]
        down, right = (-max(n, self.minimum) % self.multiple + max(self.minimum - n, 0) for n in (h, w))
        if down or right:
            x = F.pad(x, (0, right, 0, down), "replicate")
        y = self.model(x)
        y = y[0] if isinstance(y, tuple | list) else y
        return y[..., : h * self.scale, : w * self.scale]


class CommunityError(ValueError):
    """Why tensors cannot be had as a network through spandrel; follows the name of their file."""


def has_spandrel() -> bool:
    """Whether it is installed and works."""
    try:
        import spandrel  # noqa: F401
    except Exception:  # ImportError, and what a torchvision for another torch raises
        return False
    return True


def community_network(state: State, surplus: Collection[str] = ()) -> nn.Module | None:
    """What spandrel makes of the tensors, in eval mode; None without spandrel or where it knows none such.

    surplus: names of tensors that the network need not have. `CommunityError` for a network that is not for
    super-resolution of RGB or luma, for tensors that do not fit, and for an installation that does not work.
    """
    try:
        import spandrel
    except ImportError:
        return None
    except Exception as error:  # torchvision for another torch raises RuntimeError, and others
        raise CommunityError(
            f"is not known here without spandrel, which does not work ({reason(error)}): install the "
            f"torchvision that fits torch {torch.__version__}"
        ) from error
    try:
        found = _described(spandrel, state, surplus)
    except spandrel.UnsupportedModelError:
        return None
    except Exception as error:  # whatever its detection and its networks raise on tensors that do not fit
        raise CommunityError(
            f"looks like a network that spandrel knows, but is not: {reason(error)}; build yours and pass "
            "it to quantize_model"
        ) from error
    name, size, colours = found.architecture.name, found.size_requirements, found.input_channels
    if colours not in (1, 3) or found.output_channels != colours or found.scale < 2:
        raise CommunityError(f"holds {name}, which does not super-resolve RGB images or luma")
    if size.square:
        raise CommunityError(f"holds {name}, which takes square images alone")
    # Another one than spandrel runs, which does so in inference mode: tensors made there take no gradient.
    own = _described(spandrel, state, surplus).model
    network = Community(own, found.scale, size.multiple_of, size.minimum).eval()
    if not _is_called_plainly(network, found):
        raise CommunityError(f"holds {name}, which takes more than an image; build it and wrap it")
    return (network if colours == 3 else Luma(network, found.scale).eval()).float()


def _described(spandrel, state: State, surplus: Collection[str]):
    """What spandrel finds; without the surplus tensors that it complains of."""
    loader = spandrel.ModelLoader(device="cpu")
    try:
        return loader.load_from_state_dict(dict(state))
    except RuntimeError as error:
        needless = {name for name in surplus if f'"{name}"' in str(error)} & state.keys()
        if not needless:
            raise
    return loader.load_from_state_dict({name: v for name, v in state.items() if name not in needless})


@torch.no_grad()
def _is_called_plainly(network: Community, found) -> bool:
    """Whether spandrel, which may scale the image or choose among results, gives the same for an image."""
    side = -(-max(32, network.minimum) // network.multiple) * network.multiple
    seed = torch.Generator().manual_seed(0)
    like = next(network.parameters())
    image = torch.rand(1, found.input_channels, side, side, generator=seed, dtype=like.dtype)
    try:
        return torch.allclose(network(image).clamp(0, 1), found(image), atol=1e-3, equal_nan=True)
    except Exception:  # whatever a network raises that is called in another way
        return False
