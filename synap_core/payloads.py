"""What plugins register: one frozen dataclass per kind of feature, validated when it is built.

Every start of the command line imports this module, so it imports nothing that only a conversion needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from synap_core.errors import InputError, PluginError

if TYPE_CHECKING:
    import click
    import onnx_ir as ir
    from pydantic import BaseModel

    from synap_core.conversion import Conversion
    from synap_core.estimation import Overhead
    from synap_core.graph.groups import Group
    from synap_core.program_report import ProgramDescription
    from synap_core.quantization.interface import Algorithm, Session
    from synap_core.source import Layer, ModelRequest, OperatorSupport, SourceModel
    from synap_core.subgraphs import Artifact, Cost, Executable, RuntimeModel, Subgraph, Support

CAPABILITIES = ("quantization", "preprocess", "dequantize", "security", "layout", "profiling")
"""What a delegate may declare to be able to do besides running layers."""

EXACT_TYPE = "float32"
REAL_TYPES = ("float16", EXACT_TYPE)

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
        operators: Lists the operators of the format, and what becomes of each in the canonical graph.
        advise: Asked about a folder, or a file that no frontend reads, which was given as a model: the error that says
            what it is and what to give in its place; None when the format has nothing to do with it.
    """

    kind: ClassVar[str] = "frontend"
    suffixes: tuple[str, ...]
    sniff: Callable[[bytes], bool]
    open: Callable[[ModelRequest], SourceModel]
    operators: Callable[[], Sequence[OperatorSupport]] = tuple
    advise: Callable[[Path], InputError | None] | None = None

    def __post_init__(self) -> None:
        Registration.__post_init__(self)
        good = all(s.startswith(".") and s == s.lower() for s in self.suffixes)
        self._require(good and bool(self.suffixes), "needs lower-case suffixes that start with a dot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegate(Registration):
    """A processing unit that layers can be assigned to.

    A delegate that has ``operations`` compiles the canonical graph of its subgraphs, when the model is in none of its
    ``formats``; any other one takes them in the source format. Data types are those of an operation's output:
    ``uint8``, ``int8``, ``int16`` or ``float16``, and for an output that holds no real numbers that of its operands.

    Attributes:
        formats: Source formats it runs as they are.
        support: Whether it runs a layer of a model on a target; not asked about layers whose canonical graph it gets.
        compile: Turns a subgraph into the files of the bundle.
        capabilities: Subset of `CAPABILITIES`.
        operations: Whether it runs an operation of the canonical graph with a data type on a target; None for a
            delegate that takes source formats alone.
        group: Joins operations of the canonical graph further than the core does. Gets the graph, which it must not
            change, the operations of one subgraph in execution order, the target, and the names of the values that
            must exist between operations; returns operations of the same nodes.
        estimate: What an operation costs with a data type on a target; None when that is not known.
        overhead: What an inference of a subgraph costs on a target besides its operations, and what to expect of the
            estimates; None when that is not known.
        parameters_model: Imports and returns the pydantic model of `Target.parameters` for this delegate. Where a user
            gives other parameters, the validation context has the target's name and its own ones.
        real_type: Data type of its operations on real numbers where they are not quantized: ``float16``, or ``float32``
            for a delegate that computes what the model says. The latter is never asked to quantize, its tensors at the
            boundary are those of the model, and what other delegates refuse can go to it.
    """

    kind: ClassVar[str] = "delegate"
    formats: frozenset[str]
    support: Callable[[Layer, SourceModel, Target], Support]
    compile: Callable[[Subgraph], Artifact]
    capabilities: frozenset[str] = frozenset()
    operations: Callable[[Group, str, Target], Support] | None = None
    group: Callable[[ir.Model, Sequence[Group], Target, Collection[str]], Sequence[Group]] | None = None
    estimate: Callable[[Group, str, Target], Cost | None] | None = None
    overhead: Callable[[Target], Overhead | None] | None = None
    parameters_model: Callable[[], type[BaseModel]] | None = None
    real_type: str = "float16"

    def __post_init__(self) -> None:
        Registration.__post_init__(self)
        self._require(self.real_type in REAL_TYPES, f"has the real type {self.real_type!r}, not float16 or float32")
        exact = self.real_type == EXACT_TYPE and "quantization" in self.capabilities
        self._require(not exact, "computes in float32, so it cannot declare to quantize")
        unknown = ", ".join(sorted(self.capabilities - set(CAPABILITIES)))
        self._require(not unknown, f"declares unknown capabilities: {unknown}")
        alone = self.operations is None and any((self.group, self.estimate, self.overhead))
        self._require(not alone, "groups or estimates operations without saying which of them it runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime(Registration):
    """An engine that executes one kind of model file on the host.

    Attributes:
        load: Loads a model. Called in a process of its own, so a native crash takes nothing else down.
        open_graph: Makes an ONNX model of plain operators ready for numeric work such as calibration: every node is
            computed as it is written, by one thread per run. None when the engine runs no such models.
        describe: Tells what a model of its kind consists of and what it is predicted to cost, without executing
            anything of it; None for a model that says nothing of that. Called in the process of the command, on files
            that nobody has checked: raises `InputError` for one that is damaged. None when the engine's models never
            do.
    """

    kind: ClassVar[str] = "runtime"
    load: Callable[[RuntimeModel], Executable]
    open_graph: Callable[[ir.Model], Session] | None = None
    describe: Callable[[RuntimeModel], ProgramDescription | None] | None = None


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
class QuantizationAlgorithm(Registration):
    """A way to choose quantization parameters from samples.

    Attributes:
        options_model: Imports and returns the pydantic model of its ``options``; unknown keys must be refused.
        load: Makes the algorithm for one conversion, given its validated options.
    """

    kind: ClassVar[str] = "quantization algorithm"
    options_model: Callable[[], type[BaseModel]]
    load: Callable[[BaseModel], Algorithm]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFormat(Registration):
    """A way to write the result of a conversion.

    Attributes:
        write: Writes its files into a folder, and nothing else.
        primary: Name of the file the user is after; it is put in place last.
        whole_graph: It writes the canonical graph of the whole model (`Conversion.graph`): no delegates are assigned,
            and there are no subgraphs.
        reports: Names of the other files it can write. Those an earlier run left are removed when this run has none.
    """

    kind: ClassVar[str] = "output format"
    write: Callable[[Conversion, Path], None]
    primary: str
    whole_graph: bool = False
    reports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Registration):
    """An extra command of ``synap``.

    Attributes:
        load: Imports and returns the click command.
    """

    kind: ClassVar[str] = "command"
    load: Callable[[], click.Command]


def require_type(item: Registration, value: object, expected: type) -> None:
    """Check what a plugin's function returned.

    Raises:
        PluginError: It is something else.
    """
    if not isinstance(value, expected):
        msg = f"{item.kind} {item.name!r} returned {value!r}, which is not a {expected.__name__}"
        raise PluginError(msg)
