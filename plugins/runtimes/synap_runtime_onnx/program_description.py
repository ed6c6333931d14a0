"""What a program of the ``npu`` delegate consists of, read from its file without running anything of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import onnx_ir as ir

from synap_core.api import (
    InputError,
    MemoryPlace,
    MemoryUse,
    OperationRow,
    ProgramDescription,
    ProgramTensor,
    RuntimeModel,
)
from synap_runtime_onnx.inlining import DOMAIN
from synap_runtime_onnx.program_fields import (
    ANOTHER_VERSION,
    MAX_NUMBER,
    SILICON_MAGICS,
    Fields,
    attributes_of,
    properties_of,
    version_problem,
)
from synap_runtime_onnx.protos import PROTO_ERRORS, ModelProto, NodeProto, has_texts

ENGINES = ("NN", "TP", "PPU")
NO_ENGINE = "none"
"""Engine of an operation that takes no time."""

MEMORIES = {"sram": "On-chip memory", "ddr": "Memory pool in DDR"}

MAX_OPERATIONS = 20_000
MAX_TENSORS = 100_000
MAX_RANK = 32

AGAIN = "convert the model again"

SILICON = "The unit itself executes only what the vendor's compiler emits; this program runs on the host, bit for bit."

UNKNOWN = "Cycles, times and bytes are predicted; the program does not say by which model, or how far off they may be."

MAX_NOTE = 1000
"""Characters of what a program says of its predictions."""


def describe(model: RuntimeModel) -> ProgramDescription:
    """Describe a program.

    Args:
        model: The program; nothing in it is trusted.

    Raises:
        InputError: It is a binary for the chip, is no program, is larger than any, or says impossible things of itself.
    """
    if model.model[:4] in SILICON_MAGICS:
        msg = "this is a binary for the chip's own processor, which says nothing of its operations"
        raise InputError(msg, where=model.name, hint="convert the model with this toolkit to look at it here")
    try:
        parsed = ModelProto.FromString(model.model)
        _check(parsed, model.name)
        return _Reader(parsed, model.name).description()
    except PROTO_ERRORS as error:
        msg = "this is no program for the neural processing unit, or a damaged one"
        raise InputError(msg, where=model.name, hint=AGAIN) from error


def _check(model: ModelProto, where: str) -> None:
    graph = model.graph
    if not any(entry.domain == DOMAIN for entry in model.opset_import):
        msg = f"the model has no operators of {DOMAIN}"
        raise InputError(msg, where=where, hint="give a program that this toolkit compiled")
    problem = version_problem(model)
    if problem is not None:
        raise InputError(problem, where=where, hint=ANOTHER_VERSION)
    tensors = len(graph.initializer) + len(graph.value_info) + len(graph.input) + len(graph.output)
    if len(graph.node) > MAX_OPERATIONS or tensors > MAX_TENSORS:
        msg = (
            f"the program has {len(graph.node):,} operations and {tensors:,} tensors;"
            f" at most {MAX_OPERATIONS:,} and {MAX_TENSORS:,} are described"
        )
        raise InputError(msg, where=where)


class _Reader:
    """A parsed program, and what is found in it."""

    def __init__(self, model: ModelProto, name: str) -> None:
        self._model = model
        self._name = name
        if not has_texts(model):
            msg = "this is a damaged program: a name is no text"
            raise InputError(msg, where=name, hint=AGAIN)
        self._constants = {item.name: self._size(item.dims, item.data_type) for item in model.graph.initializer}
        self._tensors: dict[str, ProgramTensor] = {}
        self._sizes: dict[str, int] = {}
        for value in (*model.graph.value_info, *model.graph.output, *model.graph.input):
            kind = value.type.tensor_type
            dims = [dim.dim_value for dim in kind.shape.dim]
            self._sizes[value.name] = self._size(dims, kind.elem_type)
            self._tensors[value.name] = ProgramTensor(
                name=value.name, shape=tuple(dims), dtype=_dtype_name(kind.elem_type)
            )
        self._properties = properties_of(model, name)
        self._attributes = [
            attributes_of(node, f"{name}: operation {index}") for index, node in enumerate(model.graph.node)
        ]

    def description(self) -> ProgramDescription:
        """What is said of the whole program."""
        operations = tuple(self._operation(index, node) for index, node in enumerate(self._model.graph.node))
        places = tuple(self._places())
        return ProgramDescription(
            engines=ENGINES,
            operations=operations,
            places=places,
            memories=tuple(self._memories(places)) if places else (),
            start_microseconds=self._properties.real("predicted_start_microseconds"),
            target=self._properties.text("target"),
            made_by=" ".join((self._model.producer_name, self._model.producer_version)).strip(),
            notes=(SILICON, self._properties.text("predictions")[:MAX_NOTE].strip() or UNKNOWN),
        )

    def _operation(self, index: int, node: NodeProto) -> OperationRow:
        attributes = self._attributes[index]
        stored = attributes.number("stored_weight_bytes")
        engine = attributes.text("engine")
        if engine not in ("", NO_ENGINE) and not set(engine.split("+")) <= set(ENGINES):
            msg = f"the engine is {engine!r}; there are {', '.join(ENGINES)}, and {NO_ENGINE}"
            raise InputError(msg, where=attributes.where, hint=AGAIN)
        return OperationRow(
            index=index,
            layer_id=node.name,
            name=attributes.text("layer"),
            type=node.op_type,
            engine="" if engine == NO_ENGINE else engine,
            inputs=tuple(self._tensor(name) for name in node.input if name and name not in self._constants),
            outputs=tuple(self._tensor(name) for name in node.output if name),
            cycles=attributes.number("predicted_cycles"),
            microseconds=attributes.real("predicted_microseconds"),
            bytes_read=attributes.number("predicted_bytes_read"),
            bytes_written=attributes.number("predicted_bytes_written"),
            constant_bytes=sum(self._constants.get(name, 0) for name in node.input),
            # Weights are the second operand of the operations that have any.
            weight_bytes=self._constants.get(node.input[1], 0) if stored and len(node.input) > 1 else 0,
            stored_weight_bytes=stored,
            arithmetic=attributes.text("arithmetic"),
            bound=attributes.text("bound"),
        )

    def _places(self) -> Iterator[MemoryPlace]:
        """Where inputs and results of operations lie; those that the program does not place are left out."""
        graph = self._model.graph
        last_reader = {name: index for index, node in enumerate(graph.node) for name in node.input}
        ends = {value.name for value in graph.output}
        inputs = [value.name for value in graph.input if value.name not in self._constants]
        made = [(-1, inputs, self._properties, "input")]
        made += [(index, list(node.output), self._attributes[index], "output") for index, node in enumerate(graph.node)]
        for first, names, fields, stem in made:
            for name, memory, offset in _triples(names, fields, stem):
                last = len(graph.node) if name in ends else max(last_reader.get(name, first), first, 0)
                size = self._sizes.get(name, 0)
                yield MemoryPlace(name=name, memory=memory, offset=offset, size_bytes=size, first=first, last=last)

    def _memories(self, places: Sequence[MemoryPlace]) -> Iterator[MemoryUse]:
        alignment = max(1, self._properties.number("memory_alignment"))
        for name, title in MEMORIES.items():
            there = [place for place in places if place.memory == name and place.size_bytes]
            yield MemoryUse(
                name=name,
                title=title,
                used_bytes=max((_aligned(place.offset + place.size_bytes, alignment) for place in there), default=0),
                lower_bound_bytes=_lower_bound(there, alignment),
                size_bytes=(self._properties.number("sram_bytes") or None) if name == "sram" else None,
            )

    def _tensor(self, name: str) -> ProgramTensor:
        return self._tensors.get(name) or ProgramTensor(name=name, shape=(), dtype="")

    def _size(self, dims: Sequence[int], elem_type: int) -> int:
        """Bytes of a tensor; 0 for types whose items have no fixed size."""
        if len(dims) > MAX_RANK or any(dim < 0 for dim in dims):
            msg = f"a tensor has {len(dims)} dimensions, or negative ones; at most {MAX_RANK} are known"
            raise InputError(msg, where=self._name, hint=AGAIN)
        try:
            size = math.ceil(math.prod(dims) * ir.DataType(elem_type).bitwidth / 8)
        except (TypeError, ValueError):
            return 0
        if size > MAX_NUMBER:
            msg = f"a tensor takes {size} bytes, more than any memory has"
            raise InputError(msg, where=self._name, hint=AGAIN)
        return size


def _triples(names: Sequence[str], fields: Fields, stem: str) -> Iterator[tuple[str, str, int]]:
    """Tensors with their memories and offsets."""
    memories, offsets = fields.text(f"{stem}_memory").split(), fields.numbers(f"{stem}_offset")
    if not memories and not offsets:
        return
    if not len(names) == len(memories) == len(offsets):
        msg = f"{len(names)} tensors lie in {len(memories)} memories, at {len(offsets)} offsets"
        raise InputError(msg, where=fields.where, hint=AGAIN)
    for name, memory, offset in zip(names, memories, offsets, strict=True):
        if memory not in MEMORIES:
            msg = f"tensor {name!r} lies in {memory!r}; there are {' and '.join(MEMORIES)}"
            raise InputError(msg, where=fields.where, hint=AGAIN)
        yield name, memory, offset


def _dtype_name(elem_type: int) -> str:
    try:
        return str(ir.DataType(elem_type).numpy())
    except (TypeError, ValueError):
        return ""


def _aligned(size_bytes: int, alignment: int) -> int:
    return -(-size_bytes // alignment) * alignment


def _lower_bound(places: Sequence[MemoryPlace], alignment: int) -> int:
    """Largest sum of the sizes that are needed at the same time: no plan takes less."""
    change: dict[int, int] = {}
    for place in places:
        size = _aligned(place.size_bytes, alignment)
        change[place.first] = change.get(place.first, 0) + size
        change[place.last + 1] = change.get(place.last + 1, 0) - size
    needed = most = 0
    for _, amount in sorted(change.items()):
        needed += amount
        most = max(most, needed)
    return most
