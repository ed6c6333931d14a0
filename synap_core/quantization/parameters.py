"""The solved parameters of a quantization, and the graph that carries them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from synap_core.errors import InputError
from synap_core.graph.annotations import set_quant
from synap_core.graph.quantized import QuantizedTensor, scale_and_zero_point
from synap_core.quantization.data_types import input_layer_id
from synap_core.quantization.interface import Range
from synap_core.quantization.plan import Bias, ConstantSlot, Plan
from synap_core.quantization.schemes import SMALLEST_SCALE, params_of, quantize
from synap_core.tensors import QuantParams

FLOAT16 = "float16"
BIAS_LIMITS = {"int32": float(2**30), "int64": float(2**62)}
"""Steps that a bias may have: half of what its type holds, the rest is for the products it is added to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Parameters for everything that a plan quantizes.

    Attributes:
        activations: Parameters of each slot of computed tensors, by its key.
        constants: Each weight, constant and bias as it is stored, by its key.
        ranges: Range of each slot, weight and constant, by its key; for reports.
        notes: What the user should know.
    """

    activations: Mapping[str, QuantParams]
    constants: Mapping[str, QuantizedTensor]
    ranges: Mapping[str, Range]
    notes: tuple[str, ...] = ()


def solve(plan: Plan, ranges: Mapping[str, Range]) -> Parameters:
    """Parameters that follow from ranges, with constants rounded to the nearest step.

    Args:
        plan: What is quantized.
        ranges: Range of each weight and constant, and of each slot that has no fixed one, by key; none for float16.

    Raises:
        InputError: A bias is not finite.
    """
    activations = {key: params_of(slot.spec, _range(plan, key, ranges)) for key, slot in plan.slots.items()}
    values = plan.graph.graph.initializers
    weights = {key: params_of(slot.spec, _range(plan, key, ranges)) for key, slot in plan.constants.items()}
    for bias in plan.biases.values():
        weights[bias.weight] = _with_room(weights[bias.weight], real(values[bias.key]), activations[bias.data])
    constants = {key: stored(real(values[key]), quant) for key, quant in weights.items()}
    constants |= {
        key: quantized_bias(bias, real(values[key]), activations[bias.data], weights[bias.weight])
        for key, bias in plan.biases.items()
    }
    return Parameters(activations=activations, constants=constants, ranges=ranges)


def quantized_bias(bias: Bias, values: NDArray[np.float32], data: QuantParams, weight: QuantParams) -> QuantizedTensor:
    """A bias as integers of the product's scale: 32 bits, or 64 where the factors have more than 8.

    Raises:
        InputError: It is not finite.
    """
    if not np.isfinite(values).all():
        msg = f"layer '@{bias.layer_id}': its bias holds infinite numbers or NaN, which cannot be quantized"
        raise InputError(msg, hint="keep the layer in float16, or repair the model")
    return stored(values, _bias_params(bias, data, weight))


def stored(values: NDArray[np.floating], quant: QuantParams) -> QuantizedTensor:
    """A constant as it is stored: the nearest integers, or the nearest numbers of float16."""
    if quant.dtype == FLOAT16:
        largest = float(np.finfo(np.float16).max)
        return QuantizedTensor(np.clip(values, -largest, largest).astype(np.float16), quant)
    return QuantizedTensor(quantize(values, quant), quant)


def real(value: ir.Value) -> NDArray[np.float32]:
    """Items of a constant."""
    if value.const_value is None:
        msg = f"{value.name!r} is no constant"
        raise ValueError(msg)
    return value.const_value.numpy()


def annotate(plan: Plan, parameters: Parameters, layers: Collection[str] | None = None) -> ir.Model:
    """Copy of a plan's graph with parameters on its values, and constants as they are stored.

    Args:
        plan: The plan.
        parameters: The parameters.
        layers: Ids of the layers (graph inputs included) to quantize; all by default.
    """
    model = plan.graph.clone()
    for value, layer_id in _computed(plan, model):
        slot = plan.slot_of.get(str(value.name))
        if slot is not None and (layers is None or layer_id in layers):
            set_quant(value, parameters.activations[slot])
    owners: Mapping[str, ConstantSlot | Bias] = {**plan.constants, **plan.biases}
    for key, owner in owners.items():
        if layers is None or owner.layer_id in layers:
            value, tensor = model.graph.initializers[key], parameters.constants[key]
            value.const_value = tensor
            set_quant(value, tensor.quant)
    return model


def _computed(plan: Plan, model: ir.Model) -> Iterator[tuple[ir.Value, str]]:
    """Values of a copy of a plan's graph with the ids of their layers."""
    owner = {str(value.name): group.layer_id for group in plan.groups for node in group.nodes for value in node.outputs}
    yield from ((value, input_layer_id(value)) for value in model.graph.inputs)
    yield from ((value, owner[str(value.name)]) for node in model.graph for value in node.outputs)


def _range(plan: Plan, key: str, ranges: Mapping[str, Range]) -> Range:
    slot = plan.slots.get(key)
    fixed = None if slot is None else slot.fixed
    if fixed is None and key in ranges:
        return ranges[key]
    low, high = fixed or (0.0, 0.0)
    return Range(low=np.float64(low), high=np.float64(high))  # type: ignore[arg-type]  # a scalar is an array of rank 0


def _bias_params(bias: Bias, data: QuantParams, weight: QuantParams) -> QuantParams:
    dtype = _bias_type(data, weight)
    if data.fractional_length is not None and weight.fractional_length is not None:
        return QuantParams(
            dtype=dtype, scheme=data.scheme, fractional_length=data.fractional_length + weight.fractional_length
        )
    step = float(scale_and_zero_point(data, 0)[0])
    rank = 1 if weight.axis is None else weight.axis + 1
    scale = np.asarray(scale_and_zero_point(weight, rank)[0]).reshape(-1) * step
    rounded = tuple(float(np.float32(s)) for s in scale)
    return QuantParams(
        dtype=dtype,
        scheme=weight.scheme,
        scale=rounded,
        zero_point=(0,) * len(rounded),
        axis=None if weight.axis is None else bias.axis,
    )


def _with_room(weight: QuantParams, values: NDArray[np.float32], data: QuantParams) -> QuantParams:
    """Larger steps of the weights where the bias would have too many of them for its type, or too small ones.

    A channel whose weights are all but zero has such small steps that its bias does not fit.
    """
    if not np.isfinite(values).all():
        return weight
    rank = 1 if weight.axis is None else weight.axis + 1
    step = np.asarray(scale_and_zero_point(weight, rank)[0]).reshape(-1) * float(scale_and_zero_point(data, 0)[0])
    steps = np.abs(values.reshape(-1)).astype(np.float64) / step
    excess = np.maximum(steps / BIAS_LIMITS[_bias_type(data, weight)], SMALLEST_SCALE / step)
    if weight.axis is None:
        excess = np.max(excess, initial=0.0, keepdims=True)
    if np.all(excess <= 1):
        return weight
    if weight.fractional_length is not None:
        return replace(weight, fractional_length=weight.fractional_length - math.ceil(math.log2(float(excess.max()))))
    widened = np.asarray(weight.scale) * np.maximum(excess, 1)
    return replace(weight, scale=tuple(float(np.float32(s)) for s in widened))


def _bias_type(data: QuantParams, weight: QuantParams) -> str:
    return "int32" if data.dtype in ("uint8", "int8") and weight.dtype in ("uint8", "int8") else "int64"
