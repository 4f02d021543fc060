"""The glossary of the words on the controls."""

from html import escape

WORDS = {
    "bits": "A quantized number is one of 2 to the power of its bits: 16 values at 4 bits.",
    "effective bits": "Bits a value with all that is stored beside it: scales, zero points, codebooks. "
    "W4.11 A4.50 is 4.11 bits a weight and 4.50 an activation.",
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
    "PSNR": "How close a picture is to the original, in dB; 0.1 dB is hard to see, 1 dB is easy.",
}


def glossary() -> str:
    """Write the glossary as HTML."""
    rows = "".join(f"<dt>{escape(word)}</dt><dd>{escape(text)}</dd>" for word, text in WORDS.items())
    return f"<div class='words'><h2>What the words mean</h2><dl>{rows}</dl></div>"
