"""What the cost model is told of an operation of the canonical graph."""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx_ir as ir

from synap_core.api import Group, shape_of
from synap_delegate_npu.cost.layers import (
    SIZES,
    Dtype,
    Kind,
    Map,
    Operation,
    convolution,
    deconvolution,
    elementwise,
    fully_connected,
)
from synap_delegate_npu.support import Part, parts_of

FREE = frozenset({"RESHAPE", "SQUEEZE", "DROPOUT"})
"""Operators that move nothing: they only give a tensor another shape."""

FREE_BEHIND = frozenset({"RELU", "RELUN", "CLIP", "ADD", "SUBTRACT", "MULTIPLY", "DIVIDE", "BATCH_NORM", "POOL"})
"""Operators that cost nothing behind another one of the same operation."""

COPIES = frozenset(
    {"CONCAT", "SLICE", "STRIDED_SLICE", "SPLIT", "STACK", "UNSTACK", "PAD", "REVERSE", "SHUFFLECHANNEL"}
)

TENSOR_PASSES = frozenset({"RESIZE", "UPSAMPLE", "UPSAMPLESCALE", "DEPTH2SPACE", "SPACE2DEPTH"})
"""Operators that the timings show to cost one pass over their tensors, whatever unit the manual names."""

INPUT_CHANNELS = (1, 3)
"""Channels of an input that is brought from NHWC to NCHW at a rate of its own."""

PRODUCT_KINDS = {
    "CONV1D": "convolution",
    "CONV2D": "convolution",
    "GROUPED_CONV1D": "convolution",
    "GROUPED_CONV2D": "convolution",
    "DECONVOLUTION": "deconvolution",
    "DECONVOLUTION1D": "deconvolution",
    "FULLY_CONNECTED": "fully_connected",
}


def workload(group: Group, dtype: str, engine: str) -> tuple[Operation, ...]:
    """Operations of the cost model that a group is; none where it costs nothing.

    Args:
        group: The group; every node is an operator of the hardware.
        dtype: Data type of its tensors.
        engine: Engine that runs it.
    """
    known: Dtype = dtype if dtype in SIZES else "uint8"
    main, *others = parts_of(group)
    found = [*_main(main, known, engine)]
    found += [_pass("tensor", part, known) for part in others if part.record.name not in FREE_BEHIND]
    return tuple(found)


def _main(part: Part, dtype: Dtype, engine: str) -> Iterator[Operation]:
    name = part.record.name
    if name in PRODUCT_KINDS:
        yield _product(part.nodes[0], PRODUCT_KINDS[name], dtype)
    elif name not in FREE:
        yield _pass(_kind(part, engine), part, dtype)


def _kind(part: Part, engine: str) -> Kind:
    name, node = part.record.name, part.nodes[0]
    if name in ("ADD", "SUBTRACT"):
        return "addition"
    if name == "POOL":
        return "pool"
    if name == "PERMUTE" and node.inputs[0] is not None and node.inputs[0].is_graph_input():
        channels = shape_of(node.outputs[0])[1:2]
        return "input_transpose" if channels and channels[0] in INPUT_CHANNELS else "tensor"
    if name in COPIES:
        return "copy"
    if name in ("SOFTMAX", "LOG_SOFTMAX"):
        return "softmax"
    return "tensor" if name in TENSOR_PASSES or engine != "PPU" else "programmable"


def _pass(kind: Kind, part: Part, dtype: Dtype) -> Operation:
    written = sum(math.prod(shape_of(value)) for value in part.nodes[-1].outputs if value.shape is not None)
    inside = set(part.nodes)
    read = dict.fromkeys(
        value
        for node in part.nodes
        for value in node.inputs
        if value is not None and value.const_value is None and value.producer() not in inside
    )
    sizes = [max(math.prod(shape_of(value)), 1) for value in read]
    return elementwise(kind, max(written, 1), inputs=max(len(sizes), 1), read=max(sum(sizes), 1), dtype=dtype)


def _product(node: ir.Node, kind: str, dtype: Dtype) -> Operation:
    data, weights = shape_of(_operand(node, 0)), shape_of(_operand(node, 1))
    result = shape_of(node.outputs[0])
    if kind == "fully_connected":
        inputs = math.prod(weights) // max(result[-1] if node.op_type != "Conv" else result[1], 1)
        outputs = math.prod(weights) // max(inputs, 1)
        return fully_connected(inputs, outputs, batch=max(math.prod(result) // max(outputs, 1), 1), dtype=dtype)
    source, target = _map(data), _map(result)
    kernel, stride = _pair(weights[2:]), _pair(_integers(node, "strides", len(weights) - 2))
    groups, batch = node.attributes.get_int("group", 1), max(data[0], 1)
    describe = convolution if kind == "convolution" else deconvolution
    return describe(source, target, kernel=kernel, stride=stride, groups=groups, batch=batch, dtype=dtype)


def _operand(node: ir.Node, position: int) -> ir.Value:
    value = node.inputs[position]
    if value is None:
        msg = f"{node.op_type} has no operand {position}"
        raise ValueError(msg)
    return value


def _integers(node: ir.Node, name: str, count: int) -> tuple[int, ...]:
    attribute = node.attributes.get(name)
    return tuple(int(n) for n in attribute.as_ints()) if attribute is not None else (1,) * count


def _map(shape: tuple[int, ...]) -> Map:
    height, width = _pair(shape[2:])
    return Map(height, width, shape[1])


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    """Height and width; one axis is the width."""
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])
