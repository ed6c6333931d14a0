"""The formulas against sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_delegate_npu.cost.formulas import off_chip, overlapped
from synap_delegate_npu.cost.layers import (
    Dtype,
    Kind,
    Map,
    Operation,
    convolution,
    deconvolution,
    elementwise,
    fully_connected,
)
from synap_delegate_npu.cost.model import estimate, estimate_all, total
from tests.support.npu_cost import chip

SQUARE = Map(56, 56, 64)
CONVOLUTION = convolution(SQUARE, SQUARE, kernel=(3, 3))
OPERATIONS = [
    CONVOLUTION,
    convolution(Map(64, 64, 16), Map(32, 32, 16), kernel=(3, 3), stride=(2, 2), groups=16),
    convolution(Map(64, 64, 3), Map(32, 32, 16), kernel=(3, 3), stride=(2, 2)),
    deconvolution(Map(16, 16, 8), Map(32, 32, 8), kernel=(4, 4), stride=(2, 2)),
    convolution(Map(16, 16, 8), Map(16, 16, 8), kernel=(3, 3), dtype="float16"),
    fully_connected(512, 100),
    elementwise("addition", 5000, inputs=2),
    elementwise("tensor", 50_000),
    elementwise("copy", 50_000, inputs=2, read=50_000),
    elementwise("pool", 1000, read=4000),
    elementwise("input_transpose", 150_528),
    elementwise("programmable", 70_000, inputs=2),
    elementwise("softmax", 1001),
    elementwise("preprocess", 150_528),
    elementwise("preprocess_scaled", 150_528),
]


def micro(operation: Operation, **changes: object) -> float:
    return estimate(operation, chip(**changes)).seconds * 1e6


def off(size: float, keep: float = 1e6) -> float:
    return size / (1 + (keep / size) ** 6)


def test_phases_add_up_or_the_longest_counts() -> None:
    a, b = np.array([3.0, 0.0]), np.array([4.0, 0.0])
    assert overlapped(1, a, b).tolist() == [7, 0]
    assert overlapped(2, a, b) == pytest.approx([5, 0])
    assert overlapped(64, a * 1e-9, b * 1e-9) == pytest.approx([4e-9, 0], rel=1e-6)


def test_small_tensors_stay_on_the_chip_and_large_ones_do_not() -> None:
    sizes = np.array([1e5, 1e6, 1e7])
    assert off_chip(sizes, 1e6) == pytest.approx([1e5 / 1_000_001, 5e5, 1e7 / 1.000001])


def test_convolution_by_hand() -> None:
    # 64 multipliers x 56 steps x 576 products x 16 kernels on 4 cores; see the tests of the tiling.
    compute = 64 * 56 * 576 * 64 / (4 * 0.1e12)
    on_chip = (56 * 56 * 64 * 4 * 9 / 7 * 58 / 56 + 56 * 56 * 64) / 50e9
    traffic = (2 * off(56 * 56 * 64) + 0.75 * 9 * 64 * 64) / 2e9
    cost = estimate(CONVOLUTION, chip())
    assert cost.seconds == pytest.approx(compute + on_chip + traffic + 5e-6)
    assert (cost.compute_seconds, cost.overhead_seconds) == pytest.approx((compute, 5e-6))
    assert cost.traffic_seconds == pytest.approx(on_chip + traffic)
    assert (cost.engine, cost.bound) == ("NN", "compute")
    assert cost.cycles == round(cost.seconds * 1e9)
    assert cost.bytes_read == round(off(56 * 56 * 64) + 0.75 * 9 * 64 * 64)
    assert cost.bytes_written == round(off(56 * 56 * 64))
    overlapping = estimate(CONVOLUTION, chip(q=2.0)).seconds
    assert overlapping == pytest.approx((compute**2 + on_chip**2 + traffic**2) ** 0.5 + 5e-6)


def test_stride_costs_a_pass_of_the_tensor_processor() -> None:
    strided = convolution(Map(64, 64, 3), Map(32, 32, 16), kernel=(3, 3), stride=(2, 2))
    equal = convolution(Map(32, 32, 12), Map(32, 32, 16), kernel=(2, 2))
    weights = (strided.weights - equal.weights) * 0.75 / 2e9
    halo = estimate(strided, chip()).seconds - estimate(equal, chip()).seconds - weights
    assert halo == pytest.approx(64 * 64 * 3 / 2e9 + 5e-6)


@pytest.mark.parametrize(
    ("operation", "microseconds"),
    [
        pytest.param(fully_connected(1000, 400), 400_000 / 4e3 + 5, id="fully connected"),
        pytest.param(convolution(Map(1, 1, 1000), Map(1, 1, 400)), 400_000 / 4e3 + 5, id="convolution of one pixel"),
        pytest.param(elementwise("programmable", 50_000, inputs=2), 50_000 / 500 + 20, id="product"),
        pytest.param(elementwise("programmable", 10, read=50_000), 50_000 / 500 + 20, id="reduction"),
        pytest.param(elementwise("softmax", 1000), 1000 / 500 + 170, id="softmax"),
        pytest.param(elementwise("input_transpose", 150_000), 150 + 5, id="input transpose"),
        pytest.param(elementwise("preprocess", 100_000), 500 + 20, id="image"),
        pytest.param(elementwise("preprocess_scaled", 100_000), 1000 + 20, id="image resized"),
        pytest.param(elementwise("tensor", 50_000), 100_000 / 1000 + 2 * off(50_000) / 2000 + 5, id="activation"),
        pytest.param(
            elementwise("copy", 50_000, inputs=2, read=50_000),
            0.5 * (100_000 / 1000 + (off(50_000) + 2 * off(25_000)) / 2000) + 5,
            id="concatenation",
        ),
        pytest.param(
            elementwise("pool", 20_000, read=80_000),
            0.25 * (100_000 / 1000 + (off(80_000) + off(20_000)) / 2000) + 5,
            id="pool",
        ),
        pytest.param(
            elementwise("addition", 2_000_000, inputs=2), 6e6 / 50_000 + 3 * off(2e6) / 2000 + 5, id="addition"
        ),
    ],
)
def test_time_by_hand(operation: Operation, microseconds: float) -> None:
    assert micro(operation) == pytest.approx(microseconds)


def test_batch_multiplies_the_work_but_not_the_weights() -> None:
    one, two = (estimate(fully_connected(1000, 400, batch=n), chip()) for n in (1, 2))
    assert two.seconds - 5e-6 == pytest.approx(2 * (one.seconds - 5e-6))
    assert two.bytes_read == pytest.approx(300_000, abs=1)


def test_int16_moves_twice_the_bytes_and_computes_at_its_own_rate() -> None:
    wide = estimate(convolution(SQUARE, SQUARE, kernel=(3, 3), dtype="int16"), chip())
    narrow = estimate(CONVOLUTION, chip())
    assert wide.compute_seconds == pytest.approx(4 * narrow.compute_seconds)
    assert wide.bytes_read == pytest.approx(off(2 * 56 * 56 * 64) + 2 * 0.75 * 9 * 64 * 64, abs=1)


def test_float_convolution_runs_on_the_programmable_unit() -> None:
    cost = estimate(convolution(SQUARE, SQUARE, kernel=(3, 3), dtype="float16"), chip())
    assert cost.engine == "PPU"
    assert cost.seconds == pytest.approx(56 * 56 * 64 * 9 * 64 / 2.5e9 + 20e-6)


@pytest.mark.parametrize(
    ("kind", "dtype", "engine"),
    [
        ("addition", "uint8", "NN"),
        ("addition", "int16", "NN"),
        ("addition", "float16", "PPU"),
        ("tensor", "int8", "TP"),
        ("tensor", "float16", "TP"),
        ("pool", "float32", "PPU"),
        ("copy", "int16", "TP"),
        ("softmax", "int8", "PPU"),
        ("preprocess", "uint8", "PPU"),
    ],
)
def test_engine_depends_on_kind_and_type(kind: Kind, dtype: Dtype, engine: str) -> None:
    assert estimate(elementwise(kind, 1000, dtype=dtype), chip()).engine == engine


def test_bound_names_the_largest_part() -> None:
    assert estimate(elementwise("softmax", 10), chip()).bound == "overhead"
    assert estimate(elementwise("addition", 10_000_000, inputs=2), chip()).bound == "memory"
    assert estimate(CONVOLUTION, chip()).bound == "compute"


def test_inference_is_the_sum_and_a_constant() -> None:
    p = chip()
    costs = [estimate(operation, p) for operation in OPERATIONS]
    whole = total(costs, p)
    assert whole.seconds == pytest.approx(50e-6 + sum(cost.seconds for cost in costs))
    assert sum(whole.engine_seconds.values()) == pytest.approx(whole.seconds - 50e-6)
    assert whole.engine_seconds["TP"] == pytest.approx(sum(c.seconds for c in costs if c.engine == "TP"))
    assert whole.bytes_read == sum(cost.bytes_read for cost in costs)
    assert whole.overhead_seconds == pytest.approx(50e-6 + sum(cost.overhead_seconds for cost in costs))
    assert total([], p).seconds == 50e-6


def test_many_operations_cost_what_each_costs_alone() -> None:
    for dtype in ("uint8", "int16", "float16", "float32"):
        typed = [Operation(**{f: getattr(o, f) for f in Operation.__slots__} | {"dtype": dtype}) for o in OPERATIONS]
        assert estimate_all(typed, chip(q=1.8)) == tuple(estimate(operation, chip(q=1.8)) for operation in typed)


RATES = ("mac_core", "ddr_eff", "sram", "tp_unit", "ppu", "fc", "transpose", "s2d", "f16_rate", "preprocess", "keep")
COSTS = ("copy_share", "pool_share", "weight", "t_layer", "t_ppu", "softmax")


@pytest.mark.parametrize("name", [*RATES, *COSTS])
def test_faster_chip_is_never_slower(name: str) -> None:
    slow, fast = (0.5, 1.0) if name in RATES else (1.0, 0.5)
    value = getattr(chip(), name)
    before = [c.seconds for c in estimate_all(OPERATIONS, chip(q=1.8, **{name: value * slow}))]
    after = [c.seconds for c in estimate_all(OPERATIONS, chip(q=1.8, **{name: value * fast}))]
    assert all(a <= b for a, b in zip(after, before, strict=True))
    assert sum(after) < sum(before)


@given(st.sampled_from(OPERATIONS), st.integers(1, 100))
def test_larger_batch_takes_longer(operation: Operation, batch: int) -> None:
    fields = {name: getattr(operation, name) for name in Operation.__slots__}
    first, more = (estimate(Operation(**fields | {"batch": n}), chip(q=1.8)) for n in (batch, batch + 1))
    assert more.seconds > first.seconds
    assert more.bytes_read >= first.bytes_read


@given(st.integers(1, 10**9), st.sampled_from(["tensor", "copy", "pool", "addition", "programmable"]), st.floats(1, 64))
def test_time_is_finite_and_not_less_than_its_parts(elements: int, kind: Kind, q: float) -> None:
    cost = estimate(elementwise(kind, elements), chip(q=q))
    longest = max(cost.compute_seconds, cost.traffic_seconds)
    assert longest + cost.overhead_seconds <= cost.seconds * (1 + 1e-12)
    assert cost.seconds <= (cost.compute_seconds + cost.traffic_seconds + cost.overhead_seconds) * (1 + 1e-12)
