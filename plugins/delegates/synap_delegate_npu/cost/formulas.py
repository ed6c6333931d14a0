"""The formulas of the cost model: how long the phases of an operation take.

They work on columns, one item for each operation, so that the same lines serve a single layer and a fit to thousands.
``B`` is the batch, ``e`` the bytes of an element, ``in`` and ``out`` are elements, and ``|| a, b, ... ||`` is
`overlapped`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synap_delegate_npu.cost.layers import Dtype, Kind, Operation
from synap_delegate_npu.cost.parameters import NpuParameters
from synap_delegate_npu.cost.tiling import Work, convolution_work

Reals = NDArray[np.float64]
Engine = Literal["NN", "TP", "PPU"]

STEEPNESS = 6
"""How sharply tensors stop to stay on the chip as they grow."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """Numbers of some operations that need no parameters; all ``(n,)``.

    Attributes:
        size: Bytes of an element.
        batch: Items of the batch.
        inputs: Number of input tensors.
        read: Elements of all inputs, of the whole batch.
        written: Elements of the output, of the whole batch.
        weights: Constant elements.
        macs: Products of the whole batch.
        mac_slots: Products that the convolution cores have time for, of the whole batch.
        load: Elements that the convolution cores read, of the whole batch.
        rearranged: Elements rearranged in front of a convolution, of the whole batch.
    """

    size: Reals
    batch: Reals
    inputs: Reals
    read: Reals
    written: Reals
    weights: Reals
    macs: Reals
    mac_slots: Reals
    load: Reals
    rearranged: Reals


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phases:
    """Parts of the time of some operations, s; all ``(n,)``.

    Attributes:
        compute: Computing.
        on_chip: Traffic between the cores and on-chip memory.
        off_chip: Traffic with off-chip memory.
        serial: Computing that overlaps with nothing.
        fixed: Constant part.
    """

    compute: Reals
    on_chip: Reals
    off_chip: Reals
    serial: Reals
    fixed: Reals


Formula = Callable[[Columns, NpuParameters], Phases]


def overlapped(q: float, *phases: Reals) -> Reals:
    """Time of phases that overlap in part: ``(a^q + b^q + ...)^(1/q)``.

    Args:
        q: 1: they come one after the other; the larger, the more only the longest counts.
        phases: Times, s.
    """
    longest = np.maximum(np.max(phases, axis=0), np.finfo(np.float64).tiny)  # powers of times alone would underflow
    return np.asarray(longest * sum((phase / longest) ** q for phase in phases) ** (1 / q), np.float64)


def off_chip(size_bytes: Reals, keep: float) -> Reals:
    """Bytes of a tensor that pass through off-chip memory: ``n / (1 + (keep / n)^6)``, few below `keep`, most above.

    Args:
        size_bytes: Sizes of tensors, byte.
        keep: Size up to which they stay on the chip, byte.
    """
    ratio = np.minimum(keep / np.maximum(size_bytes, 1.0), 1e9)
    return np.asarray(size_bytes / (1 + ratio**STEEPNESS), np.float64)


def bytes_read(work: Columns, p: NpuParameters) -> Reals:
    """Bytes read from off-chip memory: the inputs, and the weights, compressed to `weight` bytes for each byte."""
    inputs = work.inputs * off_chip(work.read / work.inputs * work.size, p.keep)
    return inputs + work.size * p.weight * work.weights


def bytes_written(work: Columns, p: NpuParameters) -> Reals:
    """Bytes written to off-chip memory."""
    return off_chip(work.written * work.size, p.keep)


def off_chip_seconds(work: Columns, p: NpuParameters) -> Reals:
    """Time of off-chip traffic: ``bytes / (ddr_eff * limit)``."""
    return (bytes_read(work, p) + bytes_written(work, p)) / (p.ddr_eff * p.ddr_limit)


def integer_convolution(work: Columns, p: NpuParameters, *, factor: float = 1.0) -> Phases:
    """Convolution on the convolution cores.

    ``|| B mac / (cores mac_core), B e (load + out) / sram, (off(in) + off(out) + e weight params) / (ddr_eff limit) ||
    + t_layer``, and ``B e in / s2d + t_layer`` if the input is rearranged for a stride.

    Args:
        work: The operations.
        p: The chip.
        factor: Rate as a share of that of 8-bit data.
    """
    return Phases(
        compute=work.mac_slots / (p.nn_cores * p.mac_core * factor),
        on_chip=work.size * (work.load + work.written) / p.sram,
        off_chip=off_chip_seconds(work, p),
        serial=work.size * work.rearranged / p.s2d,
        fixed=np.where(work.rearranged > 0, 2 * p.t_layer, p.t_layer),
    )


def int16_convolution(work: Columns, p: NpuParameters) -> Phases:
    """The same with int16, in `int16_factor` of the rate."""
    return integer_convolution(work, p, factor=p.int16_factor)


def float_convolution(work: Columns, p: NpuParameters) -> Phases:
    """Convolution of floats on the programmable unit: ``MACs / f16_rate + t_ppu``."""
    return _computed(work.macs / p.f16_rate, p.t_ppu)


def addition(work: Columns, p: NpuParameters) -> Phases:
    """Addition on the convolution cores: ``|| B e (in + out) / sram, off-chip / (ddr_eff limit) || + t_layer``."""
    return Phases(
        compute=np.zeros_like(work.size),
        on_chip=work.size * (work.read + work.written) / p.sram,
        off_chip=off_chip_seconds(work, p),
        serial=np.zeros_like(work.size),
        fixed=np.full_like(work.size, p.t_layer),
    )


def tensor(work: Columns, p: NpuParameters, *, share: float = 1.0) -> Phases:
    """Pass of the tensor processor.

    ``share || B e (in + out) / (tp_unit units), off-chip / (ddr_eff limit) || + t_layer``.

    Args:
        work: The operations.
        p: The chip.
        share: Time as a share of that of other operations; all take the same time to start.
    """
    return Phases(
        compute=share * work.size * (work.read + work.written) / (p.tp_unit * p.tp_units),
        on_chip=np.zeros_like(work.size),
        off_chip=share * off_chip_seconds(work, p),
        serial=np.zeros_like(work.size),
        fixed=np.full_like(work.size, p.t_layer),
    )


def copy(work: Columns, p: NpuParameters) -> Phases:
    """Concatenation, slice or split: a pass of the tensor processor in `copy_share` of its time."""
    return tensor(work, p, share=p.copy_share)


def pool(work: Columns, p: NpuParameters) -> Phases:
    """Pooling: a pass of the tensor processor in `pool_share` of its time."""
    return tensor(work, p, share=p.pool_share)


def input_transpose(work: Columns, p: NpuParameters) -> Phases:
    """Transpose of an input of one or three channels: ``B elements / transpose + t_layer``."""
    return _computed(work.read / p.transpose, p.t_layer)


def fully_connected(work: Columns, p: NpuParameters) -> Phases:
    """Fully connected layer on the tensor processor: ``B e MACs / fc + t_layer``."""
    return _computed(work.size * work.macs / p.fc, p.t_layer)


def programmable(work: Columns, p: NpuParameters) -> Phases:
    """Operation of the programmable unit: ``B elements / ppu + t_ppu``, elements of the largest tensor."""
    return _computed(np.maximum(work.read / work.inputs, work.written) / p.ppu, p.t_ppu)


def softmax(work: Columns, p: NpuParameters) -> Phases:
    """Softmax: as `programmable`, but it takes the time `softmax` to start."""
    return _computed(np.maximum(work.read / work.inputs, work.written) / p.ppu, p.softmax)


def preprocess(work: Columns, p: NpuParameters) -> Phases:
    """Conversion of an image: ``B elements / preprocess + t_ppu``, elements of the result."""
    return _computed(work.written / p.preprocess, p.t_ppu)


def preprocess_scaled(work: Columns, p: NpuParameters) -> Phases:
    """Conversion and resizing of an image: ``B elements / preprocess_scaled + t_ppu``, elements of the result."""
    return _computed(work.written / p.preprocess_scaled, p.t_ppu)


def _computed(compute: Reals, fixed: float) -> Phases:
    none = np.zeros_like(compute)
    return Phases(compute=compute, on_chip=none, off_chip=none, serial=none, fixed=np.full_like(compute, fixed))


_FORMULAS: dict[Kind, tuple[Engine, Formula]] = {
    "convolution": ("NN", integer_convolution),
    "deconvolution": ("NN", integer_convolution),
    "addition": ("NN", addition),
    "fully_connected": ("TP", fully_connected),
    "tensor": ("TP", tensor),
    "copy": ("TP", copy),
    "pool": ("TP", pool),
    "input_transpose": ("TP", input_transpose),
    "programmable": ("PPU", programmable),
    "softmax": ("PPU", softmax),
    "preprocess": ("PPU", preprocess),
    "preprocess_scaled": ("PPU", preprocess_scaled),
}
_INT16: dict[Kind, tuple[Engine, Formula]] = {
    "convolution": ("NN", int16_convolution),
    "deconvolution": ("NN", int16_convolution),
}
_FLOAT16: dict[Kind, tuple[Engine, Formula]] = {
    "convolution": ("PPU", float_convolution),
    "deconvolution": ("PPU", float_convolution),
    "addition": ("PPU", programmable),
}
_FLOAT32: dict[Kind, tuple[Engine, Formula]] = {
    "fully_connected": ("PPU", float_convolution),
    **dict.fromkeys(("tensor", "copy", "pool", "input_transpose"), ("PPU", programmable)),
}
_BY_TYPE: dict[Dtype, dict[Kind, tuple[Engine, Formula]]] = {
    "uint8": _FORMULAS,
    "int8": _FORMULAS,
    "int16": _FORMULAS | _INT16,
    "float16": _FORMULAS | _FLOAT16,
    "float32": _FORMULAS | _FLOAT16 | _FLOAT32,
}


def formula_of(operation: Operation) -> tuple[Engine, Formula]:
    """The unit that runs an operation, and the formula for its time.

    A convolution whose result is a single pixel is a fully connected layer. The programmable unit does what others do
    not do with floats. Nothing is published about float32; it is taken to be as fast as float16.
    """
    single_pixel = operation.kind == "convolution" and operation.output[:2] == (1, 1)
    return _BY_TYPE[operation.dtype]["fully_connected" if single_pixel else operation.kind]


def columns_of(operations: Sequence[Operation], nn_cores: int) -> Columns:
    """Put what the formulas need of operations into columns.

    Args:
        operations: The operations; of one formula, or columns of others would be wasted.
        nn_cores: Convolution cores of the chip.
    """

    def column(values: Sequence[float]) -> Reals:
        return np.array(values, np.float64)

    convolutions = ("convolution", "deconvolution")
    work = [convolution_work(o, nn_cores) if o.kind in convolutions else Work(0.0, 0.0, 0.0) for o in operations]
    batch = column([o.batch for o in operations])
    return Columns(
        size=column([o.size_bytes for o in operations]),
        batch=batch,
        inputs=column([o.input_count for o in operations]),
        read=batch * column([o.input_elements for o in operations]),
        written=batch * column([o.output_elements for o in operations]),
        weights=column([o.weights for o in operations]),
        macs=batch * column([o.macs for o in operations]),
        mac_slots=batch * column([w.mac_slots for w in work]),
        load=batch * column([w.load for w in work]),
        rearranged=batch * column([w.rearranged for w in work]),
    )
