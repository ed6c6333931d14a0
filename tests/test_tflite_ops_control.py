"""Operators that stay opaque, and the reasons that are given; the table of all operators."""

from __future__ import annotations

from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema

from synap_frontend_tflite.importer.registry import operator, operator_table
from tests.support.canonical import imported, opaque_reasons
from tests.support.tflite_models import ModelBuilder, never_ends


def _single(name: str, options: object = None, custom: str | None = None) -> bytes:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, 4]), builder.tensor("y", [1, 4])
    builder.operator(name, [x], [y], options, custom=custom)
    return builder.finish([x], [y])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(
            _single("CUSTOM", custom="my-op"),
            "CUSTOM:my-op: custom operator 'my-op' is known to no importer",
            id="custom operator",
        ),
        pytest.param(
            _single("CUSTOM", custom="TFLite_Detection_PostProcess"),
            "CUSTOM:TFLite_Detection_PostProcess: box decoding and non-maximum suppression run on the CPU: "
            "leave it to the cpu delegate",
            id="detection",
        ),
        pytest.param(
            _single("BUCKETIZE", schema.BucketizeOptionsT()),
            "BUCKETIZE: no importer for the operator BUCKETIZE",
            id="unknown",
        ),
        pytest.param(
            never_ends(),
            "WHILE: the canonical graph has no subgraphs: leave it to the cpu delegate, or export the model with its "
            "loops unrolled",
            id="loop",
        ),
    ],
)
def test_opaque_layers_say_why(tmp_path: Path, content: bytes, reason: str) -> None:
    assert opaque_reasons(imported(content, tmp_path)[0]) == [reason]


def test_tables_of_strings_are_opaque(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1], "int64"), builder.tensor("y", [1], "int64")
    handle = builder.tensor("table", [1], "resource")
    options = schema.HashtableOptionsT()
    options.tableId = 3
    builder.operator("HASHTABLE", [], [handle], options)
    default = builder.tensor("default", [1], "int64")
    builder.operator("HASHTABLE_FIND", [handle, x, default], [y], schema.HashtableFindOptionsT())
    reasons = opaque_reasons(imported(builder.finish([x, default], [y]), tmp_path)[0])
    assert [reason.split(":")[0] for reason in reasons] == ["HASHTABLE", "HASHTABLE_FIND"]
    assert all("run on the CPU" in reason for reason in reasons)


def test_the_table_has_every_operator_of_the_schema_once() -> None:
    import tflite

    names = [entry.name for entry in operator_table()]
    builtin = {name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
    assert len(names) == len(set(names))
    assert set(names) == builtin - {"CUSTOM"} | {"CUSTOM:TFLite_Detection_PostProcess"}


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("ADD", "imported"),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", "imported"),
        ("WHILE", "opaque"),
        ("CUSTOM:TFLite_Detection_PostProcess", "opaque"),
        ("BUCKETIZE", "unknown"),
    ],
)
def test_the_table_says_what_becomes_of_an_operator(name: str, status: str) -> None:
    (entry,) = (entry for entry in operator_table() if entry.name == name)
    assert entry.status == status
    assert bool(entry.note) == (status != "imported")


def test_two_converters_for_an_operator_are_a_mistake() -> None:
    operator_table()
    with pytest.raises(RuntimeError, match="two converters for ADD"):
        operator("ADD")(lambda _: ())
