"""The post-training algorithms: one class, told apart by its options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from synap_core.api import Observer, Parameters, Plan, QuantSpec, Runner
from synap_quantization_ptq.observers import make_observer
from synap_quantization_ptq.options import Options

if TYPE_CHECKING:
    import onnx_ir as ir

EVERYTHING = (-np.inf, np.inf)


class PostTraining:
    """Post-training quantization with the options of one metafile.

    Args:
        options: Those of one of the algorithms.
    """

    def __init__(self, options: Options) -> None:
        self._options = options

    def prepare(self, graph: ir.Model, runner: Runner) -> Sequence[str]:
        """Even out channels, if that is wanted."""
        if not self._options.equalize:
            return ()
        from synap_quantization_ptq.equalization import equalize

        return equalize(graph, runner)

    def observer(self, role: str, spec: QuantSpec) -> Observer:
        """Make an empty observer for a tensor."""
        if not self._options.trim:
            spec = replace(spec, bounds=EVERYTHING)
        choice = self._options.activation(spec) if role == "activation" else self._options.constant(spec)
        return make_observer(choice, spec)

    def refine(
        self, plan: Plan, parameters: Parameters, observers: Mapping[str, Observer], runner: Runner
    ) -> Parameters:
        """Improve weights and biases, unless the options leave nothing to do."""
        if not self._options.refines:
            return parameters
        from synap_quantization_ptq.refinement import refine

        return refine(plan, parameters, observers, runner, self._options)
