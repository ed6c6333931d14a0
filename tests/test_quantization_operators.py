"""What is known of operators, against what they compute in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.graph import passes
from synap_core.graph.annotations import Origin, activation_of
from synap_core.graph.build import Attribute
from synap_core.graph.types import TensorType
from synap_core.quantization.operators import (
    EVERYWHERE,
    MOVING,
    NATURAL_RANGES,
    SATURATING,
    SIGMOID_END,
    TANH_END,
    channel_axis,
    effective_bounds,
    moved_inputs,
    moves_constants,
)
from tests.support.comparison import OnnxSession
from tests.support.passes import FLOAT, Net, random_inputs, results

INT64 = ir.DataType.INT64

F32 = np.float32
ROUNDING = 1e-6
"""What float32 may add to a number near 1."""


class Case:
    """One operator on ``x`` and constants."""

    def __init__(
        self, op_type: str, shape: tuple[int, ...], *constants: Any, results: int = 1, **attributes: Any
    ) -> None:
        net = Net()
        self.x = net.input(*shape)
        operands = [None if item is None else net.build.constant(np.asarray(item)) for item in constants]
        types: int | list[TensorType] = results
        if op_type == "ReverseSequence":
            types = [TensorType(FLOAT, shape)]
        outputs = net.many(op_type, self.x, *operands, results=types, **attributes)
        self.model = net.model(*outputs)
        (self.node,) = self.model.graph

    def numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """Items of ``x``, and of the first output."""
        found = results(self.model, [])[str(self.model.graph.outputs[0].name)]
        return random_inputs(self.model)["x"].ravel(), found.ravel()


PADS = [0, 0, 1, 1, 0, 0, 1, 1]
MOVING_CASES = {
    "DepthToSpace": Case("DepthToSpace", (1, 4, 2, 3), blocksize=2),
    "Expand": Case("Expand", (1, 3, 1), [2, 3, 4]),
    "Flatten": Case("Flatten", (1, 2, 3)),
    "Gather": Case("Gather", (4, 3), [1, 1, 3]),
    "GatherElements": Case("GatherElements", (3, 2), [[0, 2], [1, 1]]),
    "GatherND": Case("GatherND", (3, 2), [[0, 1], [2, 0]]),
    "GlobalMaxPool": Case("GlobalMaxPool", (1, 2, 3, 3)),
    "Identity": Case("Identity", (2, 3)),
    "MaxPool": Case("MaxPool", (1, 2, 4, 4), kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "ReduceMax": Case("ReduceMax", (2, 3), [1]),
    "ReduceMin": Case("ReduceMin", (2, 3), [1]),
    "Reshape": Case("Reshape", (2, 3), [3, 2]),
    "ReverseSequence": Case("ReverseSequence", (3, 2), [3, 2]),
    "Slice": Case("Slice", (4, 3), [1], [3], [0]),
    "SpaceToDepth": Case("SpaceToDepth", (1, 1, 4, 4), blocksize=2),
    "Split": Case("Split", (4, 3), [1, 3], results=2, axis=0),
    "Squeeze": Case("Squeeze", (1, 3), [0]),
    "Tile": Case("Tile", (2, 3), [2, 1]),
    "TopK": Case("TopK", (1, 5), [2], results=2),
    "Transpose": Case("Transpose", (2, 3), perm=[1, 0]),
    "Unsqueeze": Case("Unsqueeze", (3,), [0]),
    "Pad zeros": Case("Pad", (1, 2, 3, 3), PADS),
    "Pad zeros given": Case("Pad", (1, 2, 3, 3), PADS, F32(0)),
    "Pad edge": Case("Pad", (1, 2, 3, 3), PADS, mode="edge"),
    "Pad reflect": Case("Pad", (1, 2, 3, 3), PADS, mode="reflect"),
    "Resize nearest": Case("Resize", (1, 2, 3, 3), None, np.array([1, 1, 2, 1.5], F32), mode="nearest"),
}
COMPUTING_CASES = {
    "AveragePool": Case("AveragePool", (1, 2, 4, 4), kernel_shape=[2, 2]),
    "Pad ones": Case("Pad", (1, 2, 3, 3), PADS, F32(0.123)),
    "Resize linear": Case("Resize", (1, 2, 3, 3), None, np.array([1, 1, 2, 1.5], F32), mode="linear"),
    "Resize outside": Case(
        "Resize",
        (1, 1, 3, 3),
        np.array([0, 0, -0.5, -0.5, 1, 1, 1.5, 1.5], F32),
        np.array([1, 1, 2, 2], F32),
        mode="nearest",
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=0.123,
    ),
    "Neg": Case("Neg", (2, 3)),
    "CumSum": Case("CumSum", (2, 3), 1),
}


def test_every_moving_operator_has_a_case() -> None:
    assert set(MOVING) <= set(MOVING_CASES)


@pytest.mark.parametrize("case", MOVING_CASES.values(), ids=MOVING_CASES)
def test_operator_that_moves_gives_only_numbers_of_its_input_and_zero(case: Case) -> None:
    assert moved_inputs(case.node) == (case.x,)
    given, found = case.numbers()
    assert set(found.tolist()) <= {*given.tolist(), 0.0}


@pytest.mark.parametrize("case", COMPUTING_CASES.values(), ids=COMPUTING_CASES)
def test_operator_that_computes_gives_other_numbers_and_moves_none(case: Case) -> None:
    given, found = case.numbers()
    assert not set(found.tolist()) <= {*given.tolist(), 0.0}
    assert moved_inputs(case.node) == ()


def test_concat_moves_all_that_is_computed_and_constants() -> None:
    net = Net()
    x, y = net.input(1, 2), net.input(1, 2, name="y")
    both, mixed = net("Concat", x, y, axis=1), net("Concat", net.weights(1, 2), x, axis=1)
    first, second = both.producer(), mixed.producer()
    assert first is not None and second is not None  # noqa: PT018 - both are for the type checker
    assert (moved_inputs(first), moves_constants(first)) == ((x, y), False)
    assert (moved_inputs(second), moves_constants(second)) == ((x,), True)


def test_indices_and_constant_data_are_not_moved() -> None:
    net = Net()
    indices = net.build.input("i", INT64, (2,))
    node = net("Gather", net.weights(4, 3), indices).producer()
    assert node is not None
    assert moved_inputs(node) == ()


def test_operators_of_other_domains_are_unknown() -> None:
    x = ir.Value(name="x")
    for op_type in ("Transpose", "Concat", "Relu"):
        node = ir.Node("other", op_type, [x], num_outputs=1)
        assert (moved_inputs(node), effective_bounds(node, 0)) == ((), EVERYWHERE)


@pytest.mark.parametrize("op_type", NATURAL_RANGES)
def test_natural_range_holds_for_any_input(op_type: str) -> None:
    net = Net()
    x = net.build.input("x", FLOAT, (1, 4096))
    scaled = net("Mul", x, net.number(20.0))
    y = net(op_type, scaled)
    found = results(net.model(y), [])[str(y.name)]
    low, high = NATURAL_RANGES[op_type]
    assert low - ROUNDING <= found.min() <= found.max() <= high + ROUNDING


def saturating(op_type: str, *operands: float, **attributes: Attribute) -> tuple[ir.Node, ir.Model]:
    net = Net()
    x = net.input(1, 4096)
    y = net(op_type, x, *(net.build.constant(F32(operand)) for operand in operands), **attributes)
    node = y.producer()
    assert node is not None
    return node, net.model(y)


def beyond(model: ir.Model, low: float, high: float) -> float:
    """Largest change of the output when inputs from -50 to 50 are cut to an interval."""
    x = np.linspace(-50, 50, 4096, dtype=F32).reshape(1, -1)
    session = OnnxSession(model)
    whole, cut = session.run({"x": x})[0], session.run({"x": np.clip(x, low, high)})[0]
    return float(np.abs(whole - cut).max())


SIGMOID_LOSS = 1 / (1 + np.exp(SIGMOID_END)) + ROUNDING
TANH_LOSS = 1 - np.tanh(TANH_END) + ROUNDING


@pytest.mark.parametrize(
    ("made", "loss"),
    [
        pytest.param(saturating("Relu"), 0, id="Relu"),
        pytest.param(saturating("HardSwish"), 0, id="HardSwish"),
        pytest.param(saturating("Sigmoid"), SIGMOID_LOSS, id="Sigmoid"),
        pytest.param(saturating("Tanh"), TANH_LOSS, id="Tanh"),
        pytest.param(saturating("HardSigmoid"), ROUNDING, id="HardSigmoid"),
        pytest.param(saturating("HardSigmoid", alpha=1 / 6), ROUNDING, id="HardSigmoid of HardSwish"),
        pytest.param(saturating("HardSigmoid", alpha=-0.5), 0, id="falling HardSigmoid"),
        pytest.param(saturating("Clip", 0.0, 6.0), 0, id="Clip"),
        pytest.param(saturating("Clip", -3.0), 0, id="Clip without upper end"),
        pytest.param(saturating("LeakyRelu", alpha=0.1), 0, id="LeakyRelu"),
        pytest.param(saturating("Elu"), 0, id="Elu"),
    ],
)
def test_numbers_outside_of_the_bounds_act_as_the_nearer_end(made: tuple[ir.Node, ir.Model], loss: float) -> None:
    node, model = made
    low, high = effective_bounds(node, 0)
    assert beyond(model, low, high) <= loss


def test_bounds_are_as_narrow_as_they_can_be() -> None:
    assert effective_bounds(saturating("Clip", 0.0, 6.0)[0], 0) == (0.0, 6.0)
    assert effective_bounds(saturating("Relu")[0], 0) == (0.0, np.inf)
    np.testing.assert_allclose(effective_bounds(saturating("HardSigmoid", alpha=1 / 6)[0], 0), (-3, 3), rtol=1e-6)
    assert all(effective_bounds(saturating(op_type)[0], 0) != EVERYWHERE for op_type in SATURATING)


def test_clip_with_a_computed_end_has_no_bounds() -> None:
    net = Net()
    x, end = net.input(1, 4), net.input(name="end")
    node = net("Clip", x, net.build.constant(F32(0)), end).producer()
    assert node is not None
    assert effective_bounds(node, 0) == effective_bounds(node, 2) == EVERYWHERE


@pytest.mark.parametrize(
    ("name", "loss"), [("SiLU", 8 / (1 + np.exp(8.0))), ("HardSwish", ROUNDING)], ids=["SiLU", "HardSwish"]
)
def test_activation_written_out_has_the_bounds_of_its_function(name: str, loss: float) -> None:
    net = Net()
    x = net.input(1, 4096)
    y = net(
        "Mul", x, net("Sigmoid" if name == "SiLU" else "HardSigmoid", x, **({} if name == "SiLU" else {"alpha": 1 / 6}))
    )
    model = net.model(y)
    passes.normalise(model)
    marked = [node for node in model.graph if activation_of(node) is not None or node.op_type == name]
    assert marked
    low, high = effective_bounds(marked[0], 0)
    assert low > -np.inf
    assert beyond(model, low, high) <= loss + ROUNDING


@pytest.mark.parametrize(
    ("op_type", "shape", "attributes", "axis"),
    [
        ("Conv", (5, 3, 1, 1), {}, 0),
        ("ConvTranspose", (3, 5, 1, 1), {}, 1),
        ("ConvTranspose", (3, 5, 1, 1), {"group": 3}, None),
        ("Gemm", (3, 5), {}, 1),
        ("Gemm", (5, 3), {"transB": 1}, 0),
        ("MatMul", (3, 5), {}, 1),
        ("MatMul", (2, 3, 5), {}, None),
    ],
)
def test_channel_axis_is_that_of_the_output(
    op_type: str, shape: tuple[int, ...], attributes: dict[str, int], axis: int | None
) -> None:
    net = Net()
    x = net.input(*((1, 3, 2, 2) if "Conv" in op_type else (2, 4, 3) if len(shape) == 3 else (4, 3)))
    weights = net.weights(*shape)
    with net.build.layer(Origin("p", op_type, 0)):
        y = net.build.emit(op_type, [x, weights], attributes)
    node = y.producer()
    assert node is not None
    assert channel_axis(node) == axis
    if axis is None:
        return
    # A channel of zero weights makes zeros in one channel of the output and in no other.
    zeroed = weights.const_value.numpy().copy()  # type: ignore[union-attr]  # a constant
    np.moveaxis(zeroed, axis, 0)[2] = 0
    weights.const_value = ir.Tensor(zeroed, name=weights.name)
    found = results(net.model(y), [])[str(y.name)]
    channels = np.moveaxis(found, 1, 0).reshape(found.shape[1], -1)
    assert [not row.any() for row in channels] == [False, False, True, False, False]
