"""The nodes of a frozen graph: names looked up, and those that some outputs need in execution order."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field

from synap_core.api import InputError
from synap_frontend_tensorflow.schema import Message

DAMAGED = "the file is damaged: export or download it again"
LOOPS = "the graph runs a loop: cut it in front of the loop or behind it with 'inputs' and 'outputs' in the metafile"

PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2"})
"""Operators that stand for inputs of the graph."""

NO_RESULT = frozenset({"Assert", "Const", "NoOp", "Placeholder", "PlaceholderV2"})
"""Operators that compute nothing."""

MAX_OUTPUTS = 1 << 18
"""Outputs that all nodes may have by what others read of them: a small file can name any number."""

MAX_LISTED = 5
"""Nodes of a loop that a message names."""


def tensor_id(node: str, output: int = 0) -> str:
    """Id of an output of a node: its name for the first, ``name:1`` for the second and so on."""
    return f"{node}:{output}" if output else node


def split_name(name: str) -> tuple[str, int]:
    """Node and output that ``name``, ``name:0`` or ``name:1`` means; names of nodes have no colon."""
    node, colon, output = name.rpartition(":")
    return (node, int(output)) if colon and output.isascii() and output.isdigit() and len(output) < 6 else (name, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of the graph.

    Attributes:
        name: Its name.
        type: Its operator.
        index: Its position in the file.
        reads: Ids of the tensors it reads; nodes that only have to run before it are none.
        proto: Its ``NodeDef``.
    """

    name: str
    type: str
    index: int
    reads: tuple[str, ...]
    proto: Message

    def waits_for(self) -> list[str]:
        """Names of the nodes that only have to run before it."""
        return [name[1:] for name in self.proto.input if name.startswith("^")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """The nodes of a file.

    Attributes:
        nodes: By name, in the order of the file.
        functions: Names of the functions that the file defines.
        outputs_read: Highest output of each node that another node reads.
    """

    nodes: Mapping[str, Node]
    functions: frozenset[str] = frozenset()
    outputs_read: Mapping[str, int] = field(default_factory=dict)

    def sinks(self) -> list[Node]:
        """Nodes that no node reads, but those that compute nothing, or nothing that depends on data."""
        found = self._varying() - self.outputs_read.keys()
        return [node for node in self.nodes.values() if node.name in found and node.type not in NO_RESULT]

    def _varying(self) -> set[str]:
        """Names of the nodes that something else than constants goes into."""
        readers: dict[str, list[str]] = {}
        for node in self.nodes.values():
            for tensor in node.reads:
                readers.setdefault(split_name(tensor)[0], []).append(node.name)
        found: set[str] = set()
        pending = [node.name for node in self.nodes.values() if not node.reads and node.type != "Const"]
        while pending:
            name = pending.pop()
            if name not in found:
                found.add(name)
                pending += readers.get(name, ())
        return found

    def placeholders(self) -> list[Node]:
        """Nodes that stand for inputs."""
        return [node for node in self.nodes.values() if node.type in PLACEHOLDERS]

    def needed(
        self, outputs: Iterable[str], given: Set[str], *, lenient: bool = False, control: bool = False
    ) -> list[Node]:
        """Nodes that tensors are computed from, in execution order: that of the file where it is one.

        Args:
            outputs: Ids of the tensors.
            given: Ids of tensors that are handed in; what only they are computed from is not needed.
            lenient: Let nodes that form a loop stand where they stand in the file, behind all others.
            control: Nodes that only have to run before others are needed, too, as far as there are any.

        Raises:
            InputError: A node reads one that the graph lacks, or the nodes form a loop.
        """
        found: dict[str, Node] = {}
        pending = [split_name(tensor)[0] for tensor in outputs if tensor not in given]
        while pending:
            name = pending.pop()
            if name in found:
                continue
            node = found[name] = self.nodes[name]
            pending += [source for source in node.waits_for() if source in self.nodes] if control else ()
            for source in _sources(node, given):
                if source not in self.nodes:
                    msg = f"node {name!r} ({node.type}) reads {source!r}, which the graph lacks"
                    raise InputError(msg, hint=DAMAGED)
                pending.append(source)
        return _ordered(found, given, lenient=lenient, control=control)


def read_graph(definition: Message) -> Graph:
    """Look the names in a ``GraphDef`` up.

    Raises:
        InputError: Two nodes have one name, a node has none, or nodes read too many outputs.
    """
    nodes: dict[str, Node] = {}
    outputs_read: dict[str, int] = {}
    for index, proto in enumerate(definition.node):
        reads = [split_name(name) for name in proto.input if not name.startswith("^")]
        node = Node(
            name=proto.name,
            type=proto.op,
            index=index,
            reads=tuple(tensor_id(*pair) for pair in reads),
            proto=proto,
        )
        if not node.name or not node.type or node.name in nodes:
            msg = f"two nodes have the name {node.name!r}" if node.name in nodes else "a node has no name or operator"
            raise InputError(msg, hint=DAMAGED)
        nodes[node.name] = node
        for producer, output in reads:
            outputs_read[producer] = max(output, outputs_read.get(producer, 0))
    if sum(outputs_read.values()) > MAX_OUTPUTS:
        producer = max(outputs_read, key=outputs_read.__getitem__)
        msg = (
            f"a node reads output {outputs_read[producer]} of {producer!r}; the graph has at most {MAX_OUTPUTS} outputs"
        )
        raise InputError(msg, hint=DAMAGED)
    functions = frozenset(function.signature.name for function in definition.functions.function)
    return Graph(nodes=nodes, functions=functions, outputs_read=outputs_read)


def _sources(node: Node, given: Set[str]) -> Iterator[str]:
    """Names of the nodes that a node reads."""
    return (split_name(tensor)[0] for tensor in node.reads if tensor not in given)


def _ordered(nodes: Mapping[str, Node], given: Set[str], *, lenient: bool, control: bool) -> list[Node]:
    readers: dict[str, list[Node]] = {}
    missing: dict[str, int] = {}
    for node in nodes.values():
        sources = set(_sources(node, given))
        if control:
            sources |= nodes.keys() & node.waits_for()
        missing[node.name] = len(sources)
        for name in sources:
            readers.setdefault(name, []).append(node)
    ready = [node.index for node in nodes.values() if not missing[node.name]]
    heapq.heapify(ready)
    by_index = {node.index: node for node in nodes.values()}
    found = []
    while ready:
        node = by_index[heapq.heappop(ready)]
        found.append(node)
        for reader in readers.get(node.name, ()):
            missing[reader.name] -= 1
            if not missing[reader.name]:
                heapq.heappush(ready, reader.index)
    if len(found) < len(nodes):
        done = {node.name for node in found}
        if not lenient:
            raise _loop(nodes, done, given)
        found += sorted((node for node in nodes.values() if node.name not in done), key=lambda node: node.index)
    return found


def _loop(nodes: Mapping[str, Node], done: Set[str], given: Set[str]) -> InputError:
    """The error for nodes that read each other; names them from the first to the last of one round."""
    node = next(node for node in nodes.values() if node.name not in done)
    seen: dict[str, int] = {}
    path: list[Node] = []
    while node.name not in seen:
        seen[node.name] = len(path)
        path.append(node)
        node = nodes[next(name for name in _sources(node, given) if name not in done)]
    circle = path[seen[node.name] :][::-1]
    listed = ", ".join(f"{item.name!r} ({item.type})" for item in circle[:MAX_LISTED])
    more = f" and {len(circle) - MAX_LISTED} more" if len(circle) > MAX_LISTED else ""
    msg = f"nodes read each other in a loop: {listed}{more}"
    return InputError(msg, hint=LOOPS)
