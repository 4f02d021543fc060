"""What the best bits by layer win at the cost of W4A4, and AdaBM's beside them.

    PYTHONPATH=. python tests/benchmarks/allocation.py --networks edsr --methods mse dfsq+ --draws 3 \\
        --images Set5/x{scale} Set14/x{scale} --validation KODAK --calibration PHOTOS --out runs/allocation

Writes dB of PSNR lost to OUT.csv, a row a network, method, draw of calibration patches, way of choosing bits
and test set, and prints means. Rows that are there already are kept: a stopped run continues where it was.
"""

from collections.abc import Iterator

import pandas as pd
import torch
from draws import Rows, parser, setting
from torch import nn

import core
from core.analysis.cost import effective_cost


def ways(
    model: nn.Module, patches: torch.Tensor, config: core.QuantConfig
) -> Iterator[tuple[str, nn.Module]]:
    """Yield the quantized networks by the way in which their bits are chosen."""
    calibration = core.calibrate(model, patches, config)
    chosen = {
        "uniform": config,
        "allocated": core.allocate_bits(model, patches, config),
        "AdaBM, by layer": core.adabm_layer_bits(model, patches, config),
    }
    for name, own in chosen.items():
        yield name, core.quantize_model(model, calibration if own is config else patches, own)
    yield "AdaBM, by layer and image", core.adabm(model, patches, config)


def table(rows: pd.DataFrame) -> str:
    """Write the mean over draws of what each way loses, and its share of what uniform bits lose."""
    means = rows.groupby(["network", "method", "set", "way"], sort=False)["drop"].mean().unstack("way")
    shares = means.div(means["uniform"], axis=0)
    return f"{means.round(3).to_string()}\n\n{shares.round(2).to_string()}"


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--methods", nargs="+", default=["mse", "dfsq+"])
    args = arguments.parse_args()
    rows = Rows(args.out, ["network", "method", "draw"])
    for name in args.networks:
        place = setting(name, args)
        for draw in range(args.draws):
            for method in args.methods:
                if not rows.has(name, method, draw):
                    found = []
                    for way, network in ways(place.model, place.patches(draw), core.QuantConfig(method)):
                        cost = float("nan") if "image" in way else effective_cost(network).bitops / 1e9
                        drops = place.drops(network).items()
                        found += [{"way": way, "set": s, "drop": d, "gbitops": cost} for s, d in drops]
                    rows.add(found, name, method, draw)
    print(table(rows.frame))


if __name__ == "__main__":
    main()
