"""Registration of the post-training algorithms: one entry point, and so one switch, for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from synap_core.api import QuantizationAlgorithm, hookimpl

if TYPE_CHECKING:
    from pydantic import BaseModel

    from synap_quantization_ptq.algorithm import PostTraining


def load(options: BaseModel) -> PostTraining:
    """Make the algorithm that the options belong to."""
    from synap_quantization_ptq.algorithm import PostTraining
    from synap_quantization_ptq.options import Options

    if not isinstance(options, Options):
        msg = f"these are not options of a post-training algorithm: {type(options).__name__}"
        raise TypeError(msg)
    return PostTraining(options)


def options_model(name: str) -> type[BaseModel]:
    """Import the options of an algorithm."""
    from synap_quantization_ptq.options import OPTIONS

    return OPTIONS[name]


@dataclass(frozen=True, slots=True)
class AlgorithmPlugin:
    """A plugin that offers one algorithm."""

    algorithm: QuantizationAlgorithm

    @hookimpl
    def synap_quantization_algorithms(self) -> Iterable[QuantizationAlgorithm]:
        """Offer the algorithm."""
        yield self.algorithm


def _plugin(name: str, summary: str) -> AlgorithmPlugin:
    options: Callable[[], type[BaseModel]] = partial(options_model, name)
    return AlgorithmPlugin(QuantizationAlgorithm(name=name, summary=summary, options_model=options, load=load))


standard = _plugin("standard", "Ranges of the samples; weights and biases refined where it helps")
kl_divergence = _plugin("kl_divergence", "Ranges that change the distributions least; tells by how much")
moving_average = _plugin("moving_average", "Ranges averaged over the samples, the latest counting most")
auto = _plugin("auto", "Searches for the options that change the outputs least")
