"""Write pixel shuffles as DEPTH_TO_SPACE, which the converter never does.

The converter writes a pixel shuffle as seven operators that move values. LiteRT has one operator for it, but
with another order of the channels: the place in the block first, then the colour. So the channels are put in
that order where they are made, in the weights of the convolutions before it, which costs nothing.
"""

from __future__ import annotations

import numpy as np

from core.deploy.litert_files import Graph

MOVES = {"RESHAPE", "TRANSPOSE"}
# Operators whose output channel depends on the same channel of their inputs alone.
BY_CHANNEL = {
    "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "LEAKY_RELU", "PRELU", "QUANTIZE", "DEQUANTIZE",
    "ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM",
}  # fmt: skip


def shuffles_to_depth_to_space(graph: Graph) -> int:
    """Replace the pixel shuffles of the graph where its channels can be reordered, in place; their number."""
    done = 0
    for operator in list(graph.operators):
        if not any(operator is there for there in graph.operators):
            continue  # a part of a shuffle replaced before
        found = _shuffle_ending_in(graph, operator)
        if found is None:
            continue
        chain, block = found
        source, target = chain[0].inputs[0], operator.outputs[0]
        colours = graph.shape(target)[3]
        order = np.arange(colours * block**2).reshape(colours, -1).T.ravel()
        steps = [] if colours == 1 else _reordering(graph, source, order)
        if steps is None:
            continue
        for index, axis in steps:
            _reorder(graph, index, axis, order)
        options = graph.schema.DepthToSpaceOptionsT()
        options.blockSize = block
        place = next(i for i, op in enumerate(graph.operators) if op is chain[0])
        graph.operators.insert(place, graph.operator_like("DEPTH_TO_SPACE", [source], [target], options))
        graph.main.operators = [op for op in graph.operators if not any(op is gone for gone in chain)]
        done += 1
    return done


def _shuffle_ending_in(graph: Graph, operator) -> tuple[list, int] | None:
    """Return the operators that make up a pixel shuffle which ends in this one, and its factor."""
    chain, target = [], operator.outputs[0]
    while operator is not None and graph.kind(operator) in MOVES:
        chain.insert(0, operator)
        block = _factor(graph, chain, operator.inputs[0], target)
        if block:
            return chain, block
        if len(graph.users(operator.inputs[0])) > 1 or graph.is_output(operator.inputs[0]):
            return None
        operator = graph.maker(operator.inputs[0])
    return None


def _factor(graph: Graph, chain: list, source: int, target: int) -> int | None:
    """Return the factor if the moves from source to target are a pixel shuffle; found by moving numbers."""
    before, after = graph.shape(source), graph.shape(target)
    if len(before) != 4 or len(after) != 4 or after[1] % before[1] or after[1] == before[1]:
        return None
    block = after[1] // before[1]
    if after != (1, before[1] * block, before[2] * block, before[3] // block**2):
        return None
    numbers = moved = np.arange(np.prod(before), dtype=np.int32).reshape(before)
    for operator in chain:
        moves = graph.kind(operator) == "TRANSPOSE"
        shape = graph.shape(operator.outputs[0])
        moved = moved.transpose(graph.constant(operator.inputs[1])) if moves else moved.reshape(shape)
    parts = numbers.reshape(*before[:3], after[3], block, block)
    return block if np.array_equal(parts.transpose(0, 1, 4, 2, 5, 3).reshape(after), moved) else None


def _reordering(graph: Graph, index: int, order: np.ndarray) -> list[tuple[int, int]] | None:
    """Return which constants (index, axis) to reorder so that the tensor's channels come in another order.

    None if they cannot be, because something else reads the tensor or an operator mixes its channels.
    """
    values = graph.constant(index)
    if values is not None:
        if values.size == 1 or values.shape[-1] == 1:
            return []
        return [(index, values.ndim - 1)] if values.shape[-1] == len(order) else None
    maker = graph.maker(index)
    if maker is None or len(graph.users(index)) > 1 or graph.is_output(index):
        return None
    if graph.kind(maker) == "CONV_2D":
        return [(maker.inputs[1], 0), *((i, 0) for i in list(maker.inputs)[2:] if i >= 0), (index, -1)]
    if graph.kind(maker) not in BY_CHANNEL or graph.shape(index)[-1] != len(order):
        return None
    steps = [(index, -1)]
    for before in maker.inputs:
        more = _reordering(graph, before, order)
        if more is None or (graph.constant(before) is None and graph.shape(before) != graph.shape(index)):
            return None
        steps += more
    return steps


def _reorder(graph: Graph, index: int, axis: int, order: np.ndarray) -> None:
    """Reorder the values of a constant along the axis, and its scales by channel."""
    values, scales = graph.constant(index), graph.tensor(index).quantization
    if values is not None:
        graph.store(index, values.take(order, axis))
    if values is not None and scales is not None and scales.scale is not None and len(scales.scale) > 1:
        scales.scale = np.asarray(scales.scale)[order].tolist()
        scales.zeroPoint = np.asarray(scales.zeroPoint)[order].tolist()
