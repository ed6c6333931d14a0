"""Pools: every definition leaves open, or got wrong once, which windows count; here they are those of runtimes."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from synap_core.api import Attribute
from synap_frontend_onnx.importer.call import Call
from synap_frontend_onnx.importer.registry import UnsupportedError, operator
from synap_frontend_onnx.pooling import Axis, axes_of, is_dilated, padded_for_strides


@operator("AveragePool", since=7)
@operator("LpPool", since=7)
@operator("MaxPool", since=7)
def pool(call: Call) -> list[ir.Value]:
    """A last window that begins behind the input is left out, as runtimes do in all versions."""
    if call.dtype() == ir.DataType.BFLOAT16:
        msg = f"{call.op_type} of bfloat16 needs operator set 22"
        raise UnsupportedError(msg)
    return call.final(call.op_type, call.inputs, pool_options(call))


def pool_options(call: Call, *, overhang_counts: bool = False) -> dict[str, Attribute]:
    """The attributes; without ``ceil_mode`` where definition and runtimes differ about it, with other padding instead.

    Args:
        call: The pool.
        overhang_counts: An average that counts the padding also counts what hangs over behind the padding.

    Raises:
        UnsupportedError: There is no such padding.
    """
    options = call.options()
    axes = axes_of(call.shape()[2:], options)
    if axes is None:
        return options
    begins = [axis.begin for axis in axes]
    if padded_for_strides(options):
        if not is_dilated(options):
            return _undilated(call, options, axes)
        options = _with_pads(options, begins, [axis.end for axis in axes])
    hangs_over = any(axis.count != axis.whole for axis in axes)
    include = bool(call.integer("count_include_pad", 0)) and hangs_over
    if not any(axis.leaves_out for axis in axes) and not (include and overhang_counts):
        return options
    if include and not overhang_counts:
        msg = "its windows hang over the end of the padding, which counts, or begin in it"
        raise UnsupportedError(msg)
    ends = [_end(axis) for axis in axes]
    if any(end >= axis.kernel for end, axis in zip(ends, axes, strict=True)):
        msg = f"its windows hang over the end so far that {ends} items of padding would be needed"
        raise UnsupportedError(msg)
    del options["ceil_mode"]
    return _with_pads(options, begins, ends)


def _undilated(call: Call, options: dict[str, Attribute], axes: Sequence[Axis]) -> dict[str, Attribute]:
    """The attributes where only the strides shrink the result; ``ceil_mode`` changes nothing there.

    Raises:
        UnsupportedError: The strides of a MaxPool are so large that runtimes disagree where its windows begin.
    """
    options = {name: value for name, value in options.items() if name not in ("ceil_mode", "dilations")}
    spare = max(axis.dim - (axis.whole - 1) * axis.stride - axis.kernel for axis in axes)
    if call.op_type != "MaxPool" or spare <= 0:
        return options
    if spare > (1 if options["auto_pad"] == "SAME_UPPER" else 2):
        msg = f"its strides leave out {spare} items, and auto_pad {options['auto_pad']} does not say on which side"
        raise UnsupportedError(msg)
    return _with_pads(options, [axis.begin for axis in axes], [axis.end for axis in axes])


def _end(axis: Axis) -> int:
    """Padding behind with which all windows fit, and there are no more of them."""
    if axis.count == axis.whole:
        return axis.end
    return (axis.count - 1) * axis.stride + axis.extent - axis.dim - axis.begin


def _with_pads(options: dict[str, Attribute], begins: list[int], ends: list[int]) -> dict[str, Attribute]:
    return {name: value for name, value in options.items() if name != "auto_pad"} | {"pads": [*begins, *ends]}
