"""Tell from the first bytes of a file whether it can be a TensorFlow graph, which has no magic number.

The file is a serialized ``GraphDef``: a row of fields, each a tag (field number and wire type) and a value, of which
the first is a node. Graphs in other forms, a SavedModel and a graph written as text, count as well: what is done with
them is explained when they are opened.
"""

from __future__ import annotations

import re

VARINT, BYTES = 0, 2

GRAPH_FIELDS = {1: BYTES, 2: BYTES, 3: VARINT, 4: BYTES, 5: BYTES}
"""Fields of ``GraphDef`` and their wire types."""

NODE_FIELDS = {1: BYTES, 2: BYTES, 3: BYTES, 4: BYTES, 5: BYTES, 6: BYTES, 7: BYTES}
"""Fields of ``NodeDef``."""

NODE, NAME, OPERATOR = 1, 1, 2

SAVED_MODEL = re.compile(rb"\x08\x01\x12[\x80-\xff]")
"""Version 1 and a graph of some length: the beginning of a ``SavedModel``."""

TEXT_GRAPH = re.compile(rb"\s*(#[^\n]*\s*)*node\s*:?\s*\{")
"""The beginning of a ``GraphDef`` written as text."""

NODE_NAME = re.compile(rb"[A-Za-z0-9_.][A-Za-z0-9_.\\/>-]*")
OPERATOR_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_.>]*")


def looks_like_graph(head: bytes) -> bool:
    """Walk the fields at the beginning of a file.

    Args:
        head: First bytes of the file; the last field may be cut.

    Returns:
        Whether all fields fit and the first node has a name and an operator, or it is one of the other forms.
    """
    if is_saved_model(head) or is_text(head):
        return True
    nodes, at = 0, 0
    while at < len(head):
        number, wire, start, length = _field(head, at)
        if start is None:
            return nodes > 0
        cut = start + length > len(head)
        if GRAPH_FIELDS.get(number) != wire:
            return False
        if number == NODE and not _is_node(head[start : start + length], cut=cut and nodes > 0):
            return False
        nodes += number == NODE
        at = start + length
    return nodes > 0


def is_saved_model(head: bytes) -> bool:
    """Whether a file begins like a SavedModel."""
    return SAVED_MODEL.match(head) is not None


def is_text(head: bytes) -> bool:
    """Whether a file begins like a graph that is written as text."""
    return TEXT_GRAPH.match(head) is not None


def _is_node(content: bytes, *, cut: bool) -> bool:
    """Whether a field, or what there is of it, can be a node; one that is cut may lack its operator, or its name, too.

    Behind other nodes, that is: the first one must have both, or there would be little to tell.
    """
    at = 0
    found = dict.fromkeys((NAME, OPERATOR), b"_" if cut else b"")
    while at < len(content):
        number, wire, start, length = _field(content, at)
        if start is None:
            break
        if NODE_FIELDS.get(number) != wire:
            return False
        if number in found:
            found[number] = content[start : start + length] or found[number]
        at = start + length
    return NODE_NAME.fullmatch(found[NAME]) is not None and OPERATOR_NAME.fullmatch(found[OPERATOR]) is not None


def _field(data: bytes, at: int) -> tuple[int, int, int | None, int]:
    """Number and wire type of a field, where its value starts and how long it is; no start when that is cut."""
    tag, start = _varint(data, at)
    if start is None:
        return 0, 0, None, 0
    value, after = _varint(data, start)
    if after is None:
        return 0, 0, None, 0
    return tag >> 3, tag & 7, *((after, value) if tag & 7 == BYTES else (start, after - start))


def _varint(data: bytes, at: int) -> tuple[int, int | None]:
    """Value of a variable-length number and the position behind it; None when it is cut."""
    value = 0
    for shift, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, at + shift + 1
    return value, None
