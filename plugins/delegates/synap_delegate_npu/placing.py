"""Where the tensors of a program lie."""

from __future__ import annotations

import math

import numpy as np

from synap_delegate_npu.cost.parameters import NpuParameters
from synap_delegate_npu.memory import Buffer, Placement, StoredWeights, allocate, stored_weights
from synap_delegate_npu.program.operation import Tensor
from synap_delegate_npu.program.program import Program


def placement_of(program: Program, parameters: NpuParameters) -> Placement:
    """The memory plan of a program; inputs and outputs are in DDR, where the processor reaches them."""
    first = {tensor.name: -1 for tensor in program.inputs}
    tensors = {tensor.name: tensor for tensor in program.inputs}
    readers: dict[str, list[int]] = {}
    for position, operation in enumerate(program.operations):
        for tensor in operation.form.inputs:
            readers.setdefault(tensor.name, []).append(position)
        for tensor in operation.outputs:
            first[tensor.name], tensors[tensor.name] = position, tensor
    ends = {tensor.name for tensor in program.outputs}
    outside = ends | {tensor.name for tensor in program.inputs}
    count = len(program.operations)
    buffers = [
        Buffer(
            name=name,
            size_bytes=size_bytes(tensor),
            first=first[name],
            last=count if name in ends else max(readers.get(name, ()), default=max(first[name], 0)),
            accesses=1 + len(readers.get(name, ())),
            in_ddr=name in outside,
        )
        for name, tensor in tensors.items()
    ]
    return allocate(buffers, sram_bytes=int(parameters.sram_bytes or parameters.keep))


def size_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor in memory."""
    return math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize


def weights_of(program: Program) -> dict[str, StoredWeights]:
    """How the integer constants of a program are stored, by layer id."""
    return {
        operation.layer_id: stored_weights(tensor.constant, zero_point=int(tensor.zero_point.reshape(-1)[0]))
        for operation in program.operations
        for tensor in operation.form.inputs[1:2]
        if tensor.constant is not None and tensor.is_integer and tensor.dtype in ("int8", "uint8", "int16")
    }
