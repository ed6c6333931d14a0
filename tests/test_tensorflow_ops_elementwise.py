"""Arithmetic, functions and comparisons of single items of TensorFlow graphs in the canonical graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.graph.annotations import is_opaque
from tests.support.single_operator import FEW, SEEDS
from tests.support.tensorflow_models import GraphComposer, canonical
from tests.support.tensorflow_operator import Fixed, Inner, agrees, agrees_with_opencv, refusal, single

Function = Callable[..., Any]

BINARY: dict[str, Function] = {
    "Add": np.add,
    "AddV2": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "RealDiv": np.divide,
    "Div": np.divide,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "SquaredDifference": lambda x, y: (x - y) ** 2,
    "Atan2": np.arctan2,
}
QUOTIENTS: dict[str, Function] = {
    "FloorDiv": np.floor_divide,
    "FloorMod": np.mod,
    "Mod": np.fmod,
    "TruncateMod": np.fmod,
}
INTEGER: dict[str, Function] = {
    **{name: BINARY[name] for name in ("Add", "AddV2", "Sub", "Mul", "Maximum", "Minimum", "SquaredDifference")},
    **QUOTIENTS,
    "Div": lambda x, y: np.trunc(x / y),
    "TruncateDiv": lambda x, y: np.trunc(x / y),
}
COMPARISONS: dict[str, Function] = {
    "Equal": np.equal,
    "NotEqual": np.not_equal,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
}
UNARY: dict[str, Function] = {
    "Abs": np.abs,
    "Asinh": np.arcsinh,
    "Atan": np.arctan,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Cosh": np.cosh,
    "Erf": np.vectorize(math.erf),
    "Erfc": np.vectorize(math.erfc),
    "Exp": np.exp,
    "Expm1": np.expm1,
    "Floor": np.floor,
    "Inv": np.reciprocal,
    "Neg": np.negative,
    "Reciprocal": np.reciprocal,
    "Rint": np.rint,
    "Round": np.rint,
    "Sign": np.sign,
    "Sin": np.sin,
    "Sinh": np.sinh,
    "Square": np.square,
    "Tan": np.tan,
}
POSITIVE: dict[str, Function] = {
    "Log": np.log,
    "Log1p": np.log1p,
    "Rsqrt": lambda x: 1 / np.sqrt(x),
    "Sqrt": np.sqrt,
}
BOUNDED: dict[str, Function] = {"Acos": np.arccos, "Asin": np.arcsin, "Atanh": np.arctanh}
FUNCTIONS = {
    **dict.fromkeys(UNARY, (-4.0, 4.0)),
    **dict.fromkeys(POSITIVE, (0.01, 9.0)),
    **dict.fromkeys(BOUNDED, (-0.95, 0.95)),
    "Acosh": (1.0, 9.0),
}
"""Where each function is tried."""

DEFINITIONS = UNARY | POSITIVE | BOUNDED | {"Acosh": np.arccosh}

IN_OPENCV = {"Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "Log", "Reciprocal", "Round", "Sign", "Sin", "Sqrt", "Square"}
"""What OpenCV's importer takes of them; it has none of the others."""


def uniform(seed: int, *shape: int, low: float = -4, high: float = 4) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape).astype(np.float32)


def whole(seed: int, *shape: int, dtype: Any = np.int32) -> np.ndarray:
    """Integers without zero."""
    rng = np.random.default_rng([seed, *shape])
    return np.asarray(rng.integers(1, 40, shape) * rng.choice([-1, 1], shape), dtype)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes that broadcast; the ranks may differ. The first one has a batch of 1."""
    whole_shape = draw(st.lists(st.integers(1, 4), max_size=3))
    pair = [[1, *whole_shape], whole_shape[draw(st.integers(0, len(whole_shape))) :]]
    cut = [[draw(st.sampled_from([size, 1])) for size in shape] for shape in pair]
    return tuple(cut[0]), tuple(cut[1])


@pytest.mark.parametrize("op", sorted(BINARY))
@FEW
@given(pair=shapes(), fixed=st.booleans(), swapped=st.booleans(), seed=SEEDS)
def test_arithmetic(op: str, pair: Any, fixed: bool, swapped: bool, seed: int) -> None:
    x = uniform(seed, *pair[0], low=0.5) * np.float32(np.random.default_rng(seed).choice([-1, 1]))
    y = uniform(seed + 1, *pair[1], low=0.5)
    operands, both = [x, Fixed(y) if fixed else Inner(y)], [x, y]
    if swapped:
        operands, both = operands[::-1], both[::-1]
    agrees(single(op, *operands), BINARY[op](*both).astype(np.float32))


@pytest.mark.parametrize("op", sorted(QUOTIENTS))
@FEW
@given(pair=shapes(), seed=SEEDS)
def test_whole_quotients_and_remainders(op: str, pair: Any, seed: int) -> None:
    # Eighths divided by powers of two are exact, so that rounding their quotients is, too.
    x = np.round(uniform(seed, *pair[0]) * 8) / np.float32(8)
    y = np.asarray(np.random.default_rng(seed).choice([-4, -1, -0.5, 0.5, 2], pair[1]), np.float32)
    agrees(single(op, x, Fixed(y)), QUOTIENTS[op](x, y), tolerance=0)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("op", sorted(INTEGER))
@FEW
@given(pair=shapes(), seed=SEEDS)
def test_arithmetic_of_integers(op: str, dtype: Any, pair: Any, seed: int) -> None:
    x, y = whole(seed, *pair[0], dtype=dtype), whole(seed + 1, *pair[1], dtype=dtype)
    agrees(single(op, x, Fixed(y)), np.asarray(INTEGER[op](x, y)).astype(dtype))


@pytest.mark.parametrize("op", ["Add", "AddV2", "Sub", "Mul", "RealDiv"])
@pytest.mark.parametrize("shape", [(2,), ()])
def test_arithmetic_as_opencv_has_it(op: str, shape: tuple[int, ...]) -> None:
    # OpenCV does not bring the constants of a whole image into its layout.
    agrees_with_opencv(single(op, uniform(1, 1, 3, 4, 2), Fixed(uniform(2, *shape, low=0.5))))


@pytest.mark.parametrize("op", sorted(INTEGER))
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_integer_constants_are_computed_at_once(op: str, dtype: Any) -> None:
    x, y = whole(1, 3, 4, dtype=dtype), whole(2, 4, dtype=dtype)
    composer = GraphComposer()
    composer.placeholder("x", [1, 4])
    node = composer.node(op, [composer.constant(x), composer.constant(y)], T=dtype)
    composer.node("Cast", [node], "shape", SrcT=dtype, DstT=np.float32, T=None)
    composer.node("AddV2", ["x", "shape"], "y")
    model = canonical(composer.serialize(), {"x": [1, 4]}, ["y"])
    assert [one.op_type for one in model.graph] == ["Add"]
    (constant,) = model.graph.initializers.values()
    assert constant.const_value is not None
    np.testing.assert_array_equal(constant.const_value.numpy(), INTEGER[op](x, y))


def test_floor_of_a_negative_quotient_goes_down_and_the_remainder_has_the_sign_of_the_divisor() -> None:
    x, y = np.array([[7, -7, 7, -7, 6, -6]]), np.array([2, 2, -2, -2, -3, 3])
    for dtype in (np.int32, np.int64, np.float32):
        operands = x.astype(dtype), Fixed(y.astype(dtype))
        agrees(single("FloorDiv", *operands), np.array([[3, -4, -4, 3, -2, -2]], dtype))
        agrees(single("FloorMod", *operands), np.array([[1, 1, -1, -1, 0, 0]], dtype))
        agrees(single("TruncateMod", *operands), np.array([[1, -1, 1, -1, 0, 0]], dtype))


@pytest.mark.parametrize("op", ["AddN", "AccumulateNV2"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_sum_of_any_number(op: str, count: int) -> None:
    terms = [uniform(place, 1, 3, 2) for place in range(count)]
    agrees(single(op, *terms), np.sum(terms, axis=0))


def test_power() -> None:
    x, y = uniform(1, 1, 3, 4, low=0.1), uniform(2, 4)
    agrees(single("Pow", x, Fixed(y)), np.power(x, y))
    agrees(single("Pow", uniform(1, 1, 4), Fixed(np.float32(2))), uniform(1, 1, 4) ** 2)
    agrees(single("Pow", whole(1, 1, 4), Fixed(np.array(3, np.int32))), whole(1, 1, 4) ** 3)


@pytest.mark.parametrize(
    ("op", "x", "y", "expected"),
    [
        ("DivNoNan", [1, 0, -6, 4], [0, 0, 3, -8], [0, 0, -2, -0.5]),
        ("MulNoNan", [math.inf, math.nan, 2, 0], [0, 0, 3, 5], [0, 0, 6, 0]),
        ("Xdivy", [0, 0, 6, -4], [0, 2, 3, 8], [0, 0, 2, -0.5]),
        ("Xlogy", [0, 0, 2, -3], [0, 5, 1, math.e], [0, 0, 0, -3]),
    ],
)
def test_zero_stays_zero(op: str, x: list[float], y: list[float], expected: list[float]) -> None:
    operands = np.array([x], np.float32), Fixed(np.array(y, np.float32))
    agrees(single(op, *operands), np.array([expected], np.float32))


def test_angles_of_all_quadrants() -> None:
    y, x = (
        np.array([values], np.float32) for values in ([0, 1, 2, 3, -1, -2, 1, -1, 0], [1, 0, 1, -2, -1, 1, 0, 0, -1])
    )
    agrees(single("Atan2", y, Fixed(x[0])), np.arctan2(y, x))


@pytest.mark.parametrize("op", sorted(DEFINITIONS))
def test_function(op: str) -> None:
    low, high = FUNCTIONS[op]
    x = uniform(3, 1, 9, 11, low=low, high=high)
    agrees(single(op, x), DEFINITIONS[op](x.astype(np.float64)).astype(np.float32), tolerance=3e-5)


@pytest.mark.parametrize("op", ["Add", "RealDiv", "Exp", "Log", "Rsqrt", "Sqrt"])
def test_doubles_stay_doubles(op: str) -> None:
    x = uniform(1, 1, 5, low=0.5).astype(np.float64) + 1e-12
    if op in BINARY:
        agrees(single(op, x, Fixed(x / 3)), BINARY[op](x, x / 3), tolerance=1e-14)
    else:
        agrees(single(op, x), DEFINITIONS[op](x), tolerance=1e-14)


@pytest.mark.parametrize("op", sorted(IN_OPENCV))
def test_function_as_opencv_has_it(op: str) -> None:
    low, high = FUNCTIONS[op]
    agrees_with_opencv(single(op, uniform(3, 1, 5, 6, 3, low=low, high=high)))


@pytest.mark.parametrize("op", ["Round", "Rint"])
def test_halves_are_rounded_to_even_numbers(op: str) -> None:
    x = np.array([[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]], np.float32)
    agrees(single(op, x), np.array([[-2, -2, 0, 0, 2, 2]], np.float32))


@pytest.mark.parametrize("op", ["Abs", "Neg", "Sign", "Square"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_function_of_integers(op: str, dtype: Any) -> None:
    x = whole(1, 1, 9, dtype=dtype)
    agrees(single(op, x), UNARY[op](x))


def test_numbers_that_are_none_are_found() -> None:
    x = np.array([[1, math.nan, math.inf]], np.float32)
    agrees(single("IsNan", x), np.isnan(x))


@pytest.mark.parametrize("op", ["Add", "Mul", "Maximum", "SquaredDifference"])
def test_half_floats_stay_half_floats(op: str) -> None:
    x, y = uniform(1, 1, 3, 4).astype(np.float16), uniform(2, 4).astype(np.float16)
    agrees(single(op, x, Fixed(y)), BINARY[op](x, y).astype(np.float16), tolerance=1e-3)


@pytest.mark.parametrize("op", sorted(COMPARISONS))
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
@FEW
@given(pair=shapes(), seed=SEEDS)
def test_comparison(op: str, dtype: Any, pair: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = (np.asarray(rng.integers(-2, 3, shape), dtype) for shape in pair)
    agrees(single(op, x, Fixed(y)), COMPARISONS[op](x, y))


@pytest.mark.parametrize("op", ["Equal", "NotEqual"])
def test_comparison_of_truth_values(op: str) -> None:
    x, y = np.array([[True, True, False, False]]), np.array([True, False, True, False])
    agrees(single(op, x, Fixed(y)), COMPARISONS[op](x, y))


def test_logic() -> None:
    x, y = np.array([[True, True, False, False]]), np.array([True, False, True, False])
    agrees(single("LogicalAnd", x, Fixed(y), T=None), x & y)
    agrees(single("LogicalOr", x, Fixed(y), T=None), x | y)
    agrees(single("LogicalNot", x, T=None), ~x)


def test_condition_of_the_older_choice_runs_along_the_first_dimension() -> None:
    condition = np.array([True, False, True])
    x, y = uniform(1, 3, 3), uniform(2, 3, 3)
    operands = Fixed(condition), Inner(x), Fixed(y)
    agrees(single("Select", *operands, T=np.float32), np.where(condition[:, None], x, y))
    agrees(single("SelectV2", *operands, T=np.float32), np.where(condition, x, y))


@pytest.mark.parametrize("op", ["Select", "SelectV2"])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
def test_choice_by_a_condition_for_each_item_or_for_all(op: str, dtype: Any) -> None:
    x, y = uniform(1, 1, 3, 4).astype(dtype), uniform(2, 1, 3, 4).astype(dtype)
    condition = uniform(3, 1, 3, 4) > 0
    agrees(single(op, condition, x, y, T=dtype), np.where(condition, x, y))
    agrees(single(op, Fixed(np.array(False)), x, y, T=dtype), y)


@pytest.mark.parametrize("op", ["Select", "SelectV2"])
def test_choice_of_truth_values(op: str) -> None:
    condition, x, y = (np.array([[bool(n >> bit & 1) for n in range(8)]]) for bit in range(3))
    agrees(single(op, condition, x, y, T=bool), np.where(condition, x, y))


def test_choice_broadcasts() -> None:
    x, y, condition = uniform(1, 1, 3, 1), uniform(2, 4), uniform(3, 1, 1, 4) > 0
    agrees(single("SelectV2", condition, x, Fixed(y), T=np.float32), np.where(condition, x, y))


X = np.zeros((1, 4), np.float32)


@pytest.mark.parametrize(
    ("op", "operands", "message"),
    [
        ("Add", [X, Fixed(np.zeros(4, np.int32))], "operands of FLOAT and INT32; they must be one of FLOAT, FLOAT16"),
        ("Add", [X.astype(np.uint8), X.astype(np.uint8)], "operands of UINT8; they must be one of FLOAT, FLOAT16"),
        ("RealDiv", [X.astype(np.int32), X.astype(np.int32)], "operands of INT32; they must be one of FLOAT, FLOAT16"),
        ("Erf", [X.astype(np.float64)], "operands of DOUBLE; they must be one of FLOAT, FLOAT16"),
        ("Sqrt", [X.astype(np.int32)], "operands of INT32; they must be one of FLOAT, FLOAT16, DOUBLE"),
        ("Less", [X.astype(bool), X.astype(bool)], "operands of BOOL; they must be one of FLOAT"),
        ("LogicalAnd", [X, X], "operands of FLOAT; they must be one of BOOL"),
        ("LogicalNot", [X], "operands of FLOAT; they must be one of BOOL"),
        ("SelectV2", [X, X, X], "operands of FLOAT; they must be one of BOOL"),
        ("Add", [X], "it has no operand 1"),
        ("Where", [X], "how many items it finds depends on the data"),
    ],
)
def test_operands_that_cannot_be_say_why(op: str, operands: list[Any], message: str) -> None:
    assert refusal(op, *operands).startswith(message)


def test_shapes_that_do_not_broadcast_are_refused() -> None:
    assert "[1, 4]" in refusal("Add", X, Fixed(np.zeros(3, np.float32)))


def test_one_over_a_root_and_squares_are_plain_operators() -> None:
    x = uniform(1, 1, 4, low=1)
    for op, expected in (("Rsqrt", ["Sqrt", "Reciprocal"]), ("Square", ["Mul"]), ("SquaredDifference", ["Sub", "Mul"])):
        model = single(op, x, *([Fixed(x)] if op == "SquaredDifference" else [])).model
        assert [node.op_type for node in model.graph if not is_opaque(node)] == expected
