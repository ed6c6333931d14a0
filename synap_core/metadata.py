"""Read the metadata of a subgraph, as the on-board runtime does but refusing what would make it fail later."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from synap_core.errors import InputError
from synap_core.tensors import ASYMMETRIC_AFFINE, DYNAMIC_FIXED_POINT, ITEM_SIZES, LAYOUTS, QuantParams, TensorMeta

DTYPE_ALIASES = {"u8": "uint8", "i8": "int8", "u16": "uint16", "i16": "int16"}
DEFAULT_DELEGATE = "npu"
MAX_TENSOR_BYTES = 1 << 31
MAX_RANK = 32
MAX_BITS = 64
"""Bits of an integer; any real one fits."""

MAX_FRACTIONAL_LENGTH = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class SubgraphMeta:
    """Metadata of a subgraph.

    Attributes:
        inputs: In the order of the model file.
        outputs: In the order of the model file.
        delegate: Delegate string.
        secure: The model is encrypted.
    """

    inputs: tuple[TensorMeta, ...]
    outputs: tuple[TensorMeta, ...]
    delegate: str
    secure: bool


def parse_json(data: bytes, where: str) -> object:
    """Parse JSON text of an untrusted file.

    Raises:
        InputError: It is not JSON, or nested too deeply.
    """
    try:
        parsed: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        # UnicodeDecodeError and JSONDecodeError are ValueErrors, and so is a number with too many digits.
        msg = f"not valid JSON: {error}"
        raise InputError(msg, where=where) from error
    return parsed


def read_metadata(data: bytes, where: str) -> SubgraphMeta:
    """Read a metadata file.

    Args:
        data: Its content.
        where: Its name, for messages.

    Raises:
        InputError: It is not valid metadata.
    """
    root = parse_json(data, where)
    if not isinstance(root, dict):
        msg = "the metadata must be a JSON object"
        raise InputError(msg, where=where)
    delegate = root.get("delegate", DEFAULT_DELEGATE)
    if not isinstance(delegate, str):
        msg = f"'delegate' must be text, not {delegate!r}"
        raise InputError(msg, where=where)
    return SubgraphMeta(
        inputs=tuple(_tensors(root, "Inputs", where)),
        outputs=tuple(_tensors(root, "Outputs", where)),
        delegate=delegate,
        secure=root.get("secure") is True,
    )


def _tensors(root: Mapping[str, object], key: str, where: str) -> Iterator[TensorMeta]:
    group = root.get(key)
    if isinstance(group, list):
        group = {str(i): item for i, item in enumerate(group)}
    if not isinstance(group, dict):
        msg = f"{key!r} is missing or not an object"
        raise InputError(msg, where=where)
    for label, attributes in group.items():
        place = f"{where}: {key}.{label}"
        if not isinstance(attributes, dict):
            msg = "a tensor must be an object"
            raise InputError(msg, where=place)
        yield _Attributes(attributes, place).tensor(label)


@dataclass(frozen=True, slots=True)
class _Attributes:
    """The attributes of one tensor, and where they stand."""

    values: Mapping[str, object]
    where: str

    def tensor(self, label: str) -> TensorMeta:
        quant = self._quant()
        dtype = self._dtype("dtype", self.values)
        if quant is not None and dtype != "float32":
            dtype = quant.dtype
        if dtype not in ITEM_SIZES:
            msg = f"'dtype' is {self.values.get('dtype')!r}; allowed: {', '.join(ITEM_SIZES)}"
            raise InputError(msg, where=self.where)
        layout = self._text("format")
        tensor = TensorMeta(
            label=label,
            name=self._text("name"),
            shape=self._shape(),
            dtype=dtype,
            layout=layout if layout in LAYOUTS else "none",
            data_format=self._text("data_format"),
            # A quantized type that is not the type in memory only says what the tensor was made of.
            quant=quant if quant is not None and quant.dtype == dtype else None,
            mean=self._mean(),
            scale=self._number("scale", self.values) or None,
            security=self._text("security") or "none",
        )
        if tensor.size_bytes > MAX_TENSOR_BYTES:
            msg = f"the shape {list(tensor.shape)} takes more than {MAX_TENSOR_BYTES} bytes"
            raise InputError(msg, where=self.where)
        return tensor

    def _text(self, key: str) -> str:
        value = self.values.get(key, "")
        if not isinstance(value, str):
            msg = f"{key!r} must be text, not {value!r}"
            raise InputError(msg, where=self.where)
        return value

    def _dtype(self, key: str, values: Mapping[str, object]) -> str:
        word = str(values.get(key, ""))
        return DTYPE_ALIASES.get(word, word)

    def _shape(self) -> tuple[int, ...]:
        shape = self.values.get("shape")
        dims = [shape] if isinstance(shape, int) else shape
        if not isinstance(dims, list) or not all(type(dim) is int and dim > 0 for dim in dims) or len(dims) > MAX_RANK:
            msg = f"'shape' must be a list of positive integers, not {shape!r}"
            raise InputError(msg, where=self.where)
        return tuple(dims)

    def _mean(self) -> tuple[float, ...] | None:
        mean = self.values.get("mean")
        if mean is None or mean == []:
            return None
        if not isinstance(mean, list) or not all(_is_number(value) for value in mean):
            msg = f"'mean' must be a list of numbers, not {mean!r}: the on-board runtime cannot load it either"
            raise InputError(msg, where=self.where)
        return tuple(float(value) for value in mean)

    def _number(self, key: str, values: Mapping[str, object]) -> float:
        value = values.get(key, 0)
        if isinstance(value, list):
            value = value[0] if value else 0
        if not _is_number(value):
            msg = f"{key!r} must be a number, not {value!r}"
            raise InputError(msg, where=self.where)
        return float(value)  # type: ignore[arg-type]  # `_is_number` has looked

    def _quant(self) -> QuantParams | None:
        values = self.values.get("quantize")
        if values is None:
            return None
        if not isinstance(values, dict):
            msg = f"'quantize' must be an object, not {values!r}"
            raise InputError(msg, where=self.where)
        scheme = self._text("quantizer")
        dtype = self._dtype("qtype", values)
        if scheme == DYNAMIC_FIXED_POINT:
            length = self._number("fl", values)
            if abs(length) > MAX_FRACTIONAL_LENGTH:
                msg = f"'fl' is {length:g}; it must be between -{MAX_FRACTIONAL_LENGTH} and {MAX_FRACTIONAL_LENGTH}"
                raise InputError(msg, where=self.where)
            return QuantParams(dtype=dtype, scheme=scheme, fractional_length=int(length))
        if scheme == ASYMMETRIC_AFFINE:
            scale, zero_point = self._number("scale", values), int(self._number("zero_point", values))
            return QuantParams(dtype=dtype, scheme=scheme, scale=(scale,), zero_point=(zero_point,))
        return QuantParams(dtype=dtype, scheme="none")


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value.bit_length() < MAX_BITS if isinstance(value, int) else math.isfinite(value)
