"""Draw a bundle as a Graphviz graph: a box per subgraph, the layers in it, and the tensors between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from synap_core.bundle_reader import Bundle, BundleSubgraph
from synap_core.errors import one_line
from synap_core.names import is_operator
from synap_core.source import SourceModel
from synap_core.tensors import TensorMeta, format_shape

COLOURS = ("#cfe3f7", "#f9dcc0", "#d5edd0", "#efd6ea", "#f6eeb4", "#d9d9d9")
"""One per delegate, in order of appearance."""

HEADER = """digraph bundle {
  graph [rankdir=TB, fontname="Helvetica", nodesep=0.25, ranksep=0.4]
  node [shape=box, style="rounded,filled", fillcolor=white, fontname="Helvetica", fontsize=10]
  edge [fontname="Helvetica", fontsize=8, color="#555555"]"""


def draw_bundle(bundle: Bundle, sources: Sequence[SourceModel | None]) -> str:
    """Write a bundle in the DOT language.

    Args:
        bundle: The bundle.
        sources: The model of each subgraph; None when no frontend opens it, it then appears as one box.
    """
    boxes = [_Box(i, *pair) for i, pair in enumerate(zip(bundle.subgraphs, sources, strict=True))]
    delegates = list(dict.fromkeys(box.delegate for box in boxes))
    lines = [HEADER]
    for k, tensor in enumerate(bundle.input_tensors):
        lines.append(f"  in{k} [shape=ellipse, label={_label(f'input {k}', _about(tensor))}]")
    for box in boxes:
        lines += box.cluster(COLOURS[delegates.index(box.delegate) % len(COLOURS)])
    for box in boxes:
        for k, ((producer, index), tensor) in enumerate(
            zip(box.subgraph.inputs, box.subgraph.meta.inputs, strict=True)
        ):
            start = f"in{index}" if producer < 0 else boxes[producer].maker_of_output(index)
            label = "" if producer < 0 else f" [label={_label(_about(tensor))}]"
            lines += [f"  {start} -> {node}{label}" for node in box.readers_of_input(k)]
    for k, ((producer, index), tensor) in enumerate(zip(bundle.outputs, bundle.output_tensors, strict=True)):
        lines.append(f"  out{k} [shape=ellipse, label={_label(f'output {k}', _about(tensor))}]")
        lines.append(f"  {boxes[producer].maker_of_output(index)} -> out{k}")
    return "\n".join([*lines, "}", ""])


class _Box:
    """A subgraph of the drawing; a node is named after the subgraph's number and the layer's position."""

    def __init__(self, number: int, subgraph: BundleSubgraph, source: SourceModel | None) -> None:
        self.subgraph = subgraph
        self.delegate = subgraph.meta.delegate.strip()
        self._number = number
        self._source = source
        self._layers = [] if source is None else [layer for layer in source.layers if is_operator(layer)]
        self._makers = {tensor: self._node(i) for i, layer in enumerate(self._layers) for tensor in layer.outputs}

    def cluster(self, colour: str) -> Iterator[str]:
        """The box, the layers in it, and the edges between them."""
        title = _label(f"subgraph {self._number}", self.delegate)
        yield f"  subgraph cluster{self._number} {{"
        yield f'    label={title}; style="rounded,filled"; color="#888888"; fillcolor="{colour}"; fontsize=11'
        if not self._layers:
            yield f"    {self._node(0)} [label={_label(self.subgraph.model_name)}]"
        for i, layer in enumerate(self._layers):
            yield f"    {self._node(i)} [label={_label(layer.type, layer.name.partition(';')[0])}]"
            for tensor in layer.inputs:
                if tensor in self._makers:
                    yield f"    {self._makers[tensor]} -> {self._node(i)}"
        yield "  }"

    def maker_of_output(self, index: int) -> str:
        """Node that computes an output."""
        outputs = () if self._source is None else self._source.outputs
        return self._makers.get(outputs[index], self._node(0)) if index < len(outputs) else self._node(0)

    def readers_of_input(self, index: int) -> list[str]:
        """Nodes that read an input."""
        inputs = () if self._source is None else self._source.inputs
        tensor = inputs[index] if index < len(inputs) else None
        readers = [self._node(i) for i, layer in enumerate(self._layers) if tensor in layer.inputs]
        return readers or [self._node(0)]

    def _node(self, position: int) -> str:
        return f"n{self._number}_{position}"


def _about(tensor: TensorMeta) -> str:
    return f"{tensor.name.partition(';')[0]} {format_shape(tensor.shape)} {tensor.dtype}"


def _label(*lines: str) -> str:
    # Names come from files: quotes and backslashes are the only characters with a meaning inside a DOT string.
    clean = (one_line(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(clean) + '"'
