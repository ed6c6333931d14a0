"""One operator of a model, as its converter sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import onnx_ir as ir

from synap_core.api import Attribute, GraphBuilder, GraphError, QuantParams, TensorType, shape_of, type_of
from synap_frontend_onnx.importer.constants import element_type
from synap_frontend_onnx.importer.registry import UnsupportedError
from synap_frontend_onnx.protos import (
    AttributeProto,
    AttributeValue,
    GraphProto,
    TensorProto,
    array_of,
    attribute_value,
    dtype_name,
)

SHAPED_BY_OPERANDS = frozenset(
    word
    for line in (
        "BlackmanWindow CenterCropPad Col2Im Compress ConstantOfShape DFT Expand HammingWindow HannWindow MaxUnpool",
        "MelWeightMatrix OneHot Pad Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean",
        "ReduceMin ReduceProd ReduceSum ReduceSumSquare Reshape Resize STFT Slice Split Squeeze Tile TopK Unsqueeze",
    )
    for word in line.split()
)
"""Operators with a result whose shape the items of an operand tell; if these are computed, the model's word counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operator and the builder to emit it with.

    Attributes:
        build: Emits nodes.
        op_type: The operator.
        version: Version of its operator set that the model uses.
        inputs: Values of the operands, constants included; None for an absent one.
        attributes: By name; tensors as arrays.
        quants: For each operand that stands for stored integers, what these mean; None for any other.
        results: Types of the outputs where the file or the analysis tells them.
        present: Whether each output is wanted.
        targets: For each output that has to stand for stored integers, what these mean; None for any other.
        run_body: Runs the body that is an attribute on values of its inputs; gives so many results.
    """

    build: GraphBuilder
    op_type: str
    version: int
    inputs: Sequence[ir.Value | None]
    attributes: Mapping[str, AttributeValue]
    quants: Sequence[QuantParams | None]
    results: Sequence[TensorType | None]
    present: Sequence[bool]
    targets: Sequence[QuantParams | None]
    run_body: Callable[[str, Sequence[ir.Value], int], list[ir.Value]]

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
        """An operand; None when it is absent."""
        return self.inputs[position] if position < len(self.inputs) else None

    def quant(self, position: int) -> QuantParams | None:
        """What the integers mean that an operand stands for; None for an ordinary or an absent one."""
        return self.quants[position] if position < len(self.quants) else None

    @property
    def result(self) -> TensorType | None:
        """Type of the first output, as `results`."""
        return self.results[0] if self.results else None

    @property
    def target(self) -> QuantParams | None:
        """What the integers of the first output mean, as `targets`."""
        return self.targets[0] if self.targets else None

    def constant(self, position: int, what: str) -> np.ndarray:
        """Items of a constant operand.

        Raises:
            UnsupportedError: It is absent or computed; the message calls it as given.
        """
        tensor = self.input(position).const_value
        if tensor is None:
            msg = f"its {what} must be constant"
            raise UnsupportedError(msg)
        return tensor.numpy()

    def shape(self, position: int = 0) -> tuple[int, ...]:
        """Shape of a required operand. Raises as `input`."""
        return shape_of(self.input(position))

    def dtype(self, position: int = 0) -> ir.DataType:
        """Element type of a required operand. Raises as `input`."""
        return type_of(self.input(position)).dtype

    def axis(self, name: str, default: int) -> int:
        """An attribute that is an axis of the first operand, as a number from 0 on.

        Raises:
            UnsupportedError: The operand has no such axis.
        """
        axis, rank = self.integer(name, default), len(self.shape())
        if not -rank <= axis < max(rank, 1):
            msg = f"its {name} is {axis}; the operand has {rank} dimensions"
            raise UnsupportedError(msg)
        return axis % max(rank, 1)

    def integer(self, name: str, default: int) -> int:
        """An attribute that is an integer.

        Raises:
            UnsupportedError: It is of another type.
        """
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise self._wrong(name, value)
        return value

    def element_type(self, name: str, default: ir.DataType) -> ir.DataType:
        """An attribute that is the number of an element type; zero is the default.

        Raises:
            UnsupportedError: The graph has no tensors of this type.
        """
        number = self.integer(name, 0)
        found = element_type(number) if number else default
        if found is None:
            msg = f"its {name} is {dtype_name(number)}"
            raise UnsupportedError(msg)
        return found

    def number(self, name: str, default: float) -> float:
        """An attribute that is a real number. Raises as `integer`."""
        value = self.attributes.get(name, default)
        if not isinstance(value, float):
            raise self._wrong(name, value)
        return value

    def text(self, name: str, default: str) -> str:
        """An attribute that is text. Raises as `integer`."""
        value = self.attributes.get(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, value)
        return value

    def integers(self, name: str) -> list[int] | None:
        """An attribute that is a list of integers; None when it is absent. Raises as `integer`."""
        value = self.attributes.get(name)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, int) for item in value)):
            raise self._wrong(name, value)
        return cast("list[int] | None", value)

    def numbers(self, name: str) -> list[float] | None:
        """An attribute that is a list of real numbers; None when it is absent. Raises as `integer`."""
        value = self.attributes.get(name)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, float) for item in value)):
            raise self._wrong(name, value)
        return cast("list[float] | None", value)

    def _wrong(self, name: str, value: AttributeValue) -> UnsupportedError:
        return UnsupportedError(f"its attribute {name!r} is {value!r:.40}")

    def emit(self, op_type: str, *inputs: ir.Value | None, **attributes: Attribute) -> ir.Value:
        """Add a node with one output."""
        return self.build.emit(op_type, inputs, attributes)

    def scalar(self, number: float, like: ir.Value) -> ir.Value:
        """A constant without dimensions, of the element type of a value."""
        with np.errstate(over="ignore", invalid="ignore"):  # infinity is right for what half precision cannot hold
            return self.build.constant(np.asarray(number).astype(type_of(like).dtype.numpy()))

    def final(
        self, op_type: str, inputs: Sequence[ir.Value | None], attributes: Mapping[str, Attribute]
    ) -> list[ir.Value]:
        """Add the node that computes the results; their types are those known of the model where data decide.

        Raises:
            GraphError: The operator cannot have such operands, or the types of its results are not known.
        """
        return self._emit_results(op_type, inputs, attributes, self.results)

    def only(self, op_type: str, *inputs: ir.Value | None, **attributes: Attribute) -> ir.Value:
        """Add the node that computes the only result.

        Raises:
            GraphError: As `final`.
            UnsupportedError: More results are wanted.
        """
        if any(self.present[1:]):
            msg = f"its output {self.present.index(True, 1)} cannot be imported"
            raise UnsupportedError(msg)
        (value,) = self._emit_results(op_type, inputs, attributes, [self.result])
        return value

    def _emit_results(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Attribute],
        results: Sequence[TensorType | None],
    ) -> list[ir.Value]:
        while len(inputs) > 1 and inputs[-1] is None:
            inputs = inputs[:-1]
        try:
            return self.build.emit_many(op_type, inputs, attributes, results=len(results))
        except GraphError:
            known = [result for result in results if result is not None]
            computed = any(value is not None and value.const_value is None for value in inputs)
            if op_type not in SHAPED_BY_OPERANDS or not computed or len(known) < len(results):
                raise
            return self.build.emit_many(op_type, inputs, attributes, results=known)

    def options(self, *names: str) -> dict[str, Attribute]:
        """Those of some attributes that are given, to pass them on; without names, all of them."""
        return {
            name: value
            for name, value in self.attributes.items()
            if (not names or name in names) and not (isinstance(value, list) and not value)
        }


def python_value(attribute: AttributeProto) -> AttributeValue:
    """Value of an attribute: tensors as arrays, text as such.

    Raises:
        UnsupportedError: It is text that is not UTF-8, or of a type that only other operators have.
    """
    value = attribute_value(attribute)
    if isinstance(value, TensorProto) and element_type(value.data_type) is not None:
        return array_of(value)
    try:
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, list) and value and isinstance(value[0], bytes):
            return [item.decode() for item in value]
    except UnicodeDecodeError as error:
        msg = f"its attribute {attribute.name!r} is no text"
        raise UnsupportedError(msg) from error
    if isinstance(value, int | float | str | GraphProto):
        return value
    if isinstance(value, list) and all(isinstance(item, int | float | str) for item in value):
        return value
    msg = f"its attribute {attribute.name!r} is of a type that cannot be imported"
    raise UnsupportedError(msg)
