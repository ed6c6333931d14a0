"""The table of the NPU's operators is the manual's, and every condition can be read."""

from __future__ import annotations

import inspect

import pytest

from synap_core.graph.rules.signatures import SIGNATURES
from synap_delegate_npu.support import RECORDS, Record, clause
from synap_delegate_npu.support.table import BY_NAME, GENERAL, UNLESS_CONVERSION

PUBLISHED = """
CONV2D CONV1D GROUPED_CONV1D GROUPED_CONV2D | NN | NN or PPU | NN | PPU | PPU
DECONVOLUTION DECONVOLUTION1D | NN | NN or PPU | NN | PPU | PPU
FULLY_CONNECTED | TP | TP | TP (E) | TP | PPU
ADD SUBTRACT | NN | NN | NN | PPU | PPU
POOL | NN or TP | NN or TP | NN | TP | PPU
CONV2D_LSTM CONV2D_LSTM_CELL | NN | NN | NN (E) | PPU | PPU
RELU RELUN LEAKY_RELU PRELU SIGMOID TANH SWISH ABS | TP | TP | TP (E) | TP | PPU
CLIP LOG NEG MISH ERF GELU | TP or PPU | TP or PPU | TP (E) | TP or PPU | PPU
ELU HARD_SIGMOID | TP or PPU | TP or PPU | TP (E) | TP or PPU | TP or PPU
EXP SQRT RSQRT SQUARE SIN SOFTRELU LINEAR | PPU | PPU | PPU (E) | PPU | PPU
SOFTMAX LOG_SOFTMAX | PPU | PPU | PPU (E) | PPU | PPU
MULTIPLY DIVIDE MAXIMUM MINIMUM POW FLOORDIV ADDN MATRIXMUL SELECT | PPU | PPU | PPU (E) | PPU | PPU
RELATIONAL_OPS LOGICAL_OPS LOGICAL_NOT | PPU | PPU | - | PPU | PPU
BATCH_NORM BATCHNORM_SINGLE L2_NORMALIZE LAYER_NORM INSTANCE_NORM GROUP_NORM MOMENTS | PPU | PPU | PPU (E) | PPU | PPU
LRN2 | TP | TP | TP (E) | TP | PPU
SLICE STRIDED_SLICE SPLIT CONCAT STACK UNSTACK RESHAPE SQUEEZE PERMUTE PAD REVERSE | TP | TP | TP (E) | TP | PPU
REORG SPACE2DEPTH DEPTH2SPACE SPACE2BATCH BATCH2SPACE SHUFFLECHANNEL | TP | TP | TP (E) | TP | PPU
DATACONVERT VARIABLE | TP | TP | TP (E) | TP | PPU
REDUCE ARGMAX ARGMIN EXPAND_BROADCAST TILE REPEAT ONE_HOT CAST FLOOR CEIL ROUND | PPU | PPU | PPU (E) | PPU | PPU
RESIZE UPSAMPLE | PPU | PPU | PPU (E) | PPU | PPU
UPSAMPLESCALE | PPU | PPU | PPU (E) | PPU | -
GATHER GATHER_ND GATHER_ND_UPDATE SCATTER_ND EMBEDDING_LOOKUP SEQUENCE_MASK | PPU | PPU | PPU (E) | PPU | PPU
SIGNAL_FRAME CONCATSHIFT ELTWISEMAX PROPOSAL DROPOUT POOLWITHARGMAX | PPU | PPU | PPU (E) | PPU | PPU
ROI_POOL | TP or PPU | TP or PPU | - | TP or PPU | PPU
LSTM LSTMUNIT GRU GRUCELL SVDF | TP or PPU | TP or PPU | - | TP or PPU | PPU
"""
"""The operator tables of the SyNAP manual: uint8, int8, int16, float16, float32."""

ROWS = [[cell.strip() for cell in line.split("|")] for line in PUBLISHED.strip().splitlines()]
CELLS = {name: tuple(cells) for names, *cells in ROWS for name in names.split()}

CONDITIONS = {
    condition.__name__: condition
    for record in RECORDS
    for condition in (*record.conditions, *record.unaided, *GENERAL, *UNLESS_CONVERSION)
}

WRITTEN_OUT = {"GELU", "HardSwish", "Mish", "SiLU"}


@pytest.mark.parametrize("name", CELLS)
def test_engines_are_those_of_the_manual(name: str) -> None:
    assert BY_NAME[name].engines == CELLS[name]


def test_only_hard_swish_is_no_operator_of_the_manual() -> None:
    # The manual maps TFLite's HARD_SWISH to HARD_SIGMOID, which it is in the main.
    assert {record.name for record in RECORDS} - set(CELLS) == {"HARD_SWISH"}
    assert BY_NAME["HARD_SWISH"].engines == BY_NAME["HARD_SIGMOID"].engines


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(RECORDS)


@pytest.mark.parametrize("record", [r for r in RECORDS if r.canonical], ids=lambda record: record.name)
def test_operators_are_recognised_from_what_the_canonical_graph_has(record: Record) -> None:
    words = {part for word in record.canonical for part in word.split("+")}
    assert words <= {*SIGNATURES, *WRITTEN_OUT}


@pytest.mark.parametrize("name", CONDITIONS)
def test_condition_is_a_sentence_that_fits_into_a_message(name: str) -> None:
    first = (inspect.getdoc(CONDITIONS[name]) or "").splitlines()[0]
    assert first.endswith(".")
    text = clause(CONDITIONS[name])
    assert text
    assert text[0].islower()
    assert not text.endswith((".", "(E)"))
