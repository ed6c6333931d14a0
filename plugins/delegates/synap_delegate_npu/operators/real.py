"""Operations in real numbers: all of float16, and functions that no integer arithmetic is defined for."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from synap_delegate_npu.operators.activations import to_memory, to_real
from synap_delegate_npu.program.body import Body
from synap_delegate_npu.program.operation import Form, Request


def real_form(request: Request) -> Form:
    """Compute a group as the canonical graph does, in float32 between the types in memory.

    What the group reads is converted to float32, its operators are applied in float32, and its results are divided by
    their step and rounded with ties to even, or rounded to float16.
    """
    operands = request.operands
    tensors = tuple(request.tensors[value] for value in operands)

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        reals = [to_real(body, value, tensor) for value, tensor in zip(inputs, tensors, strict=True)]
        values = body.inline(request.group.nodes, dict(zip(operands, reals, strict=True)))
        pairs = zip(request.results, request.outputs, strict=True)
        return [to_memory(body, values[value], tensor) for value, tensor in pairs]

    return Form(inputs=tensors, lower=lower)
