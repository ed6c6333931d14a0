"""The drawing of a bundle."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from synap_core.bundle_reader import Bundle, read_bundle
from synap_core.bundle_writer import pack_bundle
from synap_core.convert import ConvertRequest, convert
from synap_core.drawing import draw_bundle
from synap_core.host import PluginHost
from synap_core.inspection import draw_file
from tests.support.tflite_models import six


@pytest.fixture
def content(host: PluginHost, model_file: Callable[..., Path], tmp_path: Path) -> bytes:
    meta = tmp_path / "meta.yaml"
    meta.write_text("delegate: {'*': cpu, c5: gpu, c5...: gpu}")
    return pack_bundle(convert(ConvertRequest(model=model_file(six()), target="SL1620", meta=meta), host).conversion)


@pytest.fixture
def bundle(content: bytes) -> Bundle:
    return read_bundle(content, "model.synap")


def edges(drawing: str) -> set[tuple[str, str]]:
    return set(re.findall(r"^ *(\w+) -> (\w+)", drawing, re.MULTILINE))


def test_layers_stand_in_the_box_of_their_subgraph(content: bytes, host: PluginHost, tmp_path: Path) -> None:
    (tmp_path / "model.synap").write_bytes(content)
    drawing = draw_file(tmp_path / "model.synap", host)
    boxes = re.findall(r"subgraph cluster(\d) \{(.*?)\n  \}", drawing, re.DOTALL)
    names = {number: re.findall(r'\[label="\w+\\n(\w+)"\]', body) for number, body in boxes}
    assert names == {"0": ["c1", "c2"], "1": ["c3", "c4"], "2": ["c5", "c6"]}
    assert edges(drawing) == {
        ("in0", "n0_0"),
        ("n0_0", "n0_1"),
        ("n0_1", "n1_0"),
        ("n0_1", "n2_0"),
        ("n1_0", "n1_1"),
        ("n2_0", "n2_1"),
        ("n1_1", "out0"),
        ("n2_1", "out1"),
    }


def test_delegates_have_different_colours(bundle: Bundle) -> None:
    drawing = draw_bundle(bundle, [None] * 3)
    first, second, third = re.findall(r'fillcolor="(#\w+)"', drawing)
    assert first == second != third


def test_subgraph_that_no_frontend_opens_is_one_box(bundle: Bundle) -> None:
    drawing = draw_bundle(bundle, [None] * 3)
    assert '[label="1/subgraph_1.tflite"]' in drawing
    assert edges(drawing) == {("in0", "n0_0"), ("n0_0", "n1_0"), ("n0_0", "n2_0"), ("n1_0", "out0"), ("n2_0", "out1")}


def test_names_from_files_cannot_break_out_of_their_label(bundle: Bundle) -> None:
    evil = replace(bundle.subgraphs[0].meta.inputs[0], name='a" -> b, x\\\n[label="\x1b[31m')
    meta = replace(bundle.subgraphs[0].meta, inputs=(evil,))
    subgraphs = (replace(bundle.subgraphs[0], meta=meta), *bundle.subgraphs[1:])
    drawing = draw_bundle(replace(bundle, subgraphs=subgraphs), [None] * 3)
    (line,) = [line for line in drawing.splitlines() if line.startswith("  in0 [")]
    assert line == r'  in0 [shape=ellipse, label="input 0\na\" -> b, x\\ [label=\"[31m 1x4 float32"]'
