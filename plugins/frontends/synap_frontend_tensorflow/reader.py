"""Read the file of a frozen graph, and say what it is when it is something else."""

from __future__ import annotations

from pathlib import Path

from synap_core.api import InputError
from synap_frontend_tensorflow.schema import Message, parse
from synap_frontend_tensorflow.sniff import is_saved_model, is_text

MAX_FILE_BYTES = (1 << 31) - 1
"""What a message may have."""

MAX_NODES = 1 << 20
"""Nodes of a graph: the largest have some ten thousand, and an empty one takes two bytes in the file."""

SAVED_MODEL = "a SavedModel"
FREEZE = (
    "freeze it: convert_variables_to_constants_v2() of a concrete function makes constants of its variables, "
    "tf.io.write_graph(function.graph, folder, 'net.pb', as_text=False) writes it; "
    "or make a .tflite of it with tf.lite.TFLiteConverter"
)


def read_definition(path: Path) -> Message:
    """Read the ``GraphDef`` in a file.

    Raises:
        InputError: It is damaged, or not of this format.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        msg = f"the file has {size} bytes; a frozen graph has at most {MAX_FILE_BYTES}"
        raise InputError(msg, hint="give the graph of the network alone, without what trains it")
    data = path.read_bytes()
    if is_text(data):
        msg = "this graph is written as text"
        raise InputError(msg, hint="write it in binary: tf.io.write_graph(graph, folder, 'net.pb', as_text=False)")
    if is_saved_model(data):
        saved = parse("SavedModel", data)
        if saved is not None and saved.meta_graphs:
            raise not_frozen(SAVED_MODEL)
    definition = parse("GraphDef", data)
    if definition is not None and len(definition.node) > MAX_NODES:
        msg = f"the graph has {len(definition.node)} nodes; at most {MAX_NODES} are read"
        raise InputError(msg, hint="give the graph of the network alone, without what trains it")
    if definition is not None and definition.node and all(node.name and node.op for node in definition.node):
        return definition
    raise _unreadable(data)


def not_frozen(what: str) -> InputError:
    """The error about a model whose variables are not in its graph."""
    msg = f"this is {what}, of which the variables are in other files; only frozen graphs can be read"
    return InputError(msg, hint=FREEZE)


def _unreadable(data: bytes) -> InputError:
    meta = parse("MetaGraphDef", data)
    if meta is not None and meta.graph_def.node and all(node.name and node.op for node in meta.graph_def.node):
        return not_frozen("a MetaGraph")
    msg = "this is no frozen graph, or it is truncated or damaged"
    return InputError(msg, hint="give the GraphDef that freezing wrote; export or download it again if this is it")
