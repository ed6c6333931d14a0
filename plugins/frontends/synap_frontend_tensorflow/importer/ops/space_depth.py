"""Blocks of pixels turned into channels, and back."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.api import shape_of, type_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.layout import Layout, layout_of
from synap_frontend_tensorflow.importer.ops.reshaping import keeps_quant, moved, reshaped
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator


@operator("SpaceToDepth")
def space_to_depth(call: Call) -> ir.Value:
    """Blocks of pixels become channels: those of the first pixel first, row by row."""
    layout, x, block = _operands(call)
    depth, height, width = shape_of(x)[1:]
    if block < 1 or height % block or width % block:
        msg = f"blocks of {block}x{block} of {height}x{width} pixels"
        raise UnsupportedError(msg)
    if type_of(x).dtype == ir.DataType.FLOAT:
        return _left(call, layout, call.emit("SpaceToDepth", x, blocksize=block))
    # Runtimes have the operator for real numbers alone.
    parts = reshaped(call, x, [shape_of(x)[0], depth, height // block, block, width // block, block])
    turned = moved(call, "Transpose", parts, perm=[0, 3, 5, 1, 2, 4])
    whole = [shape_of(x)[0], depth * block * block, height // block, width // block]
    return _left(call, layout, reshaped(call, turned, whole))


@operator("DepthToSpace")
def depth_to_space(call: Call) -> ir.Value:
    """Channels become blocks of pixels: the first channels the first pixel, row by row."""
    layout, x, block = _operands(call)
    depth, height, width = shape_of(x)[1:]
    if block < 1 or depth % (block * block):
        msg = f"blocks of {block}x{block} of {depth} channels"
        raise UnsupportedError(msg)
    if type_of(x).dtype == ir.DataType.FLOAT:
        return _left(call, layout, call.emit("DepthToSpace", x, blocksize=block, mode="DCR"))
    parts = reshaped(call, x, [shape_of(x)[0], block, block, depth // (block * block), height, width])
    turned = moved(call, "Transpose", parts, perm=[0, 3, 4, 1, 5, 2])
    whole = [shape_of(x)[0], depth // (block * block), height * block, width * block]
    return _left(call, layout, reshaped(call, turned, whole))


def _operands(call: Call) -> tuple[Layout, ir.Value, int]:
    """Order of the dimensions, the image with its channels second, and the side of the blocks."""
    layout = layout_of(call)
    x = call.input(0)
    return layout, keeps_quant(x, layout.entered(call, x)), call.integer("block_size")


def _left(call: Call, layout: Layout, value: ir.Value) -> ir.Value:
    """The result in the order of the dimensions, with the quantization of the operand."""
    return keeps_quant(call.input(0), layout.left(call, keeps_quant(call.input(0), value)))
