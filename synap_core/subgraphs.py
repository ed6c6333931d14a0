"""What goes into delegates and runtimes, and what comes out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol

from synap_core.errors import PluginError
from synap_core.format_string import FormatString
from synap_core.payloads import Target
from synap_core.source import Slice, SourceModel
from synap_core.tensors import TensorMeta

if TYPE_CHECKING:
    import numpy as np


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
class Subgraph:
    """A part of the model that one delegate runs.

    Attributes:
        index: Position in execution order; the folder of its files in the bundle.
        source: The model it is a part of.
        part: The layers, and the boundary tensors in the order the files list them.
        inputs: Description of each boundary input, as ``part.inputs``.
        outputs: Description of each boundary output, as ``part.outputs``.
        options: Text after the delegate's name in the metafile; passed to the runtime.
        target: The SoC.
    """

    index: int
    source: SourceModel
    part: Slice
    inputs: tuple[TensorMeta, ...]
    outputs: tuple[TensorMeta, ...]
    options: str
    target: Target

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
