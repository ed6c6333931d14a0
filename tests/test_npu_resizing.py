"""Images of integers of another size, as the reference kernels of LiteRT compute them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.graph.build import GraphBuilder
from synap_core.graph.groups import Group, group
from synap_core.graph.passes import normalise
from synap_core.graph.types import TensorType
from synap_core.tensors import QuantParams
from synap_delegate_npu.operators.families import REGISTRY
from synap_delegate_npu.program.program import program_of
from tests.support.npu_exact import is_exact
from tests.support.npu_program import compiled, quantized
from tests.support.single_operator import FEW, QUANTIZED, SEEDS, constant, options, sample

MODES = {"asymmetric": {}, "align corners": {"alignCorners": True}, "half pixel": {"halfPixelCenters": True}}
BY_MODE = pytest.mark.parametrize("mode", MODES.values(), ids=list(MODES))
BY_TYPE = pytest.mark.parametrize("dtype", QUANTIZED)
SIDES = st.tuples(st.integers(1, 13), st.integers(1, 13))


def resized(
    folder: Path,
    name: str,
    dtype: str,
    mode: dict[str, bool],
    before: tuple[int, int],
    after: tuple[int, int],
    seed: int,
    *,
    narrow: bool = False,
) -> list[str]:
    """Check a resized image; gives the operators of the program."""
    rng = np.random.default_rng(seed)
    x = quantized(rng, [1, *before, 3], dtype, -4)
    limits = {"low": 0 if dtype == "uint8" else -3, "high": 3} if narrow else {}
    kind = "ResizeBilinear" if name == "RESIZE_BILINEAR" else "ResizeNearestNeighbor"
    operands = [x, constant(np.asarray(after, np.int32))]
    y = replace(x, shape=[1, *after, 3])
    return is_exact(
        folder,
        name,
        operands,
        y,
        [sample(rng, x, **limits)],
        given=options(kind, **mode),
        version=3,
        join=interpolations,
    ).types


def interpolations(groups: list[Group]) -> list[Group]:
    """Groups of a graph in which products by written-out weights, and reshapes between them, are one."""
    products = [found for found in groups if found.nodes[0].op_type == "MatMul"]
    if not products:
        return groups
    start = groups.index(products[0])
    nodes = tuple(node for found in groups[start:] for node in found.nodes)
    return [*groups[:start], Group(layer_id=products[0].layer_id, nodes=nodes, origins=products[0].origins)]


@BY_MODE
@BY_TYPE
@FEW
@given(before=SIDES, after=SIDES, narrow=st.booleans(), seed=SEEDS)
def test_images_are_those_of_the_kernel(
    *,
    mode: dict[str, bool],
    dtype: str,
    tmp_path: Path,
    before: tuple[int, int],
    after: tuple[int, int],
    narrow: bool,
    seed: int,
) -> None:
    types = resized(tmp_path, "RESIZE_BILINEAR", dtype, mode, before, after, seed, narrow=narrow)
    assert "Resize" in types or before == after


@BY_MODE
@BY_TYPE
@FEW
@given(before=SIDES, after=SIDES, seed=SEEDS)
def test_the_nearest_integers_are_those_of_the_kernel(
    *, mode: dict[str, bool], dtype: str, tmp_path: Path, before: tuple[int, int], after: tuple[int, int], seed: int
) -> None:
    types = resized(tmp_path, "RESIZE_NEAREST_NEIGHBOR", dtype, mode, before, after, seed)
    assert not any(name.startswith("(") for name in types)


@BY_MODE
@BY_TYPE
@pytest.mark.parametrize(
    ("before", "after"), [((7, 160), (295, 61)), ((320, 5), (213, 194)), ((9, 20), (72, 40))], ids=str
)
def test_large_images(
    before: tuple[int, int], after: tuple[int, int], dtype: str, mode: dict[str, bool], tmp_path: Path
) -> None:
    """Where sums have more bits than float32 holds, and every rounding of a place adds up."""
    assert "Resize" in resized(tmp_path, "RESIZE_BILINEAR", dtype, mode, before, after, 5)


# Without LiteRT, which has no such kernels


def interpolated(quant: QuantParams, before: list[int], after: list[int], **attributes: str | int) -> ir.Model:
    """A graph that interpolates linearly."""
    build = GraphBuilder("resize")
    x = build.input("x", ir.DataType.FLOAT, before, quant=quant)
    sizes = build.constant(after)
    y = build.emit(
        "Resize",
        [x, None, None, sizes],
        {"mode": "linear", **attributes},
        result=TensorType(ir.DataType.FLOAT, tuple(after)),
    )
    return build.finish([build.name_value(y, "y", "y", quant)])


def places(mode: str, before: int, after: int) -> np.ndarray:
    """Where the items of a result lie. Source: ONNX, operator Resize."""
    number, scale = np.arange(after), after / before
    if mode == "align_corners":
        return number * (before - 1) / (after - 1)
    if mode == "asymmetric":
        return number / scale
    # The other modes are the same as long as sizes are given and more than one item is wanted.
    return (number + 0.5) / scale - 0.5


def real_result(array: np.ndarray, after: list[int], mode: str = "half_pixel") -> np.ndarray:
    """Interpolated real numbers: along each axis, an item weighs the less the further it is away."""
    found = array.astype(np.float64)
    for axis, (before, size) in enumerate(zip(array.shape, after, strict=True)):
        if before != size:
            place = np.clip(places(mode, before, size), 0, before - 1)
            weights = np.maximum(1 - np.abs(place[:, None] - np.arange(before)), 0)
            found = np.moveaxis(np.tensordot(weights, found, (1, axis)), 0, axis)
    return np.rint(found)


COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")


@pytest.mark.parametrize("mode", COORDINATES)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@FEW
@given(before=st.tuples(*[st.integers(2, 9)] * 2), after=st.tuples(*[st.integers(2, 17)] * 2), seed=SEEDS)
def test_images_are_within_a_unit_of_real_numbers(
    *, mode: str, dtype: str, before: tuple[int, int], after: tuple[int, int], seed: int
) -> None:
    quant = QuantParams(dtype=dtype, scheme="asymmetric_affine", scale=(0.02,), zero_point=(3,))
    info = np.iinfo(dtype)
    array = np.random.default_rng(seed).integers(info.min, info.max + 1, (1, 2, *before)).astype(dtype)
    wanted = [1, 2, *after]
    program = compiled(interpolated(quant, [1, 2, *before], wanted, coordinate_transformation_mode=mode))
    (found,) = program([array])
    assert program.types == ["Resize"]
    assert np.abs(found.astype(int) - real_result(array, wanted, mode)).max() <= 1


@pytest.mark.parametrize(("shape", "after"), [([1, 2, 5], [1, 2, 13]), ([1, 2, 3, 4, 5], [1, 2, 6, 8, 10])], ids=str)
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_other_numbers_of_axes(dtype: str, shape: list[int], after: list[int], rng: np.random.Generator) -> None:
    quant = QuantParams(dtype=dtype, scheme="asymmetric_affine", scale=(0.02,), zero_point=(3,))
    info = np.iinfo(dtype)
    array = rng.integers(info.min, info.max + 1, shape).astype(dtype)
    program = compiled(interpolated(quant, shape, after))
    (found,) = program([array])
    assert program.types == ["Resize"]
    assert np.abs(found.astype(int) - real_result(array, after)).max() <= 1


@pytest.mark.parametrize(
    "attributes",
    [{"antialias": 1}, {"coordinate_transformation_mode": "tf_crop_and_resize"}, {"mode": "cubic"}],
    ids=lambda found: next(iter(found.values())),
)
def test_what_has_no_definition_in_integers_is_computed_in_real_numbers(attributes: dict[str, str | int]) -> None:
    quant = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(0.02,), zero_point=(3,))
    model = interpolated(quant, [1, 2, 6, 6], [1, 2, 3, 3], **attributes)
    normalise(model)
    program = program_of(model, group(model), REGISTRY, lambda found: found.nodes[0].op_type)
    assert [(op.type, op.exact) for op in program.operations] == [("Resize", False)]
