"""Solved parameters as bytes, to be kept from one conversion to the next, and the key they are kept under."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from synap_core.cache import Cache
from synap_core.graph.annotations import states_of
from synap_core.graph.quantized import QuantizedTensor
from synap_core.graph.storage import mirror_annotations
from synap_core.graph.types import shape_of
from synap_core.host import PluginHost
from synap_core.payloads import QuantizationAlgorithm, Runtime
from synap_core.quantization.dataset import Dataset
from synap_core.quantization.interface import Range
from synap_core.quantization.parameters import Parameters
from synap_core.quantization.plan import Plan
from synap_core.tensors import QuantParams

if TYPE_CHECKING:
    from pydantic import BaseModel

log = logging.getLogger(__name__)

Json = Any
"""A value that came out of JSON: anything, until it is checked."""

FLOAT16 = "float16"
BIAS_TYPES = ("int32", "int64")

_LENGTH_BYTES = 8
_MAX_SHIFT = 1 << 10
_RANGE_TYPE = np.dtype("<f8")


REVISION = 2
"""To be raised when the same inputs get other parameters or warnings, for not every change has a version of its own."""


def calibration_key(
    plan: Plan, dataset: Dataset, algorithm: QuantizationAlgorithm, options: BaseModel, host: PluginHost
) -> str:
    """Key of the parameters of a plan: a hash of all that they depend on.

    These are the graph and all its constants, what the plan quantizes and how, the content of the sample files and
    what is done with it, the algorithm, its options, and the versions of what offers the algorithm and runs the graph.

    Raises:
        InputError: A sample file cannot be read.
    """
    settings: dict[str, object] = {
        "algorithm": algorithm.name,
        "options": options.model_dump(mode="json"),
        "providers": _providers(host, algorithm),
        "types": list(plan.types.items()),
        "slots": [asdict(slot) for slot in plan.slots.values()],
        "constants": [asdict(slot) for slot in plan.constants.values()],
        "biases": [asdict(bias) for bias in plan.biases.values()],
        "maskings": [asdict(masking) for masking in plan.maskings],
        "revision": REVISION,
    }
    return Cache.key(_graph_digest(plan.graph), dataset.fingerprint(), settings)


def pack(parameters: Parameters, warnings: Sequence[str] = ()) -> bytes:
    """Write parameters as bytes: a description in JSON behind its length, then the items of all arrays.

    Args:
        parameters: The parameters.
        warnings: Lines to keep with them.
    """
    header = {
        "activations": {key: asdict(quant) for key, quant in parameters.activations.items()},
        "constants": {key: asdict(tensor.quant) for key, tensor in parameters.constants.items()},
        "ranges": {key: [list(item.low.shape), item.divergence] for key, item in parameters.ranges.items()},
        "notes": list(parameters.notes),
        "warnings": list(warnings),
    }
    described = json.dumps(header, separators=(",", ":")).encode()
    items = [_little(tensor.integers).tobytes() for tensor in parameters.constants.values()]
    items += [end.astype(_RANGE_TYPE).tobytes() for item in parameters.ranges.values() for end in (item.low, item.high)]
    return b"".join((len(described).to_bytes(_LENGTH_BYTES, "little"), described, *items))


def unpack(data: bytes, plan: Plan) -> tuple[Parameters, tuple[str, ...]] | None:
    """Read what `pack` wrote; nothing in it is trusted.

    Args:
        data: The bytes.
        plan: What the parameters must fit.

    Returns:
        Parameters and lines that were kept with them; None when they are damaged or do not fit the plan.
    """
    try:
        return _Reader(data, plan).read()
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        log.warning("stored quantization parameters do not fit and are made again: %s", error)
        return None


class _Reader:
    def __init__(self, data: bytes, plan: Plan) -> None:
        end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
        self._header: Json = json.loads(data[_LENGTH_BYTES:end])
        self._data = data
        self._position = end
        self._plan = plan

    def read(self) -> tuple[Parameters, tuple[str, ...]]:
        header, plan = self._header, self._plan
        activations = {key: _quant(fields) for key, fields in header["activations"].items()}
        _require(activations.keys() == plan.slots.keys(), "the tensors differ")
        for key, quant in activations.items():
            _require(quant.dtype == plan.slots[key].spec.dtype and quant.axis is None, f"the type of {key!r} differs")
        constants = {key: self._constant(key, _quant(fields)) for key, fields in header["constants"].items()}
        _require(constants.keys() == {*plan.constants, *plan.biases}, "the constants differ")
        ranges = {key: self._range(key, *fields) for key, fields in header["ranges"].items()}
        _require(ranges.keys() <= {*plan.slots, *plan.constants}, "the ranges differ")
        _require(self._position == len(self._data), "the length is wrong")
        notes, warnings = _lines(header["notes"]), _lines(header["warnings"])
        return Parameters(activations=activations, constants=constants, ranges=ranges, notes=notes), warnings

    def _constant(self, key: str, quant: QuantParams) -> QuantizedTensor:
        shape = self._shape(key)
        if key in self._plan.constants:
            spec = self._plan.constants[key].spec
            fits = quant.dtype == spec.dtype and quant.axis in (None, spec.axis)
        else:
            fits = quant.dtype in BIAS_TYPES and quant.axis in (None, self._plan.biases[key].axis)
        _require(fits, f"the type of {key!r} differs")
        channels = 1 if quant.axis is None else shape[quant.axis]
        _require(len(quant.scale) in (0, channels), f"the number of scales of {key!r} differs")
        return QuantizedTensor(self._items(np.dtype(quant.dtype), shape), quant)

    def _range(self, key: str, shape: Json, divergence: Json) -> Range:
        channels = self._shape(key) if key in self._plan.constants else ()
        _require(
            shape == [] or (isinstance(shape, list) and shape[0] in channels and len(shape) == 1), "a range differs"
        )
        low, high = (self._items(_RANGE_TYPE, tuple(shape)) for _ in range(2))
        _require(bool(np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()), "a range is wrong")
        return Range(low=low, high=high, divergence=None if divergence is None else _real(divergence))

    def _shape(self, key: str) -> tuple[int, ...]:
        return shape_of(self._plan.graph.graph.initializers[key])

    def _items(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        count, start = math.prod(shape), self._position
        self._position += count * dtype.itemsize
        found = np.frombuffer(self._data, dtype.newbyteorder("<"), count, start) if count else np.zeros(0, dtype)
        return found.reshape(shape).astype(dtype.newbyteorder("="))


def _quant(fields: Json) -> QuantParams:
    """Check parameters one by one, for they become part of a model."""
    scale, zero_point = tuple(map(_real, fields["scale"])), tuple(map(_whole, fields["zero_point"]))
    shift, axis = fields["fractional_length"], fields["axis"]
    dtype, scheme = str(fields["dtype"]), str(fields["scheme"])
    _require(all(0 < step < math.inf for step in scale), "a scale is no positive number")
    _require(len(scale) == len(zero_point), "there are not as many zero points as scales")
    _require(
        (shift is None) == bool(scale) or dtype == FLOAT16, "there is neither scale nor fractional length, or both"
    )
    _require(axis is None or 0 <= _whole(axis) < len(scale) + _MAX_SHIFT, "an axis is no axis")
    _require(shift is None or abs(_whole(shift)) < _MAX_SHIFT, "a fractional length is too large")
    if zero_point:
        limits = np.iinfo(dtype)
        _require(all(limits.min <= point <= limits.max for point in zero_point), "a zero point is out of range")
    return QuantParams(
        dtype=dtype, scheme=scheme, scale=scale, zero_point=zero_point, axis=axis, fractional_length=shift
    )


def _real(value: Json) -> float:
    _require(type(value) in (int, float) and math.isfinite(value), "a number is none")
    return float(value)


def _whole(value: Json) -> int:
    _require(type(value) is int, "an integer is none")
    return int(value)


def _lines(value: Json) -> tuple[str, ...]:
    _require(isinstance(value, list) and all(isinstance(line, str) for line in value), "a note is no text")
    return tuple(value)


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


def _little(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _providers(host: PluginHost, algorithm: QuantizationAlgorithm) -> list[list[str]]:
    """Distributions, with their versions, of what offers the algorithm and of what may run the graph."""
    named = (algorithm.kind, algorithm.name)
    return [
        [record.name, record.distribution, record.version]
        for record in host.records
        if named in record.provides or any(kind == Runtime.kind for kind, _ in record.provides)
    ]


def _graph_digest(graph: ir.Model) -> bytes:
    """Digest of nodes, annotations and constants, one constant after another."""
    copy = graph.clone()
    mirror_annotations(copy)
    digest = hashlib.sha256()
    for name, tensor in _tensors(copy):
        array = np.ascontiguousarray(tensor.numpy())
        digest.update(json.dumps([name, str(tensor.dtype), list(array.shape)]).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    copy.graph.initializers.clear()
    digest.update(ir.to_proto(copy).SerializeToString())
    return digest.digest()


def _tensors(graph: ir.Model) -> Iterator[tuple[str, ir.TensorProtocol]]:
    initializers: Mapping[str, ir.Value] = graph.graph.initializers
    for name, value in initializers.items():
        if value.const_value is not None:
            yield name, value.const_value
    for state in states_of(graph):
        yield f"{state.name} {state.input} {state.output}", state.initial
