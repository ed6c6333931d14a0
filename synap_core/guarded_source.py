"""A source model whose frontend's mistakes are blamed on the frontend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from synap_core.errors import PluginError
from synap_core.host import PluginHost
from synap_core.payloads import Frontend
from synap_core.source import Layer, LayerSupport, Slice, SourceModel
from synap_core.tensors import TensorInfo

if TYPE_CHECKING:
    import onnx_ir as ir


class GuardedSource:
    """What a frontend opened, read once and checked.

    Args:
        opened: What the frontend returned.
        frontend: The frontend.
        host: Where it comes from.

    Raises:
        PluginError: It is not a source model.
    """

    def __init__(self, opened: SourceModel, frontend: Frontend, host: PluginHost) -> None:
        self._opened = opened
        self._frontend = frontend
        self._host = host
        with host.boundary(frontend):
            self.format = opened.format
            self.layout = opened.layout
            self.layers: Sequence[Layer] = tuple(opened.layers)
            self.tensors: Mapping[str, TensorInfo] = dict(opened.tensors)
            self.inputs: Sequence[str] = tuple(opened.inputs)
            self.outputs: Sequence[str] = tuple(opened.outputs)
            self.notes: Sequence[str] = tuple(opened.notes)
            self.warnings: Sequence[str] = tuple(opened.warnings)
        self._check()

    def slice(self, part: Slice) -> bytes:
        """Cut a part out; see `SourceModel.slice`."""
        with self._host.boundary(self._frontend):
            content = self._opened.slice(part)
        self._require(isinstance(content, bytes), f"slice() returned {type(content).__name__}, not bytes")
        return content

    def canonical(self, part: Slice) -> ir.Model:
        """Build the canonical graph of a part; see `SourceModel.canonical`."""
        import onnx_ir

        with self._host.boundary(self._frontend):
            model = self._opened.canonical(part)
        self._require(isinstance(model, onnx_ir.Model), f"canonical() returned {type(model).__name__}, not a model")
        return model

    def support(self) -> Sequence[LayerSupport]:
        """What becomes of each layer; see `SourceModel.support`."""
        with self._host.boundary(self._frontend):
            found = tuple(self._opened.support())
        self._require(all(isinstance(item, LayerSupport) for item in found), "support() lists something else")
        return found

    def anchors(self) -> tuple[float, ...]:
        """Anchor boxes; see `SourceModel.anchors`."""
        with self._host.boundary(self._frontend):
            return tuple(float(value) for value in self._opened.anchors())

    def _check(self) -> None:
        self._require(all(isinstance(layer, Layer) for layer in self.layers), "layers holds something else than layers")
        ids = [*self.inputs, *self.outputs, *(t for layer in self.layers for t in layer.inputs)]
        unknown = next((tensor for tensor in ids if tensor not in self.tensors), None)
        self._require(unknown is None, f"tensors lacks {unknown!r}, which a layer or the boundary names")

    def _require(self, condition: bool, problem: str) -> None:
        if not condition:
            msg = f"frontend {self._frontend.name!r}: {problem}"
            raise PluginError(msg)
