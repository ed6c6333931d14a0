"""What operators need: one predicate per condition, whose docstring is the message and the documentation.

Each gives the offending value of an operation, or None when the condition holds. Those marked (E) are not published:
they are what the published operators, those of TFLite that are mapped to them, have no parameter for.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from synap_core.api import shape_of, type_of
from synap_delegate_npu.support.operation import Operation, number_of, operand, quantization_of, written

REAL = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16})
TRUTH = frozenset({ir.DataType.BOOL})
INDICES = frozenset({ir.DataType.INT32, ir.DataType.INT64})

MAX_KERNEL = 15
"""Height and width of a kernel that the NN cores run alone. Source: SyNAP manual, hardware introduction."""

MAX_RANK = 6
"""Dimensions of a tensor (E): not published; public drivers of the family hold as many."""

SIGNS_OF_8_BITS = {"uint8", "int8"}


def ranks_fit(operation: Operation) -> str | None:
    """Its tensors have at most 6 dimensions (E)."""
    shapes = ((value, shape_of(value)) for value in operation.computed)
    found = next(((value, s) for value, s in shapes if len(s) > MAX_RANK), None)
    return None if found is None else f"{len(found[1])} of {found[0].name!r}"


def int16_is_fixed_point(operation: Operation) -> str | None:
    """Tensors of int16 are dynamic fixed point: the step is a power of two, and zero stands for zero."""
    for value in operation.computed:
        quant = quantization_of(value)
        if quant is None or quant.dtype != "int16" or quant.fractional_length is not None:
            continue
        if any(quant.zero_point) or any(math.frexp(scale)[0] != 0.5 for scale in quant.scale):
            return f"{value.name!r} with scale {quant.scale[0]:g} and zero point {quant.zero_point[0]}"
    return None


def one_kind_of_8_bits(operation: Operation) -> str | None:
    """Its tensors of 8 bits are either all uint8 or all int8."""
    params = [(value, quantization_of(value)) for value in operation.computed]
    found = {quant.dtype: value for value, quant in params if quant is not None and quant.dtype in SIGNS_OF_8_BITS}
    if len(found) < 2:
        return None
    return f"the uint8 {found['uint8'].name!r} and the int8 {found['int8'].name!r}"


def uint8_weights_have_one_scale(operation: Operation) -> str | None:
    """Weights have a scale per channel only for int8 data."""
    weights = operation.operand(1)
    quant = None if weights is None else quantization_of(weights)
    if quant is None or quant.axis is None or len(set(quant.scale)) < 2 or operation.dtype != "uint8":
        return None
    return f"{len(quant.scale)} scales for uint8 data"


def real_tensors(operation: Operation) -> str | None:
    """Its tensors hold real numbers."""
    return _other_type(list(operation.computed), REAL)


def truth_tensors(operation: Operation) -> str | None:
    """Its tensors hold truth values."""
    return _other_type(list(operation.computed), TRUTH)


def real_operands(operation: Operation) -> str | None:
    """Its operands hold real numbers."""
    return _other_type([value for value in operation.node.inputs if value is not None], REAL)


def real_choices(operation: Operation) -> str | None:
    """What it chooses from are real numbers."""
    return _other_type([value for value in operation.node.inputs[1:] if value is not None], REAL)


def real_data(operation: Operation) -> str | None:
    """Its data, unlike its indices, are real numbers."""
    position = 1 if operation.node.op_type == "OneHot" else 0
    indices = operation.operand(1 - position)
    return _other_type([value for value in operation.computed if value is not indices], REAL)


def stored_tensors(operation: Operation) -> str | None:
    """Its tensors hold real numbers, truth values, or integers of 32 or 64 bits."""
    return _other_type(list(operation.computed), REAL | TRUTH | INDICES)


def _other_type(values: list[ir.Value], allowed: frozenset[ir.DataType]) -> str | None:
    other = next((value for value in values if type_of(value).dtype not in allowed), None)
    return None if other is None else f"{type_of(other).dtype.name.lower()} in {other.name!r}"


def parameters_are_constant(operation: Operation) -> str | None:
    """Its operands behind the first one are constants."""
    return operation.constants_missing(1)


def weights_are_constant(operation: Operation) -> str | None:
    """Its weights and biases are constants."""
    return operation.constants_missing(1)


def recurrent_weights_are_constant(operation: Operation) -> str | None:
    """Its weights and biases are constants."""
    return operation.constants_missing(1, 4)


def one_or_two_axes(operation: Operation) -> str | None:
    """The window slides along one axis or two."""
    axes = len(operation.shape(0)) - 2
    return None if axes in (1, 2) else str(axes)


def kernel_fits_cores(operation: Operation) -> str | None:
    """The kernel is at most 15x15."""
    largest = max(operation.kernel, default=1)
    return None if largest <= MAX_KERNEL else written(operation.kernel)


def dilated_kernel_fits_cores(operation: Operation) -> str | None:
    """The dilated kernel covers at most 15x15. What the manual calls dilation + kernel."""
    dilations = operation.integers("dilations", 1)
    covered = tuple((k - 1) * d + 1 for k, d in zip(operation.kernel, dilations, strict=True))
    return None if max(covered, default=1) <= MAX_KERNEL else written(covered)


def stride_is_1(operation: Operation) -> str | None:
    """The stride is 1."""
    strides = operation.integers("strides", 1)
    return None if max(strides, default=1) == 1 else written(strides)


def averages(operation: Operation) -> str | None:
    """The pool is one of averages. The published profile of MobileNet-V1 has its pool among the convolutions (E)."""
    return None if "Average" in operation.node.op_type else operation.node.op_type


def moves_by_1(operation: Operation) -> str | None:
    """The window moves by 1, or is taken once."""
    positions = shape_of(operation.node.outputs[0])[2:]
    return None if set(positions) == {1} else stride_is_1(operation)


def one_group(operation: Operation) -> str | None:
    """Its channels are one group, or each a group of its own (E)."""
    groups, channels = operation.integer("group", 1), operation.shape(0)[1]
    return None if groups in (1, channels) else f"{groups} groups of {channels} channels"


def plain_product(operation: Operation) -> str | None:
    """It neither transposes nor scales its data (E)."""
    if operation.node.op_type == "MatMul":
        return None
    if operation.integer("transA", 0):
        return "transA 1"
    factors = {name: operation.number(name, 1.0) for name in ("alpha", "beta")}
    return next((f"{name} {factor:g}" for name, factor in factors.items() if factor != 1), None)


def window_is_whole(operation: Operation) -> str | None:
    """The window has no dilation (E)."""
    dilations = operation.integers("dilations", 1)
    return None if max(dilations, default=1) == 1 else written(dilations)


def pads_with_numbers(operation: Operation) -> str | None:
    """It pads with a number (E)."""
    mode = operation.word("mode", "constant")
    return None if mode == "constant" else f"mode {mode!r}"


def pads_do_not_crop(operation: Operation) -> str | None:
    """Its paddings are not negative (E)."""
    pads = operation.operand(1)
    if pads is None or pads.const_value is None:
        return None
    least = min((int(item) for item in pads.const_value.numpy().reshape(-1)), default=0)
    return None if least >= 0 else str(least)


def sizes_are_constant(operation: Operation) -> str | None:
    """Its sizes are constants. Those of an interpolation that is written out always are."""
    return None if _is_written_out(operation) else operation.constants_missing(1)


def _is_written_out(operation: Operation) -> bool:
    """Whether an interpolation is products by matrices of weights."""
    return operation.node.op_type == "MatMul"


def resizes_simply(operation: Operation) -> str | None:
    """It takes the nearest item or interpolates linearly (E)."""
    mode = operation.word("mode", "nearest")
    return None if mode in ("nearest", "linear") else f"mode {mode!r}"


def resizes_all_of_it(operation: Operation) -> str | None:
    """It resizes the whole map, without smoothing it (E)."""
    mode = operation.word("coordinate_transformation_mode", "half_pixel")
    if mode == "tf_crop_and_resize":
        return f"coordinates {mode!r}"
    return "antialias 1" if operation.integer("antialias", 0) else None


def resizes_maps(operation: Operation) -> str | None:
    """Only the axes of the map change, one or two (E)."""
    if _is_written_out(operation):
        return None
    before, after = operation.shape(0), shape_of(operation.node.outputs[0])
    return None if len(before) in (3, 4) and before[:2] == after[:2] else f"{written(before)} to {written(after)}"


def norm_is_euclidean(operation: Operation) -> str | None:
    """The norm is the Euclidean one."""
    order = operation.integer("p", 2)
    return None if order == 2 else f"p {order}"


def normalises_only(operation: Operation) -> str | None:
    """Only the normalised tensor is used (E)."""
    used = [value.name for value in operation.node.outputs[1:] if value.uses() or value.is_graph_output()]
    return None if not used else repr(used[0])


def is_inference(operation: Operation) -> str | None:
    """It is not in training mode."""
    return "training_mode 1" if operation.integer("training_mode", 0) else None


def no_batches_of_indices(operation: Operation) -> str | None:
    """Its indices are those of the whole tensor (E)."""
    axes = operation.integer("batch_dims", 0)
    return None if not axes else f"batch_dims {axes}"


def scatters_plainly(operation: Operation) -> str | None:
    """What it scatters replaces what is there (E)."""
    reduction = operation.word("reduction", "none")
    return None if reduction == "none" else f"reduction {reduction!r}"


def runs_forward(operation: Operation) -> str | None:
    """It runs forward through the sequence (E)."""
    direction = operation.word("direction", "forward")
    return None if direction == "forward" else repr(direction)


def usual_gates(operation: Operation) -> str | None:
    """Its gates have the usual activations (E)."""
    given = operation.node.attributes.get("activations")
    usual = ["Sigmoid", "Tanh", "Tanh"][: 3 if operation.node.op_type == "LSTM" else 2]
    found = usual if given is None else list(given.as_strings())
    return None if found == usual else ", ".join(found)


def no_cell_clip(operation: Operation) -> str | None:
    """Its cell is not clipped (E)."""
    clip = operation.number("clip", math.inf)
    return None if clip == math.inf else f"clip {clip:g}"


def slope_per_channel(operation: Operation) -> str | None:
    """Its slope is one number, or one for each channel (E)."""
    slope, shape = operation.operand(1), operation.shape(0)
    sizes = () if slope is None else shape_of(slope)
    padded = (1,) * (len(shape) - len(sizes)) + sizes
    alike = all(size == 1 for axis, size in enumerate(padded) if axis != 1)
    return None if alike else written(sizes)


def limits_are_numbers(operation: Operation) -> str | None:
    """Its limits are constant numbers."""
    given = [operand(operation.node, position) for position in (1, 2)]
    computed = next((value for value in given if value is not None and number_of(value) is None), None)
    return None if computed is None else f"the computed {computed.name!r}"
