"""Tell from the first bytes of a file whether it can be a Caffe model.

A ``.prototxt`` is text in protobuf's notation. Neither it nor the binary ``.caffemodel`` has a magic number.
"""

from __future__ import annotations

import re

HDF5 = b"\x89HDF"

CAFFE2_WORDS = re.compile(r"^\s*(op\s*:?\s*\{|external_(input|output)\s*:)", re.MULTILINE)
"""Fields of a Caffe2 network, which a network of Caffe does not have."""

SOLVER_WORDS = re.compile(r"^\s*(net|train_net|base_lr|max_iter|snapshot_prefix)\s*:", re.MULTILINE)
"""Fields of the file that says how to train a network."""

_TEXT_WORDS = re.compile(
    r"^(\s*layers?\s*:?\s*\{|(input_shape|state)\s*:?\s*\{|(name|input|input_dim|force_backward|debug_info)\s*:)",
    re.MULTILINE,
)

_NAME, _LAYERS, _INPUT = 0x0A, 0x12, 0x1A
_LAYER = b"\xa2\x06"
_OLD_LAYER_FIELDS = frozenset({0x12, 0x1A, 0x22, 0x28, 0x32})
"""First byte of the fields of ``V1LayerParameter`` that layers begin with: bottom, top, name, type, blobs."""


def looks_like_caffe(head: bytes) -> bool:
    """Tell whether a file can be a network as text, or a network or weights as binary protobuf.

    Files that only resemble a network (of Caffe2, say) are taken, too: the reader says what they are.

    Args:
        head: First bytes of the file.
    """
    if not looks_like_text(head):
        return _looks_like_binary(head)
    text = re.sub("#.*", "", head.decode("utf-8-sig", "replace")).strip()
    known = any(words.search(text) for words in (_TEXT_WORDS, CAFFE2_WORDS, SOLVER_WORDS))
    # A file may begin with a long comment.
    return known or (not text and head.lstrip().startswith(b"#"))


def looks_like_text(head: bytes) -> bool:
    """Tell whether bytes are text: no control characters but white space."""
    return not re.search(rb"[\x00-\x08\x0e-\x1f\x7f]", head)


def _looks_like_binary(head: bytes) -> bool:
    """Tell whether a name and inputs, or nothing, stand before the first layer."""
    at = 0
    while head[at : at + 1] in (bytes([_NAME]), bytes([_INPUT])):
        length, start = _length(head, at + 1)
        if not looks_like_text(head[start : start + length]) or b"\n" in head[start : start + length]:
            return False
        at = start + length
    if head[at : at + 2] == _LAYER:
        return True
    if head[at : at + 1] == bytes([_LAYERS]):
        _, start = _length(head, at + 1)
        return start < len(head) and head[start] in _OLD_LAYER_FIELDS
    return False


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Value of a variable-length number and the position behind it."""
    value = 0
    for shift, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, at + shift + 1
    return value, len(data)
