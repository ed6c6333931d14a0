"""Judge parameters by what they do to the outputs on samples that nothing was fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx_ir as ir

from synap_core.api import Parameters, Plan, Runner, annotate

EXACT_DB = 200.0
"""Ratio that stands for no difference at all, and the highest that is told from it."""


class Judge:
    """Compares the outputs of quantized graphs with those of the graph of real numbers.

    Args:
        plan: The plan.
        runner: Runs graphs.
        indices: The samples.
    """

    def __init__(self, plan: Plan, runner: Runner, indices: Sequence[int]) -> None:
        self._plan = plan
        self._runner = runner
        self._samples = list(runner.samples(indices))
        self._real = self._outputs(plan.graph)

    def sqnr_db(self, parameters: Parameters) -> float:
        """Mean over the outputs of their signal to quantization noise ratio in dB; higher is better."""
        found = self._outputs(annotate(self._plan, parameters))
        ratios = []
        for output in range(len(self._real[0])):
            pairs = [(a[output], b[output]) for a, b in zip(self._real, found, strict=True)]
            if pairs[0][0].dtype == np.float32:
                ratios.append(_ratio_db(pairs))
        return float(np.mean(ratios)) if ratios else EXACT_DB

    def _outputs(self, graph: ir.Model) -> list[Sequence[np.ndarray]]:
        session = self._runner.open(graph)

        def run(feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
            return session.run(feeds)

        with ThreadPoolExecutor(self._runner.jobs) as pool:
            return list(pool.map(run, self._samples))


def _ratio_db(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    signal = sum(float(np.sum(np.square(real, dtype=np.float64))) for real, _ in pairs)
    noise = sum(float(np.sum(np.square(real - other, dtype=np.float64))) for real, other in pairs)
    if noise <= signal * 10 ** (-EXACT_DB / 10):
        return EXACT_DB
    return float(10 * np.log10(max(signal, np.finfo(np.float64).tiny) / noise))
