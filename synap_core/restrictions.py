"""Refuse what the chosen delegates cannot do, rather than ignore it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synap_core.delegate_rules import Assignment
from synap_core.errors import InputError
from synap_core.payloads import Delegate
from synap_core.request import Opened

if TYPE_CHECKING:
    from synap_core.metafile import Metafile

NO_PREPROCESSING = ("", "none")
DEFAULT_LAYOUT = "default"

NOT_BUILT = ("preprocess", "security")
"""Capabilities that a delegate may have, but that no conversion makes use of."""


IDLE_ACCURACY = (
    "--target-accuracy has no effect: nothing is quantized in this conversion, as the metafile has no 'quantization'"
    " with a 'dataset'"
)
"""Warning for a wanted accuracy where there is nothing to raise."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """Something that needs a capability.

    Attributes:
        capability: The capability.
        what: What is asked for.
        where: What asks for it.
        delegates: Names of the delegates that it concerns; those of all layers when None.
        one: It is enough when one of them has the capability.
    """

    capability: str
    what: str
    where: str
    delegates: frozenset[str] | None = None
    one: bool = False


def check_capabilities(
    opened: Opened, assigned: Mapping[int, Assignment], installed: Mapping[str, Delegate], *, profiling: bool
) -> None:
    """Compare what the metafile and the command line ask for with what the delegates declare.

    What concerns one input or output must be possible for the delegates of the layers next to it; quantization and
    profiling for one of the delegates.

    Args:
        opened: The model and the metafile.
        assigned: Where each layer runs, by operator index.
        installed: All delegates there are, by name.
        profiling: Layer-by-layer profiling is asked for.

    Raises:
        InputError: A delegate lacks a capability that is asked for, or the model's format rules it out.
    """
    everywhere = {assignment.delegate for assignment in assigned.values()}
    for wish in _wishes(opened, assigned, profiling=profiling):
        used = [installed[name] for name in sorted(everywhere if wish.delegates is None else wish.delegates)]
        unable = [delegate for delegate in used if wish.capability not in delegate.capabilities]
        if not unable or (wish.one and len(unable) < len(used)):
            if wish.capability in NOT_BUILT:
                msg = f"{wish.what} cannot be built into a model yet"
                raise InputError(msg, where=wish.where or None, hint="remove the option")
            continue
        target = opened.target
        others = [installed[name] for name in target.delegates if name in installed]
        able = [other.name for other in others if wish.capability in other.capabilities]
        none = f"no installed delegate of {target.name} offers it"
        offer = f"assign the layers to {' or '.join(able)}" if able else none
        msg = f"delegate {unable[0].name!r} doesn't support {wish.what} (capability {wish.capability!r})"
        raise InputError(msg, where=wish.where or None, hint=f"{offer}, or remove the option")
    layout = opened.meta.data_layout
    if layout == "nhwc" and opened.source.layout == "nchw":
        msg = f"data_layout 'nhwc' is not possible for the format {opened.source.format}, whose models are in nchw"
        raise InputError(msg, where=opened.meta.where("data_layout") or None, hint="remove 'data_layout'")


def partly_ineffective(
    opened: Opened, assigned: Mapping[int, Assignment], installed: Mapping[str, Delegate]
) -> Iterator[str]:
    """Yield a line for each option that has no effect on some of the layers."""
    meta, selection = opened.meta, opened.selection
    makers = _makers(opened, assigned)
    unable = [t for t in selection.outputs if not _is_able(makers.get(t), installed)]
    for name in ("dequantize_outputs", "denormalize_outputs"):
        if getattr(meta, name) and unable:
            names = ", ".join(repr(opened.source.tensors[tensor].name) for tensor in unable)
            yield f"{meta.where(name)}: {name!r} has no effect on outputs that other delegates compute: {names}"


def _is_able(delegate: str | None, installed: Mapping[str, Delegate]) -> bool:
    return delegate is not None and "dequantize" in installed[delegate].capabilities


def _makers(opened: Opened, assigned: Mapping[int, Assignment]) -> dict[str, str]:
    """Delegate that computes each tensor, by id."""
    layers = [layer for layer in opened.selection.layers if layer.index is not None]
    return {
        tensor: assigned[layer.index].delegate
        for layer in layers
        if layer.index is not None
        for tensor in layer.outputs
    }


def _wishes(opened: Opened, assigned: Mapping[int, Assignment], *, profiling: bool) -> Iterator[_Wish]:
    meta, source, selection = opened.meta, opened.source, opened.selection
    makers = _makers(opened, assigned)
    outputs = {entry: makers[tensor] for tensor, entry in selection.output_entries.items() if tensor in makers}
    readers: dict[int, set[str]] = {}
    for layer in selection.layers:
        for tensor in layer.inputs:
            if tensor in selection.input_entries and layer.index is not None:
                readers.setdefault(selection.input_entries[tensor], set()).add(assigned[layer.index].delegate)
    for i, what, where in _preprocessing(meta):
        yield _Wish("preprocess", what, where, frozenset(readers.get(i, ())) or None)
    for i, what, where in _dequantization(meta):
        yield _Wish("dequantize", what, where, frozenset({outputs[i]}) if i in outputs else None)
    if _is_quantized(meta):
        yield _Wish("quantization", "quantization", meta.where("quantization"), one=True)
    for capability, what, where in _global_requests(meta):
        yield _Wish(capability, what, where, one=capability == "dequantize")
    if meta.data_layout not in (DEFAULT_LAYOUT, source.layout):
        what = f"data_layout {meta.data_layout!r} for a model in {source.layout}"
        yield _Wish("layout", what, meta.where("data_layout"))
    if profiling:
        yield _Wish("profiling", "--profiling", "", one=True)


def _is_quantized(meta: Metafile) -> bool:
    return meta.quantization is not None and meta.quantization.enabled


def _global_requests(meta: Metafile) -> Iterator[tuple[str, str, str]]:
    """Yield (capability, what asks for it, where)."""
    if meta.security is not None and meta.security.secure:
        yield "security", "secure models", meta.where("security")
    for name in ("dequantize_outputs", "denormalize_outputs"):
        if getattr(meta, name):
            yield "dequantize", "output dequantization", meta.where(name)


def _preprocessing(meta: Metafile) -> Iterator[tuple[int, str, str]]:
    """Yield (position of the input, what is asked for, where)."""
    for i, entry in enumerate(meta.inputs):
        if entry.preprocess is not None and entry.preprocess.type not in NO_PREPROCESSING:
            yield i, f"input preprocessing {entry.preprocess.type!r}", meta.where("inputs", i, "preprocess")


def _dequantization(meta: Metafile) -> Iterator[tuple[int, str, str]]:
    """Yield (position of the output, what is asked for, where)."""
    for i, output in enumerate(meta.outputs):
        if output.dequantize:
            yield i, "output dequantization", meta.where("outputs", i, "dequantize")


def check_whole_graph(meta: Metafile) -> None:
    """Refuse what a canonical graph cannot hold.

    Raises:
        InputError: The metafile asks for preprocessing, security or dequantization.
    """
    requests = [*_preprocessing(meta), *_dequantization(meta), *_global_requests(meta)]
    if requests:
        _, what, where = requests[0]
        msg = f"{what} cannot be written as one graph of the whole model"
        raise InputError(msg, where=where, hint="remove the option, or choose another --out-format")


def ineffective_on_whole_graph(meta: Metafile) -> Iterator[str]:
    """Yield a line for each option that only bundles have a use for."""
    yield from _idle_quantization(meta)
    reason = "has no effect on a graph of the whole model"
    # Quantization reads images as the inputs describe them.
    calibrated = _is_quantized(meta)
    for name in ("delegate", "optimize", *(() if calibrated else ("input_format",)), "output_format"):
        if name in meta.model_fields_set:
            yield f"{meta.where(name)}: {name!r} {reason}"
    for field, entries in (("inputs", () if calibrated else meta.inputs), ("outputs", meta.outputs)):
        for i, entry in enumerate(entries):
            for name in ("format", "means", "scale"):
                if name in entry.model_fields_set:
                    yield f"{meta.where(field, i, name)}: {name!r} {reason}"


def ineffective_options(meta: Metafile) -> Iterator[str]:
    """Yield a line for each option that is accepted but has no effect."""
    if meta.optimize is not None:
        reason = "no delegate has an optimization that it turns on or off, so the result is the same without it"
        yield f"{meta.where('optimize')}: 'optimize' has no effect: {reason}"
    for i, entry in enumerate(meta.inputs):
        idle = entry.preprocess
        if idle is not None and idle.type in NO_PREPROCESSING and (idle.size is not None or idle.crop):
            where = meta.where("inputs", i, "preprocess")
            yield f"{where}: without a preprocessing type, 'size' and 'crop' have no effect"
    yield from _idle_quantization(meta)


def _idle_quantization(meta: Metafile) -> Iterator[str]:
    if meta.quantization is not None and not _is_quantized(meta):
        yield f"{meta.where('quantization')}: no 'dataset', so the model is not quantized"
