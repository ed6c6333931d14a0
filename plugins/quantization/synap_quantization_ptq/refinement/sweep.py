"""Refine weights and biases layer by layer, each on what the refined layers in front of it give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from synap_core.api import (
    Parameters,
    Plan,
    QuantizedTensor,
    QuantParams,
    Runner,
    dequantized,
    integer_limits,
    quantized_bias,
    scale_and_zero_point,
    shape_of,
)
from synap_quantization_ptq.refinement.layers import Stream
from synap_quantization_ptq.refinement.moments import Seen
from synap_quantization_ptq.refinement.products import CONVOLUTIONS, PRODUCTS, Product
from synap_quantization_ptq.refinement.rounding import Rounding, damp
from synap_quantization_ptq.refinement.steps import fitted_steps, has_shared_step, shared_step
from synap_quantization_ptq.refinement.workers import Workers

Real64 = NDArray[np.float64]
MATRIX_RANK = 2

MOST_TERMS = 8192
"""Terms of sums whose weights are rounded with regard to each other: the square of it is the memory that takes, half a
gigabyte for each of the matrices."""

INTEGERS = ("uint8", "int8", "int16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How layers are refined.

    Attributes:
        name: For reports.
        rounding: Round weights with regard to what they are multiplied with.
        bias: Correct biases, so that the mean of each product is that of the real numbers.
        correction: Share of the way from the weights to those that would give the real product of what is multiplied
            in the quantized graph; 0 rounds the weights as they are.
        damping: Share of the mean variance that is added to every variance.
        positions: Most positions of each sample at which the numbers to multiply with are taken.
        steps: Look for smaller steps of weights that share one.
        is_fallback: To be tried only where nothing else helps.
    """

    name: str
    rounding: bool = True
    bias: bool = False
    correction: float = 0.0
    damping: float = 0.01
    positions: int = 64
    steps: bool = True
    is_fallback: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What sweeps work on.

    Attributes:
        plan: The plan.
        runner: Runs graphs.
        quantized: Samples that go through the quantized graph.
        real: The first of them, which go through the graph of real numbers, too.
        means: Mean of each product over the samples and positions, by its name: ``(channels,)``.
        workers: Threads that work on them.
    """

    plan: Plan
    runner: Runner
    quantized: Sequence[int]
    real: Sequence[int]
    means: Mapping[str, Real64]
    workers: Workers


def products(plan: Plan) -> dict[str, Product]:
    """Products with quantized weights, by the id of their layer."""
    found = {}
    for group in plan.groups:
        node = group.nodes[0]
        if node.domain or node.op_type not in PRODUCTS or plan.types[group.layer_id] not in INTEGERS:
            continue
        data, weight = node.inputs[:2]
        if data is None or weight is None or weight.name not in plan.constants or data.name not in plan.slot_of:
            continue
        if node.op_type == "MatMul" and len(shape_of(weight)) != MATRIX_RANK:
            continue  # one product for each matrix
        product = Product(
            node=node,
            data=str(data.name),
            weight=str(weight.name),
            bias=next((key for key, bias in plan.biases.items() if bias.weight == weight.name), None),
            output=_sum(node, group.nodes, plan),
            groups=node.attributes.get_int("group", 1) if node.op_type in CONVOLUTIONS else 1,
        )
        if product.term_count() and product.position_count():
            found[group.layer_id] = product
    return found


def sweep(material: Material, start: Parameters, recipe: Recipe) -> Parameters:
    """Refine the parameters of every product, in execution order.

    Returns:
        Parameters with other weights and biases; ranges of computed tensors stay as they are.
    """
    plan = material.plan
    found = products(plan)
    constants = dict(start.constants)
    parameters = replace(start, constants=constants)
    quantized = Stream(plan, parameters, material.runner, material.quantized, material.workers)
    real = Stream(plan, None, material.runner, material.real, material.workers) if recipe.correction else None
    for group in plan.groups:
        product = found.get(group.layer_id)
        if product is not None:
            rounds = recipe.rounding and product.term_count() <= MOST_TERMS
            seen = Seen(product, quantized, real, recipe.positions if rounds else 0)
            if rounds:
                constants[product.weight] = _rounded(product, plan, start, seen, recipe)
            if product.bias is not None:
                _place_bias(product, plan, parameters, constants)
                if recipe.bias:
                    _correct_bias(product, material, parameters, constants, seen.means)
            del seen  # large, and not needed any more
        quantized.advance(group.nodes)
        if real is not None:
            real.advance(group.nodes)
    return parameters


def shares_steps(plan: Plan, parameters: Parameters) -> bool:
    """Whether there are weights that have one step, which may be any number."""
    return any(has_shared_step(parameters.constants[product.weight].quant) for product in products(plan).values())


def product_means(plan: Plan, runner: Runner, indices: Sequence[int]) -> dict[str, Real64]:
    """Mean of each product of real numbers over samples and positions, by its name: ``(channels,)``."""
    found = list(products(plan).values())
    session = runner.open(plan.graph, [product.output for product in found])
    totals: list[Real64] = [np.zeros(1) for _ in found]
    # One at a time: so many outputs take much memory.
    for feeds in runner.samples(indices):
        for i, array in enumerate(session.run(feeds)):
            totals[i] = totals[i] + _channel_means(array, found[i])
    return {product.output: total / len(indices) for product, total in zip(found, totals, strict=True)}


def _channel_means(array: np.ndarray, product: Product) -> Real64:
    """Mean of each channel of a product."""
    channel = 1 if product.node.op_type in CONVOLUTIONS else array.ndim - 1
    axes = tuple(axis for axis in range(array.ndim) if axis != channel)
    return np.asarray(array.mean(axis=axes, dtype=np.float64))


def _sum(node: ir.Node, nodes: Sequence[ir.Node], plan: Plan) -> str:
    """Name of the product with its bias: that of the addition behind it, if there is one in the layer."""
    added = nodes[1] if len(nodes) > 1 and nodes[1].op_type == "Add" else None
    has_bias = added is not None and any(v is not None and v.name in plan.biases for v in added.inputs)
    last = added if added is not None and has_bias else node
    return str(last.outputs[0].name)


def _rounded(product: Product, plan: Plan, start: Parameters, seen: Seen, recipe: Recipe) -> QuantizedTensor:
    quant = start.constants[product.weight].quant
    initial = plan.graph.graph.initializers[product.weight].const_value
    weights = np.empty(0, np.float32) if initial is None else initial.numpy()
    rows: NDArray[np.floating] = product.rows(weights)
    damping = seen.damping(recipe.damping)
    if seen.paired:
        rows = rows + recipe.correction * (seen.corrected(rows, damping) - rows)
    covariance = seen.covariance()
    damp(covariance, damping)
    rounding = Rounding(covariance)
    if quant.fractional_length is not None and quant.dtype == "int8":
        quant = fitted_steps(quant, rows.astype(np.float64), covariance)
    elif recipe.steps and has_shared_step(quant):
        quant = shared_step(quant, rows.astype(np.float64), covariance, rounding)
    scale, zero_point = _of_rows(product, quant, weights.shape, rows.shape)
    integers = rounding.integers(rows, scale, zero_point, integer_limits(quant.dtype, quant.scheme))
    return QuantizedTensor(product.weights(integers, weights.shape).astype(quant.dtype), quant)


def _of_rows(
    product: Product, quant: QuantParams, shape: tuple[int, ...], rows: tuple[int, ...]
) -> tuple[Real64, Real64]:
    """Scale and zero point of each row, ``(G, O)``."""
    if quant.axis is None:
        scale, zero_point = scale_and_zero_point(quant, 0)
        return np.full(rows[:2], scale.reshape(-1)[0]), np.full(rows[:2], zero_point.reshape(-1)[0], np.float64)
    expanded = [
        product.rows(np.broadcast_to(array, shape).astype(np.float64))[:, :, 0]
        for array in scale_and_zero_point(quant, len(shape))
    ]
    return expanded[0], expanded[1]


def _place_bias(product: Product, plan: Plan, parameters: Parameters, constants: dict[str, QuantizedTensor]) -> None:
    """Store the bias in the steps that the product has now."""
    bias = plan.biases[str(product.bias)]
    data = parameters.activations[bias.data]
    values = plan.graph.graph.initializers[bias.key].const_value
    if values is not None:
        constants[bias.key] = quantized_bias(bias, values.numpy(), data, constants[bias.weight].quant)


def _correct_bias(
    product: Product, material: Material, parameters: Parameters, constants: dict[str, QuantizedTensor], means: Real64
) -> None:
    """Move the bias by the difference of the means: of the real product, and of the one of quantized factors."""
    bias = material.plan.biases[str(product.bias)]
    before = constants[bias.key].numpy().astype(np.float64)
    weights = constants[product.weight]
    # Real numbers that are asked of a constant are kept as long as it: too many for all weights.
    rows = product.rows(dequantized(weights.integers, weights.quant))
    shift = material.means[product.output] - product.channel_means(rows, means)
    # It may have a number for each channel, one for all, and others for each row of a matrix.
    own = before.shape[-1:] == shift.shape
    shift -= before.reshape(-1, len(shift)).mean(axis=0) if own else before.mean()
    moved = before + (shift if own else shift.mean())
    data = parameters.activations[bias.data]
    constants[bias.key] = quantized_bias(bias, moved, data, constants[bias.weight].quant)
