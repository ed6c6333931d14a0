"""``.onnx`` models of one operator: what becomes of it in the canonical graph, and what ONNX Runtime makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto

from tests.support.canonical import checked_proto, opaque_reasons, whole
from tests.support.onnx_models import F32, Oracle, model, node, value
from tests.support.onnx_node_tests import open_as_it_is

IMAGE = ((1, 3, 5, 4),)
"""Shape of one small image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A use of an operator; its computed inputs are ``x0``, ``x1``, ...

    Attributes:
        opset: Operator set of the model.
        node: The operator.
        shapes: Shapes of the computed inputs.
        constants: Other operands by name.
        dtype: Type of the computed inputs.
        results: Element types of the outputs.
        domains: Versions of other operator sets.
    """

    opset: int
    node: onnx.NodeProto
    shapes: Sequence[Sequence[int]]
    constants: Mapping[str, Any] = field(default_factory=dict)
    dtype: Any = F32
    results: Sequence[int] = (TensorProto.FLOAT,)
    domains: Mapping[str, int] = field(default_factory=dict)

    @property
    def model(self) -> onnx.ModelProto:
        """The model."""
        elements = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        inputs = [value(f"x{i}", list(shape), elements) for i, shape in enumerate(self.shapes)]
        pairs = zip(self.node.output, self.results, strict=True)
        outputs = [value(name, None, kind) for name, kind in pairs if name]
        ir_version = 10 if self.opset > 20 else 8
        return model(
            [self.node], inputs, outputs, self.constants, opset=self.opset, ir=ir_version, imports=self.domains
        )

    def arrays(self) -> list[np.ndarray]:
        """Inputs between 0.1 and 2, which suits logarithms, too."""
        rng = np.random.default_rng(7)
        return [rng.uniform(0.1, 2, size=shape).astype(self.dtype) for shape in self.shapes]


def use(
    opset: int,
    kind: str,
    inputs: str = "x0",
    shapes: Sequence[Sequence[int]] = IMAGE,
    constants: Mapping[str, Any] | None = None,
    *,
    outputs: str = "y",
    **attributes: Any,
) -> Use:
    """An operator of the standard set; names are separated by blanks."""
    return Use(opset=opset, node=node(kind, inputs, outputs, **attributes), shapes=shapes, constants=constants or {})


def imported(folder: Path, made: onnx.ModelProto) -> ir.Model:
    """Canonical graph of a model, whatever its batch."""
    opened = open_as_it_is(made.SerializeToString(), folder)
    return opened.canonical(whole(opened))


def agrees(folder: Path, case: Use, *, rtol: float = 1e-5, atol: float = 1e-6) -> list[str]:
    """Check that an operator gives what ONNX Runtime gives for the model; returns the operators it becomes."""
    graph = imported(folder, case.model)
    assert opaque_reasons(graph) == []
    arrays = case.arrays()
    for got, expected in zip(Oracle(checked_proto(graph))(arrays), Oracle(case.model)(arrays), strict=True):
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(got.astype(np.float64), expected.astype(np.float64), rtol=rtol, atol=atol)
    return [item.op_type for item in graph.graph]


def refusal(folder: Path, case: Use) -> str:
    """Why an operator stays opaque."""
    made = case.model
    # The result may have no shape, so another layer gives the output.
    made.graph.node.append(node("Identity", "x0", "other"))
    del made.graph.output[:]
    elements = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(case.dtype))
    made.graph.output.append(value("other", None, elements))
    (reason,) = opaque_reasons(imported(folder, made))
    return reason
