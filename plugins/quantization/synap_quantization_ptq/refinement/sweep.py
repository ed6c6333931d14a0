"""Refine weights and biases layer by layer, each on what the refined layers in front of it give."""

from __future__ import annotations

import itertools
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
from synap_quantization_ptq.refinement.rounding import damp, round_rows
from synap_quantization_ptq.refinement.steps import fitted_steps, has_shared_step, shared_step

Real32 = NDArray[np.float32]
Real64 = NDArray[np.float64]

INTEGERS = ("uint8", "int8", "int16")

FEWEST_POSITIONS = 8
ROWS_PER_TERM = 16
"""Positions of each sample, and of all samples for each term of a sum, at which the terms are looked at.

Where a sample has fewer of them, weights are only rounded, and not corrected."""

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
        steps: Look for smaller steps of weights that share one; only where there is time.
        is_fallback: To be tried only where nothing else helps.
    """

    name: str
    rounding: bool = True
    bias: bool = False
    correction: float = 0.0
    damping: float = 0.01
    positions: int = 64
    steps: bool = False
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
    rows: NDArray[np.floating] = product.rows(weights)
    samples = material.quantized if real is None else material.real
    seen = _Seen(product, rows.shape[2], len(samples), recipe.positions)
    seen.take(quantized, real if seen.suffices(len(material.real)) else None)
    damping = seen.damping(recipe.damping)
    if seen.paired:
        rows = rows + recipe.correction * (seen.corrected(rows, damping) - rows)
    covariance = seen.covariance()
    del seen
    damp(covariance, damping)
    if quant.fractional_length is not None and quant.dtype == "int8":
        quant = fitted_steps(quant, rows.astype(np.float64), covariance)
    elif recipe.steps and has_shared_step(quant):
        quant = shared_step(quant, rows.astype(np.float64), covariance)
    scale, zero_point = _of_rows(product, quant, weights.shape, rows.shape)
    integers = round_rows(rows, covariance, scale, zero_point, integer_limits(quant.dtype, quant.scheme))
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
        # Of samples with real numbers beside the quantized ones, of the others, and of real with quantized numbers.
        self._paired, self._alone, self._cross = _Moments(), _Moments(), _Moments()

    @property
    def paired(self) -> bool:
        """Whether real numbers were seen beside the quantized ones."""
        return self._cross.count > 0

    def suffices(self, samples: int) -> bool:
        """Whether so many samples tell how to correct weights: with fewer positions for each, most of it is chance."""
        return self._positions * samples >= ROWS_PER_TERM * self._terms

    def take(self, quantized: Stream, real: Stream | None) -> None:
        """Take the samples of the quantized graph, and of real numbers, if any, the same positions."""
        quant = quantized.quant(self._product.data)
        scale, zero_point = (1.0, 0) if quant is None else (item.item() for item in scale_and_zero_point(quant, 0))

        def terms(number: int, array: np.ndarray) -> Real32:
            found = self._product.terms(array, self._picked(number), int(zero_point)).astype(np.float32)
            return (found - np.float32(zero_point)) * np.float32(scale)

        def real_terms(number: int, array: np.ndarray) -> Real32:
            return self._product.terms(array, self._picked(number)).astype(np.float32)

        name = self._product.data
        others = iter(()) if real is None else real.values(name, real_terms)
        for own, other in itertools.zip_longest(quantized.values(name, terms), others):
            (self._alone if other is None else self._paired).add(own, own)
            if other is not None:
                self._cross.add(other, own)

    def covariance(self) -> Real64:
        """Covariance of the terms, ``(G, K, K)``."""
        return covariance_of([moments for moments in (self._paired, self._alone) if moments.count])

    def damping(self, least: float) -> float:
        """Damping for covariances of so few positions: with fewer than terms, most of what they say is chance."""
        rows = self._cross.count if self.paired else self._alone.count
        return max(least, SCARCE * self._terms / max(rows, 1))

    def corrected(self, rows: NDArray[np.floating], damping: float) -> Real64:
        """Rows that give the real product of the quantized terms, as well as rows can: ``W C(real, q) C(q, q)^-1``."""
        own = covariance_of([self._paired])
        extra = damp(own, damping)
        cross = covariance_of([self._cross])
        # Damped alike, so that rows stay what they are where both see the same.
        diagonal = np.arange(cross.shape[1])
        cross[:, diagonal, diagonal] += extra[:, None]
        product = rows @ cross
        del cross
        solved = np.linalg.solve(own, product.transpose(0, 2, 1))
        return np.asarray(solved.transpose(0, 2, 1), np.float64)

    def _picked(self, number: int) -> NDArray[np.int64]:
        """Positions of a sample."""
        return np.random.default_rng(number).choice(self._count, self._positions, replace=False)


class _Moments:
    """Sums and products of two sets of variables, of pieces that come one by one: ``(G, K, n)`` each.

    Attributes:
        count: Number of columns that are counted.
        sums: Sum of each variable of both, ``(G, K)``.
        products: Sum of the products, ``(G, K, K)``.
    """

    def __init__(self) -> None:
        self.count = 0
        self.sums: list[Real64] = [np.zeros(()), np.zeros(())]
        self.products: Real64 = np.zeros(())
        self._waiting: list[tuple[Real32, Real32]] = []
        self._size = 0

    def add(self, one: Real32, other: Real32) -> None:
        """Take a piece of both."""
        self.count += one.shape[2]
        self._waiting.append((one, other))
        self._size += one.size
        if self._size > MOMENT_ITEMS:
            self.flush()

    def flush(self) -> None:
        """Count what is waiting: large products are faster."""
        if not self._waiting:
            return
        same = self._waiting[0][0] is self._waiting[0][1]
        one = np.concatenate([piece for piece, _ in self._waiting], axis=2)
        other = one if same else np.concatenate([piece for _, piece in self._waiting], axis=2)
        self._waiting, self._size = [], 0
        self.sums = [
            total + array.sum(axis=2, dtype=np.float64) for total, array in zip(self.sums, (one, other), strict=True)
        ]
        if not self.products.shape:
            self.products = np.zeros((*one.shape[:2], one.shape[1]))
        self.products += one @ other.transpose(0, 2, 1)


def covariance_of(parts: Sequence[_Moments]) -> Real64:
    """Mean of the products less the product of the means, ``(G, K, K)``."""
    for part in parts:
        part.flush()
    count = sum(part.count for part in parts)
    first, second = (np.sum([part.sums[side] for part in parts], axis=0) / count for side in (0, 1))
    found = parts[0].products / count
    for part in parts[1:]:
        found += part.products / count
    found -= first[:, :, None] * second[:, None, :]
    return found
