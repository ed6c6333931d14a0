"""The plan of a quantization: which tensors get parameters, of which kind, and which share them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from synap_core.graph.groups import Group
from synap_core.quantization.interface import QuantSpec
from synap_core.quantization.masks import Masking


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Computed tensors that share one set of parameters.

    Attributes:
        key: Name of its first value; identifies the slot.
        spec: How they are quantized.
        values: Names of all its values.
        observed: Names of the values whose numbers tell its range; the others only repeat them.
        fixed: Range that holds whatever the data, for functions with a natural one.
        layer_id: Layer that computes the first value; ``Input_<name>`` for a graph input.
        output: Position of the first value among the outputs of that layer.
    """

    key: str
    spec: QuantSpec
    values: tuple[str, ...]
    observed: tuple[str, ...]
    fixed: tuple[float, float] | None = None
    layer_id: str
    output: int = 0

    @property
    def label(self) -> str:
        """Name in reports: ``@<layer id>:out<n>``."""
        return f"@{self.layer_id}:out{self.output}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantSlot:
    """A constant operand that gets parameters.

    Attributes:
        key: Name of the constant; no other node uses it.
        spec: How it is quantized.
        role: ``weight`` or ``constant``.
        layer_id: Layer that uses it.
        label: Name in reports: ``@<layer id>:weight`` or ``@<layer id>:constant<n>``.
    """

    key: str
    spec: QuantSpec
    role: str
    layer_id: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bias:
    """A constant that is added to a product of integers, and so has the product's scale.

    Attributes:
        key: Name of the constant; no other node uses it.
        data: Key of the slot of the product's first factor.
        weight: Key of the product's weights.
        axis: Channel axis of the constant.
        layer_id: Layer that uses it.
    """

    key: str
    data: str
    weight: str
    axis: int
    layer_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is quantized, and how.

    Attributes:
        graph: The graph of real numbers; where types change, it has Identity nodes that stand for the conversions.
        groups: Its layers, in execution order, conversions included.
        types: Data type of each layer and graph input, by layer id.
        slots: Slots of computed tensors, by key.
        constants: Constants that get parameters, by key.
        biases: Biases, by key.
        notes: What the user should know.
        left: What is in float16 although it was to be of fewer bits, because it only moves numbers at an end of the
            graph: how its tensors would be quantized otherwise, by layer id.
        slot_of: Key of the slot of each value, by name.
        maskings: Where attention masks may be.
    """

    graph: ir.Model
    groups: tuple[Group, ...]
    types: Mapping[str, str]
    slots: Mapping[str, Slot]
    constants: Mapping[str, ConstantSlot]
    biases: Mapping[str, Bias]
    notes: tuple[str, ...] = ()
    left: Mapping[str, QuantSpec] = field(default_factory=dict)
    slot_of: Mapping[str, str] = field(default_factory=dict)
    maskings: tuple[Masking, ...] = ()
