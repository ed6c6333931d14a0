"""The hook specifications: every way in which a plugin can extend the toolkit."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from synap_core.payloads import Command, Delegate, Frontend, OutputFormat, QuantizationAlgorithm, Runtime, Target

PROJECT = "synap"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class SynapSpec:
    """Hooks are asked once, when plugins are loaded, plugin by plugin in the order of their names.

    Every hook collects: it returns an iterable of payloads, which the core indexes by name. Two plugins that
    register one name are both refused that name, and the error says how to disable one of them. A plugin that
    raises, or returns something else, is listed as failed and left out.
    """

    @hookspec
    def synap_frontends(self) -> Iterable[Frontend]:
        """Offer importers of model formats.

        A file is given to the frontend whose suffixes contain its own and whose ``sniff`` accepts its first bytes;
        when several do, the user chooses with ``--frontend``.

        >>> from synap_core.api import Frontend, hookimpl
        >>> def open_toy(request):
        ...     from my_plugin.toy import ToyModel  # heavy imports belong here, not at the top
        ...     return ToyModel(request.path)
        >>> @hookimpl
        ... def synap_frontends():
        ...     yield Frontend(name="toy", summary="Toy text models", suffixes=(".toy",),
        ...                    sniff=lambda head: head.startswith(b"toy "), open=open_toy)
        >>> [frontend.name for frontend in synap_frontends()]
        ['toy']
        """
        raise NotImplementedError

    @hookspec
    def synap_delegates(self) -> Iterable[Delegate]:
        """Offer processing units that layers can be assigned to.

        A delegate is usable on a target that lists its name. It is asked whether it supports each layer it is
        given; a layer that it refuses ends the conversion with its reason.

        One that has ``operations`` compiles the canonical graph of its layers (``subgraph.graph``) where it does not
        run their source format as it is. It is asked about each operation of that graph with its data type; the
        layers of those that it refuses end the conversion, or run on the delegate that ``--fallback`` names. With
        ``estimate`` and ``overhead`` it tells what operations and inferences cost, for ``synap estimate``.

        >>> from synap_core.api import Artifact, Delegate, Support, hookimpl
        >>> def compile_subgraph(subgraph):
        ...     return Artifact(model_file=f"{subgraph.name}.toy", meta_file=f"{subgraph.name}.json",
        ...                     model=subgraph.source.slice(subgraph.part), inputs=subgraph.inputs,
        ...                     outputs=subgraph.outputs, delegate=f"toy {subgraph.options}")
        >>> @hookimpl
        ... def synap_delegates():
        ...     yield Delegate(name="dsp", summary="Signal processor", formats=frozenset({"toy"}),
        ...                    support=lambda layer, model, target: Support(ok=True), compile=compile_subgraph)
        >>> [delegate.name for delegate in synap_delegates()]
        ['dsp']

        A delegate for canonical graphs, which runs all operations of 8 bits:

        >>> def operations(group, dtype, target):
        ...     return Support(ok=dtype in ("uint8", "int8"), engine="dsp", reason=f"it has no {dtype}")
        >>> def compile_graph(subgraph):
        ...     program = " ".join(group.layer_id for group in subgraph.groups)
        ...     return Artifact(model_file="model.toy", meta_file="model.json", model=program.encode(),
        ...                     inputs=subgraph.inputs, outputs=subgraph.outputs, delegate="toy")
        >>> dsp = Delegate(name="dsp", summary="Signal processor", formats=frozenset(),
        ...                support=lambda layer, model, target: Support(ok=True), compile=compile_graph,
        ...                operations=operations, capabilities=frozenset({"quantization", "dequantize"}))
        >>> dsp.operations(None, "int16", None).reason
        'it has no int16'
        """
        raise NotImplementedError

    @hookspec
    def synap_runtimes(self) -> Iterable[Runtime]:
        """Offer engines that execute the model files of a bundle on the host.

        A subgraph is given to the runtime whose name is the first word of its delegate string. It is loaded and
        run in a child process. An executable that also has ``run_layers`` shows what is between its operations, for
        ``synap run --dump-layers``.

        >>> from synap_core.api import Runtime, hookimpl
        >>> class Doubler:
        ...     notes = ()
        ...     def run(self, inputs):
        ...         return [2 * item for item in inputs]
        ...     def reset(self):
        ...         pass
        >>> @hookimpl
        ... def synap_runtimes():
        ...     yield Runtime(name="toy", summary="Doubles numbers", load=lambda model: Doubler())
        >>> [runtime.name for runtime in synap_runtimes()]
        ['toy']
        """
        raise NotImplementedError

    @hookspec
    def synap_targets(self) -> Iterable[Target]:
        """Offer systems on chip, each with its delegates in order of preference.

        >>> from synap_core.api import Target, hookimpl
        >>> @hookimpl
        ... def synap_targets():
        ...     yield Target(name="TOY1", summary="Toy board", delegates=("dsp", "cpu"), aliases=("TOYBOARD",))
        >>> [target.name for target in synap_targets()]
        ['TOY1']
        """
        raise NotImplementedError

    @hookspec
    def synap_quantization_algorithms(self) -> Iterable[QuantizationAlgorithm]:
        """Offer ways to choose quantization parameters, chosen with ``algorithm`` in a metafile.

        The core says which tensors get parameters of which kind, shows the numbers they take to the observers, and
        turns their ranges into scales and zero points; the algorithm may then improve these.

        >>> from synap_core.api import QuantizationAlgorithm, hookimpl
        >>> def load_widest(options):
        ...     from my_plugin.widest import Widest  # has prepare, observer and refine
        ...     return Widest(options)
        >>> def options_model():
        ...     from pydantic import BaseModel, ConfigDict
        ...     class Options(BaseModel):
        ...         model_config = ConfigDict(extra="forbid")
        ...         margin: float = 0
        ...     return Options
        >>> @hookimpl
        ... def synap_quantization_algorithms():
        ...     yield QuantizationAlgorithm(name="widest", summary="Ranges with a margin",
        ...                                 options_model=options_model, load=load_widest)
        >>> [algorithm.name for algorithm in synap_quantization_algorithms()]
        ['widest']
        """
        raise NotImplementedError

    @hookspec
    def synap_output_formats(self) -> Iterable[OutputFormat]:
        """Offer ways to write the result of a conversion, chosen with ``--out-format``.

        ``write`` gets a folder of its own; its files are moved into the user's folder when all have been written.

        >>> from synap_core.api import OutputFormat, hookimpl
        >>> def write_names(conversion, out_dir):
        ...     names = [artifact.model_file for artifact in conversion.artifacts]
        ...     (out_dir / "names.txt").write_text(" ".join(names), encoding="utf-8")
        >>> @hookimpl
        ... def synap_output_formats():
        ...     yield OutputFormat(name="names", summary="Lists file names", write=write_names, primary="names.txt")
        >>> [output.name for output in synap_output_formats()]
        ['names']
        """
        raise NotImplementedError

    @hookspec
    def synap_commands(self) -> Iterable[Command]:
        """Offer extra commands of ``synap``; a built-in command cannot be replaced.

        >>> from synap_core.api import Command, hookimpl
        >>> def load_hello():
        ...     import click
        ...     return click.Command("hello", callback=lambda: click.echo("hello"))
        >>> @hookimpl
        ... def synap_commands():
        ...     yield Command(name="hello", summary="Say hello", load=load_hello)
        >>> [command.name for command in synap_commands()]
        ['hello']
        """
        raise NotImplementedError
