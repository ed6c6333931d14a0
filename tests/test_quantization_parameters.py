"""Solved parameters, against the arithmetic they stand for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap_core.errors import InputError
from synap_core.graph.annotations import quant_of
from synap_core.graph.groups import group
from synap_core.graph.qdq import to_qdq
from synap_core.graph.quantized import QuantizedTensor
from synap_core.quantization.data_types import input_layer_id
from synap_core.quantization.interface import Range
from synap_core.quantization.parameters import Parameters, annotate, solve
from synap_core.quantization.plan import Plan
from synap_core.quantization.planning import make_plan
from tests.support.comparison import OnnxSession
from tests.support.passes import Net

F32, F64 = np.float32, np.float64
SCHEMES = {
    "uint8": ("uint8", "default"),
    "int8": ("int8", "default"),
    "int8 affine": ("int8", "asymmetric_affine"),
    "int8 per channel": ("int8", "perchannel_symmetric_affine"),
    "int16": ("int16", "default"),
}


def span(low: float, high: float) -> Range:
    return Range(low=np.array(low, F64), high=np.array(high, F64))


def covered(array: np.ndarray, axis: int | None) -> Range:
    others = None if axis is None else tuple(i for i in range(array.ndim) if i != axis)
    return Range(low=np.asarray(array.min(others), F64), high=np.asarray(array.max(others), F64))


def solved(
    model: ir.Model, dtype: str, scheme: str, activations: Mapping[str, Range] | None = None
) -> tuple[Plan, Parameters]:
    """Quantize everything to one type; computed tensors cover -2 to 3 unless it is said otherwise."""
    groups = group(model)
    ids = [*(input_layer_id(value) for value in model.graph.inputs), *(item.layer_id for item in groups)]
    plan = make_plan(model, groups, dict.fromkeys(ids, dtype), scheme=scheme, mode="full")
    ranges = {key: (activations or {}).get(key, span(-2, 3)) for key in plan.slots}
    for key, slot in plan.constants.items():
        tensor = plan.graph.graph.initializers[key].const_value
        assert tensor is not None
        ranges[key] = covered(tensor.numpy(), slot.spec.axis)
    return plan, solve(plan, ranges)


def dense(weights: np.ndarray, bias: np.ndarray) -> tuple[ir.Model, ir.Value]:
    """``relu(x @ weights + bias)``."""
    net = Net()
    y = net("Gemm", net.input(1, len(weights)), net.build.constant(weights), net.build.constant(bias))
    return net.model(net("Relu", y)), y


def scale(tensor: QuantizedTensor) -> np.ndarray:
    length = tensor.quant.fractional_length
    return np.asarray(tensor.quant.scale if length is None else [2.0**-length], F64)


def parts(plan: Plan, parameters: Parameters) -> tuple[float, QuantizedTensor, QuantizedTensor]:
    """Scale of the input, weights and bias of the only product."""
    ((key, bias),) = plan.biases.items()
    quant = parameters.activations[bias.data]
    step = quant.scale[0] if quant.fractional_length is None else 2.0**-quant.fractional_length
    return step, parameters.constants[bias.weight], parameters.constants[key]


@pytest.mark.parametrize(("dtype", "scheme"), SCHEMES.values(), ids=SCHEMES)
def test_bias_counts_steps_of_the_product(dtype: str, scheme: str, rng: np.random.Generator) -> None:
    bias = rng.normal(0, 3, 7).astype(F32)
    model, _ = dense(rng.normal(size=(5, 7)).astype(F32), bias)
    step, weights, found = parts(*solved(model, dtype, scheme))
    # The scale that is written is the product's, rounded to float32.
    product = (step * scale(weights)).astype(F32).astype(F64)
    assert found.integers.dtype == (np.int64 if dtype == "int16" else np.int32)
    np.testing.assert_array_equal(found.integers, np.rint(bias.astype(F64) / product))
    np.testing.assert_array_equal(scale(found), product)
    assert found.quant.zero_point in ((), (0,) * len(found.quant.zero_point))
    assert len(scale(found)) == (7 if scheme == "perchannel_symmetric_affine" else 1)


@pytest.mark.parametrize(("dtype", "scheme"), SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize("tiny", [1e-9, 1e-20, 1e-38, 0.0])
def test_bias_of_channels_that_are_all_but_dead_is_kept(dtype: str, scheme: str, tiny: float) -> None:
    bias = np.array([1.0, -1.0, 2.0], F32)
    model, _ = dense(np.array([[tiny, -tiny, tiny], [tiny, tiny, 0]], F32), bias)
    _, weights, found = parts(*solved(model, dtype, scheme))
    np.testing.assert_allclose(found.numpy(), bias, rtol=1e-6)
    # Half of the type is left for the products that are added; scales are rounded to float32.
    assert np.abs(found.integers.astype(F64)).max() <= (2**62 if dtype == "int16" else 2**30) * (1 + 2**-22)
    # What is lost is no more than a step of the bias can show.
    assert np.abs(weights.numpy()).max() <= tiny * 1.01


@pytest.mark.parametrize(("dtype", "scheme"), SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize("bias", [(1.0, -1.0), (0.0, 0.0)], ids=["bias", "zeros"])
def test_steps_of_a_bias_are_numbers_that_float32_has(dtype: str, scheme: str, bias: tuple[float, float]) -> None:
    model, y = dense(np.full((3, 2), 1e-38, F32), np.array(bias, F32))
    plan, parameters = solved(model, dtype, scheme, {"x": span(0, 1e-12), str(y.name): span(-1, 1)})
    _, _, found = parts(plan, parameters)
    assert scale(found).min() >= np.finfo(F32).smallest_normal
    np.testing.assert_allclose(found.numpy(), bias, rtol=1e-6)


def test_room_for_one_channel_costs_the_others_nothing_if_they_have_scales_of_their_own(
    rng: np.random.Generator,
) -> None:
    weights = rng.normal(size=(5, 3)).astype(F32)
    weights[:, 1] = 1e-9
    model, _ = dense(weights, np.ones(3, F32))
    _, found, _ = parts(*solved(model, "int8", "perchannel_symmetric_affine"))
    largest = np.abs(weights).max(axis=0).astype(F64)
    np.testing.assert_allclose(scale(found)[[0, 2]], largest[[0, 2]] / 127, rtol=1e-7)
    assert scale(found)[1] > 100 * largest[1] / 127


@settings(max_examples=40, deadline=None)
@given(
    scale_of=st.integers(-30, 8),
    size=st.floats(2**-10, 2**10),
    kind=st.sampled_from(sorted(SCHEMES)),
    seed=st.integers(0, 9),
)
def test_bias_is_never_off_by_more_than_a_step_of_it(scale_of: int, size: float, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bias = (rng.normal(size=4) * size).astype(F32)
    model, _ = dense((rng.normal(size=(3, 4)) * 2.0**scale_of).astype(F32), bias)
    _, _, found = parts(*solved(model, *SCHEMES[kind]))
    error = np.abs(found.numpy().astype(F64) - bias)
    # Half a step, and the rounding of the real number to float32.
    assert (error <= 0.5001 * scale(found) + 2.0**-23 * np.abs(bias)).all()


def test_float16_constants_are_rounded_to_it_and_saturate(rng: np.random.Generator) -> None:
    weights = rng.normal(size=(3, 2)).astype(F32)
    weights[0] = (1e6, -1e6)
    bias = rng.normal(size=2).astype(F32)
    plan, parameters = solved(dense(weights, bias)[0], "float16", "default")
    largest = float(np.finfo(np.float16).max)
    found = {slot.label.rpartition(":")[2]: parameters.constants[key] for key, slot in plan.constants.items()}
    np.testing.assert_array_equal(found["weight"].numpy(), np.clip(weights, -largest, largest).astype(np.float16))
    np.testing.assert_array_equal(found["bias"].numpy(), bias.astype(np.float16))
    assert {tensor.integers.dtype for tensor in found.values()} == {np.dtype(np.float16)}


def test_fixed_range_does_not_wait_for_data() -> None:
    net = Net()
    y = net("Sigmoid", net.input(1, 4))
    plan, parameters = solved(net.model(y), "uint8", "default", {str(y.name): span(0.2, 0.3)})
    quant = parameters.activations[str(y.name)]
    np.testing.assert_allclose(quant.scale, 1 / 255, rtol=1e-6)
    assert quant.zero_point == (0,)
    assert plan.slots[str(y.name)].fixed == (0, 1)


@pytest.mark.parametrize(("dtype", "scheme"), SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize("value", [0.0, 2.5, -3.0])
def test_tensors_of_one_number_keep_it(dtype: str, scheme: str, value: float) -> None:
    net = Net()
    y = net("Add", net.input(1, 4), net.build.constant(np.full((1, 4), value, F32)))
    ends = span(value, value)
    plan, parameters = solved(net.model(y), dtype, scheme, {"x": span(0, 0), str(y.name): ends})
    found = OnnxSession(to_qdq(annotate(plan, parameters), integer_boundary=False))
    (result,) = found.run({"x": np.zeros((1, 4), F32)})
    # A number at the end of the range is half a step away at the most.
    limit = 2.0**-7 * abs(value) if dtype != "int16" else 2.0**-14 * abs(value)
    np.testing.assert_allclose(result, value, atol=limit, rtol=0)


@pytest.mark.parametrize(("dtype", "scheme"), SCHEMES.values(), ids=SCHEMES)
def test_weights_of_zeros_leave_the_bias(dtype: str, scheme: str) -> None:
    bias = np.array([1.5, 0.25, 0], F32)
    model, y = dense(np.zeros((4, 3), F32), bias)
    plan, parameters = solved(model, dtype, scheme, {str(y.name): span(0, 2)})
    (found,) = OnnxSession(to_qdq(annotate(plan, parameters), integer_boundary=False)).run({"x": np.ones((1, 4), F32)})
    np.testing.assert_allclose(found, bias[None], atol=2 / 127)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("kind", ["uint8", "int8 per channel", "int16"])
def test_bias_that_is_not_finite_is_an_error_that_names_the_layer(value: float, kind: str) -> None:
    model, _ = dense(np.ones((4, 3), F32), np.array([0, value, 1], F32))
    with pytest.raises(InputError, match=r"layer '@GEMM_gemm0_RELU_relu1_0': its bias holds infinite numbers or NaN"):
        solved(model, *SCHEMES[kind])


def chain() -> tuple[ir.Model, list[ir.Value]]:
    net = Net()
    a = net("Abs", net.conv(net.input(1, 3, 2, 2), 4))
    b = net("Mul", a, net.weights(1, 4, 1, 1))
    return net.model(b), [a, b]


def layers(plan: Plan) -> list[str]:
    return [*(input_layer_id(value) for value in plan.graph.graph.inputs), *(item.layer_id for item in plan.groups)]


@pytest.mark.parametrize("chosen", [(), (0,), (1,), (2,), (3,), (1, 3), (0, 1, 2, 3)], ids=str)
def test_only_the_layers_that_are_asked_for_are_annotated(chosen: tuple[int, ...]) -> None:
    model, _ = chain()
    plan, parameters = solved(model, "uint8", "default")
    wanted = {layers(plan)[i] for i in chosen}
    copy = annotate(plan, parameters, wanted)
    owner = {value.name: input_layer_id(value) for value in plan.graph.graph.inputs}
    owner |= {value.name: item.layer_id for item in plan.groups for node in item.nodes for value in node.outputs}
    owner |= {key: slot.layer_id for key, slot in plan.constants.items()}
    owner |= {key: bias.layer_id for key, bias in plan.biases.items()}
    values = [*copy.graph.inputs, *(value for node in copy.graph for value in node.outputs)]
    found = {owner[value.name] for value in values if quant_of(value) is not None}
    found |= {owner[k] for k, v in copy.graph.initializers.items() if isinstance(v.const_value, QuantizedTensor)}
    assert found == wanted
    for key in {*plan.constants, *plan.biases}:
        before, after = (m.graph.initializers[key].const_value for m in (plan.graph, copy))
        assert not isinstance(before, QuantizedTensor)
        assert before is not None and after is not None  # noqa: PT018 - for the type checker
        if owner[key] not in wanted:
            np.testing.assert_array_equal(after.numpy(), before.numpy())


def test_all_layers_are_annotated_by_default_and_the_plan_stays_as_it_is() -> None:
    model, (a, b) = chain()
    plan, parameters = solved(model, "int8", "perchannel_symmetric_affine")
    copy = annotate(plan, parameters)
    known = {str(value.name): quant_of(value) for node in copy.graph for value in node.outputs}
    assert known[str(a.name)] == parameters.activations[str(a.name)]
    assert known[str(b.name)] == parameters.activations[str(b.name)]
    assert quant_of(copy.graph.inputs[0]) == parameters.activations["x"]
    assert all(quant_of(value) is None for node in plan.graph.graph for value in node.outputs)


Step = Callable[[np.ndarray], np.ndarray]


def rounding(low: int, high: int, step: float, zero: int) -> Step:
    """Quantize and dequantize as the definition says, in float64."""

    def apply(values: np.ndarray) -> np.ndarray:
        units = np.clip(np.rint(values / step) + zero, low, high)
        return np.asarray((units - zero) * step)

    return apply


def affine(low: float, high: float, smallest: int, largest: int) -> Step:
    low, high = min(low, 0.0), max(high, 0.0)
    step = float(F32((high - low) / (largest - smallest)))
    return rounding(smallest, largest, step, round(smallest - low / step))


def fixed(low: float, high: float, bits: int) -> Step:
    """The most bits behind the binary point with which both ends are represented to half a step."""
    limit = 2 ** (bits - 1)
    length = next(n for n in range(60, -60, -1) if high * 2.0**n <= limit - 0.5 and -low * 2.0**n <= limit + 0.5)
    return rounding(-limit, limit - 1, 2.0**-length, 0)


def half(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16).astype(F64)


ROUNDINGS: dict[str, Callable[[float, float], Step]] = {
    "uint8": lambda low, high: affine(low, high, 0, 255),
    "int8": lambda low, high: fixed(low, high, 8),
    "int8 affine": lambda low, high: affine(low, high, -128, 127),
    "int8 per channel": lambda low, high: affine(low, high, -128, 127),
    "int16": lambda low, high: fixed(low, high, 16),
    "float16": lambda _low, _high: half,
}


def weights_rounded(kind: str, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights ``(O, I)`` as the scheme has them, and the scale of each output channel."""
    if kind == "int8 per channel":
        scales = (np.abs(weights).max(axis=1).astype(F64) / 127).astype(F32).astype(F64)
        return np.rint(weights / scales[:, None]) * scales[:, None], scales
    rounded = ROUNDINGS[kind](float(weights.min()), float(weights.max()))(weights.astype(F64))
    levels = np.unique(np.abs(rounded[rounded != 0]))
    return rounded, np.full(len(weights), levels.min())


@pytest.mark.parametrize("kind", ROUNDINGS)
def test_exported_network_computes_what_the_definition_says(kind: str, rng: np.random.Generator) -> None:
    """``y = avg(relu(conv1x1(x) + b)) @ v``; the bias is the one part whose rounding is too fine to matter."""
    dtype, scheme = SCHEMES.get(kind, ("float16", "default"))
    w, b = rng.normal(size=(6, 4)).astype(F32), rng.normal(size=6).astype(F32)
    v = rng.normal(size=(3, 6)).astype(F32)
    net = Net()
    c = net("Relu", net("Conv", net.input(1, 4, 3, 3), net.build.constant(w[..., None, None]), net.build.constant(b)))
    p = net("Reshape", net("GlobalAveragePool", c), net.integers(1, 6))
    y = net("Gemm", p, net.build.constant(v), transB=1)
    model, pooled = net.model(y), p.producer().inputs[0]  # type: ignore[union-attr]  # computed
    assert pooled is not None
    x = rng.normal(size=(1, 4, 3, 3)).astype(F32)
    ends = {"x": (-2.0, 2.5), str(c.name): (0.0, 5.0), str(pooled.name): (0.0, 2.0), str(y.name): (-4.0, 4.0)}
    plan, parameters = solved(model, dtype, scheme, {name: span(*pair) for name, pair in ends.items()})
    (found,) = OnnxSession(to_qdq(annotate(plan, parameters), integer_boundary=False)).run({"x": x})

    step = {name: ROUNDINGS[kind](*pair) for name, pair in ends.items()}
    rounded_x = step["x"](x.astype(F64))
    conv = np.einsum("oi,nihw->nohw", weights_rounded(kind, w)[0], rounded_x)
    bias = half(b) if kind == "float16" else b.astype(F64)
    relu = step[str(c.name)](np.maximum(conv + bias[None, :, None, None], 0))
    mean = step[str(pooled.name)](relu.mean(axis=(2, 3)))
    expected = step[str(y.name)](mean @ weights_rounded(kind, v)[0].T)
    # Sums in float32 and the rounding of the bias may move a number over the middle between two steps; the numbers of
    # this seed are not that close.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_types_of_all_kinds_make_one_model(rng: np.random.Generator) -> None:
    net = Net()
    a = net("Relu", net.conv(net.input(1, 3, 4, 4), 4))
    b = net("Relu", net.conv(a, 4))
    y = net("Sigmoid", net.conv(b, 2))
    model = net.model(y)
    x = rng.normal(size=(1, 3, 4, 4)).astype(F32)
    (real,) = OnnxSession(model).run({"x": x})
    groups = group(model)
    types = dict(
        zip(["Input_x", *(item.layer_id for item in groups)], ["uint8", "uint8", "int16", "float16"], strict=True)
    )
    plan = make_plan(model, groups, types, scheme="default", mode="full")
    ranges = {key: span(-4, 8) for key in plan.slots}
    ranges |= {key: covered(plan.graph.graph.initializers[key].const_value.numpy(), None) for key in plan.constants}  # type: ignore[union-attr]
    exported = to_qdq(annotate(plan, solve(plan, ranges)), integer_boundary=False)
    assert (exported.graph.opset_imports[""], exported.ir_version) == (21, 10)
    assert [node.op_type for node in exported.graph].count("Cast") >= 4
    (found,) = OnnxSession(exported).run({"x": x})
    signal, noise = float(np.sum(real**2)), float(np.sum((found - real) ** 2))
    assert 10 * math.log10(signal / noise) > 25
