"""Cross-layer equalization: channels of successive convolutions take similar parts of the range of their tensors.

Source: Nagel and others, "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, section 4.1:
dividing channel i of the first convolution by ``sqrt(r1[i] / r2[i])``, where r1 and r2 are the largest weights that
make and that read it, and multiplying what reads it, makes both equally large, and the network computes the same.

Weights say nothing about a channel that is mostly its bias, such as one that a normalisation has switched off: dividing
it by what its tiny weights ask for would make a bias of 0.5 the largest number of the tensor by far, and take the steps
of all others. Such a channel becomes as large as the largest other one at most, if weights allow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from synap_core.api import QuantizedTensor, Runner

Reals = NDArray[np.float64]

SWEEPS = 20
"""Most times that all pairs are gone through: in a chain, each pair changes its neighbours."""

CONVERGED = 0.01
"""Largest relative change of a channel in the last sweep."""

LARGEST_FACTOR = 1024.0
"""Most that a channel is scaled by, so that none with hardly any weights becomes huge or vanishes."""

MARGIN = 2.0
"""A channel may be scaled if its numbers could be this many times as large without reaching a limit of the clip."""

HOMOGENEOUS = frozenset({"Relu", "LeakyRelu"})
"""Activations that scaling by a positive number may pass."""


@dataclass(slots=True, eq=False)
class _Convolution:
    """A convolution whose constants are its own.

    Attributes:
        node: The node.
        weights: ``(output channels, input channels / groups, ...)``.
        bias: One per output channel, or None.
        groups: Number of groups.
    """

    node: ir.Node
    weights: Reals
    bias: Reals | None
    groups: int

    def written(self) -> Reals:
        """Largest weight that makes each output channel."""
        return np.asarray(np.abs(self.weights).max(axis=tuple(range(1, self.weights.ndim))))

    def read(self) -> Reals:
        """Largest weight that reads each input channel."""
        if self.groups == 1:
            return np.asarray(np.abs(self.weights).max(axis=(0, *range(2, self.weights.ndim))))
        return np.asarray(self.written().reshape(self.groups, -1).max(axis=1))

    def divide_outputs(self, factors: Reals) -> None:
        """Divide each output channel."""
        self.weights /= _along(factors, 0, self.weights.ndim)
        if self.bias is not None:
            self.bias /= factors

    def multiply_inputs(self, factors: Reals) -> None:
        """Multiply what reads each input channel."""
        if self.groups == 1:
            self.weights *= _along(factors, 1, self.weights.ndim)
        else:
            self.weights *= _along(np.repeat(factors, len(self.weights) // self.groups), 0, self.weights.ndim)

    def store(self) -> None:
        """Write the constants into the graph."""
        for value, array in zip(self.node.inputs[1:], (self.weights, self.bias), strict=False):
            if value is not None and array is not None:
                value.const_value = ir.tensor(array.astype(np.float32), name=value.name)


@dataclass(slots=True, eq=False)
class _Pair:
    """Two convolutions, one right behind the other.

    Attributes:
        first: Makes the channels.
        second: Reads them, and nothing else does.
        limits: What the function between them clips to.
        total: What each channel was divided by so far.
        least: Least that each may be divided by, because of the clip; infinite for one that must stay.
        reach: Largest magnitude that each channel had on the samples behind the function, before it was divided.
        varied: Largest difference from its bias that each channel had on the samples.
        biased: Whether each is mostly its bias: that is larger than it varies, and passes the function.
    """

    first: _Convolution
    second: _Convolution
    limits: tuple[float, float]
    total: Reals = field(init=False)
    least: Reals = field(init=False)
    reach: Reals = field(init=False)
    varied: Reals = field(init=False)
    biased: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        channels = len(self.first.weights)
        self.total = np.ones(channels)
        self.least = np.full(channels, 1 / LARGEST_FACTOR)
        self.reach, self.varied = np.zeros(channels), np.zeros(channels)
        self.biased = np.zeros(channels, np.bool_)

    @property
    def depends_on_samples(self) -> bool:
        """Whether there is a limit that is not the same for a scaled channel, or a bias."""
        return self.first.bias is not None or any(np.isfinite(limit) and limit != 0 for limit in self.limits)

    def observe(self, values: NDArray[np.float32]) -> None:
        """Take what the first convolution gives for a sample, ``(N, C, ...)``, before channels are scaled."""
        others = (0, *range(2, values.ndim))
        low, high = (end(axis=others).astype(np.float64) for end in (values.min, values.max))
        for end, limit in zip((-low, high), (-self.limits[0], self.limits[1]), strict=True):
            if np.isfinite(limit) and limit != 0:
                # Divided by more than this, the channel keeps its distance from the limit.
                needed = np.maximum(end, 0) * MARGIN / limit
                self.least = np.maximum(self.least, np.where(needed <= 1, needed, np.inf))
        for end in low, high:
            self.reach = np.maximum(self.reach, np.abs(np.clip(end, *self.limits)))
        if self.first.bias is not None:
            bias = self.first.bias
            self.varied = np.maximum(self.varied, np.maximum(np.abs(low - bias), np.abs(high - bias)))
            self.biased = (np.abs(bias) > self.varied) & (self.reach > 0)

    def even_out(self) -> float:
        """Scale the channels; return the largest relative change."""
        written, read = self.first.written(), self.second.read()
        used = (written > 0) & (read > 0) & np.isfinite(self.least)
        wanted = self.total * np.sqrt(np.divide(written, read, out=np.ones_like(written), where=used))
        wanted = np.where(used, np.clip(wanted, np.where(used, self.least, 1), LARGEST_FACTOR), self.total)
        wanted = self._with_biases_held(wanted, read)
        factors, self.total = wanted / self.total, wanted
        self.first.divide_outputs(factors)
        self.second.multiply_inputs(factors)
        return float(np.abs(factors - 1).max())

    def _with_biases_held(self, wanted: Reals, read: Reals) -> Reals:
        """Divide channels that are mostly their bias by so much that none is larger than the largest other one.

        That ends where what reads such a channel would become larger than what reads the others. Those without weights,
        of which nothing else is wanted, are scaled as those with hardly any.

        Args:
            wanted: What to divide each channel by.
            read: Largest weight that reads each channel now.
        """
        held, others = self.biased & (read > 0) & np.isfinite(self.least), ~self.biased
        if not held.any():
            return wanted
        largest = float(np.max((self.reach / wanted)[others], initial=0)) or float(self.reach.max())
        most = float(np.max((read * wanted / self.total)[others], initial=0))
        room = np.maximum(np.divide(most * self.total, read, out=np.ones_like(read), where=held), 1)
        needed = np.minimum(self.reach / largest, np.minimum(room, LARGEST_FACTOR))
        own = np.where(self.first.written() > 0, wanted, self.least)
        return np.where(held, np.maximum(own, needed), wanted)


def equalize(graph: ir.Model, runner: Runner) -> Sequence[str]:
    """Even out the channels of successive convolutions with at most a ReLU or a clip between them.

    A clip such as that of ReLU6 is not the same for a scaled channel. It stays without effect, though, if no sample
    comes near its limit, before and after; other channels are left as they are. A channel that is mostly its bias on
    all samples does not become larger than the largest other one.

    Args:
        graph: Is changed; it computes the same up to rounding.
        runner: Runs the graph, if there are clips or biases.

    Returns:
        A line that tells how much was done.
    """
    pairs = _pairs(graph.graph)
    _observe(graph, [pair for pair in pairs if pair.depends_on_samples], runner)
    for _ in range(SWEEPS):
        if max((pair.even_out() for pair in pairs), default=0.0) < CONVERGED:
            break
    convolutions = {id(part.node): part for pair in pairs for part in (pair.first, pair.second)}
    for convolution in convolutions.values():
        convolution.store()
    scaled, channels = sum(int((pair.total != 1).sum()) for pair in pairs), sum(len(pair.total) for pair in pairs)
    return (f"equalized {scaled} of {channels} channels between {len(pairs)} pairs of convolutions",)


def _observe(graph: ir.Model, pairs: Sequence[_Pair], runner: Runner) -> None:
    if not pairs:
        return
    session = runner.open(graph, [str(pair.first.node.outputs[0].name) for pair in pairs])
    for feeds in runner.samples(range(runner.count)):
        for pair, values in zip(pairs, session.run(feeds), strict=True):
            pair.observe(values)


def _pairs(graph: ir.Graph) -> list[_Pair]:
    convolutions = {id(node): found for node in graph if (found := _convolution(node)) is not None}
    pairs = []
    for first in convolutions.values():
        reader, limits = _reader(first.node), (-np.inf, np.inf)
        if reader is not None and (reader.op_type in HOMOGENEOUS or reader.op_type == "Clip"):
            limits = _limits(reader)
            reader = _reader(reader) if limits[0] <= 0 <= limits[1] else None
        second = None if reader is None else convolutions.get(id(reader))
        if second is not None and second.groups in (1, len(first.weights)):
            pairs.append(_Pair(first, second, limits))
    return pairs


def _convolution(node: ir.Node) -> _Convolution | None:
    if node.op_type != "Conv" or node.domain:
        return None
    constants = [_own_constant(value) for value in node.inputs[1:] if value is not None]
    if any(constant is None for constant in constants):
        return None
    weights, bias = constants[0], constants[1] if len(constants) > 1 else None
    group = node.attributes.get("group")
    return None if weights is None else _Convolution(node, weights, bias, 1 if group is None else group.as_int())


def _own_constant(value: ir.Value) -> Reals | None:
    """Items of a constant of real numbers that only one node uses."""
    tensor = value.const_value
    if tensor is None or isinstance(tensor, QuantizedTensor) or value.is_graph_output() or len(value.uses()) != 1:
        return None
    return tensor.numpy().astype(np.float64)


def _reader(node: ir.Node) -> ir.Node | None:
    """The node that reads the result of another one as its data, if nothing else reads it."""
    result = node.outputs[0]
    uses = tuple(result.uses())
    if len(uses) != 1 or uses[0].idx != 0 or result.is_graph_output():
        return None
    return uses[0].node


def _limits(node: ir.Node) -> tuple[float, float]:
    """What an activation clips to; not a number when that is computed."""
    if node.op_type != "Clip":
        return 0.0 if node.op_type == "Relu" else -np.inf, np.inf
    limits = [-np.inf, np.inf]
    for position, value in enumerate(node.inputs[1:3]):
        if value is not None:
            limits[position] = float(value.const_value.numpy().item()) if value.const_value is not None else np.nan
    return limits[0], limits[1]


def _along(factors: Reals, axis: int, rank: int) -> Reals:
    shape = [1] * rank
    shape[axis] = -1
    return factors.reshape(shape)
