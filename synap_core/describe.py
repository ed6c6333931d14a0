"""Describe the boundary tensors of subgraphs for the bundle's metadata."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from synap_core.errors import InputError
from synap_core.selection import Selection
from synap_core.source import SourceModel
from synap_core.tensors import (
    ASYMMETRIC_AFFINE,
    BOUNDARY_DTYPES,
    DYNAMIC_FIXED_POINT,
    QuantParams,
    TensorInfo,
    TensorMeta,
    format_shape,
)

if TYPE_CHECKING:
    from synap_core.metafile import InputEntry, Metafile

INPUT_SECURITY = "any"
OUTPUT_SECURITY = "secure-if-input-secure"
ANCHORS = "${ANCHORS}"
IMAGE_CHANNELS = (1, 3, 4)
MAX_ITEMS = 1 << 29
"""Items of a tensor of four bytes each that fit into what the reader of a bundle accepts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """How a subgraph holds a tensor at its boundary, where it is not as the source model has it.

    Attributes:
        dtype: Type of the items in memory.
        quant: Quantization of the items; None when they are plain numbers.
        permutation: Transposes the tensor from the model's layout; None when it is in that.
        layout: Its layout.
        calibrated: Its quantization was chosen here, from samples normalised as the metafile says.
    """

    dtype: str
    quant: QuantParams | None
    layout: str
    permutation: tuple[int, ...] | None = None
    calibrated: bool = False


@dataclass(slots=True)
class Describer:
    """Joins what the source model and the metafile say about boundary tensors.

    Attributes:
        source: The model.
        meta: The metafile.
        selection: Which tensors are model inputs and outputs, and their entries in the metafile.
        held: Tensors that subgraphs do not hold as the model does, by id.
        notes: Filled with what was decided without being asked for.
    """

    source: SourceModel
    meta: Metafile
    selection: Selection
    held: Mapping[str, Held] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def input(self, tensor: str) -> TensorMeta:
        """Describe an input of a subgraph.

        Raises:
            InputError: A bundle cannot describe it, or the metafile contradicts the model.
        """
        position = self.selection.input_entries.get(tensor)
        info = self._checked(tensor, "inputs", position)
        if position is None:
            own = tensor in self.selection.inputs
            meta = replace(self._basic(info), security=INPUT_SECURITY)
            if not own:
                return meta
            meta = self._with_calibrated(replace(meta, data_format=self.meta.input_format), tensor)
            return self._with_inferred(meta)
        entry = self.meta.inputs[position]
        meta = replace(self._basic(info), data_format=entry.format or self.meta.input_format, security=entry.security)
        meta = replace(meta, mean=self._means(entry, meta, position), scale=entry.scale)
        return self._with_inferred(self._with_calibrated(self._with_both(meta), tensor))

    def output(self, tensor: str) -> TensorMeta:
        """Describe an output of a subgraph.

        Raises:
            InputError: A bundle cannot describe it, or the metafile contradicts the model.
        """
        position = self.selection.output_entries.get(tensor)
        info = self._checked(tensor, "outputs", position)
        basic = replace(self._basic(info), security=OUTPUT_SECURITY)
        if tensor not in self.selection.outputs:
            return basic
        if position is None:
            return replace(basic, data_format=self._with_anchors(self.meta.output_format))
        entry = self.meta.outputs[position]
        data_format = self._with_anchors(entry.format or self.meta.output_format)
        return replace(basic, data_format=data_format, security=entry.security)

    def _checked(self, tensor: str, field_name: str, position: int | None) -> TensorInfo:
        info = self.source.tensors[tensor]
        wanted = None
        if position is not None:
            entries = self.meta.inputs if field_name == "inputs" else self.meta.outputs
            wanted = entries[position].shape
        where = "" if position is None else self.meta.where(field_name, position, "shape")
        if wanted is not None:
            info = self._with_shape(info, tuple(wanted), where, field_name)
        if not info.static:
            hint = "export the model with static shapes"
            if field_name == "outputs":
                hint = f"give it in the metafile, outputs: [{{name: {info.name!r}, shape: […]}}], or {hint}"
            msg = f"tensor {info.name!r} has no static shape"
            raise InputError(msg, where=where or None, hint=hint)
        info = self._as_held(info)
        _check_describable(info)
        return info

    def _as_held(self, info: TensorInfo) -> TensorInfo:
        held = self.held.get(info.id)
        if held is None:
            return info
        shape = info.shape if held.permutation is None else tuple(info.shape[axis] for axis in held.permutation)
        return replace(info, dtype=held.dtype, quant=held.quant, layout=held.layout, shape=shape)

    @staticmethod
    def _with_shape(info: TensorInfo, wanted: tuple[int, ...], where: str, field_name: str) -> TensorInfo:
        if info.static:
            # The first dimension is the batch, which a metafile may give as it was trained.
            fits = len(wanted) == len(info.shape) and wanted[1:] == info.shape[1:]
            if not fits:
                msg = f"shape {list(wanted)} does not fit tensor {info.name!r}, which has {list(info.shape)}"
                raise InputError(msg, where=where, hint="give the model's own shape or leave 'shape' out")
            return info
        if field_name == "inputs":
            msg = f"tensor {info.name!r} has dynamic dimensions, which this format cannot fix"
            raise InputError(msg, where=where, hint="export the model with static shapes")
        return replace(info, shape=(1, *wanted[1:]), static=True)

    @staticmethod
    def _basic(info: TensorInfo) -> TensorMeta:
        return TensorMeta(
            label=info.id, name=info.name, shape=info.shape, dtype=info.dtype, layout=info.layout, quant=info.quant
        )

    def _means(self, entry: InputEntry, meta: TensorMeta, position: int) -> tuple[float, ...] | None:
        if entry.means is None:
            return None
        if not isinstance(entry.means, tuple):
            return (float(entry.means),) * meta.channels
        if len(entry.means) != meta.channels:
            msg = f"bad item count in 'means': {len(entry.means)} values for {meta.channels} channels of {meta.name!r}"
            raise InputError(msg, where=self.meta.where("inputs", position, "means"))
        return tuple(float(v) for v in entry.means)

    @staticmethod
    def _with_both(meta: TensorMeta) -> TensorMeta:
        """Write a missing mean as 0 and a missing scale as 1, when only one of them is given.

        The device would take the other from the quantization, although the manual says 0 and 1.
        """
        if meta.scale is not None and meta.mean is None:
            return replace(meta, mean=(0.0,) * meta.channels)
        return replace(meta, scale=1.0) if meta.mean is not None and meta.scale is None else meta

    def _with_calibrated(self, meta: TensorMeta, tensor: str) -> TensorMeta:
        """Write out the normalisation that samples were read with.

        The device would infer another one, of bytes that are copied, from the quantization.
        """
        held = self.held.get(tensor)
        if held is None or not held.calibrated or meta.quant is None or meta.mean is not None:
            return meta
        return replace(meta, mean=(0.0,) * meta.channels, scale=1.0)

    def _with_inferred(self, meta: TensorMeta) -> TensorMeta:
        """Write out the normalisation of an int8 image input that gives none.

        The device infers it as for uint8 data, where the two cancel to a copy of the bytes; for int8 that copy wraps
        at 128. The explicit values say the same for the shifted range: real = (byte - (zero_point + 128)) * scale.
        """
        quant = meta.quant
        image = len(meta.shape) == 4 and meta.channels in IMAGE_CHANNELS
        if quant is None or quant.dtype != "int8" or not image or (meta.mean, meta.scale) != (None, None):
            return meta
        mean = float(quant.zero_point[0] + 128)
        scale = 1.0 / quant.scale[0]
        note = (
            f"input {meta.name!r} is int8 without means and scale: bytes of an image are assumed, "
            f"means {mean:g} and scale {scale:g} follow from its quantization"
        )
        if note not in self.notes:
            self.notes.append(note)
        return replace(meta, mean=(mean,) * meta.channels, scale=scale)

    def _with_anchors(self, text: str) -> str:
        if ANCHORS not in text:
            return text
        anchors = json.dumps([round(value, 6) for value in self.source.anchors()], separators=(",", ":"))
        return text.replace(ANCHORS, anchors)


def boundary_problem(info: TensorInfo) -> str | None:
    """Why a tensor cannot cross the boundary of a subgraph; None when it can."""
    rules: tuple[tuple[bool, Callable[[], str]], ...] = (
        (
            info.dtype not in BOUNDARY_DTYPES,
            lambda: f"type {info.dtype} cannot cross the boundary of a subgraph; allowed: {', '.join(BOUNDARY_DTYPES)}",
        ),
        (any(dim < 1 for dim in info.shape), lambda: f"shape {format_shape(info.shape)} has an empty dimension"),
        (
            info.quant is not None and info.quant.axis is not None,
            lambda: "per-channel quantization cannot cross the boundary of a subgraph",
        ),
        (
            info.quant is not None and not all(0 < scale < math.inf for scale in info.quant.scale),
            lambda: "a quantization scale must be a positive number",
        ),
        (
            info.quant is not None and not all(abs(zero) < 1 << 31 for zero in info.quant.zero_point),
            lambda: "a zero point must be a 32-bit integer",
        ),
        (
            math.prod(info.shape) > MAX_ITEMS,
            lambda: f"shape {format_shape(info.shape)} has more than {MAX_ITEMS} items",
        ),
        (
            info.quant is not None and info.quant.scheme not in (ASYMMETRIC_AFFINE, DYNAMIC_FIXED_POINT),
            lambda: "custom quantization cannot cross the boundary of a subgraph",
        ),
    )
    return next((message() for broken, message in rules if broken), None)


def _check_describable(info: TensorInfo) -> None:
    problem = boundary_problem(info)
    if problem is not None:
        where = f"tensor {info.name!r}"
        raise InputError(problem, where=where, hint="cut the model at another tensor with 'inputs'/'outputs'")
