"""Run the node tests of the ``onnx`` package through the canonical graph: one small model per use of an operator."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - registers the types that onnx-ir's arrays may have
import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from synap_core.api import InputError, ModelRequest
from synap_core.graph.annotations import is_opaque, reason_of
from synap_frontend_onnx.analysis import analyse, validate
from synap_frontend_onnx.dimensions import resolve
from synap_frontend_onnx.graph import read_graph
from synap_frontend_onnx.inspector import shared_inspector
from synap_frontend_onnx.model import OnnxModel
from synap_frontend_onnx.protos import parse_model
from synap_frontend_onnx.weights import Weights
from tests.support.canonical import whole
from tests.support.onnx_models import Oracle

PASSED, REFUSED, INAPPLICABLE, RUNTIME, WRONG = "passed", "refused", "inapplicable", "runtime", "wrong"

PLAIN = frozenset(
    word
    for line in ("bool float16 float32 float64 int8 int16 int32 int64", "uint8 uint16 uint32 uint64")
    for word in line.split()
)
"""Element types of the tests that are run."""

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a test.

    Attributes:
        name: The test.
        operators: Operators of its model.
        status: `PASSED`; `REFUSED` (a layer stays opaque, or the model cannot be opened); `INAPPLICABLE` (it has other
            than plain tensors); `RUNTIME` (ONNX Runtime does not give the expected numbers for the model itself,
            either); `WRONG`.
        reason: Why it did not pass.
        culprits: Operators that the reason is about; of a model that cannot be opened all of them.
    """

    name: str
    operators: tuple[str, ...]
    status: str
    reason: str = ""
    culprits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTest:
    """A model with inputs and the outputs that it must give.

    Attributes:
        name: The test.
        model: The model.
        inputs: Arrays, or something else where the model has no tensors.
        outputs: As the inputs.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
    """

    name: str
    model: onnx.ModelProto
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    rtol: float
    atol: float

    @property
    def operators(self) -> tuple[str, ...]:
        """Operators of the model."""
        nodes = self.model.graph.node
        return tuple(dict.fromkeys(f"{n.domain}.{n.op_type}" if n.domain else n.op_type for n in nodes))


@functools.cache
def node_tests() -> tuple[NodeTest, ...]:
    """All node tests of the installed package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about numbers beyond a type's range, which some tests are about
        from onnx.backend.test.case.node import collect_testcases

        cases: Sequence[Any] = collect_testcases(None)
    return tuple(_node_test(case) for case in cases)


@functools.cache
def outcomes() -> tuple[Outcome, ...]:
    """What becomes of all node tests; takes half a minute."""
    return tuple(outcome(test) for test in node_tests())


def outcome(test: NodeTest) -> Outcome:
    """Import the model of a test, run it, and compare."""
    kinds = [str(getattr(item, "dtype", type(item).__name__)) for item in (*test.inputs, *test.outputs)]
    odd = next((kind for kind in kinds if kind not in PLAIN), None)
    if odd is not None:
        return Outcome(name=test.name, operators=test.operators, status=INAPPLICABLE, reason=f"a value of type {odd}")
    found = _attempt(test)
    fixed = _with_constant_operands(test)
    if found.status == REFUSED and fixed is not None:
        again = _attempt(fixed)
        return again if again.status != REFUSED else found
    return found


def open_as_it_is(content: bytes, folder: Path) -> OnnxModel:
    """Open a model without making its batch 1."""
    graph = read_graph(parse_model(content), Weights(folder))
    resolution, inspector = resolve(graph.inputs, ()), shared_inspector()
    types = validate(graph, resolution, inspector)
    analysis = analyse(graph, resolution, None if resolution.changed else types, inspector)
    return OnnxModel._of(graph, analysis, ModelRequest(path=folder / "net.onnx"), inspector, ())


def _node_test(case: Any) -> NodeTest:
    ((inputs, outputs),) = case.data_sets
    return NodeTest(
        name=case.name,
        model=case.model,
        inputs=tuple(map(_plain, inputs)),
        outputs=tuple(map(_plain, outputs)),
        rtol=case.rtol,
        atol=case.atol,
    )


def _plain(item: Any) -> Any:
    if isinstance(item, onnx.TensorProto):
        return numpy_helper.to_array(item)
    return np.asarray(item) if isinstance(item, np.generic | float | int) else item


def _with_constant_operands(test: NodeTest) -> NodeTest | None:
    """The same test with parameters as constants, as models have them.

    Parameters are operands behind the first one that are integers, truth values or single numbers.
    """
    model = onnx.ModelProto()
    model.CopyFrom(test.model)
    names = [value.name for value in model.graph.input]
    moved = [i for i, item in enumerate(test.inputs) if i and (item.dtype.kind in "iub" or not item.ndim)]
    if not moved or model.graph.initializer:
        return None
    model.graph.initializer.extend(numpy_helper.from_array(test.inputs[i], names[i]) for i in moved)
    kept = [i for i in range(len(names)) if i not in moved]
    values = [model.graph.input[i] for i in kept]
    del model.graph.input[:]
    model.graph.input.extend(values)
    return replace(test, model=model, inputs=tuple(test.inputs[i] for i in kept))


def _attempt(test: NodeTest) -> Outcome:
    def ended(status: str, reason: str = "", culprits: Sequence[str] = test.operators) -> Outcome:
        blamed = tuple(culprits) if reason else ()
        return Outcome(name=test.name, operators=test.operators, status=status, reason=reason, culprits=blamed)

    try:
        opened = open_as_it_is(test.model.SerializeToString(), Path("nowhere"))
        canonical = opened.canonical(whole(opened))
    except InputError as error:
        return ended(REFUSED, error.message)
    opaque = next((node for node in canonical.graph if is_opaque(node)), None)
    if opaque is not None:
        return ended(REFUSED, reason_of(opaque), [opaque.op_type])
    feeds = dict(zip(opened.inputs, test.inputs, strict=True))
    found = _results(ir.to_proto(canonical), feeds)
    problem = _difference(found, test.outputs, test)
    if problem is None:
        return ended(PASSED)
    own = _results(test.model, feeds)
    if isinstance(own, str):
        # Neither model runs: the runtime lacks a kernel. Newer operator sets than it knows are no excuse.
        same = isinstance(found, str) and "opset" not in own
    else:
        same = not isinstance(found, str) and _difference(found, own, test) is None
    return ended(RUNTIME if same else WRONG, problem)


def _results(model: onnx.ModelProto, feeds: Feeds) -> list[np.ndarray] | str:
    """Outputs of a model in ONNX Runtime, or what it says against it."""
    try:
        return Oracle(model)(feeds)
    except Exception as error:  # noqa: BLE001 - the runtime has an exception class of its own for each kind of failure
        return " ".join(str(error).split())


def _difference(found: Sequence[np.ndarray] | str, expected: Sequence[np.ndarray], test: NodeTest) -> str | None:
    """Where results differ from others by more than a test allows; None when they do not."""
    if isinstance(found, str):
        return found
    for place, (got, wanted) in enumerate(zip(found, expected, strict=True)):
        if got.dtype != wanted.dtype or got.shape != wanted.shape:
            return f"output {place} is {got.dtype} {got.shape}, not {wanted.dtype} {wanted.shape}"
        if wanted.dtype.kind == "f":
            good = np.allclose(got, wanted, rtol=test.rtol, atol=test.atol, equal_nan=True)
        else:
            good = np.array_equal(got, wanted)
        if not good:
            return f"output {place} differs by {np.abs(got.astype(np.float64) - wanted.astype(np.float64)).max():.3g}"
    return None
