"""A YAML file as plain data, with the place of everything in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from yaml.nodes import Node, ScalarNode, SequenceNode

from synap_core.errors import InputError
from synap_core.metafile.files import read_text
from synap_core.metafile.problems import DataPath, FieldError, dotted, kind, show
from synap_core.metafile.substitute import MAX_TEXT, SourceText, expand_environment
from synap_core.metafile.yaml_core import MAX_CHARACTERS, MAX_DEPTH, MAX_NODES, TAG, compose, scalar


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a file.

    Attributes:
        data: Dictionaries with text keys, lists, text, numbers, booleans and None.
    """

    data: dict[str, object]
    _source: SourceText
    _offsets: Mapping[DataPath, tuple[int, int]]

    def offset(self, path: DataPath, *, value: bool = False) -> int:
        """Place of a key, or of its value, as an offset in the text; the nearest enclosing one when it is not there."""
        while path and path not in self._offsets:
            path = path[:-1]
        return self._offsets.get(path, (0, 0))[value]

    @property
    def name(self) -> str:
        """The file, as the user knows it."""
        return self._source.name

    def has(self, path: DataPath) -> bool:
        """Whether the file has something at a place."""
        return path in self._offsets

    def where(self, path: DataPath, *, value: bool = False) -> str:
        """``file:line:column`` of a key (or of its value), or of the nearest enclosing one that the file has."""
        return self._source.where(self.offset(path, value=value))


def load_document(path: Path, what: str, numeric_keys: Collection[DataPath] = ()) -> Document:
    """Read a file whose root is a mapping; an empty file is an empty mapping.

    Args:
        path: The file.
        what: Its part in the conversion, for messages.
        numeric_keys: Mappings whose keys may be integers; these become decimal text.

    Raises:
        InputError: It cannot be read, or is not what the YAML 1.2 core schema and the size limits allow.
    """
    return parse_document(read_text(path, what, MAX_TEXT), str(path), what, numeric_keys)


def parse_document(
    text: str,
    name: str,
    what: str,
    numeric_keys: Collection[DataPath] = (),
    environ: Mapping[str, str] | None = None,
) -> Document:
    """Turn a text into data, as `load_document` does with the text of a file.

    Args:
        text: The text, with its variables.
        name: The file it comes from.
        what: Its part in the conversion, for messages.
        numeric_keys: Mappings whose keys may be integers.
        environ: Environment variables; those of the process by default.

    Raises:
        InputError: It is not what the YAML 1.2 core schema and the size limits allow.
    """
    source = expand_environment(text, name, environ)
    root = compose(source, what)
    if root is None:
        return Document({}, source, {})
    builder = _Builder(source, what, numeric_keys)
    data = builder.build(root, ())
    if data is None:
        data = {}
    if not isinstance(data, dict):
        msg = f"Invalid format for {what}: it must be a mapping of keys to values, not {kind(data)}"
        raise InputError(msg, where=source.where(root.start_mark.index), hint="write 'key: value' lines")
    return Document(data, source, builder.offsets)


class _Builder:
    """Turns YAML nodes into data; stops at what is too deep, too large or endless."""

    def __init__(self, source: SourceText, what: str, numeric_keys: Collection[DataPath]) -> None:
        self.offsets: dict[DataPath, tuple[int, int]] = {}
        self._source = source
        self._what = what
        self._numeric_keys = numeric_keys
        self._open: set[int] = set()
        self._nodes = 0
        self._characters = 0

    def build(self, node: Node, path: DataPath, key: Node | None = None) -> object:
        """Convert a node, the value of ``key`` if that is given, and remember its place."""
        start = node.start_mark.index
        self.offsets[path] = (start if key is None else key.start_mark.index, start)
        self._check_limits(node, len(path))
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if id(node) in self._open:
            self._fail(node, "recursive alias: the value contains itself", "write the value out")
        self._open.add(id(node))
        data = self._sequence(node, path) if isinstance(node, SequenceNode) else self._mapping(node, path)
        self._open.remove(id(node))
        return data

    def _check_limits(self, node: Node, depth: int) -> None:
        self._nodes += 1
        self._characters += len(node.value) if isinstance(node, ScalarNode) else 0
        for reached, most, what in (
            (self._nodes, MAX_NODES, "values, aliases counted each time"),
            (self._characters, MAX_CHARACTERS, "characters, aliases counted each time"),
            (depth, MAX_DEPTH - 1, "levels of nesting"),
        ):
            if reached > most:
                self._fail(node, f"more than {most} {what}", "use fewer aliases")

    def _scalar(self, node: ScalarNode) -> object:
        try:
            return scalar(node.tag, node.value)
        except FieldError as error:
            self._fail(node, error.message, error.hint)

    def _sequence(self, node: SequenceNode, path: DataPath) -> list[object]:
        self._check_tag(node, "seq")
        return [self.build(item, (*path, i)) for i, item in enumerate(node.value)]

    def _mapping(self, node: Node, path: DataPath) -> dict[str, object]:
        self._check_tag(node, "map")
        data: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key in data:
                first = self._source.where(self.offsets[*path, key][0])
                self._fail(key_node, f"duplicate key {show(key)}, first at {first}", "remove one of them")
            data[key] = self.build(value_node, (*path, key), key_node)
        return data

    def _key(self, node: Node, path: DataPath) -> str:
        self._check_limits(node, len(path))
        key = self._scalar(node) if isinstance(node, ScalarNode) else node.value
        if isinstance(key, int) and not isinstance(key, bool) and path in self._numeric_keys:
            return str(key)
        if not isinstance(key, str):
            what = kind(key) if isinstance(node, ScalarNode) else "a list or mapping"
            self._fail(node, f"a key in {dotted(path)} must be text, not {what}", "put it in quotes")
        return key

    def _check_tag(self, node: Node, name: str) -> None:
        if node.tag != TAG + name:
            self._fail(node, f"the tag {show(node.tag)} does not fit here; allowed: !!{name}", "remove the tag")

    def _fail(self, node: Node, problem: str, hint: str | None) -> NoReturn:
        where = self._source.where(node.start_mark.index)
        msg = f"Error parsing {self._what}: {problem}"
        raise InputError(msg, where=where, hint=hint)
