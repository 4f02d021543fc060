"""What each choice does and when to change it, behind the question marks of the controls; what methods do."""

HELP = {
    "network": "The network that makes the picture large. A larger one gives more dB, and takes longer here",
    "image": "The photograph that the pictures show. The network gets its bicubic reduction; layers "
    "and points do not depend on it",
    "region": "The part of the image that is super-resolved: 128x128 LR pixels around its middle, "
    "another place, or the whole. Take another place to see other structures",
    "activation_bits": "How finely each layer's input is rounded: to 2 to the power of this many "
    "values. Fewer bits save memory and power, and cost picture quality",
    "weight_bits": "How finely the weights are rounded. Take float to see what the activations' bits alone "
    "cost",
    "method": "How ranges, levels and weights are chosen; the glossary has a sentence on each. Compare "
    "them on the tab Methods",
    "words": "How many words are added up to one value of the universal set. More words: more values "
    "to choose from, and more additions in each product",
    "terms": "How many values each word can take. More terms: finer values near 0, at the same number "
    "of additions",
    "selector": "How the points are chosen from the set: exactly, by clusters as DFSQ's authors do, or "
    "one after the other. Change it to see what the exact choice is worth",
    "layer": "The layer whose input the figures show. Pictures do not depend on it. Layers differ: "
    "look at a first and a last one",
    "channel": "The feature map of the layer's input whose points are shown. A tap on the heat map "
    "chooses one, too",
    "float_layers": "Layers that stay as they are. Tick one that hurts most on the tab Layers, and see what "
    "that is worth",
    "layer_bits": "Bits of single layers, as the tab Layers allocates them or a hand sets them; none: every "
    "layer has the sliders' bits",
    "budget": "What the layers may cost together, in percent of what they cost at the sliders' bits. Move it "
    "to give each layer the bits with which the picture is best at that cost",
    "budget_unit": "What the budget counts: bit operations of the layers, or bytes of their weights (then "
    "the activations keep their bits)",
    "compared_bits": "The bit-widths whose pictures stand side by side; the nearest one follows the slider",
    "references": "The pictures beside the quantized ones",
    "below": "What the map below each picture shows: its difference from the original or from float",
    "details": "The parts of the page that are open",
    "lesson": "The question of the tour that was asked last; 0: none yet",
    "hand": "Points chosen by hand, in steps of the universal set's grid; none: the selector's",
    "hand_layer": "Whether your points serve every channel of the layer, or the chosen one alone: one of "
    "many channels changes the picture very little",
    "snap": "Where your points may lie: on the universal set, whose products are cheap, or anywhere "
    "on its grid",
    "left": "The picture on the left of the divider",
    "calibration": "Images of your own whose patches the network is calibrated on; none: the packaged "
    "photographs",
    "tab": "The tab that is open",
    "methods": "The methods whose pictures are shown side by side, all at the bits of the sliders",
    "large": "The method whose picture is large; the first one if it is not among them",
    "beside": "What is beside the large picture",
    "box": "Region: left, top, right, bottom in SR pixels; none: the image",
    "spot": "Middle of the line: x, y in SR pixels; none: the image's",
    "direction": "Whether the luma is drawn along a row or a column. Take the one that crosses the edge",
    "strategy": "How the images are chosen whose outputs decide the INT8 range. coverage+crop keeps the "
    "outputs within [0, 1], so that no clip is needed; random is what most people do",
    "representatives": "How many images INT8 is calibrated on. Fewer are faster, and may miss black or white",
    "engines": "The programs that run the INT8 file. LiteRT is the one on phones; it converts slowly",
    "file_size": "Height × width in LR pixels that are timed. A LiteRT file takes images of this size alone; "
    "an ONNX file takes any",
    "right": "The picture on the right of the divider",
    "run": "The training that is shown: a recorded one, or your own",
    "moment": "The moment of the training that the histogram shows, in percent of its steps",
    "train_version": "How the training quantizes: ODM v2, ODM v1, or PAMS, which learns ranges alone",
    "train_bits": "Bits of weights and activations in your training. Training is worth most at 2 or 3",
    "train_regularizer": "Whether the mismatch is pulled down, too: never, always, or only where that "
    "does not work against the picture (cooperative)",
    "train_correction": "Whether the range of the weights is learned, too. Matters most at 2 bits",
    "train_offsets": "Whether the layers with the largest mismatch get a learned shift or scale for every "
    "channel",
    "train_steps": "How long your training lasts. 200 steps show the effect; papers take 60,000 and more",
    "sweep": "The sweep whose rows the plots show",
}
# One line each, for a list of methods.
METHOD_HELP = {
    "dfsq": "points of the universal set by k-means, per image and channel; as published",
    "dfsq-exact": "dfsq with the best possible points",
    "dfsq+": "dfsq-exact with a doubled set, and weights that compensate for the rounding",
    "dfsq+block": "dfsq+ with its own scale for every 8×8 pixels: half a bit more",
    "uniform+": "as dfsq+, with evenly spaced levels in place of chosen points",
    "uniform+block": "uniform+ with its own scale for every 8×8 pixels",
    "minmax": "even levels from the lowest to the highest value: the simplest",
    "percentile": "even levels that leave out the 0.1 % at each end",
    "mse": "even levels over the range of least squared error",
    "mse-channel": "mse with a range for each channel",
    "mse+": "mse, and weights that compensate for the rounding",
    "2dquant": "a search of both ends of the range; the first stage of 2DQuant",
    "log2": "powers of two: a product is one shift",
    "apot": "sums of two powers of two",
    "piecewise": "dense levels for most values, wide ones for the outliers",
    "daq": "even levels in standard deviations of each image and channel",
    "mx": "blocks of 32 that share a power of two: OCP MX, as new hardware has it",
    "nvfp4": "blocks of 16 that share an 8-bit scale: NVIDIA's 4-bit floats",
    "odm": "ranges and weights learned in training, ODM v2",
    "odm-v1": "ranges and weights learned in training, ODM v1 with its offsets",
    "pams": "ranges learned in training, PAMS",
}
