"""What plugins register: one frozen dataclass per kind of feature, validated when it is built."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from synap_core.errors import PluginError
from synap_core.source import Layer, ModelRequest, Slice, SourceModel
from synap_core.tensors import TensorMeta

if TYPE_CHECKING:
    import click
    import numpy as np

    from synap_core.conversion import Conversion
    from synap_core.format_string import FormatString

CAPABILITIES = ("quantization", "preprocess", "dequantize", "security", "layout", "profiling")
"""What a delegate may declare to be able to do besides running layers."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Base of every payload.

    Attributes:
        name: The word that metafiles and the command line use for it.
        summary: One line for listings.
    """

    kind: ClassVar[str] = "registration"
    name: str
    summary: str

    def __post_init__(self) -> None:
        self._require(_NAME.fullmatch(self.name) is not None, "has a name with other characters than A-Z a-z 0-9 _ . -")

    def _require(self, condition: bool, problem: str) -> None:
        if not condition:
            msg = f"{self.kind} {self.name!r} {problem}"
            raise PluginError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontend(Registration):
    """A model importer.

    Attributes:
        suffixes: Lower-case file suffixes it reads, dot included.
        sniff: Tells from the first 4,096 bytes of a file whether it can be of this format.
        open: Reads the file. Raises `InputError` for anything that is wrong with it.
    """

    kind: ClassVar[str] = "frontend"
    suffixes: tuple[str, ...]
    sniff: Callable[[bytes], bool]
    open: Callable[[ModelRequest], SourceModel]

    def __post_init__(self) -> None:
        Registration.__post_init__(self)
        good = all(s.startswith(".") and s == s.lower() for s in self.suffixes)
        self._require(good and bool(self.suffixes), "needs lower-case suffixes that start with a dot")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegate(Registration):
    """A processing unit that layers can be assigned to.

    Attributes:
        formats: Source formats it runs as they are.
        support: Whether it runs a layer of a model on a target.
        compile: Turns a subgraph into the files of the bundle.
        capabilities: Subset of `CAPABILITIES`.
    """

    kind: ClassVar[str] = "delegate"
    formats: frozenset[str]
    support: Callable[[Layer, SourceModel, Target], Support]
    compile: Callable[[Subgraph], Artifact]
    capabilities: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        Registration.__post_init__(self)
        unknown = ", ".join(sorted(self.capabilities - set(CAPABILITIES)))
        self._require(not unknown, f"declares unknown capabilities: {unknown}")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime(Registration):
    """An engine that executes one kind of model file on the host.

    Attributes:
        load: Loads a model. Called in a process of its own, so a native crash takes nothing else down.
    """

    kind: ClassVar[str] = "runtime"
    load: Callable[[RuntimeModel], Executable]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(Registration):
    """A system on chip.

    Attributes:
        delegates: Names of its delegates; the first is the default.
        aliases: Other names for it, upper case.
        parameters: Settings of this chip for each delegate.
    """

    kind: ClassVar[str] = "target"
    delegates: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    parameters: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Registration.__post_init__(self)
        self._require(bool(self.delegates), "has no delegate")
        upper = all(word == word.upper() for word in (self.name, *self.aliases))
        self._require(upper, "must have an upper-case name and aliases: the command line folds to upper case")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFormat(Registration):
    """A way to write the result of a conversion.

    Attributes:
        write: Writes its files into a folder, and nothing else.
        primary: Name of the file the user is after; it is put in place last.
        reports: Names of the other files it can write. Those an earlier run left are removed when this run has none.
    """

    kind: ClassVar[str] = "output format"
    write: Callable[[Conversion, Path], None]
    primary: str
    reports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Registration):
    """An extra command of ``synap``.

    Attributes:
        load: Imports and returns the click command.
    """

    kind: ClassVar[str] = "command"
    load: Callable[[], click.Command]
