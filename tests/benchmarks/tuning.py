"""What tuned ranges win back of the loss of 2DQuant's first stage, on images that they never saw.

    PYTHONPATH=. python tests/benchmarks/tuning.py --bits 4 3 --draws 3 --losses 2dquant ptq4sr \\
        --images Set5/x{scale} Set14/x{scale} --validation KODAK --calibration PHOTOS --out runs/tuning

Writes dB of PSNR lost to OUT.csv, a row a network, method, bits, draw of calibration patches, way and test
set, and prints means. Rows that are there already are kept: a stopped run continues where it was.
"""

import time
from collections.abc import Iterator

import pandas as pd
import torch
from draws import Rows, parser, setting
from torch import nn

import core


def ways(
    model: nn.Module, patches: torch.Tensor, config: core.QuantConfig, steps: int, losses: list[str]
) -> Iterator[tuple[str, nn.Module, float]]:
    """Yield the network as calibrated, then one for each loss; each with the seconds that it took."""
    begun = time.monotonic()
    quantized = core.quantize_model(model, patches, config)
    yield "as calibrated", quantized, time.monotonic() - begun
    for loss in losses:
        begun = time.monotonic()
        tuned = core.tune_ranges(model, quantized, patches, steps=steps, loss=loss)
        yield f"tuned, {loss}", tuned, time.monotonic() - begun


def table(rows: pd.DataFrame) -> str:
    """Write the mean over draws of what each way loses, and what share of the loss the tuning wins back."""
    order = ["network", "method", "bits", "set", "way"]
    means = rows.groupby(order, sort=False)["drop"].mean().unstack("way")
    won = 1 - means.div(means["as calibrated"], axis=0)
    return f"{means.round(3).to_string()}\n\n{won.round(2).to_string()}"


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--method", default="2dquant")
    arguments.add_argument("--bits", nargs="+", type=int, default=[4, 3])
    arguments.add_argument("--losses", nargs="+", default=["2dquant"])
    arguments.add_argument("--steps", type=int, default=300)
    args = arguments.parse_args()
    rows = Rows(args.out, ["network", "method", "bits", "draw"])
    for name in args.networks:
        place = setting(name, args)
        for draw in range(args.draws):
            for bits in args.bits:
                if not rows.has(name, args.method, bits, draw):
                    config, found = core.QuantConfig(args.method, bits, bits), []
                    made = ways(place.model, place.patches(draw), config, args.steps, args.losses)
                    for way, network, seconds in made:
                        drops = place.drops(network).items()
                        found += [{"way": way, "set": s, "drop": d, "seconds": seconds} for s, d in drops]
                    rows.add(found, name, args.method, bits, draw)
    print(table(rows.frame))


if __name__ == "__main__":
    main()
