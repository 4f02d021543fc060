"""The glossary of the words on the page, and of the methods."""

from html import escape

from explorer.choices.help import METHOD_HELP

WORDS = {
    "activation": "A number that one layer hands to the next: a pixel of a feature map. It differs from "
    "image to image, unlike a weight, which training fixed.",
    "bits": "A quantized number is one of 2 to the power of its bits: 16 values at 4 bits.",
    "W4A4": "Weights of 4 bits, activations of 4 bits. W32 or A32: not quantized.",
    "effective bits": "Bits a value with all that is stored beside it: scales, zero points, codebooks. "
    "W4.11 A4.50 is 4.11 bits a weight and 4.50 an activation.",
    "calibration": "The float network runs on a few images, and each layer's activations are counted. Ranges "
    "and points are chosen from these counts, without any training.",
    "normalized": "Shifted and scaled to −1 … 1, per image and channel, before it is rounded. Points are "
    "chosen on this axis, so the same points serve dark and bright images.",
    "signed": "With values on both sides of 0. After a ReLU there are none below it, and no points are "
    "wasted there.",
    "spread": "How far a channel's activations reach: the largest distance from their mean (from 0 after a "
    "ReLU). If channels differ in it, one range fits none of them.",
    "mismatch": "How much the channels of a layer, or its images, differ in mean and in deviation, relative "
    "to the whole layer. 0: all alike, and one range fits. Large: hard to quantize.",
    "universal set": "The values that points are chosen from. Each is the mean of a few words, so a product "
    "with it takes a few shifts and additions. dfsq+ also uses their doubles, up to 1.",
    "words, terms": "A word is one of its terms: 0, 1, or a power of two below 1. More words or more "
    "terms give more and finer values to choose from.",
    "points": "The values that a channel's activations are rounded to.",
    "selector": "How the points are chosen. exact: least squared error. kmeans: cluster centres, "
    "moved to the set, as DFSQ's authors do. greedy: one after the other. The default is kmeans for "
    "dfsq, exact for the others.",
    "layer, channel": "What the figures show: one feature map of a layer's input.",
    "keep float": "Layers that are not quantized.",
    "HR, LR, SR": "The original picture, its reduction that the network gets, and what the network makes "
    "of it: super-resolution.",
    "PSNR": "How close a picture is to the original, in dB; 0.1 dB is hard to see, 1 dB is easy.",
    "SSIM": "How alike the structure of two pictures is, from 0 to 1 for equal ones. Unlike PSNR it looks at "
    "small windows, where blur shows.",
}


def glossary() -> str:
    """Write the glossary as HTML."""
    rows = "".join(f"<dt>{escape(word)}</dt><dd>{escape(text)}</dd>" for word, text in WORDS.items())
    methods = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in METHOD_HELP.items())
    return (
        f"<div class='words'><h2>What the words mean</h2><dl>{rows}</dl>"
        f"<h2>What the methods do</h2><dl>{methods}</dl></div>"
    )
