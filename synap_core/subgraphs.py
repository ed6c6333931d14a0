"""What goes into delegates and runtimes, and what comes out of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from synap_core.errors import PluginError
from synap_core.format_string import FormatString
from synap_core.payloads import Target
from synap_core.source import Slice, SourceModel
from synap_core.tensors import QuantParams, TensorMeta

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    from pydantic import BaseModel

    from synap_core.cache import Cache
    from synap_core.graph.groups import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """A delegate's answer to whether it runs a layer.

    Attributes:
        ok: It does.
        engine: Which of its engines would run it; for reports.
        reason: Why not, as a clause that fits behind "because"; empty when ``ok``.
    """

    ok: bool
    engine: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an operation is expected to cost on a target.

    Attributes:
        seconds: Time it takes.
        cycles: Clock cycles that is.
        bytes_read: Bytes read from memory outside of the chip.
        bytes_written: Bytes written there.
    """

    seconds: float
    cycles: int
    bytes_read: int
    bytes_written: int

    def __post_init__(self) -> None:
        numbers = (self.seconds, self.cycles, self.bytes_read, self.bytes_written)
        if not all(0 <= number < math.inf for number in numbers):
            msg = f"the costs of an operation must be numbers that are not negative: {self}"
            raise PluginError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgraph:
    """A part of the model that one delegate runs.

    The canonical graph of a part is that of exactly its layers. Its inputs and outputs are those of the part, in their
    order, followed by those of its variables. Values carry the quantization they have in memory, constants that are
    stored in another way than as float32 are a `QuantizedTensor`, and where a type changes there is an Identity node.
    Real numbers at the boundary that carry none are float32 there.

    Attributes:
        index: Position in execution order; the folder of its files in the bundle.
        source: The model it is a part of.
        part: The layers, and the boundary tensors in the order the files list them.
        inputs: Description of each boundary input, as ``part.inputs``.
        outputs: Description of each boundary output, as ``part.outputs``.
        options: Text after the delegate's name in the metafile; passed to the runtime.
        target: The SoC.
        graph: Canonical graph of the part; None for a delegate that takes the source format.
        groups: The operations of that graph, in execution order; each of its nodes is in exactly one.
        parameters: What the target says about the delegate, validated by the delegate's ``parameters_model``.
        cache: Results of earlier conversions; None when none are kept.
        profiling: A model is asked for that can be profiled layer by layer.
    """

    index: int
    source: SourceModel
    part: Slice
    inputs: tuple[TensorMeta, ...]
    outputs: tuple[TensorMeta, ...]
    options: str
    target: Target
    graph: ir.Model | None = None
    groups: tuple[Group, ...] = ()
    parameters: BaseModel | None = None
    cache: Cache | None = None
    profiling: bool = False

    @property
    def name(self) -> str:
        """Name in reports and file names."""
        return f"subgraph_{self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What a delegate made of a subgraph.

    Attributes:
        model_file: Base name of the model in the bundle.
        meta_file: Base name of the metadata in the bundle.
        model: Content of the model file; not empty.
        inputs: Its inputs, in the model file's order (a delegate may add some).
        outputs: Its outputs, in the model file's order.
        delegate: Delegate string of the metadata: the runtime's name, then its options.
        listings: Reports by title, for ``model_info.txt``.
    """

    model_file: str
    meta_file: str
    model: bytes
    inputs: tuple[TensorMeta, ...]
    outputs: tuple[TensorMeta, ...]
    delegate: str
    listings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (self.model_file, self.meta_file):
            if not name or name != PurePosixPath(name).name or "\\" in name or name in {".", ".."}:
                msg = f"an artifact's file must have a base name, not {name!r}"
                raise PluginError(msg)
        if self.model_file == self.meta_file or not isinstance(self.model, bytes) or not self.model:
            msg = f"an artifact needs a model of bytes, not empty, and two file names: {self.model_file!r}"
            raise PluginError(msg)


class Executable(Protocol):
    """A loaded model, ready to run; used by one thread at a time."""

    @property
    def notes(self) -> Sequence[str]:
        """One line for each option that has no effect on this machine."""
        ...

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Run once.

        Args:
            inputs: Raw items of each input, with the shape and type its description gives.

        Returns:
            Raw items of each output, in arrays that later runs do not overwrite.

        Raises:
            InputError: The model cannot be run.
        """
        ...

    def reset(self) -> None:
        """Forget the state that earlier runs left in variables."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerOutput:
    """What an operation of a loaded model gave.

    Attributes:
        position: Position of the operation, in execution order.
        layer: Its name; that of the layer it comes from, where the model has it.
        type: Its operator.
        name: Name of the tensor.
        items: Raw items.
        quant: What they stand for; None when they are plain numbers.
    """

    position: int
    layer: str
    type: str
    name: str
    items: np.ndarray
    quant: QuantParams | None = None


@runtime_checkable
class InspectableExecutable(Executable, Protocol):
    """A loaded model that also shows what is between its operations; a runtime need not offer that."""

    def run_layers(self, inputs: Sequence[np.ndarray]) -> Sequence[LayerOutput]:
        """Run once, from the state that the model has when it is loaded, without changing the one that `run` sees.

        Args:
            inputs: As those of `run`.

        Returns:
            What each operation gives, in execution order; operations that were optimized away may be missing.

        Raises:
            InputError: The model cannot be run.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeModel:
    """What a runtime is asked to load.

    Attributes:
        name: Member of the bundle, for messages.
        model: Content of the model file.
        inputs: Its inputs, in order.
        outputs: Its outputs, in order.
        options: The whole delegate string; its type is the runtime's name.
    """

    name: str
    model: bytes
    inputs: tuple[TensorMeta, ...]
    outputs: tuple[TensorMeta, ...]
    options: FormatString
