"""Operations that multiply data by constant weights and add up: what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from synap_core.api import QuantizedTensor, scale_and_zero_point
from synap_delegate_npu.arithmetic.multiplier import (
    Integers,
    Multiplier,
    Reals,
    Rounding,
    multiplier_of,
    wide_multiplier_of,
)
from synap_delegate_npu.arithmetic.products import Apply, Factors, centred, exact_product
from synap_delegate_npu.arithmetic.rescaling import (
    Sums,
    Window,
    floors,
    has_exact_arguments,
    is_exact,
    loaded,
    lower_integer_rescaling,
    lower_real_rescaling,
    lower_rescaling,
    stored,
)
from synap_delegate_npu.operators.activations import spread, to_memory, window_of
from synap_delegate_npu.operators.integers import NARROW, is_narrow
from synap_delegate_npu.program.body import Attributes, Body
from synap_delegate_npu.program.operation import Form, Lowering, Request, Tensor

RESCALING = {
    "multiplier": "INTS: multipliers of the sums of each output channel, 31 bits behind the point; 53 for `real`",
    "shift": "INTS: bits that the products are shifted to the left by; to the right when negative",
    "rounding": "STRING: how products are rounded: `once`, `twice`, `short` or `real`",
    "low": "INT: least stored integer of the output, where the activation cuts",
    "high": "INT: largest stored integer of the output",
}

Applying = Callable[[Body], Apply]
"""Gives, in a body, the operators that multiply and add up."""

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
"""Operators of the canonical graph."""

BIAS_TOLERANCE = 1e-5
"""Relative difference of a bias's step from that of the sum below which its integers are taken as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A group that multiplies integers by constant ones.

    Attributes:
        output: What it computes.
        data: The data.
        weights: The weights.
        axis: Axis of the weights that tells the output channel.
        bias: One integer per channel, of the step that a sum has; None without.
        bias_tensor: The bias as a tensor of the program.
        tail: Nodes behind the sum, without a pool.
        inner: What the first of them reads.
        pool: A MaxPool behind them, of results that are rounded already; None without.
        axes: Axes of the output behind that of the channels.
        ratio: Steps of the output that one of each sum is; only where the output holds integers.
        rounding: How results are rounded.
    """

    output: Tensor
    data: Tensor
    weights: Tensor
    axis: int
    bias: Integers | None
    bias_tensor: Tensor | None
    tail: tuple[ir.Node, ...]
    inner: ir.Value
    pool: ir.Node | None
    axes: int
    ratio: Reals
    rounding: Rounding

    def form(self, applying: Applying, attributes: Attributes) -> Form:
        """The form, given the operators that multiply and their attributes."""
        inputs = (self.data, self.weights, *(() if self.bias_tensor is None else (self.bias_tensor,)))
        window = window_of(self.tail, self.output) if is_narrow(self.output) else None
        if window is None:
            return Form(inputs=inputs, attributes=attributes, lower=self._real(applying))
        by = (wide_multiplier_of if self.rounding is Rounding.REAL else multiplier_of)(self.ratio)
        rescaling: Attributes = {
            "multiplier": [int(m) for m in by.multiplier.reshape(-1)],
            "shift": [int(s) for s in by.shift.reshape(-1)],
            "rounding": self.rounding.value,
            "low": window.low,
            "high": window.high,
        }
        return Form(inputs=inputs, attributes={**attributes, **rescaling}, lower=self._integer(applying, window, by))

    def _integer(self, applying: Applying, window: Window, by: Multiplier) -> Lowering:
        def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
            factors = self._factors()
            total = self._total(body, inputs, applying(body), factors)
            # Weights of transposed convolutions, whose outputs are on axis 1, have those of one group alone.
            channels = self.weights.shape[0] if self.axis == 0 else None
            sums = Sums(axes=self.axes, channels=channels, largest=factors.largest_sum())
            result = lower_sums(body, total, by, window, sums, self.rounding)
            if self.pool is not None:
                result = body.applied(self.pool, result)
            return [stored(body, result, window.zero_point, self.output.dtype)]

        return lower

    def _real(self, applying: Applying) -> Lowering:
        def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
            total = self._total(body, inputs, applying(body), self._factors())
            step = body.constant(spread(self.data.scale * self.weights.scale, self.axes), np.float64)
            real = body.cast(body.op("Mul", total, step), np.float32)
            nodes = self.tail if self.pool is None else (*self.tail, self.pool)
            values = body.inline(nodes, {self.inner: real})
            last = values[nodes[-1].outputs[0]] if nodes else real
            return [to_memory(body, last, self.output)]

        return lower

    def _factors(self) -> Factors:
        zero_point = int(self.data.zero_point)
        low, high = self.data.limits
        if self.weights.constant is None or self.weights.quant is None:
            msg = f"{self.weights.name!r} is no quantized constant"
            raise ValueError(msg)
        return Factors(
            low=low - zero_point,
            high=high - zero_point,
            weights=centred(self.weights.constant, self.weights.zero_point, self.weights.quant.axis),
            axis=self.axis,
            bias=self.bias,
        )

    def _total(self, body: Body, inputs: Sequence[ir.Value], apply: Apply, factors: Factors) -> ir.Value:
        data = loaded(body, inputs[0], int(self.data.zero_point))
        weights = body.cast(inputs[1], np.float32)
        if np.any(self.weights.zero_point):
            axis = None if self.weights.quant is None else self.weights.quant.axis
            behind = 0 if axis is None else len(self.weights.shape) - 1 - axis
            weights = body.op("Sub", weights, body.constant(spread(self.weights.zero_point, behind), np.float32))
        return exact_product(body, data, weights, factors, apply, self.axes)


def lower_sums(body: Body, total: ir.Value, by: Multiplier, window: Window, sums: Sums, rounding: Rounding) -> ir.Value:
    """Rescale sums and cut them, by the cheapest operators that are known to equal the definition.

    Args:
        body: Where the operators go.
        total: The sums, float64.
        by: What they are multiplied by.
        window: Where results are cut.
        sums: What is known of the sums.
        rounding: How results are rounded.

    Returns:
        Results counted from the zero point, float32.
    """
    if rounding is Rounding.REAL:
        return lower_real_rescaling(body, total, by, window, sums)
    formula = floors(by, window, rounding)
    if has_exact_arguments(by, window, rounding, sums.largest):
        return lower_rescaling(body, total, formula, window, sums)
    if is_exact(formula, by, window, rounding, sums.largest):
        return lower_rescaling(body, total, formula, window, replace(sums, channels=None))
    return lower_integer_rescaling(body, total, by, window, sums.axes, rounding)


def product_of(request: Request, axis: int) -> Product | None:
    """The parts of a group that begins with a product; None when its factors are not integers.

    Args:
        request: The group.
        axis: Axis of the weights that tells the output channel.
    """
    data, weights = request.operand(0), request.operand(1)
    if data is None or weights is None or not is_narrow(data) or data.constant is not None:
        return None
    if weights.constant is None or weights.dtype not in NARROW or len(request.outputs) != 1:
        return None
    if weights.quant is None or weights.quant.axis not in (None, axis % len(weights.shape)):
        return None
    added = addend_of(request, np.asarray(data.scale * weights.scale), weights.shape[axis])
    if added is None:
        return None
    tail, op_type = added.tail, request.node.op_type
    ratio = ratio_of(request, data, weights)
    rounding = rounding_of(request, data, weights, added.tensor)
    if rounds_twice(tail, ratio, request.output):
        tail, rounding = tail[1:], Rounding.TWICE
    pool = tail[-1] if tail and tail[-1].op_type == "MaxPool" else None
    return Product(
        output=request.output,
        data=data,
        weights=weights,
        axis=axis % len(weights.shape),
        bias=added.integers,
        bias_tensor=added.tensor,
        tail=tail if pool is None else tail[:-1],
        inner=added.inner,
        pool=pool,
        axes=max(len(data.shape) - 2, 0) if op_type in CONVOLUTIONS else 0,
        ratio=ratio,
        rounding=rounding,
    )


def ratio_of(request: Request, one: Tensor, other: Tensor) -> Reals:
    """Steps of the output that one of each sum is; for an output without steps that of the sum.

    The product of two scales is rounded to float32 in convolutions of uint8 and in products of two computed matrices,
    where reference kernels say what is right.

    Source: TFLite ``GetQuantizedConvolutionMultipler`` and ``PopulateConvolutionQuantizationParams``
    (kernels/kernel_util.cc); observed of LiteRT 2, whose fully connected layers do not round it.
    """
    op_type, output = request.node.op_type, request.output
    whole = request.kernels and other.quant is not None and other.quant.axis is None
    step = np.asarray(one.scale * other.scale)
    if whole and (op_type == "MatMul" or (op_type in CONVOLUTIONS and one.dtype == "uint8")):
        step = np.asarray(np.float32(one.scale) * np.float32(other.scale), np.float64)
    return step / output.scale if output.is_integer else step


def rounding_of(request: Request, one: Tensor, other: Tensor, bias: Tensor | None) -> Rounding:
    """How sums are rounded: as the reference kernels do, and to the nearest where these do not say what is right.

    They do not where all steps are powers of two, either.

    Source: observed of LiteRT 2.
    """
    op_type, output = request.node.op_type, request.output
    wide = one.dtype in ("int16", "uint16")
    if all(t.quant is not None and t.quant.fractional_length is not None for t in (one, other, output)):
        return Rounding.SHORT if wide else Rounding.ONCE
    if op_type == "Gemm":
        return Rounding.REAL
    if not request.kernels:
        return Rounding.ONCE
    narrow_bias = bias is not None and bias.dtype == "int32"
    return Rounding.SHORT if wide and not narrow_bias else Rounding.TWICE


def rounds_twice(tail: Sequence[ir.Node], ratio: Reals, output: Tensor) -> bool:
    """Whether what follows a sum first makes rounding once the same as rounding twice.

    It moves sums away from zero by half a unit of the last bit that the first rounding leaves, which takes up to half
    of a step what rounding twice does.

    Args:
        tail: Nodes behind the sum.
        ratio: Steps of the output that one of each sum is.
        output: What it computes.
    """
    if not tail or tail[0].op_type != "Shrink" or not is_narrow(output) or ratio.ndim:
        return False
    bits = int(multiplier_of(ratio).right)
    bias, limit = (tail[0].attributes.get_float(name, value) for name, value in (("bias", 0.0), ("lambd", 0.5)))
    return limit == 0 and bits > 0 and bool(np.isclose(bias, -np.ldexp(float(output.scale), -bits - 1), rtol=1e-6))


@dataclass(frozen=True, slots=True, kw_only=True)
class Addend:
    """What is added to sums of products, and what follows.

    Attributes:
        integers: One per channel, of the step that a sum has; None without.
        tensor: The same as a tensor of the program.
        tail: Nodes behind the sum.
        inner: What the first of them reads.
    """

    integers: Integers | None = None
    tensor: Tensor | None = None
    tail: tuple[ir.Node, ...]
    inner: ir.Value


def addend_of(request: Request, steps: Reals, channels: int) -> Addend | None:
    """The bias of a product; None where it is computed, or differs within a channel.

    Args:
        request: The group.
        steps: Steps of the sums.
        channels: Number of output channels.
    """
    node, tail = request.node, request.tail
    inner, value = node.outputs[0], node.inputs[2] if len(node.inputs) > 2 else None
    if value is None and tail and tail[0].op_type == "Add":
        others = [operand for operand in tail[0].inputs if operand is not None and operand is not inner]
        if len(others) == 1 and others[0].const_value is not None and others[0].const_value.size in (1, channels):
            value, inner, tail = others[0], tail[0].outputs[0], tail[1:]
    if value is None:
        return Addend(tail=tail, inner=inner)
    integers = _bias_integers(value, steps, channels)
    if integers is None:
        return None
    known = request.tensors[value]
    if not known.is_integer:
        name = f"{value.name}_{request.group.layer_id}"
        known = Tensor(name=name, shape=integers.shape, dtype="int64", constant=integers)
    return Addend(integers=integers, tensor=known, tail=tail, inner=inner)


def _bias_integers(value: ir.Value, steps: Reals, channels: int) -> Integers | None:
    """Integers of the sums' step for each channel; None where the bias is computed, or differs within a channel."""
    stored_bias = value.const_value
    if stored_bias is None or stored_bias.size not in (1, channels):
        return None
    if isinstance(stored_bias, QuantizedTensor) and stored_bias.quant.dtype != "float16":
        own, points = scale_and_zero_point(stored_bias.quant, 1)
        if not np.any(points) and np.all(np.abs(own / steps - 1) < BIAS_TOLERANCE):
            return _per_channel(stored_bias.integers.astype(np.int64), channels)
    real = _per_channel(stored_bias.numpy().astype(np.float64), channels)
    return np.asarray(np.rint(real / steps), np.int64)


def _per_channel(array: np.ndarray, channels: int) -> np.ndarray:
    return np.broadcast_to(array.reshape(-1), (channels,)).copy()
