"""Where a graph begins and ends: the metafile must say it, as a frozen graph does not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from synap_core.api import BoundarySpec, InputError, ModelRequest
from synap_frontend_tensorflow import schema
from synap_frontend_tensorflow.constants import shape_of_proto
from synap_frontend_tensorflow.graph import PLACEHOLDERS, Graph, Node, split_name, tensor_id

MAX_LISTED = 8
"""Placeholders and sinks that a message lists."""

IMAGE_DECODERS = frozenset({"DecodeBmp", "DecodeGif", "DecodeImage", "DecodeJpeg", "DecodePng"})
"""Operators that give bytes when they do not say otherwise."""

TRUTH_OPERATORS = frozenset(
    {
        "All",
        "Any",
        "Equal",
        "Greater",
        "GreaterEqual",
        "IsFinite",
        "IsInf",
        "IsNan",
        "Less",
        "LessEqual",
        "LogicalAnd",
        "LogicalNot",
        "LogicalOr",
        "NotEqual",
    }
)
"""Operators whose result is a truth value, whatever their type attribute says of the operands."""

INDEX_OUTPUTS = frozenset({("TopK", 1), ("TopKV2", 1)})
"""Outputs that are positions, whatever the type of the node."""

RESULT_ATTRIBUTES = ("DstT", "dtype", "out_type", "output_type", "T", "Tparams")
"""Attributes that name the type of a result, the most particular first."""

RESULT_LISTS = ("output_types", "component_types", "dtypes", "Tout")
"""Attributes that name the types of all results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A tensor that is handed in.

    Attributes:
        id: Its id.
        name: As the metafile writes it.
        dtype: Number of its element type.
        shape: -1 for open dimensions; None when not even their number is known.
        open_batch: The file leaves the first dimension open.
    """

    id: str
    name: str
    dtype: int
    shape: tuple[int, ...] | None
    open_batch: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """Inputs and outputs of a model.

    Attributes:
        inputs: By id, in order.
        outputs: Names as the metafile writes them, by id, in order.
        notes: What was changed.
    """

    inputs: Mapping[str, Given]
    outputs: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def fixed_batch(self) -> int | None:
        """The size that all inputs have in front, when it is not 1; None when there is nothing to change.

        Raises:
            InputError: The inputs have different sizes in front, and none has 1.
        """
        shapes = {g.name: g.shape for g in self.inputs.values() if g.shape is not None and not g.open_batch}
        # A vector has no batch; and where one input has batch 1, what the others have in front is no batch.
        sizes = sorted({shape[0] for shape in shapes.values() if len(shape) > 1})
        if not sizes or sizes[0] <= 1:
            return None
        if len(sizes) > 1:
            listed = ", ".join(f"{name!r} {list(shape)}" for name, shape in shapes.items())
            msg = f"the batch must be 1, and the inputs have different first dimensions: {listed}"
            raise InputError(msg, hint="export the model with batch 1")
        return sizes[0]

    def filled(self, batch: int, size: int) -> Boundary:
        """The same with sizes in place of open dimensions."""
        inputs = {}
        for key, given in self.inputs.items():
            shape = given.shape and tuple(
                dim if dim >= 0 else size if axis else batch for axis, dim in enumerate(given.shape)
            )
            inputs[key] = replace(given, shape=shape)
        return replace(self, inputs=inputs)

    def with_batch_one(self, batch: int) -> Boundary:
        """The same with batch 1 in place of the one that all inputs have."""
        inputs = {
            key: replace(given, shape=(1, *given.shape[1:])) if given.shape and len(given.shape) > 1 else given
            for key, given in self.inputs.items()
        }
        return replace(self, inputs=inputs, notes=(*self.notes, f"the fixed batch of {batch} was changed to 1"))


def inspected(graph: Graph) -> Boundary:
    """All placeholders, with their open dimensions, and all sinks."""
    inputs = {
        node.name: Given(id=node.name, name=node.name, dtype=dtype_of(graph, node.name), shape=stated_shape(node))
        for node in graph.placeholders()
    }
    return Boundary(inputs=inputs, outputs={node.name: node.name for node in graph.sinks()})


def requested(graph: Graph, request: ModelRequest) -> Boundary:
    """What the metafile asks for.

    Raises:
        InputError: It leaves something out, or names a tensor that the graph has not.
    """
    missing = [
        field
        for field, entries in (("inputs", request.inputs), ("outputs", request.outputs))
        if not entries or any(entry.name is None or (field == "inputs" and entry.shape is None) for entry in entries)
    ]
    if missing:
        raise _incomplete(graph, missing)
    inputs: dict[str, Given] = {}
    for spec in request.inputs:
        found = _given(graph, spec)
        if found.id in inputs:
            msg = f"the metafile names the input {found.id!r} twice"
            raise InputError(msg, hint="remove one of its entries")
        inputs[found.id] = found
    outputs: dict[str, str] = {}
    for spec in request.outputs:
        tensor = _find(graph, spec.name or "")
        if tensor in outputs:
            msg = f"the metafile names the output {tensor!r} twice"
            raise InputError(msg, hint="remove one of its entries")
        outputs[tensor] = spec.name or ""
    pairs = zip(request.inputs, inputs.values(), strict=True)
    sizes = {spec.shape[0] for spec, given in pairs if given.open_batch and spec.shape}
    notes = [f"the batch of {size} in the metafile was changed to 1" for size in sorted(sizes - {1})]
    notes += [*_order(graph, inputs, "inputs"), *_order(graph, outputs, "outputs")]
    return Boundary(inputs=inputs, outputs=outputs, notes=tuple(notes))


def _order(graph: Graph, tensors: Iterable[str], what: str) -> list[str]:
    """A note if tensors come in another order than in the file."""

    def place(tensor: str) -> tuple[int, int]:
        node, output = split_name(tensor)
        return graph.nodes[node].index, output

    asked = list(tensors)
    found = sorted(asked, key=place)
    return (
        [] if found == asked else [f"the {what} are in the order of the metafile; in the graph it is {_listing(found)}"]
    )


def _given(graph: Graph, spec: BoundarySpec) -> Given:
    tensor, asked = _find(graph, spec.name or ""), tuple(spec.shape or ())
    node = graph.nodes[split_name(tensor)[0]]
    stated = stated_shape(node) if node.type in PLACEHOLDERS else None
    open_batch = stated is not None and len(stated) > 1 and stated[0] == -1
    if stated is not None:
        # The first dimension is the batch, which becomes 1 whatever the metafile says.
        pairs = zip(asked[1:], stated[1:], strict=False)
        if len(asked) != len(stated) or any(have not in (-1, size) for size, have in pairs):
            listed = str(list(stated)).replace("-1", "?")
            msg = f"the metafile gives input {spec.name!r} the shape {list(asked)}; in the graph it is {listed}"
            raise InputError(msg, hint="give a shape that fits it")
        asked = tuple(size if have == -1 else have for size, have in zip(asked, stated, strict=True))
    shape = (1, *asked[1:]) if open_batch else asked
    return Given(id=tensor, name=spec.name or "", dtype=dtype_of(graph, tensor), shape=shape, open_batch=open_batch)


def _find(graph: Graph, name: str) -> str:
    """Id of the tensor that a name means; a number may also stand behind a slash."""
    node, output = split_name(name)
    if node not in graph.nodes:
        stem, slash, number = name.rpartition("/")
        node, output = split_name(f"{stem}:{number}" if slash else name)
    if node not in graph.nodes:
        node = split_name(name)[0]
        close = difflib.get_close_matches(node, graph.nodes, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else _found(graph)
        msg = f"tensor {name!r} not found in the graph"
        raise InputError(msg, hint=hint)
    return tensor_id(node, output)


def _incomplete(graph: Graph, missing: Sequence[str]) -> InputError:
    lacking = " and ".join(missing)
    msg = f"a frozen graph does not tell where it begins and ends, and the metafile does not, either (no {lacking}); "
    written = " and ".join(f"'{field}: {_example(graph, field)}'" for field in missing)
    return InputError(msg + _found(graph), hint=f"give a metafile with {written}")


def _found(graph: Graph) -> str:
    inputs = [f"{node.name} ({described(graph, node)})" for node in graph.placeholders()]
    outputs = [f"{node.name} ({node.type})" for node in graph.sinks()]
    return f"placeholders: {_listing(inputs)}; nodes that none reads: {_listing(outputs)}"


def _listing(names: Sequence[str]) -> str:
    more = f", … ({len(names)} in all; 'synap info' lists them)" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more or "none"


def _example(graph: Graph, field: str) -> str:
    """What to write in the metafile for the first placeholder, or for the last node that none reads."""
    if field == "outputs":
        return f"[{{name: {next((node.name for node in reversed(graph.sinks())), 'NAME')}}}]"
    node = next(iter(graph.placeholders()), None)
    shape = None if node is None else stated_shape(node)
    sizes = "…" if shape is None else ", ".join("?" if size < 0 else str(size) for size in (1, *shape[1:]))
    return f"[{{name: {node.name if node else 'NAME'}, shape: [{sizes}]}}]"


def described(graph: Graph, node: Node) -> str:
    """Element type and shape of a placeholder, in words."""
    shape = stated_shape(node)
    listed = "of unknown shape" if shape is None else str(list(shape)).replace("-1", "?")
    return f"{schema.dtype_name(dtype_of(graph, node.name))} {listed}"


def stated_shape(node: Node) -> tuple[int, ...] | None:
    """Shape that a placeholder states; None when it states none."""
    attributes = node.proto.attr
    if "shape" not in attributes or attributes["shape"].WhichOneof("value") != "shape":
        return None
    shape = shape_of_proto(attributes["shape"].shape)
    # Files of old versions write an unknown shape as one without dimensions.
    return shape or None


def dtype_of(graph: Graph, tensor: str) -> int:
    """Number of the element type of a tensor as its node states it; float32 when it does not."""
    name, output = split_name(tensor)
    node = graph.nodes[name]
    if node.type in IMAGE_DECODERS and "dtype" not in node.proto.attr:
        return schema.UINT8
    if node.type in TRUTH_OPERATORS:
        return schema.BOOL
    if (node.type, output) in INDEX_OUTPUTS:
        return schema.INT32
    for attribute in RESULT_LISTS:
        if attribute in node.proto.attr:
            types = node.proto.attr[attribute].list.type
            return int(types[output]) if output < len(types) else schema.FLOAT
    for attribute in RESULT_ATTRIBUTES:
        if attribute in node.proto.attr and node.proto.attr[attribute].WhichOneof("value") == "type":
            return int(node.proto.attr[attribute].type)
    return schema.FLOAT
