"""Operators that are known and always stay opaque: the reason says what to do with them."""

from __future__ import annotations

from synap_frontend_tflite.detection import POST_PROCESS
from synap_frontend_tflite.importer.registry import refuse

refuse("box decoding and non-maximum suppression run on the CPU: leave it to the cpu delegate", POST_PROCESS)
refuse(
    "the canonical graph has no subgraphs: leave it to the cpu delegate, or export the model with its loops unrolled",
    "CALL",
    "IF",
    "WHILE",
    "STABLEHLO_COMPOSITE",
    "STABLEHLO_WHILE",
)
refuse(
    "tables of strings run on the CPU: leave it to the cpu delegate",
    "HASHTABLE",
    "HASHTABLE_FIND",
    "HASHTABLE_IMPORT",
    "HASHTABLE_LOOKUP",
    "HASHTABLE_SIZE",
)
