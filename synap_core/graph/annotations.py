"""Annotations of the canonical graph: what nodes and values carry besides their operators and types.

In memory they are frozen objects in the ``meta`` store of onnx-ir, which its passes and copies keep; they are read and
written through this module alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import onnx_ir as ir

from synap_core.tensors import QuantParams

ORIGINS = "synap.origins"
QUANT = "synap.quant"
TWIN = "synap.twin"
SOURCE = "synap.source"
ACTIVATION = "synap.activation"
STATES = "synap.states"
REASON = "synap.reason"

OPAQUE_DOMAIN = "synap.opaque"
"""Domain of nodes that stand for a source layer which the canonical graph cannot express."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A source layer that a node came from.

    Attributes:
        name: Name of the layer.
        type: Operator type in the source format's words.
        index: Position among the operators of the model file.
    """

    name: str
    type: str
    index: int


@dataclass(frozen=True, slots=True)
class Twin:
    """Says that a value holds the same numbers as a tensor of the source model, in another layout.

    Attributes:
        source: Id of the source tensor.
        permutation: Transposing the *source tensor* with it gives the value (``(0, 3, 1, 2)`` from NHWC to NCHW).
    """

    source: str
    permutation: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class State:
    """A variable that keeps its value from one inference to the next.

    Attributes:
        name: Name of the variable in the source model.
        input: Name of the graph input that takes the old value.
        output: Name of the graph output that gives the new one.
        initial: Its first value, as a constant that the graph does not use.
    """

    name: str
    input: str
    output: str
    initial: ir.TensorProtocol


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation that the graph writes out, for want of an operator.

    Attributes:
        name: ``HardSwish``, ``SiLU``, ``GELU`` or ``Mish``, or the operator that the nodes stand for.
        last: Name of its last node, which tells one from another.
    """

    name: str
    last: str


def origins_of(node: ir.Node) -> tuple[Origin, ...]:
    """Source layers a node came from, in execution order."""
    return cast("tuple[Origin, ...]", node.meta.get(ORIGINS, ()))


def set_origins(node: ir.Node, origins: Iterable[Origin]) -> None:
    """Replace the source layers of a node; duplicates are dropped."""
    node.meta[ORIGINS] = tuple(dict.fromkeys(origins))


def merge_origins(target: ir.Node, others: Iterable[ir.Node]) -> None:
    """Add the source layers of nodes that were folded into another one; the result is in execution order."""
    found = {origin for node in (target, *others) for origin in origins_of(node)}
    set_origins(target, sorted(found, key=lambda origin: (origin.index, origin.name)))


def quant_of(value: ir.Value) -> QuantParams | None:
    """Quantization parameters of a value; its numbers are real ones all the same."""
    return cast("QuantParams | None", value.meta.get(QUANT))


def set_quant(value: ir.Value, quant: QuantParams | None) -> None:
    """Set or remove the quantization parameters of a value."""
    if quant is None:
        value.meta.pop(QUANT, None)
    else:
        value.meta[QUANT] = quant


def source_of(value: ir.Value) -> str | None:
    """Id of the source tensor that a value is."""
    return cast("str | None", value.meta.get(SOURCE))


def set_source(value: ir.Value, tensor: str) -> None:
    """Say that a value is a tensor of the source model, in its own layout."""
    value.meta[SOURCE] = tensor


def twin_of(value: ir.Value) -> Twin | None:
    """Source tensor that a value equals but for the layout."""
    return cast("Twin | None", value.meta.get(TWIN))


def set_twin(value: ir.Value, twin: Twin) -> None:
    """Say that a value is a source tensor in another layout."""
    value.meta[TWIN] = twin


def activation_of(node: ir.Node) -> Activation | None:
    """The activation written out in several nodes that a node belongs to."""
    return cast("Activation | None", node.meta.get(ACTIVATION))


def set_activation(nodes: Sequence[ir.Node], name: str) -> None:
    """Say that nodes, in execution order, are together one activation."""
    for node in nodes:
        node.meta[ACTIVATION] = Activation(name, str(nodes[-1].name))


def states_of(model: ir.Model) -> tuple[State, ...]:
    """Variables that the caller must hand from one inference to the next."""
    return cast("tuple[State, ...]", model.graph.meta.get(STATES, ()))


def set_states(model: ir.Model, states: Iterable[State]) -> None:
    """Set the variables of a model."""
    model.graph.meta[STATES] = tuple(states)


def is_opaque(node: ir.Node) -> bool:
    """Whether a node only stands for a source layer that the canonical graph cannot express."""
    return node.domain == OPAQUE_DOMAIN


def reason_of(node: ir.Node) -> str:
    """Why a node is opaque."""
    return str(node.meta.get(REASON, ""))


def set_reason(node: ir.Node, reason: str) -> None:
    """Say why a node is opaque."""
    node.meta[REASON] = reason
