"""The rules by which operations of a graph become operations of the hardware.

What the core joins already stays joined: a convolution or matrix product with bias, normalisation and ReLU, and an
activation that is written out in several nodes.
"""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from synap_core.api import QuantizedTensor, activation_of, quant_of
from synap_delegate_npu.fusion.rule import FusionRule, Match, Nodes, Operations, is_real, joined
from synap_delegate_npu.support.operation import integers_of, kernel_of, number_of, operand
from synap_delegate_npu.support.recognise import interpolates, is_weighting, pair_name

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})

CUTS = frozenset({"Relu", "Clip"})
"""Activations that are done while results are stored."""

CUT_RESULTS = frozenset({"AveragePool", "Concat", "Div", "GlobalAveragePool", "Mul"})
"""Operators other than sums that results are cut of in layers that were quantized before."""

ACTIVATIONS = frozenset(
    {"Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Selu", "Sigmoid", "Softplus", "Tanh"}
)
"""Activations that take an operation of their own."""

POOL_WINDOWS = ({2}, {3})
"""Sizes of windows that the NN cores pool (E): their registers have one bit for it. Source: Mesa etnaviv driver."""

POOL_STRIDE = {2}


class DivideActivation(FusionRule):
    """A product and an activation that does more than cut are two operations: the NN cores know ReLU and cuts alone.

    What follows the activation stays with it.

    Not when something around is quantized already: the value between them would be rounded where the source does not
    round. Not for ReLU and Clip.
    """

    name: ClassVar[str] = "divide-activation"

    def match(self, nodes: Nodes, operations: Operations) -> Match | None:  # noqa: ARG002 - as the base class has it
        """A product, and the first activation behind it."""
        if nodes[0].domain or nodes[0].op_type not in PRODUCTS:
            return None
        place = next((i for i, node in enumerate(nodes) if _is_activation(node)), 0)
        return Match((nodes,), (nodes[:place], nodes[place:])) if place else None

    def check(self, found: Match, operations: Operations) -> str | None:  # noqa: ARG002 - as the base class has it
        """Whether all numbers are real ones, still to be quantized."""
        for node in found.nodes:
            for value in (*node.inputs, *node.outputs):
                if value is not None and (quant_of(value) or isinstance(value.const_value, QuantizedTensor)):
                    return f"{value.name!r} is quantized, and what is between them is not"
        return None


class PoolConvolution(FusionRule):
    """A convolution and the MaxPool that alone reads its result are one operation of the NN cores.

    The largest of rounded numbers is the largest one, rounded: a value between that is quantized may vanish when the
    result is quantized the same way.

    Not when the window is no square of 2 or 3 with a stride of 2, is dilated, begins in front of the map, or its
    indices are used; when the value between is read elsewhere, is a cut or a graph output, or is quantized in another
    way than the result; when an activation lies between that does more than cut; after a deconvolution; for average
    pools, which round sums.
    """

    name: ClassVar[str] = "pool-convolution"

    def match(self, nodes: Nodes, operations: Operations) -> Match | None:
        """A convolution, and the MaxPool behind it."""
        first, last = nodes[0], nodes[-1]
        if first.domain or first.op_type != "Conv" or last.op_type == "MaxPool":
            return None
        pool = operations.reader(last.outputs[0], "MaxPool")
        return None if pool is None else joined(nodes, pool)

    def check(self, found: Match, operations: Operations) -> str | None:
        """Whether the NN cores have such a pool, and the value between is not needed."""
        (convolution, (pool,)) = found.before
        value, result = convolution[-1].outputs[0], pool.outputs[0]
        reason = next((f"{node.op_type} lies between them" for node in convolution if _is_activation(node)), None)
        reason = reason or _window_refusal(pool) or operations.must_stay(value, found.nodes)
        if reason is None and quant_of(value) != quant_of(result):
            reason = f"{value.name!r} is quantized in another way than {result.name!r}"
        return reason


class CutSum(FusionRule):
    """An addition or subtraction and the Relu or Clip that alone reads its result are one operation.

    Not when the value between is quantized, read elsewhere, a cut or a graph output; when a limit is computed; when a
    term is constant, which then would get no parameters of its own; for integers; for other arithmetic, which another
    engine does.
    """

    name: ClassVar[str] = "cut-sum"

    def match(self, nodes: Nodes, operations: Operations) -> Match | None:
        """A sum, and what cuts it."""
        node = nodes[0]
        if len(nodes) > 1 or node.domain or node.op_type not in ("Add", "Sub") or not is_real(node.outputs):
            return None
        cut = operations.reader(node.outputs[0], *CUTS)
        return None if cut is None else joined(nodes, cut)

    def check(self, found: Match, operations: Operations) -> str | None:
        """Whether the limits are known and the sum is not needed."""
        reason = _limit_refusal(found) or _constant_refusal(found)
        return reason or FusionRule.check(self, found, operations)


class CutResult(FusionRule):
    """A pool of averages, a product, quotient or tensors behind each other, and the Relu or Clip that reads its result.

    So an importer writes an activation of a layer that was quantized before, which rounds once.

    Not when the result is still to be quantized: this arithmetic is done by another engine than the activation. Not
    when the value between is quantized, read elsewhere, a cut or a graph output; when a limit is computed; when an
    operand is a constant that is not quantized; for integers.
    """

    name: ClassVar[str] = "cut-result"

    def match(self, nodes: Nodes, operations: Operations) -> Match | None:
        """What computes, and what cuts it to a quantized result."""
        node = nodes[0]
        if len(nodes) > 1 or node.domain or node.op_type not in CUT_RESULTS or not is_real(node.outputs):
            return None
        cut = operations.reader(node.outputs[0], *CUTS)
        return None if cut is None or quant_of(cut[0].outputs[0]) is None else joined(nodes, cut)

    def check(self, found: Match, operations: Operations) -> str | None:
        """Whether the limits are known and the value between is not needed."""
        reason = _limit_refusal(found) or _unquantized_refusal(found.before[0][0])
        return reason or FusionRule.check(self, found, operations)


class ScaleSoftmax(FusionRule):
    """A product with one number and the Softmax that alone reads its result are one operation.

    So an importer writes the ``beta`` of a layer that was quantized before, which rounds once.

    Not when the result is still to be quantized: the product then gets parameters of its own. Not when the value
    between is quantized, read elsewhere, a cut or a graph output; when the factor is computed or no single number.
    """

    name: ClassVar[str] = "scale-softmax"

    def match(self, nodes: Nodes, operations: Operations) -> Match | None:
        """The product, and the softmax of it."""
        found = _pair(nodes, operations, "Mul", "Softmax")
        return None if found is None or quant_of(found.after[0][-1].outputs[0]) is None else found


class JoinInterpolation(FusionRule):
    """Products by constant matrices of weights, and the reshapes between them, are one RESIZE.

    So an importer writes out an interpolation whose places the integer kernels round. Rounding is where the result is
    quantized, so all between is one operation.

    Not when a value between is quantized, read elsewhere, a cut or a graph output; when the weights of a row do not add
    up to one; when the result is not quantized.
    """

    name: ClassVar[str] = "join-interpolation"

    def match(self, nodes: Nodes, operations: Operations) -> Match | None:
        """A product by a constant matrix from the left, and what follows up to a quantized value."""
        if len(nodes) > 1 or not is_weighting(nodes[0]):
            return None
        others: list[Nodes] = []
        value = nodes[0].outputs[0]
        while quant_of(value) is None:
            reader = operations.reader(value, "MatMul", "Reshape")
            if reader is None or not interpolates(reader[0], value):
                return None
            others.append(reader)
            value = reader[0].outputs[0]
        return joined(nodes, *others) if others else None


class GateValue(FusionRule):
    """A value times its sigmoid is SWISH, one operation of the tensor processor in place of two of two engines.

    Not when the sigmoid is quantized, as in a model that was quantized before: the product is then computed from
    rounded numbers. Not when it is read elsewhere, a cut or a graph output; when the product is with another value.
    """

    name: ClassVar[str] = "gate-value"

    def match(self, nodes: Nodes, operations: Operations) -> Match | None:
        """A sigmoid, and the product with its operand."""
        return _pair(nodes, operations, "Sigmoid", "Mul")


class JoinPair(FusionRule):
    """A square root and a reciprocal are RSQRT; a quotient that is rounded down is FLOORDIV.

    Not when the value between is quantized, read elsewhere, a cut or a graph output; when an operand is constant, which
    then would get no parameters of its own.
    """

    name: ClassVar[str] = "join-pair"

    def match(self, nodes: Nodes, operations: Operations) -> Match | None:
        """Both."""
        return _pair(nodes, operations, nodes[0].op_type, "Sqrt", "Reciprocal", "Floor")

    def check(self, found: Match, operations: Operations) -> str | None:
        """Whether the value between is not needed."""
        return _constant_refusal(found) or FusionRule.check(self, found, operations)


RULES: tuple[type[FusionRule], ...] = (
    DivideActivation,
    PoolConvolution,
    CutSum,
    CutResult,
    ScaleSoftmax,
    JoinInterpolation,
    GateValue,
    JoinPair,
)
"""In the order in which they are tried."""


def _is_activation(node: ir.Node) -> bool:
    """Whether a node is an activation that does more than cut, or belongs to one."""
    return activation_of(node) is not None or (not node.domain and node.op_type in ACTIVATIONS)


def _pair(nodes: Nodes, operations: Operations, first: str, *second: str) -> Match | None:
    node = nodes[0]
    if len(nodes) > 1 or node.domain or node.op_type != first:
        return None
    reader = operations.reader(node.outputs[0], *second)
    return joined(nodes, reader) if reader is not None and pair_name(node, reader[0]) else None


def _limit_refusal(found: Match) -> str | None:
    """Why what cuts must stay alone: a limit is computed."""
    limits = [value for value in found.before[1][0].inputs[1:] if value is not None]
    computed = next((value for value in limits if number_of(value) is None), None)
    return None if computed is None else f"{computed.name!r} is computed"


def _unquantized_refusal(node: ir.Node) -> str | None:
    """Why a node must stay alone in a model that was quantized before: a constant is not."""
    constants = [value for value in node.inputs if value is not None and value.const_value is not None]
    plain = next((value for value in constants if not isinstance(value.const_value, QuantizedTensor)), None)
    return None if plain is None else f"{plain.name!r} is a constant that is not quantized"


def _constant_refusal(found: Match) -> str | None:
    """Why an operation of constants must stay alone: they get quantization parameters only there."""
    operands = [value for value in found.before[0][0].inputs if value is not None]
    constant = next((value for value in operands if value.const_value is not None), None)
    return None if constant is None else f"{constant.name!r} is constant"


def _window_refusal(pool: ir.Node) -> str | None:
    """Why the NN cores have no such pool; None when they do."""
    kernel, strides = kernel_of(pool), integers_of(pool, "strides", 1)
    if len(kernel) != 2 or set(kernel) not in POOL_WINDOWS or set(strides) != POOL_STRIDE:
        return f"the window of {list(kernel)} with strides {list(strides)} is none of 2x2 or 3x3 with strides of 2"
    if set(integers_of(pool, "dilations", 1)) != {1}:
        return "the window is dilated"
    automatic = pool.attributes.get("auto_pad")
    if automatic is not None and automatic.as_string() not in ("NOTSET", "VALID"):
        return f"where it is padded is not said: auto_pad is {automatic.as_string()}"
    pads = pool.attributes.get("pads")
    if pads is not None and any(pads.as_ints()[:2]):
        return f"the window begins in front of the map: pads {list(pads.as_ints())}"
    if operand(pool, 0) is not None and any(value.uses() or value.is_graph_output() for value in pool.outputs[1:]):
        return "the indices of the largest items are used"
    return None
