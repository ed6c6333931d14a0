"""Turn a model with a fixed batch other than 1 into one with batch 1.

That is right when every operator treats samples independently and keeps them in dimension 0. Shapes are inferred for
both batches: each tensor must have its batch in front and the same dimensions behind it. This alone settles operators
that only rename positions, such as ``Reshape``; for the others it depends on the kind and on axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from synap_core.api import InputError
from synap_frontend_onnx.analysis import Analysis
from synap_frontend_onnx.dimensions import Resolution, static_shape, with_shape
from synap_frontend_onnx.graph import Graph, Node
from synap_frontend_onnx.protos import AttributeValue, array_of, attributes

ELEMENTWISE = frozenset(
    word
    for line in (
        "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift Cast Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp",
        "Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log",
        "Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh",
        "Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor",
    )
    for word in line.split()
)
"""Operators on items at equal positions."""

SAMPLE_WISE = frozenset(
    word
    for line in (
        "AveragePool BatchNormalization Conv ConvTranspose DepthToSpace Dropout Expand Flatten GlobalAveragePool",
        "GlobalLpPool GlobalMaxPool GroupNormalization InstanceNormalization LRN LpPool MaxPool Reshape Resize",
        "SpaceToDepth Squeeze Unsqueeze Upsample",
    )
    for word in line.split()
)
"""Operators with one activation that never mix samples when the shapes show the batch in front."""

DEFAULT_AXES = {"ArgMax": 0, "ArgMin": 0, "LayerNormalization": -1, "LpNormalization": -1, "Split": 0, "TopK": -1}
"""Operators along one axis, and the axis when none is given."""

OLD_SOFTMAX_OPSET = 13
"""Before it, softmax takes all dimensions from its axis on together."""


def fixed_batch(resolution: Resolution) -> int | None:
    """The size that all inputs have in front, when it is not 1; None when there is nothing to change.

    Raises:
        InputError: The inputs have different sizes in front, and none has 1.
    """
    shapes = {value.name: static_shape(value.type) for value in resolution.inputs}
    # A vector has no batch; and where one input has batch 1, what the others have in front is no batch.
    sizes = {name: shape[0] for name, shape in shapes.items() if shape is not None and len(shape) > 1}
    found = sorted(set(sizes.values()))
    if not found or found[0] <= 1:
        return None
    if len(found) > 1:
        listed = ", ".join(f"{name!r} {list(shapes[name] or ())}" for name in sizes)
        msg = f"the batch must be 1, and the inputs have different first dimensions: {listed}"
        raise InputError(msg, hint=_advice(resolution))
    return found[0]


def _advice(resolution: Resolution) -> str:
    """What to export instead, whether the first dimension is the batch or, as with recurrent layers, time."""
    shapes = (static_shape(value.type) or () for value in resolution.inputs)
    longest = max(shapes, key=lambda shape: (len(shape) > 1 and shape[0] != 1, len(shape)))
    return (
        "export the model with batch 1, or, where the first dimension is not the batch but time, with a batch of 1 in "
        f"front of it: {[1, *longest]}"
    )


def with_batch_one(resolution: Resolution) -> Resolution:
    """The same inputs with batch 1."""
    inputs = []
    for value in resolution.inputs:
        shape = static_shape(value.type) or ()
        inputs.append(with_shape(value, (1, *shape[1:])) if len(shape) > 1 else value)
    return Resolution(inputs=tuple(inputs), sizes={}, changed=True, file_holds=False)


def check_batch(graph: Graph, resolution: Resolution, before: Analysis, after: Analysis, batch: int) -> None:
    """Check that a model means the same for batch 1.

    Args:
        graph: The model.
        resolution: Its inputs with the batch of the file.
        before: Its tensors for the batch of the file.
        after: Its tensors for batch 1.
        batch: The batch of the file.

    Raises:
        InputError: An operator may mix samples, or has the batch built in; names it.
    """
    checker = _Checker(graph, before, after, batch)
    for node in graph.nodes:
        if not before.constants.issuperset(node.writes) and not checker.keeps_samples_apart(node):
            reason = f"layer {node.name!r} ({node.proto.op_type}) mixes samples or has the batch built in"
            msg = f"the fixed batch of {batch} cannot become 1: {reason}"
            raise InputError(msg, hint=_advice(resolution))


class _Checker:
    def __init__(self, graph: Graph, before: Analysis, after: Analysis, batch: int) -> None:
        self._graph = graph
        self._before = before
        self._after = after
        self._batch = batch
        self._rules: dict[str, Callable[[Node], bool]] = {
            "Concat": lambda node: self._spares(node, [self._attribute(node, "axis", 0)]),
            "DequantizeLinear": self._quantizes_apart,
            "Gather": self._gathers_apart,
            "Gemm": self._sums_apart,
            "GridSample": lambda _: True,
            "Hardmax": self._normalises_apart,
            "LogSoftmax": self._normalises_apart,
            "MatMul": self._multiplies_apart,
            "Pad": self._pads_no_samples,
            "QuantizeLinear": self._quantizes_apart,
            "Slice": lambda node: self._one_operand(node) and self._spares(node, self._listed(node, "axes", 3)),
            "Softmax": self._normalises_apart,
            "Tile": lambda node: self._one_operand(node) and self._listed(node, "", 1)[:1] == [1],
            "Transpose": lambda node: list(self._attribute(node, "perm", []))[:1] == [0],
        }

    def keeps_samples_apart(self, node: Node) -> bool:
        """Whether a node treats samples independently, and its shapes show it."""
        kind = node.proto.op_type
        if not node.standard or node.has_bodies or not self._batch_in_front(node):
            return False
        if kind in ELEMENTWISE:
            return self._aligned(node)
        if kind in SAMPLE_WISE:
            # Further outputs count over all samples: positions in MaxPool, statistics in BatchNormalization.
            return self._one_operand(node) and len(node.writes) == 1
        if kind.startswith("Reduce"):
            return self._one_operand(node) and self._spares(node, self._listed(node, "axes", 1))
        if kind in DEFAULT_AXES:
            axis = self._attribute(node, "axis", DEFAULT_AXES[kind])
            return self._one_operand(node) and self._spares(node, [axis])
        return kind in self._rules and self._rules[kind](node)

    def _batch_in_front(self, node: Node) -> bool:
        for name in (*node.reads, *node.writes):
            if name not in self._before.constants:
                old, new = self._before.shape(name), self._after.shape(name)
                if old is None or old[:1] != (self._batch,) or new != (1, *old[1:]):
                    return False
        return True

    def _one_operand(self, node: Node) -> bool:
        """Whether the first operand is the only one that depends on the inputs."""
        return [name in self._before.constants for name in node.reads] == [False] + [True] * (len(node.reads) - 1)

    def _shape(self, name: str) -> tuple[int, ...] | None:
        tensor = self._graph.constants.get(name) or self._before.folded.get(name)
        return tuple(tensor.dims) if tensor is not None else self._before.shape(name)

    def _rank(self, node: Node) -> int:
        return len(self._shape(node.proto.input[0]) or ())

    def _aligned(self, node: Node) -> bool:
        """Operands broadcast against each other, so they must agree on which dimension is the batch."""
        rank = len(self._before.shape(node.writes[0]) or ())
        for name in node.reads:
            shape = self._shape(name)
            if shape is None:
                return False
            if name not in self._before.constants:
                fits = len(shape) == rank
            else:
                fits = len(shape) < rank or (len(shape) == rank and shape[0] == 1)
            if not fits:
                return False
        return True

    @staticmethod
    def _attribute(node: Node, name: str, default: object) -> AttributeValue:
        return dict(attributes(node.proto)).get(name, default)

    def _listed(self, node: Node, attribute: str, position: int) -> list[int]:
        """A list that old operators have as an attribute and new ones as an operand; empty when it is not known."""
        name = node.proto.input[position] if position < len(node.proto.input) else ""
        tensor = self._graph.constants.get(name) or self._before.folded.get(name)
        if tensor is None:
            return list(self._attribute(node, attribute, []))
        return [int(value) for value in array_of(self._graph.weights.load(tensor)).reshape(-1)]

    def _spares(self, node: Node, axes: Sequence[int]) -> bool:
        """Whether there are axes, and none of them is the batch."""
        rank = self._rank(node)
        return bool(axes) and rank > 0 and all(axis % rank != 0 for axis in axes)

    def _normalises_apart(self, node: Node) -> bool:
        old = self._graph.opset(node.proto.domain) < OLD_SOFTMAX_OPSET
        return self._spares(node, [self._attribute(node, "axis", 1 if old else -1)])

    def _quantizes_apart(self, node: Node) -> bool:
        scale = self._shape(node.proto.input[1])
        whole = scale in ((), (1,))
        along_axis = scale is not None and len(scale) == 1 and self._spares(node, [self._attribute(node, "axis", 1)])
        return self._one_operand(node) and (whole or along_axis)

    def _gathers_apart(self, node: Node) -> bool:
        axis = self._attribute(node, "axis", 0)
        if self._one_operand(node):
            return self._spares(node, [axis])
        # Looking up rows of a constant table: one for each item of the batch.
        return node.proto.input[0] in self._before.constants and axis % max(self._rank(node), 1) == 0

    def _multiplies_apart(self, node: Node) -> bool:
        ranks = [len(self._shape(name) or ()) for name in node.proto.input]
        if self._one_operand(node):
            return ranks[1] <= 2 or ranks[1] < ranks[0]
        if node.proto.input[0] in self._before.constants:
            return ranks[1] > 2 and ranks[0] < ranks[1]
        return ranks[0] == ranks[1] > 2

    def _sums_apart(self, node: Node) -> bool:
        """Whether the first factor has its samples in rows, and what is added is the same for all of them."""
        added = self._shape(node.proto.input[2]) if node.proto.input[2:] and node.proto.input[2] else ()
        alike = added is not None and (len(added) < 2 or added[0] == 1)
        return self._one_operand(node) and alike and not self._attribute(node, "transA", 0)

    def _pads_no_samples(self, node: Node) -> bool:
        named = "paddings" if self._graph.opset(node.proto.domain) < 2 else "pads"
        pads, axes = self._listed(node, named, 1), self._listed(node, "", 3)
        if not self._one_operand(node) or (len(node.proto.input) > 3 and node.proto.input[3] and not axes):
            return False
        if axes:
            return self._spares(node, axes)
        return len(pads) == 2 * self._rank(node) and pads[0] == pads[self._rank(node)] == 0
