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
    integer_limits,
    quantized_bias,
    scale_and_zero_point,
)
from synap_quantization_ptq.refinement.layers import Stream
from synap_quantization_ptq.refinement.products import PRODUCTS, Product
from synap_quantization_ptq.refinement.rounding import damped, round_rows
from synap_quantization_ptq.refinement.steps import fitted_steps

Real64 = NDArray[np.float64]

INTEGERS = ("uint8", "int8", "int16")

FEWEST_POSITIONS = 8
ROWS_PER_TERM = 16
"""Positions of each sample, and of all samples for each term of a sum, at which the terms are looked at."""

SCARCE = 0.05
"""Damping where there are as many terms as positions."""

MOMENT_ITEMS = 1 << 21
"""Items that wait before they are multiplied: large products are faster, and take more memory."""


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
        is_fallback: To be tried only where nothing else helps.
    """

    name: str
    rounding: bool = True
    bias: bool = False
    correction: float = 0.0
    damping: float = 0.01
    positions: int = 64
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
    """

    plan: Plan
    runner: Runner
    quantized: Sequence[int]
    real: Sequence[int]
    means: Mapping[str, Real64]


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
        found[group.layer_id] = Product(
            node=node,
            data=str(data.name),
            weight=str(weight.name),
            bias=next((key for key, bias in plan.biases.items() if bias.weight == weight.name), None),
            output=_sum(node, group.nodes, plan),
            groups=node.attributes.get_int("group", 1) if node.op_type in ("Conv", "ConvTranspose") else 1,
        )
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
    quantized = Stream(plan, parameters, material.runner, material.quantized)
    real = Stream(plan, None, material.runner, material.real) if recipe.correction else None
    for group in plan.groups:
        product = found.get(group.layer_id)
        if product is not None:
            if recipe.rounding:
                constants[product.weight] = _rounded(product, material, start, quantized, real, recipe)
            if product.bias is not None:
                _place_bias(product, plan, parameters, constants)
            if recipe.bias and product.bias is not None:
                _correct_bias(product, group.nodes, material, parameters, constants, quantized)
        quantized.advance(group.nodes)
        if real is not None:
            real.advance(group.nodes)
    return parameters


def product_means(plan: Plan, runner: Runner, indices: Sequence[int]) -> dict[str, Real64]:
    """Mean of each product of real numbers over samples and positions, by its name: ``(channels,)``."""
    found = list(products(plan).values())
    session = runner.open(plan.graph, [product.output for product in found])
    totals = [np.zeros(1) for _ in found]
    for feeds in runner.samples(indices):
        for i, array in enumerate(session.run(feeds)):
            totals[i] = totals[i] + channel_means(array, found[i])
    return {product.output: total / len(indices) for product, total in zip(found, totals, strict=True)}


def channel_means(array: np.ndarray, product: Product) -> Real64:
    """Mean of each channel of a product."""
    channel = 1 if product.node.op_type in ("Conv", "ConvTranspose") else array.ndim - 1
    axes = tuple(axis for axis in range(array.ndim) if axis != channel)
    return np.asarray(array.mean(axis=axes, dtype=np.float64))


def _sum(node: ir.Node, nodes: Sequence[ir.Node], plan: Plan) -> str:
    """Name of the product with its bias: that of the addition behind it, if there is one in the layer."""
    added = nodes[1] if len(nodes) > 1 and nodes[1].op_type == "Add" else None
    has_bias = added is not None and any(v is not None and v.name in plan.biases for v in added.inputs)
    last = added if added is not None and has_bias else node
    return str(last.outputs[0].name)


def _rounded(
    product: Product, material: Material, start: Parameters, quantized: Stream, real: Stream | None, recipe: Recipe
) -> QuantizedTensor:
    quant = start.constants[product.weight].quant
    initial = material.plan.graph.graph.initializers[product.weight].const_value
    weights = np.empty(0, np.float32) if initial is None else initial.numpy()
    rows = product.rows(weights).astype(np.float64)
    samples = material.quantized if real is None else material.real
    seen = _Seen(product, rows.shape[2], len(samples), recipe.positions)
    quant_of_data = quantized.quant(product.data)
    others = [] if real is None else real.kept(product.data)
    for number, array in enumerate(quantized.kept(product.data)):
        seen.add(array, quant_of_data, others[number] if number < len(others) else None, number)
    covariance = seen.covariance()
    damping = seen.damping(recipe.damping)
    if recipe.correction and seen.paired:
        rows = rows + recipe.correction * (seen.corrected(rows, damping) - rows)
    if quant.fractional_length is not None and quant.dtype == "int8":
        quant = fitted_steps(quant, rows, damped(covariance, damping))
    scale, zero_point = _of_rows(product, quant, weights.shape, rows.shape)
    integers = round_rows(rows, covariance, scale, zero_point, integer_limits(quant.dtype, quant.scheme), damping)
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
    product: Product,
    nodes: Sequence[ir.Node],
    material: Material,
    parameters: Parameters,
    constants: dict[str, QuantizedTensor],
    quantized: Stream,
) -> None:
    """Move the bias by the difference of the means."""
    plan = material.plan
    bias = plan.biases[str(product.bias)]
    found = quantized.run(nodes, [product.output], lambda arrays: channel_means(arrays[0], product), exact=True)
    shift = material.means[product.output] - np.mean(found, axis=0)
    before = constants[bias.key].numpy()
    moved = before.astype(np.float64) + shift.reshape(before.shape)
    data = parameters.activations[bias.data]
    constants[bias.key] = quantized_bias(bias, moved, data, constants[bias.weight].quant)


class _Seen:
    """Second moments of what the rows of a product are multiplied with, at some positions of each sample."""

    def __init__(self, product: Product, terms: int, samples: int, most: int) -> None:
        self._product = product
        self._terms = terms
        self._count = product.position_count()
        self._positions = min(self._count, most, max(FEWEST_POSITIONS, -(-ROWS_PER_TERM * terms // samples)))
        self._own = _Moments()
        self._paired, self._cross = _Moments(), _Moments()

    @property
    def paired(self) -> bool:
        """Whether real numbers were seen beside the quantized ones."""
        return self._cross.count > 0

    def add(self, quantized: np.ndarray, quant: QuantParams | None, real: np.ndarray | None, seed: int) -> None:
        """Take a sample, and of the real numbers the same positions."""
        positions = np.random.default_rng(seed).choice(self._count, self._positions, replace=False)
        scale, zero_point = (1.0, 0) if quant is None else (item.item() for item in scale_and_zero_point(quant, 0))
        found = self._product.terms(quantized, positions, int(zero_point))
        terms = (found.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
        self._own.add(terms, terms)
        if real is not None:
            self._paired.add(terms, terms)
            self._cross.add(self._product.terms(real, positions).astype(np.float32), terms)

    def covariance(self) -> Real64:
        """Covariance of the terms, ``(G, K, K)``."""
        return self._own.covariance()

    def damping(self, least: float) -> float:
        """Damping for covariances of so few positions: with fewer than terms, most of what they say is chance."""
        rows = (self._cross if self.paired else self._own).count
        return max(least, SCARCE * self._terms / max(rows, 1))

    def corrected(self, rows: Real64, damping: float) -> Real64:
        """Rows that give the real product of the quantized terms, as well as rows can: ``W C(real, q) C(q, q)^-1``."""
        own = damped(self._paired.covariance(), damping)
        cross = self._cross.covariance()
        extra = np.trace(own, axis1=1, axis2=2) / own.shape[1] * damping / (1 + damping)
        # Damped alike, so that rows stay what they are where both see the same.
        cross = cross + extra[:, None, None] * np.eye(own.shape[1])
        return np.linalg.solve(own, (rows @ cross).transpose(0, 2, 1)).transpose(0, 2, 1)


class _Moments:
    """Covariance of two sets of variables, of pieces that come one by one: ``(G, K, n)`` each."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: list[Real64 | float] = [0.0, 0.0]
        self._products: Real64 | float = 0.0
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self._size = 0

    def add(self, one: np.ndarray, other: np.ndarray) -> None:
        """Take a piece of both."""
        self._waiting.append((one, other))
        self._size += one.size
        if self._size > MOMENT_ITEMS:
            self._flush()

    def covariance(self) -> Real64:
        """Mean of the products less the product of the means, ``(G, K, K)``."""
        self._flush()
        first, second = (np.asarray(total) / self.count for total in self._sums)
        return np.asarray(self._products) / self.count - first[:, :, None] * second[:, None, :]

    def _flush(self) -> None:
        if not self._waiting:
            return
        same = self._waiting[0][0] is self._waiting[0][1]
        one = np.concatenate([piece for piece, _ in self._waiting], axis=2)
        other = one if same else np.concatenate([piece for _, piece in self._waiting], axis=2)
        self.count += one.shape[2]
        self._sums = [
            total + array.sum(axis=2, dtype=np.float64) for total, array in zip(self._sums, (one, other), strict=True)
        ]
        self._products = self._products + (one @ other.transpose(0, 2, 1)).astype(np.float64)
        self._waiting, self._size = [], 0
