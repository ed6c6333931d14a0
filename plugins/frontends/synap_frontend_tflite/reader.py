"""Read a ``.tflite`` file into checked records; the one module that uses the ``tflite`` package."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tflite

from synap_core.api import InputError
from synap_frontend_tflite.records import GraphRecord, OperatorRecord, TensorRecord

Generated = Any
"""An object of the generated schema code, which has no types."""

MAX_ITEMS = 500_000
"""Tensors, operators and buffers a file may have; the largest models have some ten thousand."""

MAX_VALUES = 4_000_000
"""Numbers in shapes, index lists and quantization a file may have. Vectors can be shared inside the file, so a small
file could make a reader loop for ever."""

PARSE_ERRORS = (struct.error, ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError)
"""What the flatbuffers package raises for a damaged file."""

_CALLS = {
    "CALL": (tflite.CallOptions, ("Subgraph",)),
    "CALL_ONCE": (tflite.CallOnceOptions, ("InitSubgraphIndex",)),
    "IF": (tflite.IfOptions, ("ThenSubgraphIndex", "ElseSubgraphIndex")),
    "WHILE": (tflite.WhileOptions, ("CondSubgraphIndex", "BodySubgraphIndex")),
    "STABLEHLO_COMPOSITE": (tflite.StableHLOCompositeOptions, ("DecompositionSubgraphIndex",)),
    "STABLEHLO_REDUCE": (tflite.StablehloReduceOptions, ("BodySubgraphIndex",)),
    "STABLEHLO_REDUCE_WINDOW": (tflite.StablehloReduceWindowOptions, ("BodySubgraphIndex",)),
    "STABLEHLO_SCATTER": (tflite.StablehloScatterOptions, ("UpdateComputationSubgraphIndex",)),
    "STABLEHLO_SORT": (tflite.StablehloSortOptions, ("ComparatorSubgraphIndex",)),
    "STABLEHLO_WHILE": (tflite.StablehloWhileOptions, ("CondSubgraphIndex", "BodySubgraphIndex")),
}


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


_OPERATORS = _names(tflite.BuiltinOperator)
_TYPES = _names(tflite.TensorType)


def operator_names() -> frozenset[str]:
    """Types of the builtin operators of the schema, as `OperatorRecord` has them."""
    return frozenset(_OPERATORS.values()) - {"CUSTOM"}


def read_graphs(data: bytes, where: str) -> tuple[GraphRecord, ...]:
    """Read every subgraph of a model.

    Args:
        data: Content of the file.
        where: Path, for messages.

    Raises:
        InputError: The file is damaged, or larger than the limits of this module.
    """
    with damage_reported(where):
        return _Reader(data).graphs()


@contextlib.contextmanager
def damage_reported(where: str) -> Iterator[None]:
    """Turn what a damaged file makes the flatbuffers package raise into one error about the file."""
    try:
        yield
    except InputError as error:
        raise InputError(error.message, where=error.where or where, hint=error.hint) from error
    except PARSE_ERRORS as error:
        msg = "this TensorFlow Lite file is truncated or damaged"
        raise InputError(msg, where=where, hint="export or download it again") from error


class _Reader:
    """Holds the budgets while a file is read."""

    def __init__(self, data: bytes) -> None:
        self._items = MAX_ITEMS
        self._values = MAX_VALUES
        # The flatbuffers accessors are untyped; none of them leaves this module.
        self._model: Generated = tflite.Model.GetRootAs(data)

    def graphs(self) -> tuple[GraphRecord, ...]:
        count = self._take_items(self._model.SubgraphsLength())
        if count == 0:
            msg = "the model has no subgraph"
            raise InputError(msg)
        self._buffers = self._take_items(self._model.BuffersLength())
        self._codes = [self._code(i) for i in range(self._take_items(self._model.OperatorCodesLength()))]
        graphs = tuple(self._graph(self._model.Subgraphs(i), count) for i in range(count))
        self._check_annexes(graphs)
        return graphs

    def _check_annexes(self, graphs: Sequence[GraphRecord]) -> None:
        """Check what a slice copies along: metadata and signatures."""
        for i in range(self._take_items(self._model.MetadataLength())):
            _in_range([self._model.Metadata(i).Buffer()], 0, self._buffers)
        for i in range(self._take_items(self._model.SignatureDefsLength())):
            signature = self._model.SignatureDefs(i)
            (graph,) = _in_range([signature.SubgraphIndex()], 0, len(graphs))
            maps = [signature.Inputs(k) for k in range(self._take_items(signature.InputsLength()))]
            maps += [signature.Outputs(k) for k in range(self._take_items(signature.OutputsLength()))]
            _in_range([entry.TensorIndex() for entry in maps], 0, len(graphs[graph].tensors))

    def _take_items(self, count: int) -> int:
        self._items -= count
        if self._items < 0:
            msg = f"the file has more than {MAX_ITEMS} tensors, operators and buffers"
            raise InputError(msg)
        return count

    def _numbers(self, length: int, values: Callable[[], Generated]) -> list[Generated]:
        self._values -= length
        if self._values < 0:
            msg = f"the file has more than {MAX_VALUES} numbers in shapes and lists"
            raise InputError(msg)
        # With a length of 0 the generated accessors may return 0 instead of an array.
        return list(values().tolist()) if length else []

    def _code(self, index: int) -> str:
        code = self._model.OperatorCodes(index)
        number = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
        name = _OPERATORS.get(number, f"BUILTIN_{number}")
        return f"CUSTOM:{_text(code.CustomCode())}" if name == "CUSTOM" else name

    def _graph(self, graph: Generated, graph_count: int) -> GraphRecord:
        tensor_count = self._take_items(graph.TensorsLength())
        tensors = tuple(self._tensor(graph.Tensors(i)) for i in range(tensor_count))
        operator_count = self._take_items(graph.OperatorsLength())
        operators = tuple(self._operator(graph.Operators(i), tensor_count, graph_count) for i in range(operator_count))
        return GraphRecord(
            tensors=tensors,
            operators=operators,
            inputs=_in_range(self._numbers(graph.InputsLength(), graph.InputsAsNumpy), 0, tensor_count),
            outputs=_in_range(self._numbers(graph.OutputsLength(), graph.OutputsAsNumpy), 0, tensor_count),
        )

    def _tensor(self, tensor: Generated) -> TensorRecord:
        shape = self._numbers(tensor.ShapeLength(), tensor.ShapeAsNumpy)
        if any(dim < 0 for dim in shape):
            msg = f"tensor {_text(tensor.Name())!r} has the shape {shape}"
            raise InputError(msg, hint="export the model with static shapes")
        constant = self._has_data(tensor.Buffer())
        quantization = tensor.Quantization()
        scale, zero_point = ([], []) if constant or quantization is None else self._affine(quantization)
        return TensorRecord(
            name=_text(tensor.Name()),
            shape=tuple(shape),
            signature=tuple(self._numbers(tensor.ShapeSignatureLength(), tensor.ShapeSignatureAsNumpy)),
            type=_TYPES.get(tensor.Type(), f"TYPE_{tensor.Type()}"),
            constant=constant,
            variable=bool(tensor.IsVariable()),
            ranked=bool(tensor.HasRank()),
            scale=tuple(scale),
            zero_point=tuple(zero_point),
            axis=0 if quantization is None else quantization.QuantizedDimension(),
            custom_quantization=quantization is not None and quantization.DetailsType() != 0,
        )

    def _affine(self, quantization: Generated) -> tuple[list[float], list[int]]:
        scale = self._numbers(quantization.ScaleLength(), quantization.ScaleAsNumpy)
        if not any(scale):
            return [], []
        zero_point = self._numbers(quantization.ZeroPointLength(), quantization.ZeroPointAsNumpy)
        if len(zero_point) not in {0, len(scale)}:
            msg = f"{len(scale)} quantization scales stand against {len(zero_point)} zero points"
            raise InputError(msg)
        return scale, zero_point or [0] * len(scale)

    def _has_data(self, index: int) -> bool:
        if index == 0:
            return False
        (index,) = _in_range([index], 0, self._buffers)
        buffer = self._model.Buffers(index)
        return bool(buffer.DataLength() > 0 or (buffer.Offset() > 1 and buffer.Size() > 1))

    def _operator(self, operator: Generated, tensor_count: int, graph_count: int) -> OperatorRecord:
        (code,) = _in_range([operator.OpcodeIndex()], 0, len(self._codes))
        kind = self._codes[code]
        inputs = self._numbers(operator.InputsLength(), operator.InputsAsNumpy)
        outputs = self._numbers(operator.OutputsLength(), operator.OutputsAsNumpy)
        return OperatorRecord(
            type=kind,
            inputs=_in_range(inputs, -1, tensor_count),
            outputs=_in_range(outputs, 0, tensor_count),
            subgraphs=_in_range(list(_called_graphs(operator, kind)), 0, graph_count),
            variable=_variable(operator, kind),
        )


def _in_range(indices: list[int], low: int, end: int) -> tuple[int, ...]:
    for index in indices:
        if not low <= index < end:
            msg = f"an index in the file is {index}; it must be below {end}"
            raise InputError(msg, hint="the file is damaged: export or download it again")
    return tuple(indices)


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", errors="replace")


def _options(operator: Generated, options: Generated) -> Generated:
    table = operator.BuiltinOptions() or operator.BuiltinOptions2()
    if table is None:
        return None
    view = options()
    view.Init(table.Bytes, table.Pos)
    return view


def _called_graphs(operator: Generated, kind: str) -> Iterator[int]:
    if kind in _CALLS:
        options, methods = _CALLS[kind]
        view = _options(operator, options)
        if view is not None:
            yield from (getattr(view, method)() for method in methods)


def _variable(operator: Generated, kind: str) -> str | None:
    if kind == "VAR_HANDLE" and (view := _options(operator, tflite.VarHandleOptions)) is not None:
        return f"{_text(view.Container())}/{_text(view.SharedName())}"
    if kind == "HASHTABLE" and (view := _options(operator, tflite.HashtableOptions)) is not None:
        return f"hash table {view.TableId()}"
    return None
