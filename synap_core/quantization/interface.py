"""What quantization algorithms are given, and what they give: specifications, observers, and a way to run graphs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx_ir as ir

    from synap_core.quantization.parameters import Parameters
    from synap_core.quantization.plan import Plan

Real = NDArray[np.float32]

ACTIVATION, WEIGHT, CONSTANT = "activation", "weight", "constant"
"""Roles of a tensor: computed; the weights of a convolution or matrix product; any other constant operand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantSpec:
    """How a tensor is to be quantized; says nothing about its data.

    Attributes:
        dtype: ``uint8``, ``int8``, ``int16`` or ``float16``.
        scheme: ``asymmetric_affine``, ``dynamic_fixed_point``, ``perchannel_symmetric_affine`` or ``float16``.
        axis: Channel axis, when every channel gets parameters of its own.
        bounds: Numbers beyond these have the same effect as these, because all that reads the tensor saturates there;
            an end that matters everywhere is infinite.
    """

    dtype: str
    scheme: str
    axis: int | None = None
    bounds: tuple[float, float] = (-np.inf, np.inf)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Range:
    """The real numbers that the integers of a tensor shall cover.

    Attributes:
        low: Lower end, ``() float64``, or one per channel, ``(C,)``.
        high: Upper end, of the same shape; not below ``low``.
        divergence: How much quantizing with it changes the distribution, from 0 (not at all) to 1; None when unknown.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    divergence: float | None = None


class Observer(Protocol):
    """Statistics of one tensor, of a size that does not depend on how much it has seen; can be pickled."""

    def update(self, values: Real) -> None:
        """Take the items of the tensor for one sample, of any shape; all are finite."""
        ...

    def merge(self, other: Self) -> None:
        """Take what another observer of the same kind saw after what this one saw."""
        ...

    def range(self) -> Range:
        """Range to cover.

        Raises:
            ValueError: There was no data.
        """
        ...


class Session(Protocol):
    """A graph, ready to run; may be used by several threads at once."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """Run once.

        Args:
            feeds: The graph's inputs by name.

        Returns:
            Its outputs, in order.
        """
        ...


class Runner(Protocol):
    """Runs graphs on the samples."""

    @property
    def count(self) -> int:
        """Number of samples."""
        ...

    @property
    def jobs(self) -> int:
        """Threads that may work at a time."""
        ...

    def samples(self, indices: Sequence[int]) -> Iterator[Mapping[str, np.ndarray]]:
        """Read samples, some ahead of their use: the graph's inputs by name, for each index in turn."""
        ...

    def open(self, model: ir.Model, outputs: Sequence[str] | None = None, *, integers: bool = False) -> Session:
        """Make a graph ready to run, on one thread per run. What is annotated as quantized is rounded to its steps.

        Args:
            model: A canonical graph.
            outputs: Names of the values to give; those of the graph by default.
            integers: Quantized inputs and outputs take and give what is stored, rather than real numbers.
        """
        ...


class Algorithm(Protocol):
    """One quantization with the options of one metafile."""

    def prepare(self, graph: ir.Model, runner: Runner) -> Sequence[str]:
        """Change the graph before ranges are observed; it must go on computing the same.

        Returns:
            A line for each thing the user should know.
        """
        ...

    def observer(self, role: str, spec: QuantSpec) -> Observer:
        """Make an empty observer for a tensor; weights and constants are shown to it as a whole, once."""
        ...

    def refine(
        self, plan: Plan, parameters: Parameters, observers: Mapping[str, Observer], runner: Runner
    ) -> Parameters:
        """Improve the parameters.

        Args:
            plan: What is quantized, and how.
            parameters: Parameters that follow from the ranges, with constants rounded to the nearest step.
            observers: What was observed: of each slot of the plan, and of each weight and constant, by its key; nothing
                of those in float16, and of slots with a fixed range.
            runner: Runs graphs on the samples.
        """
        ...
