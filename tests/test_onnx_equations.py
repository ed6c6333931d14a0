"""Equations of ``Einsum`` in ``.onnx`` models: malformed ones, on which the shape inference of onnx never ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from synap_core.api import InputError
from synap_frontend_onnx.equations import check_equations
from synap_frontend_onnx.inspector import Inspector
from synap_frontend_onnx.protos import ModelProto
from tests.support.onnx_models import model, node, open_made, value

MALFORMED = [
    "j.k->l",
    ".->j",
    "1...,",
    " z.z1-z...",
    "i\N{LATIN SMALL LETTER E WITH ACUTE}",
    "ij->i->j",
    "......",
    "i\nj",
    "i-j",
    "\0",
]


@pytest.fixture(scope="module")
def inspector() -> Iterator[Inspector]:
    """A child that gives up early."""
    made = Inspector(timeout=20)
    yield made
    made.close()


def contracted(equation: str, operands: int = 1) -> onnx.ModelProto:
    names = "xabc"[:operands]
    nodes = [node("Einsum", " ".join(names), "y", equation=equation)]
    return model(nodes, [value(name, [1, 2]) for name in names], [value("y", None)])


def called(inner: str, *, default: bool = False) -> onnx.ModelProto:
    """A function that hands its attribute on to a second one, in whose body Einsum takes it."""
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]

    def handing(kind: str, name: str, own: str, domain: str = "") -> onnx.NodeProto:
        made = node(kind, "p", "q", domain=domain)
        made.attribute.append(onnx.AttributeProto(name=name, ref_attr_name=own, type=onnx.AttributeProto.STRING))
        return made

    low = helper.make_function("mine", "low", ["p"], ["q"], [handing("Einsum", "equation", "text")], sets, ["text"])
    high = helper.make_function("mine", "high", ["p"], ["q"], [handing("low", "text", "word", "mine")], sets, ["word"])
    if default:
        del high.attribute[:]
        high.attribute_proto.append(helper.make_attribute("word", inner))
    call = node("high", "x", "y", domain="mine", **({} if default else {"word": inner}))
    ends = [value("x", [1, 2])], [value("y", None)]
    return model([call], *ends, imports={"mine": 1}, functions=[low, high])


@pytest.mark.parametrize("equation", MALFORMED)
def test_malformed_equations_are_refused(tmp_path: Path, equation: str) -> None:
    with pytest.raises(InputError, match="the Einsum equation .* is malformed"):
        open_made(tmp_path, contracted(equation))


@pytest.mark.parametrize("default", [False, True], ids=["given", "default"])
def test_malformed_equations_of_functions_are_refused(default: bool) -> None:
    with pytest.raises(ValueError, match="the Einsum equation '1...,' is malformed"):
        check_equations(ModelProto.FromString(called("1...,", default=default).SerializeToString()))
    check_equations(ModelProto.FromString(called("ij->ji", default=default).SerializeToString()))


def test_malformed_equations_in_bodies_are_refused() -> None:
    body = helper.make_graph([node("Einsum", "x", "t", equation="i.")], "body", [], [value("t", None)])
    made = model([node("If", "c", "y", then_branch=body, else_branch=body)], [value("x", [2])], [value("y", None)])
    with pytest.raises(ValueError, match="the Einsum equation 'i.' is malformed"):
        check_equations(made)


@pytest.mark.parametrize(
    "equation", ["ij->ji", " i j -> j i", "ij", "...j->...", "...", "iJ->Ji", "ij->", "i...->i..."]
)
def test_proper_equations_are_read(tmp_path: Path, equation: str) -> None:
    assert open_made(tmp_path, contracted(equation)).layers[1].type == "Einsum"


@given(
    text=st.text("ijkZ.,->1 ", max_size=12),
    shapes=st.lists(st.lists(st.integers(1, 3), max_size=3), min_size=1, max_size=3),
)
@settings(derandomize=True, max_examples=300, deadline=None)
def test_the_inference_ends_on_every_equation_that_passes(
    inspector: Inspector, text: str, shapes: list[list[int]]
) -> None:
    names = [f"x{index}" for index in range(len(shapes))]
    inputs = [value(name, shape) for name, shape in zip(names, shapes, strict=True)]
    made = model([node("Einsum", " ".join(names), "y", equation=text)], inputs, [value("y", None)])
    try:
        check_equations(made)
    except ValueError:
        return
    inspector.infer(made, strict=False)
