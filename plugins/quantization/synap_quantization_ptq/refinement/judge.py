"""Judge parameters by what they do to the outputs on samples that nothing was fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from synap_core.api import Parameters, Plan, QuantParams, Runner, annotate, set_quant
from synap_quantization_ptq.refinement.workers import Workers

EXACT_DB = 200.0
"""Ratio that stands for no difference at all, and the highest that is told from it."""


class Judge:
    """Compares the outputs of quantized graphs with those of the graph of real numbers.

    Args:
        plan: The plan.
        runner: Runs graphs.
        indices: The samples.
        workers: Threads that run them.
    """

    def __init__(self, plan: Plan, runner: Runner, indices: Sequence[int], workers: Workers) -> None:
        self._plan = plan
        self._runner = runner
        self._workers = workers
        self._samples = list(runner.samples(indices))
        self._real = self._outputs(plan.graph)

    @property
    def numbers(self) -> int:
        """How many real numbers the samples give at the outputs."""
        return sum(array.size for outputs in self._real for array in outputs if array.dtype == np.float32)

    def sqnr_db(self, parameters: Parameters) -> float:
        """Mean over the outputs of their ratio of signal to quantization noise, as norms, in dB; higher is better."""
        return self._mean_db(annotate(self._plan, parameters))

    def ranges_db(self, parameters: Parameters) -> float:
        """The same with constants as they are, and only computed tensors rounded: for what comes before refinement."""
        return self._mean_db(self._rounded(parameters.activations))

    def damage(self, slot: str, quant: QuantParams) -> float:
        """Mean over the outputs of the power of noise to signal when one slot is rounded and nothing else."""
        ratios = self._ratios_db(self._rounded({slot: quant}))
        return float(np.mean([10 ** (-ratio / 10) for ratio in ratios])) if ratios else 0.0

    def _rounded(self, activations: Mapping[str, QuantParams]) -> ir.Model:
        """The graph of real numbers, with some slots rounded."""
        model = self._plan.graph.clone()
        for value in (*model.graph.inputs, *(value for node in model.graph for value in node.outputs)):
            slot = self._plan.slot_of.get(str(value.name))
            if slot is not None and slot in activations:
                set_quant(value, activations[slot])
        return model

    def _mean_db(self, graph: ir.Model) -> float:
        ratios = self._ratios_db(graph)
        return float(np.mean(ratios)) if ratios else EXACT_DB

    def _ratios_db(self, graph: ir.Model) -> list[float]:
        """Ratio of each output of real numbers."""
        found = self._outputs(graph)
        pairs = ([(a[i], b[i]) for a, b in zip(self._real, found, strict=True)] for i in range(len(self._real[0])))
        return [_ratio_db(pair) for pair in pairs if pair[0][0].dtype == np.float32]

    def _outputs(self, graph: ir.Model) -> list[Sequence[np.ndarray]]:
        session = self._runner.open(graph)
        return list(self._workers.each(session.run, self._samples, ahead=len(self._samples)))


def _ratio_db(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Ratio of the mean norms over the samples: with squares of them, a single odd sample may decide everything."""
    signal = sum(_norm(real) for real, _ in pairs)
    noise = sum(_norm(real - other) for real, other in pairs)
    if noise <= signal * 10 ** (-EXACT_DB / 20):
        return EXACT_DB
    return float(20 * np.log10(max(signal, np.finfo(np.float64).tiny) / noise))


def _norm(array: np.ndarray) -> float:
    return float(np.sqrt(np.sum(np.square(array, dtype=np.float64))))
