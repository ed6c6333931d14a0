"""One operator, as its converter sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from synap_core.api import (
    Attribute,
    GraphBuilder,
    QuantizedTensor,
    QuantParams,
    TensorType,
    Twin,
    quant_of,
    set_quant,
    set_twin,
    shape_of,
)
from synap_frontend_tflite.flatbuffer import Generated
from synap_frontend_tflite.importer.memory import Memory
from synap_frontend_tflite.importer.registry import UnsupportedError

NHWC_TO_NCHW = (0, 3, 1, 2)
NCHW_TO_NHWC = (0, 2, 3, 1)

ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
"""Names of the schema's fused activation functions by number."""


@dataclass(frozen=True, slots=True)
class Result:
    """An output of an operator.

    Attributes:
        id: Id of the source tensor.
        type: Type of its canonical value: float32 for a quantized tensor.
        quant: Its quantization.
        static: Whether the file's shape is to be relied on.
    """

    id: str
    type: TensorType
    quant: QuantParams | None
    static: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator of a file and the builder to emit it with.

    Attributes:
        build: Emits nodes.
        type: Operator type in the schema's words.
        inputs: Canonical values of the operands, constants included; None for an absent one. A quantized tensor is a
            float32 value with an annotation, a quantized constant a float32 constant that keeps its integers.
        stored: Reads the items of the constant operand at a position as the file stores them (integers of a quantized
            one); gives None for an operand that is not constant.
        outputs: What it has to compute.
        options: Table of the schema's object API, or None.
        custom_options: Bytes of a custom operator.
        memory: The variables that streaming models keep.
        variables: For each operand, the name of the variable that it is (a variable tensor) or refers to (a handle);
            None for any other.
        intermediates: Quantization of the intermediate results that a recurrent operator of integers names.
    """

    build: GraphBuilder
    type: str
    inputs: Sequence[ir.Value | None]
    stored: Callable[[int], np.ndarray | None]
    outputs: Sequence[Result]
    options: Generated | None
    custom_options: bytes
    memory: Memory
    variables: Sequence[str | None]
    intermediates: Sequence[QuantParams | None] = ()

    def input(self, position: int) -> ir.Value:
        """A required operand.

        Raises:
            UnsupportedError: It is absent.
        """
        value = self.optional(position)
        if value is None:
            msg = f"it has no operand {position}"
            raise UnsupportedError(msg)
        return value

    def optional(self, position: int) -> ir.Value | None:
        """An operand, None when it is absent."""
        return self.inputs[position] if position < len(self.inputs) else None

    def constant(self, position: int) -> np.ndarray:
        """Items of an operand that must be constant, as they are stored; it may have been computed from shapes.

        Raises:
            UnsupportedError: It is absent, or computed from an input of the model.
        """
        tensor = self.input(position).const_value
        if tensor is None:
            msg = f"its operand {position} is computed; only a constant can be imported"
            raise UnsupportedError(msg)
        return tensor.integers if isinstance(tensor, QuantizedTensor) else tensor.numpy()

    def integers(self, position: int) -> tuple[int, ...]:
        """Flattened integers of a constant operand: axes, sizes and the like. Raises as `constant`."""
        array = self.constant(position)
        if array.dtype.kind not in "iu":
            msg = f"its operand {position} holds {array.dtype}, not integers"
            raise UnsupportedError(msg)
        return tuple(int(item) for item in array.reshape(-1))

    def integer(self, option: str) -> int:
        """An option that is an integer or an enumeration.

        Raises:
            UnsupportedError: The operator has no such option.
        """
        return int(self._option(option))

    def number(self, option: str) -> float:
        """An option that is a real number. Raises as `integer`."""
        return float(self._option(option))

    def flag(self, option: str) -> bool:
        """An option that is true or false. Raises as `integer`."""
        return bool(self._option(option))

    def _option(self, option: str) -> float:
        value = getattr(self.options, option, None)
        if not isinstance(value, int | float | np.integer | np.floating):
            msg = f"it lacks the option {option}"
            raise UnsupportedError(msg)
        return float(value)

    def emit(self, op_type: str, *inputs: ir.Value | None, **attributes: Attribute) -> ir.Value:
        """Add a node with one output; attributes as `GraphBuilder.emit` takes them."""
        return self.build.emit(op_type, inputs, attributes)

    def channels_first(self, value: ir.Value) -> ir.Value:
        """Transpose a 4-D value from NHWC to NCHW; it keeps its quantization."""
        if len(shape_of(value)) != 4:
            msg = f"a tensor of shape {list(shape_of(value))}; four dimensions are needed"
            raise UnsupportedError(msg)
        turned = self.emit("Transpose", value, perm=NHWC_TO_NCHW)
        quant = quant_of(value)
        if quant is not None and quant.axis is None and turned.const_value is None:
            set_quant(turned, quant)
        return turned

    def channels_last(self, value: ir.Value, output: int = 0) -> ir.Value:
        """Transpose the NCHW value of an output to NHWC, and note on it whose twin it is."""
        result = self.outputs[output]
        if value.producer() is not None:
            set_twin(value, Twin(result.id, NHWC_TO_NCHW))
            if result.quant is not None and result.quant.axis is None:
                set_quant(value, result.quant)
        return self.emit("Transpose", value, perm=NCHW_TO_NHWC)

    def activated(self, value: ir.Value) -> ir.Value:
        """Apply the fused activation function of the options to a value."""
        number = self.integer("fusedActivationFunction")
        name = ACTIVATIONS[number] if 0 <= number < len(ACTIVATIONS) else str(number)
        return self.activation(name, value)

    def activation(self, name: str, value: ir.Value) -> ir.Value:
        """Apply an activation function of the schema by name.

        Raises:
            UnsupportedError: It has no counterpart.
        """
        if name == "NONE":
            return value
        limits = {"RELU_N1_TO_1": (-1.0, 1.0), "RELU6": (0.0, 6.0)}
        if name in limits:
            return self.emit("Clip", value, *(self.build.constant(limit) for limit in limits[name]))
        if name in ("RELU", "TANH"):
            return self.emit({"RELU": "Relu", "TANH": "Tanh"}[name], value)
        msg = f"the activation function {name}"
        raise UnsupportedError(msg)
