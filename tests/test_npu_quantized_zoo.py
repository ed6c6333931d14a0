"""Float models of the zoo, quantized for the npu delegate: programs against QDQ models and against real numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.assign import dequantize, quantize_real
from synap_core.bundle_writer import pack_bundle
from synap_core.conversion import Conversion
from synap_core.convert import ConvertRequest, convert
from synap_core.graph.annotations import quant_of
from synap_core.graph.groups import Group
from synap_core.graph.qdq import to_qdq
from synap_core.host import PluginHost
from synap_core.network import Network
from synap_core.tensors import QuantParams
from tests.support.canonical import real, stored
from tests.support.npu_float_models import KINDS, MODELS, FloatModel, chosen, in_float, unoptimised
from tests.support.npu_zoo import Program

pytestmark = pytest.mark.zoo

WITHIN_DB = 0.5
UNITS = 1

CASES = [
    pytest.param(model, kind, id=f"{model.name}-{kind}", marks=[pytest.mark.slow] if model.slow else [])
    for model in MODELS
    for kind in KINDS
]
NAMES = ("model", "kind")


@dataclass(frozen=True, kw_only=True)
class Run:
    """How to quantize a model for the unit, with samples of the zoo and without refinements."""

    zoo: Path
    model: FloatModel
    kind: str
    folder: Path

    def __call__(self) -> Conversion:
        """Convert."""
        for number, array in enumerate(chosen(self.model, self.zoo, "calibration")):
            np.save(self.folder / f"{number:02}.npy", array)
        options = "options: {rounding: nearest, bias_correction: false}"
        lines = [f"quantization: {{{KINDS[self.kind]}, {options}, dataset: ['*.npy']}}", self.model.head]
        meta = self.folder / "meta.yaml"
        meta.write_text("\n".join(lines), encoding="utf-8")
        request = ConvertRequest(model=self.zoo / f"models/{self.model.path}", target="VS680", meta=meta, jobs=1)
        made = convert(request, PluginHost()).conversion
        assert made.delegates == ("npu",)
        return made


@pytest.fixture
def run(zoo: Path, model: FloatModel, kind: str, tmp_path: Path) -> Run:
    return Run(zoo=zoo, model=model, kind=kind, folder=tmp_path)


def noise_ratio_db(exact: Sequence[Sequence[np.ndarray]], found: Sequence[Sequence[np.ndarray]]) -> float:
    """Signal to quantization noise ratio of all outputs of all samples, in dB; each output counts the same."""
    ratios = []
    for position in range(len(exact[0])):
        wanted, given = (
            np.stack([outputs[position].astype(np.float64).reshape(-1) for outputs in part]) for part in (exact, found)
        )
        ratios.append(10 * np.log10((wanted**2).sum() / ((wanted - given) ** 2).sum()))
    return float(np.mean(ratios))


@pytest.mark.parametrize(NAMES, CASES)
def test_a_program_is_as_exact_as_the_qdq_model_of_its_graph(zoo: Path, model: FloatModel, run: Run) -> None:
    """Both against the float model, over samples that were not calibrated on."""
    conversion, compute = run(), in_float(zoo, model)
    (subgraph,) = conversion.subgraphs
    assert subgraph.graph is not None
    session = unoptimised(ir.to_proto(to_qdq(subgraph.graph)))
    (name,) = (value.name for value in session.get_inputs())
    order = [[tensor.name for tensor in subgraph.outputs].index(tensor.name) for tensor in conversion.outputs]
    exact: list[Sequence[np.ndarray]] = []
    programs: list[Sequence[np.ndarray]] = []
    plain: list[Sequence[np.ndarray]] = []
    with Network(pack_bundle(conversion), isolate=False) as network:
        for array in chosen(model, zoo, "evaluation"):
            exact.append(compute(array))
            raw = quantize_real(array, network.inputs[0])
            results = session.run(None, {name: raw})
            for arrays, into in ((network.predict([raw]), programs), ([results[at] for at in order], plain)):
                into.append([dequantize(a, meta) for a, meta in zip(arrays, network.outputs, strict=True)])
    program_db, plain_db = noise_ratio_db(exact, programs), noise_ratio_db(exact, plain)
    assert abs(program_db - plain_db) <= WITHIN_DB, (program_db, plain_db)


@pytest.mark.parametrize(NAMES, CASES)
def test_no_layer_is_more_than_a_unit_from_the_rounded_real_number(zoo: Path, model: FloatModel, run: Run) -> None:
    """Each operation is given what the program computed before, which it and the real numbers have exactly."""
    conversion = run()
    subgraph, (artifact,) = conversion.subgraphs[0], conversion.artifacts
    program = Program(artifact.model, subgraph)
    assert subgraph.graph is not None
    apart = Apart(subgraph.graph, subgraph.groups)
    (tensor,) = conversion.inputs
    array = quantize_real(chosen(model, zoo, "evaluation")[0], tensor)
    found = program([array])
    held = {str(value.name): array for value in subgraph.graph.graph.inputs}
    for node in program.nodes:
        held.update((str(value.name), found[name]) for name, value in program.results(node))
    worst = {}
    for group, value, exact in apart(held):
        units = _units(held[str(value.name)], exact, quant_of(value))
        if units > UNITS:
            worst[group.layer_id] = units
    assert worst == {}


class Apart:
    """The groups of a graph, each fed by itself, in real numbers.

    Args:
        graph: The annotated graph.
        groups: All of its nodes.
    """

    def __init__(self, graph: ir.Model, groups: Sequence[Group]) -> None:
        clone = graph.clone()
        numbers = {node: number for number, group in enumerate(groups) for node in group.nodes}
        members = [numbers[node] for node in graph.graph]
        originals = {str(value.name): value for node in graph.graph for value in node.outputs}
        self._feeds: dict[str, QuantParams | None] = {}
        self._results: list[tuple[Group, ir.Value]] = []
        group_of = dict(zip(clone.graph, members, strict=True))
        outputs = {id(value) for value in clone.graph.outputs}
        wanted = []
        for node in tuple(clone.graph):
            for value in node.outputs:
                outside = [use for use in value.uses() if group_of[use.node] != group_of[node]]
                if not outside and id(value) not in outputs:
                    continue
                wanted.append(value)
                self._results.append((groups[group_of[node]], originals[str(value.name)]))
                given = ir.Value(name=f"{value.name}@given", type=value.type, shape=value.shape)
                self._feeds[str(value.name)] = quant_of(value)
                for use in outside:
                    use.node.replace_input_with(use.idx, given)
                if outside:
                    clone.graph.inputs.append(given)
        self._inputs = {str(v.name): quant_of(v) for v in graph.graph.inputs}
        clone.graph.outputs[:] = wanted
        proto = ir.to_proto(clone)
        self._session = unoptimised(proto)
        self._names = [value.name for value in self._session.get_inputs()]

    def __call__(self, held: Mapping[str, np.ndarray]) -> Iterator[tuple[Group, ir.Value, np.ndarray]]:
        """Real results of every group, given what the program holds."""
        quants = self._feeds | self._inputs
        feeds = {}
        for name in self._names:
            source = name.removesuffix("@given")
            feeds[name] = _real(held[source], quants[source])
        for (group, value), array in zip(self._results, self._session.run(None, feeds), strict=True):
            yield group, value, array


def _real(array: np.ndarray, quant: QuantParams | None) -> np.ndarray:
    half = quant is None or quant.dtype == "float16"
    return array.astype(np.float32) if half and array.dtype.kind == "f" else real(array, quant)


def _units(found: np.ndarray, exact: np.ndarray, quant: QuantParams | None) -> float:
    """Units between what was found and the rounded real numbers."""
    if quant is not None and quant.dtype != "float16":
        return int(np.abs(found.astype(np.int64) - stored(exact, quant).astype(np.int64)).max(initial=0))
    rounded = exact.astype(found.dtype).astype(np.float64)
    difference = np.abs(found.astype(np.float64) - rounded)
    return float((difference / _spacing(rounded, found.dtype)).max(initial=0))


def _spacing(exact: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """What real numbers of a type differ by at least; near zero, what sums of float32 that cancel out are off by."""
    least = float(16 * np.finfo(np.float32).eps * np.abs(exact).max(initial=0))
    spacing = np.spacing(np.abs(exact).astype(dtype)).astype(np.float64)
    return np.asarray(np.maximum(spacing, max(least, 1e-30)))
