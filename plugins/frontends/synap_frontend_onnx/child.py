"""The child process of `Inspector`: answers requests on standard input until it ends."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from synap_frontend_onnx.equations import check_equations
from synap_frontend_onnx.inspector import DONE, HEADER, OUT_OF_MEMORY, REFUSED, read_exactly
from synap_frontend_onnx.protos import (
    LIBRARY_ERRORS,
    ModelProto,
    NodeProto,
    TypeProto,
    array_of,
    check_model,
    evaluate,
    function_body,
    infer_shapes,
    serialize,
    tensor_of,
)
from synap_frontend_onnx.weights import SMALL_ITEMS

MEMORY_BYTES = 768 << 20
"""What one request may take, on top of some copies of the model."""

COPIES = 8


def main() -> None:
    """Serve until standard input ends."""
    # The parent decides about Ctrl-C, which reaches both processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what native code prints is no reply
    with contextlib.suppress(EOFError, OSError):
        while True:
            serve(requests, replies)


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer one request."""
    kind, length = HEADER.unpack(read_exactly(requests, HEADER.size))
    _limit_memory(MEMORY_BYTES + COPIES * length)
    try:
        status, reply = DONE, serialize(_answer(kind, ModelProto.FromString(read_exactly(requests, length))))
    except MemoryError:
        status, reply = OUT_OF_MEMORY, b""
    except LIBRARY_ERRORS as error:
        status, reply = REFUSED, (str(error) or type(error).__name__).encode("utf-8", errors="replace")
    replies.write(HEADER.pack(status, len(reply)))
    replies.write(reply)
    replies.flush()


def _limit_memory(more: int) -> None:
    """Let the process grow by some bytes from what it has now."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return
    import resource

    now = int(statm.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = now + more
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _answer(kind: bytes, model: ModelProto) -> ModelProto:
    if kind == b"e":
        return _evaluated(model)
    if kind == b"f":
        body = function_body(model)
        return ModelProto(functions=[] if body is None else [body])
    check_equations(model)
    inferred = infer_shapes(model, strict=kind == b"s")
    if kind == b"v":
        checked = ModelProto()
        checked.CopyFrom(inferred)
        # Operators of other domains leave outputs without a shape, which the checker would not let pass.
        del checked.graph.output[:]
        checked.graph.output.extend(o for o in inferred.graph.output if not _lacks_shape(o.type))
        check_model(checked)
    return inferred


def _lacks_shape(value_type: TypeProto) -> bool:
    return value_type.HasField("tensor_type") and not value_type.tensor_type.HasField("shape")


def _evaluated(model: ModelProto) -> ModelProto:
    """Compute what can be computed, node by node."""
    values = {tensor.name: array_of(tensor) for tensor in model.graph.initializer}
    results = ModelProto()
    for node in model.graph.node:
        if not all(name in values for name in node.input if name) or not _is_safe(node, values):
            continue
        try:
            outputs = evaluate(node, model.opset_import, values)
            stored = [tensor_of(array, name) for name, array in zip(node.output, outputs, strict=True)]
        except LIBRARY_ERRORS:
            continue
        # Numbers written as text look different in every implementation.
        if all(array.size <= SMALL_ITEMS and array.dtype.kind in "biuf" for array in outputs):
            values |= dict(zip(node.output, outputs, strict=True))
            results.graph.initializer.extend(stored)
    return results


def _is_safe(node: NodeProto, values: Mapping[str, np.ndarray]) -> bool:
    """Whether the result is what any other implementation gives, and not out of proportion to the operands."""
    operands = [values[name] for name in node.input if name]
    integers = all(np.issubdtype(operand.dtype, np.integer) for operand in operands)
    match node.op_type:
        case "ConstantOfShape" | "Expand" | "Tile":
            size = math.prod(int(v) for v in operands[-1].reshape(-1))
            return size * (operands[0].size if len(operands) > 1 else 1) <= SMALL_ITEMS
        case "Range":
            start, limit, delta = (int(operand) for operand in operands) if integers else (0, 0, 0)
            return delta != 0 and (limit - start) // delta <= SMALL_ITEMS
        case "Div":
            # Integer division rounds towards zero in some implementations and down in others.
            return bool(not integers or (operands[0].min(initial=0) >= 0 and operands[1].min(initial=1) > 0))
        case "Max" | "Min" | "ReduceMax" | "ReduceMin" | "ReduceProd":
            return integers
    return True
