"""The grid of a sweep: a mapping from fields to lists of values, expanded to configurations."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from core.checkpoints.loading import load_checkpoint
from core.points.universal_set import UniversalSet
from core.ptq.config import QuantConfig
from core.ptq.scope import choose_layers
from core.qat.tuned_ranges import is_tunable
from core.zoo import bundled, create_model

ALL, EACH = "all", "each"  # values of layers: all in the network's scope; every one of them alone
QUANTIZATION = [field.name for field in dataclasses.fields(QuantConfig)]
MAX_RUNS = 100_000  # configurations, and rows, of one sweep
TUNE = "tune"  # steps of `core.tune_ranges`
FIELDS = ("network", "scale", "images", "layers", "bits", *QUANTIZATION, TUNE)
LISTS = ("layers", "universal_set", "refine")  # a value of these may be a list itself
BY_LAYER = "layer_bits"  # a value is a mapping from layers to [weight bits, activation bits]
NAME, NAMES = (str, "names"), (str | None, "names or null")
WHOLE = (int, "whole numbers")
KINDS = (
    dict.fromkeys(FIELDS, NAMES)
    | {
        "network": (str | Path, "names or paths"),
        "images": (str | Path, "names or folders"),
        "layers": (str, "all, each, a layer's name or a list of these"),
        "method": NAME,
        "universal_set": (int | UniversalSet, "lists of two whole numbers"),
        "refine": (str | None, "lists of names, or null"),
        "block": (int | None, "whole numbers or null"),
        BY_LAYER: (int, "mappings from layers to [weight bits, activation bits]"),
    }
    | dict.fromkeys(("scale", "bits", "activation_bits", "weight_bits", "seed", "side_bits", TUNE), WHOLE)
)
LIMITS = dict.fromkeys(FIELDS, 2**15) | {"seed": 2**32}  # of int16 columns, and of numpy's seeds
Grid = Mapping[str, Sequence] | Sequence[Mapping[str, Sequence]]


@dataclasses.dataclass(frozen=True)
class Choice:
    """One configuration of a sweep in plain values, which `config` checks.

    network: the name of a bundled one, or a checkpoint's path. layers: names, or () for the network's scope.
    tune: steps of `core.tune_ranges`, 0 for none. The other fields: as in `core.QuantConfig`, whose
    `universal_set` is (words, terms) here.
    """

    network: str
    scale: int
    layers: tuple[str, ...] = ()
    method: str = "dfsq-exact"
    activation_bits: int = 4
    weight_bits: int = 4
    universal_set: tuple[int, int] = (4, 4)
    selector: str | None = None
    seed: int = 0
    normalization: str | None = None
    levels: str | None = None
    ranges: str | None = None
    weights: str | None = None
    refine: tuple[str, ...] | None = None
    block: int | None = None
    side_bits: int = 16
    layer_bits: tuple[tuple[str, int, int], ...] = ()
    tune: int = 0

    def config(self) -> QuantConfig:
        """Return the `QuantConfig`; ValueError, with its reason, if there is none."""
        values = {name: getattr(self, name) for name in QUANTIZATION}
        return QuantConfig(**values | {"universal_set": UniversalSet(*self.universal_set)})


class Networks:
    """The networks of a sweep, each loaded once; checkpoints with this `res_scale` if it is given.

    given: name -> (network, scale) of others, which are there already.
    """

    def __init__(
        self, res_scale: float | None = None, given: Mapping[str, tuple[nn.Module, int]] | None = None
    ):
        self._res_scale = res_scale
        self._given = {name: scale for name, (_, scale) in (given or {}).items()}
        self._loaded = {(name, scale): model for name, (model, scale) in (given or {}).items()}

    def scales(self, network: str) -> list[int]:
        """Return the scales of a bundled network, or that of a checkpoint; ValueError if it is unknown."""
        if network in self._given:
            return [self._given[network]]
        if Path(network).suffix:
            model = load_checkpoint(Path(network).expanduser(), self._res_scale)
            self._loaded[network, model.scale] = model
            return [model.scale]
        found = [scale for name, scale in bundled() if name == network]
        if not found:
            there = ", ".join(dict.fromkeys(name for name, _ in bundled()))
            raise ValueError(f"no bundled network {network!r}; there are {there}, and paths of checkpoints")
        return found

    def model(self, network: str, scale: int) -> nn.Module:
        """Return the network in eval mode; `scale` is one of `scales(network)`."""
        if (network, scale) not in self._loaded:
            self._loaded[network, scale] = create_model(network, scale)
        return self._loaded[network, scale]

    def layers(self, network: str, scale: int) -> list[str]:
        """Return the names of the layers that are quantized by default."""
        return choose_layers(self.model(network, scale), None, torch.zeros(1, 3, 24, 24))[0]


def expand(grid: Grid, networks: Networks) -> dict[Choice, list[str] | None]:
    """Return every configuration of the grid with the names of its images (None: all images).

    grid: field -> values, or a list of such grids, which are joined. Fields are those of `QuantConfig` (with
    (words, terms) for a universal set), `bits` for weights and activations alike, `tune` (steps of tuned
    ranges, for methods that have such), `network`, `scale` (by default every one that the network has),
    `images`, and `layers`: "all", "each" alone, a name, or a list of names. Fields that do not matter to a
    method are not varied for it. ValueError for an unknown field, network or scale, and for more than
    `MAX_RUNS`, before they are listed; an invalid configuration is found by `Choice.config`.
    """
    found: dict[Choice, list[str] | None] = {}
    grids = [grid] if isinstance(grid, Mapping) else grid
    if not isinstance(grids, list | tuple):
        raise ValueError(f"a grid must be a mapping from fields to lists, got {type(grid).__name__}")
    for part in grids:
        _check(part)
    check_number(sum(math.prod(map(len, part.values())) for part in grids))
    for part in grids:
        images = list(map(str, part["images"])) if "images" in part else None
        for choice in _choices(part, networks):
            before = found.get(choice, [])
            merged = None if images is None or before is None else list(dict.fromkeys([*before, *images]))
            found[choice] = merged
            check_number(len(found))
    if not found:
        raise ValueError("the grid is empty; give it at least network and method")
    return found


def check_number(runs: int) -> None:
    """Raise ValueError for more runs than a sweep may have."""
    if runs > MAX_RUNS:
        raise ValueError(
            f"the grid stands for {runs:,} runs or more and a sweep has at most {MAX_RUNS:,}; give fewer "
            "values of a field, or several sweeps"
        )


def _check(part: Mapping[str, Sequence]) -> None:
    if not isinstance(part, Mapping):
        raise ValueError(
            f"a grid must be a mapping from fields to lists, got {type(part).__name__}; write such lines as "
            "network: [edsr]"
        )
    unknown = [str(name) for name in part if name not in FIELDS]
    if unknown:
        raise ValueError(f"no field {', '.join(unknown)} in a grid; there are {', '.join(FIELDS)}")
    if "network" not in part:
        raise ValueError("the grid needs network, a list such as [edsr]")
    if "bits" in part and {"activation_bits", "weight_bits"} & set(part):
        raise ValueError("bits stands for weights and activations alike; give it or the two, not both")
    for name, values in part.items():
        if not isinstance(values, list | tuple) or not values:
            plain = isinstance(values, str | int | float)
            came = f"{values!r:.80}; write [{values!s:.80}]" if plain else type(values).__name__
            raise ValueError(f"{name} must be a list of at least one value, got {came}")
        for value in values:
            _check_value(name, value)


def _check_value(name: str, value) -> None:
    """Raise ValueError for a value that a row cannot hold; `Choice.config` checks the rest."""
    kind, wanted = KINDS[name]
    if name == BY_LAYER:
        _check_layer_bits(value, wanted)
        return
    items = value if name in LISTS and isinstance(value, list | tuple) else [value]
    for item in items:
        if not (item is None or isinstance(item, str | int | float | Path | UniversalSet)):
            raise ValueError(
                f"{name} must be a list of plain values, or of lists of such, got {type(item).__name__}"
            )
        if isinstance(item, bool) or not isinstance(item, kind):
            hint = "; YAML reads yes, no, on and off as true and false" if isinstance(item, bool) else ""
            raise ValueError(f"{name} must be {wanted}, got {item!r:.80}{hint}")
        if isinstance(item, int) and not 0 <= item < LIMITS[name]:
            raise ValueError(f"{name} must be {wanted} from 0 to {LIMITS[name] - 1:,}, got {item!r:.80}")
        if isinstance(item, str) and not item.isprintable():
            raise ValueError(
                f"{name} has {item!r:.80}, where YAML took a \\ for more; write it in single quotes"
            )


def _check_layer_bits(value, wanted: str) -> None:
    """Raise ValueError for what does not give two whole numbers to every layer that it names."""
    fits = isinstance(value, Mapping) and all(
        isinstance(layer, str)
        and layer.isprintable()
        and isinstance(bits, list | tuple)
        and len(bits) == 2
        and all(type(own) is int for own in bits)
        for layer, bits in value.items()
    )
    if not fits:
        raise ValueError(f"{BY_LAYER} must be {wanted}, such as {{conv2: [8, 4]}}, got {value!r:.80}")


def _choices(part: Mapping[str, Sequence], networks: Networks) -> Iterable[Choice]:
    varied = [name for name in ("bits", *QUANTIZATION, TUNE) if name in part]
    values = [[_plain(name, value) for value in part[name]] for name in varied]
    for network, scale in _networks(part, networks):
        layers = list(_layers(part.get("layers", [ALL]), networks, network, scale))
        for chosen in itertools.product(layers, *values):
            own = dict(zip(("layers", *varied), chosen, strict=True))
            if "bits" in own:
                own["activation_bits"] = own["weight_bits"] = own.pop("bits")
            yield _normalized(Choice(network, scale, **own))


def _networks(part: Mapping[str, Sequence], networks: Networks) -> Iterable[tuple[str, int]]:
    for network in part["network"]:
        there = networks.scales(str(network))
        wanted = [scale for scale in there if scale in part.get("scale", there)]
        if not wanted:
            raise ValueError(f"{network} is there at scale {there}, not at {list(part['scale'])}")
        yield from ((str(network), scale) for scale in wanted)


def _layers(values: Sequence, networks: Networks, network: str, scale: int) -> Iterable[tuple[str, ...]]:
    for value in values:
        if value == ALL:
            yield ()
        elif value == EACH:
            yield from ((name,) for name in networks.layers(network, scale))
        else:
            yield _tuple(value)


def _tuple(value) -> tuple:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _plain(name: str, value):
    """Return a value of the grid as `Choice` holds it: hashable, and equal for all ways of writing it."""
    if isinstance(value, UniversalSet):
        return value.words, value.terms
    if name == "universal_set" and not (isinstance(value, list | tuple) and len(value) == 2):
        raise ValueError(f"a universal set is given as [words, terms], got {value!r}")
    if name == BY_LAYER:
        return tuple(sorted((layer, *bits) for layer, bits in value.items()))
    return _tuple(value) if name in LISTS and value is not None else value


def _normalized(choice: Choice) -> Choice:
    """Set the fields that do not matter to their defaults, so that equal configurations compare equal."""
    try:
        config = choice.config()
    except ValueError:
        return choice  # it becomes a row with the reason
    recipe, idle = config.recipe, []
    if recipe.levels != "subset":
        idle.append("selector")
        if recipe.weights != "subset" and recipe.normalization not in ("image", "block"):
            idle.append("universal_set")
    if recipe.levels != "uniform":
        idle.append("ranges")
    if recipe.normalization != "block":
        idle.append("block")
    if not recipe.dynamic:
        idle.append("side_bits")
    if not is_tunable(config):
        idle.append(TUNE)
    default = {field.name: field.default for field in dataclasses.fields(Choice)}
    # The selector is stated even if it is the method's own.
    known = {} if "selector" in idle else {"selector": recipe.selector}
    known[BY_LAYER] = config.layer_bits
    return dataclasses.replace(choice, **known | {name: default[name] for name in idle})
