"""A delegate that compiles canonical graphs, as QDQ models for the ``onnx`` runtime, and targets that have it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING

import onnx_ir as ir

from synap_core.api import (
    Artifact,
    Cost,
    Delegate,
    Group,
    InputError,
    Subgraph,
    Support,
    Target,
    hookimpl,
    states_of,
    to_qdq,
)
from synap_core.host import PluginHost

if TYPE_CHECKING:
    from pydantic import BaseModel

CAPABILITIES = frozenset({"quantization", "preprocess", "dequantize", "security", "layout", "profiling"})
TYPES = ("uint8", "int8", "int16", "float16")


class ToyNpu:
    """The delegate, and what it was asked.

    Args:
        refuses: Operators that it does not run, with the reason.
        model_file: Name of the model in the bundle.
        capabilities: What it declares.

    Attributes:
        asked: Layer id and data type of each operation that it was asked about.
        compiled: The subgraphs that it compiled.
    """

    def __init__(
        self,
        refuses: dict[str, str] | None = None,
        model_file: str = "model.onnx",
        capabilities: frozenset[str] = CAPABILITIES,
    ) -> None:
        self.refuses = refuses or {}
        self.model_file = model_file
        self.asked: list[tuple[str, str]] = []
        self.compiled: list[Subgraph] = []
        self.delegate = Delegate(
            name="toynpu",
            summary="Compiles canonical graphs",
            formats=frozenset(),
            support=self._support,
            compile=self._compile,
            capabilities=capabilities,
            operations=self._operations,
            group=self._group,
            estimate=self._estimate,
            parameters_model=parameters_model,
        )

    def _support(self, *_: object) -> Support:
        msg = "a delegate that gets canonical graphs is not asked about layers"
        raise AssertionError(msg)

    def _operations(self, group: Group, dtype: str, target: Target) -> Support:
        assert target.name.startswith("TOY")
        self.asked.append((group.layer_id, dtype))
        refused = next((node.op_type for node in group.nodes if node.op_type in self.refuses), None)
        if refused is not None:
            return Support(ok=False, reason=self.refuses[refused])
        return Support(ok=True, engine="TOY")

    def _group(
        self, model: ir.Model, groups: Sequence[Group], target: Target, keep: Collection[str]
    ) -> Sequence[Group]:
        assert target.name.startswith("TOY")
        assert set(keep) >= {str(value.name) for value in model.graph.outputs}
        return groups

    def _estimate(self, group: Group, dtype: str, _target: Target) -> Cost:
        return Cost(
            seconds=len(group.nodes) * (2.0 if dtype == "int16" else 1.0), cycles=1, bytes_read=0, bytes_written=0
        )

    def _compile(self, subgraph: Subgraph) -> Artifact:
        assert subgraph.graph is not None
        if states_of(subgraph.graph):
            msg = f"{subgraph.name}: it has no variables"
            raise InputError(msg)
        check_subgraph(subgraph)
        self.compiled.append(subgraph)
        return Artifact(
            model_file=self.model_file,
            meta_file="model.json",
            model=ir.to_proto(to_qdq(subgraph.graph)).SerializeToString(deterministic=True),
            inputs=subgraph.inputs,
            outputs=subgraph.outputs,
            delegate="onnx",
            listings={"Operations": "\n".join(group.layer_id for group in subgraph.groups)},
        )


def parameters_model() -> type[BaseModel]:
    """What a target says about the delegate."""
    from pydantic import BaseModel, ConfigDict

    class Parameters(BaseModel):
        model_config = ConfigDict(extra="forbid")
        cores: int

    return Parameters


def check_subgraph(subgraph: Subgraph) -> None:
    """Check what the interface promises about a subgraph's graph."""
    from synap_core.api import quant_of, shape_of
    from synap_core.graph.passes import check

    graph = subgraph.graph
    assert graph is not None
    check(graph)
    nodes = [node for group in subgraph.groups for node in group.nodes]
    assert len(nodes) == len(set(nodes)) == len(graph.graph)
    assert set(nodes) == set(graph.graph)
    assert len({group.layer_id for group in subgraph.groups}) == len(subgraph.groups)
    sides = ((graph.graph.inputs, subgraph.inputs), (graph.graph.outputs, subgraph.outputs))
    for values, tensors in sides:
        assert len(values) >= len(tensors)
        for value, tensor in zip(values, tensors, strict=False):
            quant = quant_of(value)
            assert shape_of(value) == tensor.shape, value.name
            if quant is None:
                assert value.dtype is not None
                names = {"float": "float32"}
                assert names.get(value.dtype.name.lower(), value.dtype.name.lower()) == tensor.dtype, value.name
            else:
                assert quant.dtype == tensor.dtype, value.name


def toy_host(*toys: ToyNpu, parameters: dict[str, object] | None = None) -> PluginHost:
    """The installed plugins, a toy delegate, and targets ``TOY`` (toynpu, cpu), ``TOYCPU`` and ``TOYALONE``."""
    host = PluginHost()
    settings = {"toynpu": {"cores": 2} if parameters is None else parameters}
    targets = [
        Target(name="TOY", summary="toy", delegates=("toynpu", "gpu", "cpu"), parameters=settings),
        Target(name="TOYALONE", summary="toy", delegates=("toynpu",), parameters=settings),
    ]
    plugin = SimpleNamespace(
        synap_delegates=hookimpl(specname="synap_delegates")(lambda: [toy.delegate for toy in toys or (ToyNpu(),)]),
        synap_targets=hookimpl(specname="synap_targets")(lambda: targets),
    )
    record = host.register(plugin, "test-toynpu")
    assert record.state == "enabled", record.reason
    return host
