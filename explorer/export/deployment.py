"""What goes along with the file for a phone: its card, and a script that runs it without this project."""

from __future__ import annotations

import json
from importlib.metadata import version

from explorer.choices.catalog import name_of, scale_of
from explorer.choices.state import ExplorerState
from explorer.export.templates import TEMPLATES
from explorer.jobs.token import Token
from explorer.pipeline import deployment
from explorer.pipeline.activations import network
from explorer.pipeline.deployment import FREES, LITERT, ONNX, Plan

SUFFIXES = {ONNX: "onnx", LITERT: "tflite"}
ENGINE_PACKAGES = {ONNX: "onnxruntime", LITERT: "ai-edge-litert"}
NAMES = {ONNX: "ONNX Runtime", LITERT: "LiteRT"}
MAKERS = {
    ONNX: ("torch", "onnx", "onnxruntime"),
    LITERT: ("torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert"),
}


def compared(plan: Plan, engine: str, engines: tuple[str, ...]) -> tuple[str, ...]:
    """List the variants that are timed in turns with the file of an engine: all that the page compares."""
    return tuple(deployment.variants(plan.network, engines if engine in engines else (*engines, engine)))


def card(
    plan: Plan, engine: str, image: str, region: str, engines: tuple[str, ...], token: Token | None = None
) -> str:
    """Describe the INT8 file of an engine as JSON: what it takes and gives, how it was made, how good it is.

    image, region: what its PSNR is measured on. engines: whose variants are timed in turns with it.
    """
    variant = deployment.offered(plan.network, engine)
    names = compared(plan, engine, engines)
    made = deployment.outcome(plan, variant, image, region, token=token)
    ms = deployment.times(plan, names, token=token)[variant]
    return json.dumps(
        {
            "file": plan.file_name(variant, SUFFIXES[engine]),
            "bytes": made.size,
            "network": name_of(plan.network),
            "scale": scale_of(plan.network),
            "variant": variant,
            "engine": f"{NAMES[engine]} ({ENGINE_PACKAGES[engine]} {version(ENGINE_PACKAGES[engine])})",
            **_ports(plan, engine),
            **_calibration(plan, variant, token),
            "layers": made.graph.layers,
            "conversions between integers and floats": made.graph.conversions,
            f"PSNR against {made.picture.against} / dB": made.picture.psnr,
            "measured on": f"{name_of_image(image)}, region {region}",
            "time / ms": ms,
            "time is": _timing(plan, len(names)),
            "made with": {package: version(package) for package in MAKERS[engine]},
        },
        indent=2,
        ensure_ascii=False,
    )


def script(plan: Plan, engine: str) -> str:
    """Write a script that enlarges a picture by the file of an engine, with nothing of this project."""
    variant = deployment.offered(plan.network, engine)
    return TEMPLATES.get_template(f"run_{engine}.py.jinja").render(
        file=plan.file_name(variant, SUFFIXES[engine]), luma=_channels(plan) == 1
    )


def _channels(plan: Plan) -> int:
    return getattr(network(plan.network), "image_channels", 3)


def _timing(plan: Plan, number: int) -> str:
    """Say how the time of one of so many variants was measured."""
    return (
        f"processor time, median of {deployment.RUNS} forwards at {plan.size[0]}×{plan.size[1]} LR pixels in "
        f"turns with {number - 1} other variants, {deployment.THREADS} thread, where the file was made"
    )


def _ports(plan: Plan, engine: str) -> dict[str, str]:
    """Say what the file takes and gives."""
    channels, scale = _channels(plan), scale_of(plan.network)
    what = "RGB in [0, 1]" if channels == 3 else "luma (BT.601, 16 to 235) / 255"
    if engine == ONNX:
        return {
            "input": f"lr: (N, {channels}, H, W) float32, {what}, H and W free",
            "output": f"sr: (N, {channels}, {scale}H, {scale}W) float32, {what}",
        }
    height, width = plan.size
    return {
        "input": f"lr: (1, {height}, {width}, {channels}) float32, {what}, of this size alone",
        "output": f"sr: (1, {scale * height}, {scale * width}, {channels}) float32, {what}",
    }


def _calibration(plan: Plan, variant: str, token: Token | None) -> dict[str, object]:
    """Say what decided the ranges."""
    found = deployment.outputs(plan, token=token).range
    images = sum(len(batch) for batch in deployment.representatives(plan, token=token))
    return {
        "representative images": f"{images} of {deployment.pool_in_words(plan)}, strategy {plan.strategy}",
        "clip at the end": "removed" if variant in FREES else "the network has none",
        "output range": [found.low, found.high] if found.given is None else None,
        "outputs on the representative images": list(found.given or (found.low, found.high)),
        "advice": found.advice,
    }


def name_of_image(image: str) -> str:
    """Return the name of an image for a text."""
    names = {key: name for name, key in ExplorerState.param.image.names.items()}
    return names.get(image, "an own image")
