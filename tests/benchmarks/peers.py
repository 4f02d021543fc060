"""The same work by other libraries: PSNR lost on Set5, seconds, and time of a forward against float.

    python tests/benchmarks/peers.py --images ../BENCHMARKS/Set5 --calibration PHOTOS

EDSR x2 (both convs of every residual block) and XLSR x3 (every conv), 32 calibration patches. It runs those
libraries that are installed (torchao's PT2E, brevitas, ONNX Runtime), says which it leaves out and why, and
prints a table in Markdown. AIMET and NNCF are not tried: they need another torch than this project's.
"""

import argparse
import copy
import importlib.util
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from measure import seconds
from torch import nn

import core
from core.images.folders import load_folder, paired_folder
from core.ptq.calibration import PATCHES, calibration_patches, patch_size
from core.ptq.scope import choose_layers

NETWORKS = (("edsr", 2, (8, 6, 4, 2)), ("xlsr", 3, (8, 4)))
OURS = ("minmax", "mse", "mse+", "dfsq", "dfsq+", "mx")


def ours(method):
    def quantized(model, patches, layers, bits):
        return core.quantize_model(model, patches, core.QuantConfig(method, bits, bits))

    return quantized


def brevitas(search):
    """Static, weights per channel, activations per tensor; `search`: ranges of least squared error."""

    def quantized(model, patches, layers, bits):
        from brevitas.graph.calibrate import calibration_mode
        from brevitas.graph.quantize import layerwise_quantize
        from brevitas.nn import QuantConv2d
        from brevitas.quant import scaled_int

        weight = scaled_int.Int8WeightPerChannelFloatMSE if search else scaled_int.Int8WeightPerChannelFloat
        act = scaled_int.Int8ActPerTensorFloatMSE if search else scaled_int.Int8ActPerTensorFloat
        how = {"input_quant": act, "weight_quant": weight, "bias_quant": None, "return_quant_tensor": False}
        how |= {"input_bit_width": bits, "weight_bit_width": bits}
        others = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and n not in layers]
        network = layerwise_quantize(model, {nn.Conv2d: (QuantConv2d, how)}, name_blacklist=others).eval()
        with torch.no_grad(), calibration_mode(network):
            for batch in patches.split(8):
                network(batch)
        return network

    return quantized


def torchao(histogram):
    """PT2E with a quantizer of our scope: affine per tensor, weights symmetric per channel."""

    def quantized(model, patches, layers, bits):
        from torchao.quantization.pt2e import (
            HistogramObserver,
            MinMaxObserver,
            PerChannelMinMaxObserver,
            move_exported_model_to_eval,
        )
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, QuantizationSpec, Quantizer

        act = QuantizationSpec(
            torch.uint8,
            HistogramObserver if histogram else MinMaxObserver,
            0,
            2**bits - 1,
            torch.per_tensor_affine,
        )
        weight = QuantizationSpec(
            torch.int8,
            PerChannelMinMaxObserver,
            -(2 ** (bits - 1)),
            2 ** (bits - 1) - 1,
            torch.per_channel_symmetric,
            ch_axis=0,
        )

        class Scope(Quantizer):
            def annotate(self, graph):
                for node in graph.graph.nodes:
                    if node.op != "call_function" or "conv2d" not in str(node.target):
                        continue
                    name = list(node.meta["nn_module_stack"].values())[-1][0].removeprefix("L['self'].")
                    if name in layers:
                        node.meta["quantization_annotation"] = QuantizationAnnotation(
                            {node.args[0]: act, node.args[1]: weight}, _annotated=True
                        )
                return graph

            def validate(self, graph):
                pass

        height, width = torch.export.Dim("height", min=8), torch.export.Dim("width", min=8)
        example = patches[:1]
        shapes = ({2: height, 3: width},)
        prepared = prepare_pt2e(
            torch.export.export(model, (example,), dynamic_shapes=shapes).module(), Scope()
        )
        with torch.no_grad():
            for image in patches.split(1):
                prepared(image)
        found = convert_pt2e(prepared)
        move_exported_model_to_eval(found)
        return found

    return quantized


def onnxruntime(model, patches, layers, bits):
    if bits != 8:
        raise ValueError("static quantization of 8 bits alone")
    chosen = (
        None if set(layers) == {n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)} else layers
    )
    proto = core.quantize_int8(model, patches, layers=chosen, equalize=False)
    return core.OnnxNetwork(proto)


def outcome(quantized, pairs, scale):
    scores = []
    with torch.no_grad():
        for pair in pairs:
            scores.append(core.psnr_y(quantized(pair.lr).clamp(0, 1), pair.hr, border=scale))
    return float(np.mean(scores))


@torch.no_grad()
def forward_ratio(network, model, image):
    """Time of a quantized forward over the float one's, in turns, so that a busy moment meets both."""
    times = [[seconds(lambda n=n: n(image), 1) for n in (network, model)] for _ in range(5)]
    quantized, bare = (min(column) for column in zip(*times, strict=True))
    return quantized / bare


def rows():
    """Name, kind, package and function of each contender."""
    yield from (
        (f"here: {m}", "dynamic" if core.METHODS[m].dynamic else "static", "core", ours(m)) for m in OURS
    )
    yield "brevitas, default", "static", "brevitas", brevitas(False)
    yield "brevitas, mse", "static", "brevitas", brevitas(True)
    yield "torchao PT2E, min–max", "static", "torchao", torchao(False)
    yield "torchao PT2E, histogram", "static", "torchao", torchao(True)
    yield "ONNX Runtime, min–max", "static, real INT8", "onnxruntime", onnxruntime


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--images", type=Path, required=True, help="folder with x2/ and x3/, each HR/ and LR/"
    )
    parser.add_argument("--calibration", type=Path, required=True, help="folder of HR images")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of the other libraries
    photographs = load_folder(args.calibration)
    for name, scale, widths in NETWORKS:
        model = core.create_model(name, scale)
        pairs = list(paired_folder(args.images / f"x{scale}", scale))
        lr = [core.make_lr(image, scale) for image in photographs]
        patches = calibration_patches(lr, PATCHES, patch_size(scale))
        layers = choose_layers(model, None, patches[:1])[0]
        reference = outcome(model, pairs, scale)
        image = torch.rand(1, 3, 256, 256)
        print(f"\n{name} x{scale}, float {reference:.2f} dB, {torch.get_num_threads()} threads\n")
        print(f"| | | {' | '.join(f'W{b}A{b}' for b in widths)} | s | forward / float |")
        print(f"|---|---|{'---:|' * (len(widths) + 2)}")
        for title, kind, package, quantize in rows():
            if importlib.util.find_spec(package) is None:
                print(f"| {title} | {kind} | not installed {'| ' * (len(widths) + 2)}|")
                continue
            cells, spent, ratio = [], 0.0, float("nan")
            for bits in widths:
                start = time.perf_counter()
                try:
                    network = quantize(copy.deepcopy(model), patches, layers, bits)  # some work in place
                    spent = time.perf_counter() - start
                    cells.append(f"{reference - outcome(network, pairs, scale):.2f}")
                    ratio = forward_ratio(network, model, image)
                except Exception as error:
                    cells.append(
                        "–" if isinstance(error, ValueError) else f"failed: {str(error).splitlines()[0][:60]}"
                    )
            print(f"| {title} | {kind} | {' | '.join(cells)} | {spent:.0f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
