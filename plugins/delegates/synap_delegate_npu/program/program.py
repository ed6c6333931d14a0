"""Programs: operations in execution order, and how the groups of an annotated canonical graph become them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from synap_core.api import Group
from synap_delegate_npu.operators.real import real_form
from synap_delegate_npu.program.names import NO_NAMES, tensor_names
from synap_delegate_npu.program.operation import Form, Request, Tensor, tensor_of
from synap_delegate_npu.program.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operation:
    """A hardware operation.

    Attributes:
        type: Operator of the domain.
        group: The group of the canonical graph that it computes.
        form: How.
        outputs: Tensors that it computes.
        exact: Whether it computes in integers; otherwise in real numbers.
    """

    type: str
    group: Group
    form: Form
    outputs: tuple[Tensor, ...]
    exact: bool

    @property
    def layer_id(self) -> str:
        """Id of the layer."""
        return self.group.layer_id


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """A program.

    Attributes:
        name: Name of the graph.
        inputs: Its inputs, in order.
        outputs: Its outputs, in order.
        operations: In execution order.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operations: tuple[Operation, ...]


def program_of(
    model: ir.Model,
    groups: Sequence[Group],
    registry: Registry,
    type_of_group: Callable[[Group], str],
    source_names: Mapping[str, str] = NO_NAMES,
    *,
    kernels: bool = True,
) -> Program:
    """The program that computes an annotated canonical graph.

    Args:
        model: The graph; every value that is read by another group, or is an output, has its parameters.
        groups: All of its nodes, in execution order.
        registry: The operators.
        type_of_group: Operator of a group that is computed in real numbers.
        source_names: Names of the tensors of the source model, by id.
        kernels: See `Request`.
    """
    tensors = {value: tensor_of(value, name) for value, name in tensor_names(model.graph, source_names).items()}
    operations = []
    for group in groups:
        request = Request(group=group, tensors=tensors, kernels=kernels)
        found = registry.form(request)
        operations.append(
            Operation(
                type=type_of_group(group) if found is None else found[0].name,
                group=group,
                form=real_form(request) if found is None else found[1],
                outputs=request.outputs,
                exact=found is not None,
            )
        )
    return Program(
        name=str(model.graph.name or "program"),
        inputs=tuple(tensors[value] for value in model.graph.inputs),
        outputs=tuple(tensors[value] for value in model.graph.outputs),
        operations=tuple(operations),
    )
