"""The variants of a network that `core.commands.cfqp` compares: engine, clip and representative images."""

from core.deploy.representative import STRATEGIES

FLOAT, CLIP, UNFOLDED, FREE = "float", "INT8 with clip", "INT8 with clip, not folded", "INT8 clip-free"
# The changed images are also measured with the clip, which shows their own effect.
VARIANTS = [
    (FLOAT, ""), (CLIP, "random"), (CLIP, "coverage+crop"), (UNFOLDED, "random"),
    *((FREE, name) for name in STRATEGIES),
]  # fmt: skip
PHONE = "LiteRT "  # begins the variants of that engine
PHONE_FLOAT, PHONE_FREE = f"{PHONE}float", f"{PHONE}INT8 clip-free"
# What becomes of the clip -> the argument `clip` of `quantize_litert`.
PHONE_CLIPS = {
    f"{PHONE}INT8, clip folded": "folded",
    f"{PHONE}INT8, clip as converted": "float",
    f"{PHONE}INT8, clip on integers": "integer",
}
PHONE_BEHIND = f"{PHONE}INT8, clip behind the shuffle"
PHONE_VARIANTS = [
    (PHONE_FLOAT, ""), *((variant, "random") for variant in PHONE_CLIPS), (PHONE_BEHIND, "random"),
    (PHONE_FREE, "random"), (PHONE_FREE, "coverage+crop"),
]  # fmt: skip
