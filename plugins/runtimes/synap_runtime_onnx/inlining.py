"""Put the functions of a program in the place of its operations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count

from synap_core.api import ModelExecutionError
from synap_runtime_onnx.protos import AttributeProto, FunctionProto, ModelProto, NodeProto, TensorProto, is_external

DOMAIN = "synap.npu"

STANDARD = ("", "ai.onnx")
"""Names of the domain of the standard operators, the only ones in functions."""

MOST_NODES = 1 << 19
"""Operators of all operations together, at the most; ten times those of the largest networks."""

MOST_BYTES = 1 << 30
"""Bytes that they take, at the most."""

CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
"""Operators that run graphs of their own; a damaged one may have none, so its attributes alone do not tell."""

TENSORS = (AttributeProto.TENSOR, AttributeProto.TENSORS)

PLAIN = frozenset(
    {
        AttributeProto.FLOAT,
        AttributeProto.FLOATS,
        AttributeProto.INT,
        AttributeProto.INTS,
        AttributeProto.STRING,
        AttributeProto.STRINGS,
        *TENSORS,
    }
)
"""Types of attributes that operators of a function may have."""

Key = tuple[str, str]
"""Operator and overload."""


def check_program(model: ModelProto, where: str) -> None:
    """Refuse a program that reaches for files, has control flow, or would grow without bounds.

    Args:
        model: The program.
        where: Its name, for messages.

    Raises:
        ModelExecutionError: The first thing that is wrong with it.
    """
    wrong = next(_problems(model), None)
    if wrong is not None:
        raise ModelExecutionError(wrong, where=where, hint="convert the model again")


def inlined(model: ModelProto) -> list[NodeProto]:
    """The operators that compute a checked program, in order.

    Values inside of operations get names that no others have; those between them keep theirs.
    """
    functions = _functions(model)
    prefix = _unused_prefix(model)
    made: list[NodeProto] = []
    for number, node in enumerate(model.graph.node):
        made += _body(node, functions[node.op_type, node.overload], f"{prefix}{number}/")
    return made


def _body(call: NodeProto, function: FunctionProto, prefix: str) -> Iterator[NodeProto]:
    names = {"": "", **dict(zip(function.input, call.input, strict=True))}
    computed = {name for node in function.node for name in node.output}
    copies = []
    for own, outer in zip(function.output, call.output, strict=True):
        if own in computed and own not in names:
            names[own] = outer
        else:
            copies.append((own, outer))
    for node in function.node:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [names.get(name) or f"{prefix}{name}" if name else "" for name in node.input]
        copy.output[:] = [names.get(name) or f"{prefix}{name}" if name else "" for name in node.output]
        copy.ClearField("name")
        yield copy
    for own, outer in copies:
        yield NodeProto(op_type="Identity", input=[names.get(own) or f"{prefix}{own}"], output=[outer])


def _unused_prefix(model: ModelProto) -> str:
    graph = model.graph
    outer = {name for node in graph.node for names in (node.input, node.output) for name in names}
    outer |= {value.name for values in (graph.input, graph.output, graph.initializer) for value in values}
    taken = {name.split("~", 2)[1] for name in outer if name.startswith("~")}
    return next(f"~{number}~" for number in count() if str(number) not in taken)


def _functions(model: ModelProto) -> dict[Key, FunctionProto]:
    return {(function.name, function.overload): function for function in model.functions}


def _problems(model: ModelProto) -> Iterator[str]:
    functions = _functions(model)
    if len(functions) < len(model.functions):
        yield "two functions have the same name"
    if model.graph.sparse_initializer or model.training_info:
        yield "a program has neither sparse constants nor training information"
    yield from _external(model.graph.initializer)
    standard = _standard_version(model.opset_import)
    for function in model.functions:
        yield from _function_problems(function, standard)
    nodes, size = 0, 0
    measures = {key: (len(function.node), function.ByteSize()) for key, function in functions.items()}
    for node in model.graph.node:
        yield from _call_problems(node, functions)
        number, more = measures[node.op_type, node.overload]
        nodes += number
        size += more + number * sum(len(name) for names in (node.input, node.output) for name in names)
        if nodes > MOST_NODES or size > MOST_BYTES:
            yield f"the operations take more than {MOST_NODES} operators or {MOST_BYTES} bytes"


def _standard_version(imports: Iterable[object]) -> int | None:
    return next((getattr(item, "version", None) for item in imports if getattr(item, "domain", None) in STANDARD), None)


def _function_problems(function: FunctionProto, standard: int | None) -> Iterator[str]:
    what = f"function {function.name!r} {function.overload!r}"
    if function.domain != DOMAIN:
        yield f"{what} is of domain {function.domain!r}, not {DOMAIN}"
    if _standard_version(function.opset_import) != standard:
        yield f"{what} is written in another version of the standard operators than the program"
    if len(set(function.input)) < len(function.input) or "" in function.input or "" in function.output:
        yield f"the inputs and outputs of {what} have no names of their own"
    for node in function.node:
        if node.domain not in STANDARD:
            yield f"{what} has an operator {node.op_type!r} of domain {node.domain!r}; only standard ones are allowed"
        if node.op_type in CONTROL_FLOW:
            yield f"{what} has an operator {node.op_type!r}; there is no control flow in programs"
        for attribute in node.attribute:
            if attribute.ref_attr_name or attribute.type not in PLAIN:
                yield f"{what}: {node.op_type} has an attribute {attribute.name!r} that is no plain constant"
            yield from _external((attribute.t, *attribute.tensors))


def _call_problems(node: NodeProto, functions: Mapping[Key, FunctionProto]) -> Iterator[str]:
    what = f"operation {node.name!r} of type {node.op_type!r}"
    if node.domain != DOMAIN:
        yield f"{what} is of domain {node.domain!r}, not {DOMAIN}"
    function = functions.get((node.op_type, node.overload))
    if function is None:
        yield f"{what} has no function {node.overload!r} that computes it"
    elif (len(node.input), len(node.output)) != (len(function.input), len(function.output)):
        yield f"{what} has {len(node.input)} inputs and {len(node.output)} outputs, its function others"


def _external(tensors: Iterable[TensorProto]) -> Iterator[str]:
    for tensor in tensors:
        if is_external(tensor):
            yield f"constant {tensor.name!r} is in another file"
