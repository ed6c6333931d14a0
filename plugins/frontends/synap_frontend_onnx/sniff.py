"""Tell from the first bytes of a file whether it can be an ONNX model, which has no magic number.

The file is a serialized ``ModelProto``: a row of fields, each a tag (field number and wire type) and a value.
"""

from __future__ import annotations

VARINT, BYTES = 0, 2

FIELDS = {
    1: VARINT,  # ir_version
    2: BYTES,  # producer_name
    3: BYTES,  # producer_version
    4: BYTES,  # domain
    5: VARINT,  # model_version
    6: BYTES,  # doc_string
    7: BYTES,  # graph
    8: BYTES,  # opset_import
    14: BYTES,  # metadata_props
    20: BYTES,  # training_info
    25: BYTES,  # functions
    26: BYTES,  # configuration
}
"""Fields of ``ModelProto`` and their wire types (``onnx.proto``)."""

IR_VERSION, GRAPH = 1, 7
TEXT_FIELDS = (2, 3, 4, 6)
MAX_IR_VERSION = 255
"""Far above any that exists: small enough to tell a version from a random number."""

GRAPH_TAGS = frozenset({0x0A, 0x12, 0x2A, 0x52, 0x5A, 0x62, 0x6A, 0x72, 0x7A, 0x82})
"""First byte of each field of ``GraphProto``: all hold bytes."""


def looks_like_onnx(head: bytes) -> bool:
    """Walk the fields at the beginning of a file.

    Args:
        head: First bytes of the file; the last field may be cut.

    Returns:
        Whether all fields fit, and among them is the version or the graph, or a long text that runs past the end:
        other files do not begin with one, as it takes a length that is no ASCII.
    """
    if head[4:8] in (b"TFL3", b"ORTM"):
        return False
    at, evidence = 0, False
    while at < len(head):
        tag, start = _varint(head, at)
        if start is None:
            return evidence
        number, wire = tag >> 3, tag & 7
        if FIELDS.get(number) != wire:
            return False
        value, after = _varint(head, start)
        if after is None:
            return evidence
        if wire == BYTES:
            good, at = _bytes_field(head, number, after, value)
        else:
            good, at = number != IR_VERSION or 0 < value <= MAX_IR_VERSION, after
        if not good:
            return False
        evidence = evidence or number in (IR_VERSION, GRAPH) or (wire == BYTES and value > 127 and at > len(head))
    return evidence


def _bytes_field(head: bytes, number: int, start: int, length: int) -> tuple[bool, int]:
    """Whether the content fits the field, and where the next field begins."""
    content = head[start : start + length]
    if number == GRAPH:
        return content[:1] == b"" or content[0] in GRAPH_TAGS, start + length
    if number in TEXT_FIELDS:
        # A character at the cut may be incomplete.
        text = content.decode("utf-8", errors="ignore" if len(content) < length else "replace")
        return "\ufffd" not in text and "\0" not in text, start + length
    return True, start + length


def _varint(data: bytes, at: int) -> tuple[int, int | None]:
    """Value of a variable-length number and the position behind it; None when it is cut."""
    value = 0
    for shift, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, at + shift + 1
    return value, None
