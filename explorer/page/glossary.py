"""What the words on the controls mean."""

from html import escape

WORDS = {
    "bits": "A quantized number is one of 2 to the power of its bits: 16 values at 4 bits.",
    "effective bits": "Codes and all that goes with them: scales, zero points, codebooks. W4.11 A4.50 is "
    "4.11 bits a weight and 4.50 an activation.",
    "universal set": "The values that points are chosen from. Each is a mean of some words, so a product "
    "with it costs a few shifts and additions. dfsq+ takes their doubles too, up to 1.",
    "words, terms": "Word i is one of its terms: 0, 1, or a power of two, the finer the larger i and the "
    "more terms. More of either, more values to choose from.",
    "points": "The values that a channel's activations are rounded to.",
    "selector": "How they are chosen. exact: least squared error. kmeans: clusters, moved to the set, as "
    "DFSQ's authors do. greedy: one after the other. The default is kmeans for dfsq, exact for the others.",
    "layer, channel": "What the figures show: one of a layer's inputs, a feature map of the network.",
    "keep float": "Layers that are not quantized.",
    "PSNR": "How close a picture is to the original, in dB; 0.1 dB is hard to see, 1 dB is easy.",
}


def glossary() -> str:
    """The words, hidden until they are asked for."""
    rows = "".join(f"<dt>{escape(word)}</dt><dd>{escape(text)}</dd>" for word, text in WORDS.items())
    return f"<details class='note words'><summary>What the words mean</summary><dl>{rows}</dl></details>"
