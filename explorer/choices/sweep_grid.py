"""The choices of the tab Sweep: the grid of the next sweep, and what the plots show."""

from __future__ import annotations

import param

from core import METHODS, SELECTORS, demo_names
from core.ptq.config import FLOAT
from core.sweep.grid import ALL, EACH
from explorer.choices.catalog import NETWORKS, scale_of
from explorer.choices.state import BITS, OF_METHOD, SAME
from explorer.choices.visitor_files import is_uploaded

SETS = [(words, terms) for words in range(1, 6) for terms in range(2, 6)]
TUNES = [0, 100, 200, 300, 500]  # steps of tuned ranges
MEAN = "mean"  # over the images
FIELDS = {
    "Method": "method",
    "Activation bits": "activation_bits",
    "Weight bits": "weight_bits",
    "Size of the universal set": "set_size",
    "Selector": "selector",
    "Tuned ranges / steps": "tune",
    "Layers": "layers",
    "Network": "network",
    "Image": "image",
}
COSTS = {
    "Size / KiB": "kib",
    "GBitOPs at 1280×720": "gbitops",
    "Effective bits of an activation": "effective_activation_bits",
    "Effective bits of a weight": "effective_weight_bits",
}
VALUES = {"PSNR lost / dB": "drop", "PSNR / dB": "psnr", "SSIM": "ssim"}


class SweepChoices(param.Parameterized):
    """The grid of the next sweep, and what the plots show; serialisable, as all state."""

    networks = param.ListSelector(default=["edsr_x2"], objects=list(NETWORKS))
    methods = param.ListSelector(default=["dfsq-exact", "minmax", "mse"], objects=list(METHODS))
    bits = param.ListSelector(default=[2, 4, 8], objects=BITS, doc="Bits of the activations")
    weight_bits = param.ListSelector(default=[SAME], objects=[SAME, *BITS, FLOAT], doc="Bits of the weights")
    sets = param.ListSelector(default=[(4, 4)], objects=SETS, doc="Words and terms of the universal set")
    selectors = param.ListSelector(
        default=[OF_METHOD], objects=[OF_METHOD, *(name for name in SELECTORS if name != "exhaustive")]
    )
    tunes = param.ListSelector(default=[0], objects=TUNES, doc="Steps by which the ranges are tuned")
    layers = param.ListSelector(default=[ALL], objects=[ALL, EACH])
    images = param.ListSelector(default=demo_names()[:2], objects=demo_names())
    title = param.String("my-sweep", doc="Name under which the sweep is saved")

    shown_network = param.String("edsr_x2", doc="Network of the plots")
    shown_image = param.String(MEAN, doc="Image of the plots, or the mean over all")
    cost = param.Selector(objects=list(COSTS.values()), doc="Cost on the horizontal axis")
    across = param.Selector(default="activation_bits", objects=list(FIELDS.values()))
    down = param.Selector(objects=list(FIELDS.values()))
    value = param.Selector(objects=list(VALUES.values()))

    def offer_uploads(self, networks: dict[str, str], images: dict[str, str]) -> None:
        """Offer uploaded networks and HR images, label -> key, too; what is gone is no longer chosen."""
        for name, bundled, own in (("networks", list(NETWORKS), networks), ("images", demo_names(), images)):
            offered = [*own.values(), *bundled]
            setattr(self, name, [key for key in getattr(self, name) if key in offered])
            self.param[name].objects = offered

    def copy(self) -> SweepChoices:
        """Copy the choices, so that a job may read them while a person goes on."""
        same = SweepChoices()
        for name in ("networks", "images"):
            same.param[name].objects = list(self.param[name].objects)
        values = self.param.values()
        same.param.update(**{name: values[name] for name in values if name != "name"})
        return same

    def own_files(self) -> list[str]:
        """List the uploaded files in the grid: with any, the sweep is the visitor's alone."""
        return [key for key in (*self.networks, *self.images) if is_uploaded(key)]

    def grids(self) -> list[dict[str, list]]:
        """Return the grids as `core.sweep` takes them; ValueError, a sentence, where something is missing."""
        asked = {"network": self.networks, "method": self.methods, "bits": self.bits}
        asked |= {"weight bits": self.weight_bits, "size of the set": self.sets, "selector": self.selectors}
        asked |= {"number of tuning steps": self.tunes, "layers": self.layers, "image": self.images}
        empty = [name for name, chosen in asked.items() if not chosen]
        if empty:
            raise ValueError(f"Choose at least one {empty[0]}.")
        found = []
        for network in self.networks:
            name, scale = (network, scale_of(network)) if is_uploaded(network) else NETWORKS[network]
            common = {"network": [name], "scale": [scale], "method": list(self.methods)}
            selectors = [None if name == OF_METHOD else name for name in self.selectors]
            common |= {"universal_set": list(map(list, self.sets)), "selector": selectors}
            common |= {"tune": list(self.tunes)} if self.tunes != [0] else {}
            common |= {"layers": list(self.layers), "images": list(self.images)}
            if SAME in self.weight_bits:
                found.append(common | {"bits": list(self.bits)})
            others = [bits for bits in self.weight_bits if bits != SAME]
            if others:
                found.append(common | {"activation_bits": list(self.bits), "weight_bits": others})
        return found
