"""What the tensors at the boundaries of subgraphs are: both ends of each must agree on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synap_core.describe import Held
from synap_core.errors import InputError
from synap_core.partition import Part
from synap_core.selection import Selection
from synap_core.source import SourceModel
from synap_core.tensors import QuantParams

if TYPE_CHECKING:
    import onnx_ir as ir

    from synap_core.canonical.region import Region
    from synap_core.metafile import Metafile

FLOAT16 = "float16"
FLOAT32 = "float32"

NHWC_TO_NCHW = (0, 3, 1, 2)


@dataclass(frozen=True, slots=True)
class Boundary:
    """Rules for the tensors between subgraphs.

    A tensor is what the source model says when a delegate reads or writes it that takes the source format, or computes
    in float32. Any other one is what the canonical graph makes of it, or float32 where the metafile wants that.

    Attributes:
        source: The model.
        selection: Its inputs and outputs.
        meta: The metafile.
        parts: All subgraphs.
        canonical: Positions of those that are compiled from the canonical graph, in other types than the model's.
    """

    source: SourceModel
    selection: Selection
    meta: Metafile
    parts: Sequence[Part]
    canonical: frozenset[int]

    @property
    def native(self) -> frozenset[str]:
        """Ids of the tensors that delegates read or write which compute what the model says."""
        parts = [part.part for index, part in enumerate(self.parts) if index not in self.canonical]
        return frozenset(tensor for part in parts for tensor in (*part.inputs, *part.outputs))

    @property
    def dequantized(self) -> frozenset[str]:
        """Ids of the outputs that are to be float32."""
        everywhere = self.meta.dequantize_outputs or self.meta.denormalize_outputs
        entries = self.selection.output_entries
        wanted = {tensor for tensor, entry in entries.items() if self.meta.outputs[entry].dequantize}
        return frozenset(self.selection.outputs) if everywhere else frozenset(wanted)

    def transposed(self) -> Mapping[str, tuple[int, ...]]:
        """How each boundary tensor is transposed from the model's layout, where the metafile wants another."""
        if self.meta.data_layout != "nchw" or self.source.layout != "nhwc":
            return {}
        tensors = {t for index in self.canonical for p in (self.parts[index].part,) for t in (*p.inputs, *p.outputs)}
        infos = (self.source.tensors[tensor] for tensor in sorted(tensors - self.native))
        return {info.id: NHWC_TO_NCHW for info in infos if info.layout == "nhwc" and len(info.shape) == 4}

    def quantization(self, region: Region, graph: ir.Model) -> Mapping[str, QuantParams | None]:
        """Quantization of each tensor of a region at the boundary; None for plain numbers.

        Args:
            region: The region.
            graph: Its graph, with types.

        Raises:
            InputError: An output is to be float32, but is read in another type by a delegate that computes what the
                model says.
        """
        from synap_core.graph.annotations import quant_of

        found = [*graph.graph.inputs, *graph.graph.initializers.values()]
        values = {str(v.name): v for v in (*found, *(value for node in graph.graph for value in node.outputs))}
        native, dequantized = self.native, self.dequantized
        result: dict[str, QuantParams | None] = {}
        for tensor, name in region.values.items():
            if tensor in native:
                # A real number of the model may have an annotation, too: that it was trained to be quantized.
                is_real = self.source.tensors[tensor].dtype == FLOAT32
                result[tensor] = None if is_real else region.stored.get(tensor)
                self._check_dequantized(tensor, result[tensor])
            else:
                value = values[name]
                constant = value.const_value is not None and region.stored.get(tensor) is None
                result[tensor] = None if constant or tensor in dequantized else quant_of(value)
        return result

    def held(
        self, region: Region, boundary: Mapping[str, QuantParams | None], *, calibrated: bool
    ) -> Mapping[str, Held]:
        """Describe the tensors that are not at the boundary what they are in the model.

        Args:
            region: The region.
            boundary: What `quantization` found.
            calibrated: The quantization was chosen here.
        """
        transposed, native = self.transposed(), self.native
        held = {}
        for tensor, quant in boundary.items():
            if tensor in native:
                continue
            info = self.source.tensors[tensor]
            plain = quant is None or quant.dtype == FLOAT16
            dtype = info.dtype if quant is None else quant.dtype
            dtype = FLOAT32 if quant is None and region.stored.get(tensor) is not None else dtype
            held[tensor] = Held(
                dtype=dtype,
                quant=None if plain else quant,
                layout="nchw" if tensor in transposed else info.layout,
                permutation=transposed.get(tensor),
                calibrated=calibrated and not plain,
            )
        return held

    def _check_dequantized(self, tensor: str, quant: QuantParams | None) -> None:
        info = self.source.tensors[tensor]
        entry = self.selection.output_entries.get(tensor)
        if entry is None or not self.meta.outputs[entry].dequantize or quant is None:
            return
        msg = f"output {info.name!r} cannot be dequantized: a delegate that runs {self.source.format} uses it, too"
        where = self.meta.where("outputs", entry, "dequantize") or None
        raise InputError(msg, where=where, hint="remove 'dequantize', or assign all layers around it to one delegate")
