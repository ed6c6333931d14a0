"""Find the types and shapes of all tensors, and the values of those that do not depend on the inputs' data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from synap_core.api import InputError
from synap_frontend_onnx.dimensions import Resolution, dims_of, static_shape, with_shape
from synap_frontend_onnx.folding import constant_tensors, fold
from synap_frontend_onnx.graph import Graph
from synap_frontend_onnx.inspector import Inspector, RefusedError
from synap_frontend_onnx.pooling import can_be_misjudged, misjudged
from synap_frontend_onnx.protos import GraphProto, ModelProto, TensorProto, ValueInfoProto
from synap_frontend_onnx.weights import is_small

MAX_ROUNDS = 12
"""Folding and inference help each other on; real models need two rounds."""

MAX_MESSAGE = 300
"""Characters of the library's own message to pass on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What is known about the tensors of a model.

    Attributes:
        types: Type and shape by name.
        folded: Values of computed tensors that do not depend on data, as far as they are known and small.
        constants: Names of all tensors that do not depend on data.
    """

    types: Mapping[str, ValueInfoProto]
    folded: Mapping[str, TensorProto]
    constants: frozenset[str]

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Static shape of a tensor; None when it has none."""
        return static_shape(self.types[name].type) if name in self.types else None


def validate(graph: Graph, resolution: Resolution, inspector: Inspector) -> Mapping[str, ValueInfoProto]:
    """Check the model as it is.

    Args:
        graph: The model.
        resolution: Its inputs with shapes; used for those of which the file does not even tell the rank.
        inspector: Runs the check.

    Returns:
        Types and shapes of its tensors.

    Raises:
        InputError: It breaks the rules of the format.
    """
    pairs = zip(graph.inputs, resolution.inputs, strict=True)
    inputs = [fixed if dims_of(own.type) is None else own for own, fixed in pairs]
    trusted = _trusted(graph, resolution) if any(map(can_be_misjudged, graph.nodes)) else None
    pools: Mapping[str, ValueInfoProto] = {}
    if trusted is not None:
        pools, _ = _with_pools(
            graph, lambda found: inspector.infer(_model(graph, inputs, trusted, found), strict=False)
        )
    model = _model(graph, inputs, trusted, pools)
    try:
        return _types(inspector.validate(model))
    except RefusedError as error:
        msg = f"Invalid ONNX model: {_shortened(error)}"
        raise InputError(msg, hint="export it again with a newer version of its tool") from error


def analyse(
    graph: Graph,
    resolution: Resolution,
    known: Mapping[str, ValueInfoProto] | None,
    inspector: Inspector,
    forced: Mapping[str, ValueInfoProto] | None = None,
) -> Analysis:
    """Find types, shapes and values.

    Args:
        graph: The model.
        resolution: Its inputs with the shapes to assume.
        known: Types, when these are the shapes of the file; None to find them anew.
        inspector: Runs the inference.
        forced: Intermediate tensors whose shape the user gives.

    Raises:
        InputError: The shapes contradict each other.
    """
    computed = {name for node in graph.nodes for name in node.writes}
    declared = _declared(graph, resolution)
    folded: dict[str, TensorProto] = {}
    types = dict(known or _infer(graph, resolution, folded, forced or {}, inspector))
    for _ in range(MAX_ROUNDS):
        fresh = fold(graph, types, folded, inspector)
        folded |= fresh
        if not fresh or all(static_shape(types[name].type) is not None for name in computed & types.keys()):
            break
        types = _infer(graph, resolution, folded, forced or {}, inspector)
    for name, value in declared.items():
        if name not in types or static_shape(types[name].type) is None:
            types[name] = value
    types |= {name: _type_of(tensor) for name, tensor in folded.items()}
    return Analysis(types=types, folded=folded, constants=constant_tensors(graph, folded))


def skeleton(
    graph: Graph,
    inputs: Iterable[ValueInfoProto],
    outputs: Iterable[ValueInfoProto],
    values: Iterable[ValueInfoProto],
    folded: Mapping[str, TensorProto],
) -> ModelProto:
    """The model without its weights: those that shapes cannot depend on are graph inputs."""
    source = graph.model
    model = ModelProto(ir_version=max(source.ir_version, 4), opset_import=source.opset_import)
    model.functions.extend(graph.functions.values())
    model.graph.name = source.graph.name
    model.graph.node.extend(node.proto for node in graph.nodes if not folded.keys() & set(node.writes))
    model.graph.input.extend(inputs)
    model.graph.output.extend(output for output in outputs if output.name not in folded)
    described = {name for node in graph.nodes for name in node.writes} - folded.keys() - {o.name for o in outputs}
    model.graph.value_info.extend(value for value in values if value.name in described)
    for tensor in (*graph.constants.values(), *folded.values()):
        if is_small(tensor):
            model.graph.initializer.append(graph.weights.load(tensor))
        else:
            model.graph.input.append(_type_of(tensor))
    return model


def _type_of(tensor: TensorProto) -> ValueInfoProto:
    value = ValueInfoProto(name=tensor.name)
    value.type.tensor_type.elem_type = tensor.data_type
    return with_shape(value, tensor.dims)


def _declared(graph: Graph, resolution: Resolution) -> dict[str, ValueInfoProto]:
    """Static shapes that the file itself gives for computed tensors, with the sizes of open dimensions put in."""
    computed = {name for node in graph.nodes for name in node.writes}
    found = {}
    for value in (*graph.model.graph.value_info, *graph.outputs) if resolution.file_holds else ():
        dims = dims_of(value.type)
        if value.name in computed and dims is not None:
            sizes = [resolution.sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in dims]
            if all(isinstance(size, int) for size in sizes):
                found[value.name] = with_shape(value, sizes)
    return found


def _trusted(graph: Graph, resolution: Resolution) -> list[ValueInfoProto]:
    """Of operators of other domains the inference knows nothing: there the file's word counts even for other shapes."""
    foreign = {name for node in graph.nodes if not node.standard for name in node.writes}
    return [value for name, value in _declared(graph, resolution).items() if name in foreign]


def _model(
    graph: Graph,
    inputs: Iterable[ValueInfoProto],
    trusted: Sequence[ValueInfoProto] | None,
    forced: Mapping[str, ValueInfoProto],
    folded: Mapping[str, TensorProto] | None = None,
) -> ModelProto:
    """The question that the inference gets.

    Args:
        graph: The model.
        inputs: Its inputs with the shapes to assume.
        trusted: What to believe of the shapes that the file gives for computed tensors; None to believe everything.
        forced: Computed tensors of which the shape is known: these are inputs.
        folded: Computed tensors of which the items are known.
    """
    outputs, values = list(graph.outputs), list(graph.model.graph.value_info)
    if trusted is not None:
        outputs, values = [_without_shape(output) for output in outputs], list(trusted)
    outputs = [output for output in outputs if output.name not in forced]
    model = skeleton(graph, [*inputs, *forced.values()], outputs, values, folded or {})
    for node in model.graph.node:
        for position, name in enumerate(node.output):
            if name in forced:
                node.output[position] = f"{name} in front of the cut"
    return model


def _infer(
    graph: Graph,
    resolution: Resolution,
    folded: Mapping[str, TensorProto],
    forced: Mapping[str, ValueInfoProto],
    inspector: Inspector,
) -> dict[str, ValueInfoProto]:
    new = resolution.changed or any(map(can_be_misjudged, graph.nodes))
    trusted = _trusted(graph, resolution) if new else None

    def ask(pools: Mapping[str, ValueInfoProto]) -> ModelProto:
        model = _model(graph, resolution.inputs, trusted, {**pools, **forced}, folded)
        return inspector.infer(model, strict=resolution.changed and resolution.file_holds)

    try:
        return _with_pools(graph, ask)[1]
    except RefusedError as error:
        shapes = ", ".join(f"{v.name!r} {list(static_shape(v.type) or ())}" for v in resolution.inputs)
        msg = f"the model does not work on inputs of the shapes {shapes}: {_shortened(error)}"
        raise InputError(msg, hint="give other shapes in the metafile, or export the model again") from error


def _with_pools(
    graph: Graph, ask: Callable[[Mapping[str, ValueInfoProto]], ModelProto]
) -> tuple[Mapping[str, ValueInfoProto], dict[str, ValueInfoProto]]:
    """Infer, and again with the results of pools put right, as long as that changes the inputs of other such pools.

    Args:
        graph: The model.
        ask: Infers, with these results as inputs.

    Returns:
        The results of pools, and all types.
    """
    pools: dict[str, ValueInfoProto] = {}
    for _ in range(MAX_ROUNDS):
        types = _types(ask(pools))
        wrong = misjudged(graph.nodes, types)
        if all(pools.get(name) == value for name, value in wrong.items()):
            break
        pools |= wrong
    return pools, types


def _without_shape(value: ValueInfoProto) -> ValueInfoProto:
    copy = ValueInfoProto()
    copy.CopyFrom(value)
    if copy.type.HasField("tensor_type"):
        copy.type.tensor_type.ClearField("shape")
    return copy


def _types(model: ModelProto) -> dict[str, ValueInfoProto]:
    graph: GraphProto = model.graph
    return {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}


def _shortened(error: RefusedError) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}…"
