"""What a person has chosen, as a small, serialisable object that the URL can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import param

from core import METHODS, SELECTORS, QuantConfig, UniversalSet
from core.analysis.allocation import UNITS
from core.deploy.representative import STRATEGIES
from core.ptq.config import FLOAT
from core.ptq.methods import EVERY_METHOD, TRAINED, Method
from core.qat.config import REGULARIZERS, VERSIONS, OdmConfig
from explorer.choices.catalog import (
    BUNDLED,
    IMAGE_NAMES,
    NETWORK_NAMES,
    Catalog,
    layer_channels,
    trained,
    without_truth,
)
from explorer.choices.help import HELP
from explorer.choices.layer_bits import TEXT, Bits, read
from explorer.choices.region import CENTRE, REGION
from explorer.choices.sources import is_own

BITS = [2, 3, 4, 5, 6, 7, 8]
FROM_SUBSET = [name for name, method in METHODS.items() if method.levels == "subset"]
OF_METHOD = "default"  # selector: the method's own
DEFAULT_METHOD = "dfsq-exact"
TABS = ["explore", "methods", "layers", "training", "sweep", "deployment"]
EXPLORE, METHODS_TAB, LAYERS, TRAINING, SWEEP, DEPLOYMENT = TABS
OWN_RUN = "own"  # run: the visitor's
SAME = 0  # weight_bits: as many as the activations
SLIDER = "slider"  # the picture at the bits of the slider
HAND = "hand"  # the picture with points by hand
PICTURES = {
    "HR": "hr",
    "Bicubic": "bicubic",
    "Float": "float",
    "Sliders' bits": SLIDER,
    "By hand": HAND,
} | {f"{bits} bits": str(bits) for bits in BITS}
SNAPS = {"set": "values of the set", "grid": "any step of its grid"}
BELOW = {"from the original": "hr", "from float": "float", "none": ""}  # the difference below a picture
ENGINES = {"ONNX Runtime": "onnx", "LiteRT": "litert"}
FILE_SIZES = {name.replace("x", "×"): name for name in ("64x64", "128x128", "180x320", "360x640")}
LARGE = "large"  # of DETAILS: two pictures large, in place of the row of small ones
DETAILS = [
    *("files", "set", "float", "words", "export", LARGE),
    *(
        "spread",
        "by image",
        "mismatch",
        "selectors",
        "terms",
        "by hand",
        "protocol",
        "budgets",
        "layer costs",
    ),
]


def with_nearest(bits: list[int], chosen: int) -> list[int]:
    """Replace the one of `bits` that is nearest to `chosen`, of two the lower, so that as many stay.

    >>> with_nearest([2, 4, 8], 5)
    [2, 5, 8]
    """
    nearest = min(bits, key=lambda b: (abs(b - chosen), b), default=None)
    return sorted({chosen, *bits} - ({nearest} - {chosen}))


def trained_methods(network: str) -> list[str]:
    """List the training methods that the network is bundled with, besides float."""
    return list(dict.fromkeys(weights.rpartition("-")[0] for weights in trained(network)))


class ExplorerState(param.Parameterized):
    """The choices that decide every view, among what a catalogue holds (its keys must be held)."""

    network = param.Selector(default="edsr_x2", objects=NETWORK_NAMES, doc=HELP["network"])
    image = param.Selector(objects=IMAGE_NAMES, doc=HELP["image"])
    region = param.String(CENTRE, regex=REGION, doc=HELP["region"])
    activation_bits = param.Integer(4, bounds=(BITS[0], BITS[-1]), doc=HELP["activation_bits"])
    weight_bits = param.Selector(default=SAME, objects=[SAME, *BITS, FLOAT], doc=HELP["weight_bits"])
    method = param.Selector(default=DEFAULT_METHOD, objects=list(METHODS), doc=HELP["method"])
    words = param.Integer(4, bounds=(1, 5), doc=HELP["words"])
    terms = param.Integer(4, bounds=(2, 5), doc=HELP["terms"])
    selector = param.Selector(
        objects=[OF_METHOD, *(name for name in SELECTORS if name != "exhaustive")],
        doc=HELP["selector"],
    )
    layer = param.Selector(objects=[None], doc=HELP["layer"])
    channel = param.Integer(0, bounds=(0, 0), doc=HELP["channel"])
    float_layers = param.ListSelector(default=[], objects=[], doc=HELP["float_layers"])
    layer_bits = param.String("", regex=TEXT, doc=HELP["layer_bits"])
    budget = param.Integer(100, bounds=(25, 200), doc=HELP["budget"])
    budget_unit = param.Selector(objects=list(UNITS), doc=HELP["budget_unit"])
    compared_bits = param.ListSelector(default=[2, 3, 4, 8], objects=BITS, doc=HELP["compared_bits"])
    references = param.ListSelector(
        default=["bicubic"],
        objects={"HR": "hr", "Bicubic": "bicubic", "Float": "float"},
        doc=HELP["references"],
    )
    below = param.Selector(default="hr", objects=BELOW, doc=HELP["below"])
    details = param.ListSelector(default=[], objects=DETAILS, doc=HELP["details"])
    lesson = param.Integer(0, bounds=(0, 5), doc=HELP["lesson"])
    hand = param.List([], item_type=int, bounds=(0, 2 ** BITS[-1]), doc=HELP["hand"])
    hand_layer = param.Boolean(False, doc=HELP["hand_layer"])
    snap = param.Selector(objects=list(SNAPS), doc=HELP["snap"])
    left = param.Selector(default=SLIDER, objects=PICTURES, doc=HELP["left"])
    calibration = param.ListSelector(default=[], objects=[], doc=HELP["calibration"])
    tab = param.Selector(objects=TABS, doc=HELP["tab"])
    methods = param.ListSelector(
        default=[DEFAULT_METHOD, "dfsq+", "minmax", "percentile"],
        objects=list(METHODS),
        doc=HELP["methods"],
    )
    large = param.Selector(default=DEFAULT_METHOD, objects=["hr", "float", *EVERY_METHOD], doc=HELP["large"])
    beside = param.Selector(objects=["reference", "difference"], doc=HELP["beside"])
    box = param.List([], item_type=int, bounds=(0, 4), doc=HELP["box"])
    spot = param.List([], item_type=int, bounds=(0, 2), doc=HELP["spot"])
    direction = param.Selector(objects=["row", "column"], doc=HELP["direction"])
    strategy = param.Selector(default="coverage+crop", objects=list(STRATEGIES), doc=HELP["strategy"])
    representatives = param.Integer(64, bounds=(8, 200), doc=HELP["representatives"])
    engines = param.ListSelector(default=["onnx"], objects=ENGINES, doc=HELP["engines"])
    file_size = param.Selector(default="180x320", objects=FILE_SIZES, doc=HELP["file_size"])
    right = param.Selector(default="float", objects=PICTURES, doc=HELP["right"])

    run = param.Selector(default=OWN_RUN, objects=[OWN_RUN], doc=HELP["run"])
    moment = param.Integer(100, bounds=(0, 100), doc=HELP["moment"])
    train_version = param.Selector(objects=list(VERSIONS), doc=HELP["train_version"])
    train_bits = param.Integer(2, bounds=(2, 8), doc=HELP["train_bits"])
    train_regularizer = param.Selector(
        default="cooperative",
        objects=list(REGULARIZERS),
        doc=HELP["train_regularizer"],
    )
    train_correction = param.Boolean(True, doc=HELP["train_correction"])
    train_offsets = param.Boolean(False, doc=HELP["train_offsets"])
    train_steps = param.Integer(200, bounds=(50, 5000), doc=HELP["train_steps"])

    sweep = param.String("bundled", regex=r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,39}\Z", doc=HELP["sweep"])

    def __init__(self, catalog: Catalog = BUNDLED, **choices):
        first = {"network": next(iter(catalog.networks), None), "image": next(iter(catalog.images), None)}
        chosen = {name: choices.pop(name, default) for name, default in first.items()}
        super().__init__(**choices)
        self.catalog = catalog
        self._had_to_leave = True  # the recorded run, for a network that has none: the next that has shows it
        with param.discard_events(self):
            self.offer_uploads({}, {})
            self.param.update(**chosen)  # ValueError for what is not in the catalogue
        self._follow_image()
        self._follow_network()
        if "run" in choices:
            self.run = choices["run"]

    def choose(self, choices: Mapping[str, Any]) -> None:
        """Set choices by name, in an order in which they can be; ValueError for an unknown one."""
        if unknown := [name for name in choices if name not in FIELDS]:
            raise ValueError(f"there is no choice named {', '.join(unknown)}; there are {', '.join(FIELDS)}")
        for name in sorted(choices, key=FIELDS.index):
            setattr(self, name, choices[name])

    def offer_uploads(self, networks: dict[str, str], images: dict[str, str]) -> None:
        """Offer uploaded files, label -> key, after the catalogue's; a missing choice becomes the first."""
        self._offer("network", self.catalog.network_names | networks)
        self._offer("image", self.catalog.image_names | images)
        own = {label: key for label, key in self.param.image.names.items() if is_own(key)}
        self.calibration = [key for key in self.calibration if key in own.values()]
        self.param.calibration.objects = own

    @param.depends("image", watch=True)
    def _follow_image(self) -> None:
        there = {name: key for name, key in PICTURES.items() if key != "hr" or not without_truth(self.image)}
        for side in ("left", "right"):
            self._offer(side, there)

    @param.depends("network", watch=True)
    def _follow_network(self) -> None:
        self._offer_layers()  # before a method that is gone makes others look at the layer
        self._offer_trained()

    def _offer_trained(self) -> None:
        methods = [*METHODS, *trained_methods(self.network)]
        self._offer("method", dict(zip(methods, methods, strict=True)), DEFAULT_METHOD)
        self.methods = [name for name in self.methods if name in methods]
        self.param.methods.objects = methods
        runs = trained(self.network)
        recorded = {f"{name.replace('-', ' ').upper()}, recorded": name for name in runs}
        self._had_to_leave |= self.run != OWN_RUN and self.run not in runs
        self._offer("run", recorded | {"your own": OWN_RUN})
        if self._had_to_leave and runs:
            self.run, self._had_to_leave = runs[0], False

    def _offer(self, name: str, objects: dict[str, str], instead: str | None = None) -> None:
        """Set the values of a choice, by label; a missing choice becomes `instead`, or the first."""
        self.param[name].objects = objects
        if getattr(self, name) not in objects.values():
            setattr(self, name, instead or next(iter(objects.values())))

    @param.depends("network", "method", "activation_bits", "weight_bits", watch=True)
    def _forget_layer_bits(self) -> None:
        """Drop bits by layer: they were chosen for another configuration."""
        self.layer_bits = ""

    @param.depends("network", "layer", "method", "words", "terms", "selector", watch=True)
    def _forget_hand(self) -> None:
        """Drop points by hand: they were chosen for another distribution, number or grid."""
        self.hand = []

    @param.depends("activation_bits", "layer_bits", watch=True)
    def _forget_number(self) -> None:
        self._forget_hand()

    @param.depends("channel", watch=True)
    def _forget_channel(self) -> None:
        if not self.hand_layer:
            self.hand = []

    @param.depends("train_version", watch=True)
    def _take_defaults(self) -> None:
        version = VERSIONS[self.train_version]
        self.train_regularizer = version.regularizer
        self.train_correction, self.train_offsets = version.correction, version.offsets

    def _offer_layers(self) -> None:
        names = list(layer_channels(self.network))
        self.param.layer.objects = names
        self.float_layers = [name for name in self.float_layers if name in names]
        self.param.float_layers.objects = names
        if self.layer not in names:
            self.layer = names[0]
        self._offer_channels()

    @param.depends("layer", watch=True)
    def _offer_channels(self) -> None:
        last = layer_channels(self.network)[self.layer] - 1
        self.channel = min(self.channel, last)
        self.param.channel.bounds = (0, last)

    def copy(self) -> ExplorerState:
        """Copy the choices, so that a job may read them while a person goes on."""
        same = ExplorerState(self.catalog)
        for name in ("network", "image"):
            same._offer(name, dict(self.param[name].names))
        same.param.calibration.objects = self.param.calibration.objects
        for name in FIELDS:
            setattr(same, name, getattr(self, name))
        return same

    def shown_bits(self) -> list[int]:
        """List the bit-widths that stand side by side, ascending: the nearest to the slider follows it."""
        return with_nearest(self.compared_bits, self.activation_bits)

    def is_open(self, detail: str) -> bool:
        """Tell whether a part of the page, one of DETAILS, is open."""
        return detail in self.details

    def open(self, detail: str, opened: bool = True) -> None:
        """Open or close a part of the page."""
        self.details = [name for name in DETAILS if (opened if name == detail else name in self.details)]

    def picture_key(self, side: str) -> str | int:
        """Return the picture on that side of the comparison: "hr", "bicubic", "float" or a number of bits."""
        picture = getattr(self, side)
        if picture == SLIDER or (picture == HAND and not self.by_hand()):
            return self.activation_bits
        return int(picture) if picture.isdigit() else picture

    def training(self) -> OdmConfig:
        """Return the configuration of the visitor's own training, as chosen now."""
        return OdmConfig(
            self.train_bits,
            self.train_version,
            self.train_regularizer,
            self.train_correction,
            self.train_offsets,
            self.train_steps,
            patch=24,
        )

    def by_hand(self) -> tuple[int, ...]:
        """Return the valid points by hand: within the grid, and at most `2**bits`."""
        if self.method not in FROM_SUBSET:
            return ()
        most = round(1 / self.universal_set().step)
        return tuple(sorted({m for m in self.hand if abs(m) <= most})[: 2 ** self.own_bits(self.layer)[1]])

    def bits_by_layer(self) -> dict[str, Bits]:
        """Return the bits of weights and activations of each quantized layer; {} while all have the same."""
        found = {} if self.method in TRAINED else read(self.layer_bits, list(layer_channels(self.network)))
        return {layer: bits for layer, bits in found.items() if layer not in self.float_layers}

    def own_bits(self, layer: str) -> Bits:
        """Return the bits of a layer's weights and activations."""
        bits = self.activation_bits
        same = bits if self.weight_bits == SAME else self.weight_bits, bits
        return self.bits_by_layer().get(layer, same)

    def universal_set(self) -> UniversalSet:
        """Return the universal set of the chosen words and terms."""
        return UniversalSet(self.words, self.terms)

    def candidates(self) -> UniversalSet:
        """Return the set that the chosen method's points come from."""
        doubled = EVERY_METHOD[self.method].doubled
        return UniversalSet(self.words, self.terms, doubled)

    def recipe(self) -> Method:
        """Return the ingredients of the chosen method, with the chosen selector."""
        own = EVERY_METHOD[self.method]
        return own if self.selector == OF_METHOD else own._replace(selector=self.selector)

    def configs(self, method: str | None = None, uniform: bool = False) -> Callable[[int], QuantConfig]:
        """Return activation bits -> configuration, as chosen now; it raises ValueError for too small a set.

        At the slider's bits it has the bits by layer, unless another method or `uniform` is asked for. A
        function, so that a job started now is not changed by a slider that moves later.
        """
        by_layer = {} if uniform or method else self.bits_by_layer()
        own, current = tuple((layer, *bits) for layer, bits in by_layer.items()), self.activation_bits
        method, weight_bits = method or self.method, self.weight_bits
        # For other methods set and selector do not matter: the same question, the same answer.
        selector = None if self.selector == OF_METHOD else self.selector
        chosen = (self.universal_set(), selector) if method in FROM_SUBSET else ()

        def config(bits: int) -> QuantConfig:
            weights = bits if weight_bits == SAME else weight_bits
            return QuantConfig(method, bits, weights, *chosen, layer_bits=own if bits == current else ())

        return config


# The network decides which layers there are, the layer which channels, the version the other constants; and
# bits by layer and points by hand are forgotten with what they were chosen for.
_FIRST, _LAST = ["network", "layer", "train_version", "hand_layer"], ["layer_bits", "hand"]
_REST = [name for name in ExplorerState.param if name not in ("name", *_FIRST, *_LAST)]
FIELDS = [*_FIRST, *_REST, *_LAST]  # every choice, in the order in which they can be set one by one
