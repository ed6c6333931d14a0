"""Refuse what the chosen delegates cannot do, rather than ignore it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from synap_core.errors import InputError
from synap_core.payloads import Delegate
from synap_core.source import SourceModel

if TYPE_CHECKING:
    from synap_core.metafile import Metafile

NO_PREPROCESSING = ("", "none")
DEFAULT_LAYOUT = "default"


def check_capabilities(
    meta: Metafile, source: SourceModel, used: Iterable[Delegate], installed: Iterable[Delegate], *, profiling: bool
) -> None:
    """Compare what the metafile and the command line ask for with what the delegates declare.

    Args:
        meta: The metafile.
        source: The model, for its native layout.
        used: Delegates that layers are assigned to.
        installed: All delegates there are, for the hint.
        profiling: Layer-by-layer profiling is asked for.

    Raises:
        InputError: A used delegate lacks a capability that is asked for.
    """
    used, installed = list(used), list(installed)
    for capability, what, where in _requests(meta, source, profiling=profiling):
        for delegate in used:
            if capability not in delegate.capabilities:
                able = [other.name for other in installed if capability in other.capabilities]
                offer = f"assign the layers to {' or '.join(able)}" if able else "no installed delegate offers it"
                msg = f"delegate {delegate.name!r} doesn't support {what} (capability {capability!r})"
                raise InputError(msg, where=where or None, hint=f"{offer}, or remove the option")


def _requests(meta: Metafile, source: SourceModel, *, profiling: bool) -> Iterator[tuple[str, str, str]]:
    """Yield (capability, what asks for it, where)."""
    yield from _tensor_requests(meta)
    if _is_quantized(meta):
        yield "quantization", "quantization", meta.where("quantization")
    yield from _global_requests(meta)
    if meta.data_layout not in (DEFAULT_LAYOUT, source.layout):
        yield "layout", f"data_layout {meta.data_layout!r} for a model in {source.layout}", meta.where("data_layout")
    if profiling:
        yield "profiling", "--profiling", ""


def _is_quantized(meta: Metafile) -> bool:
    return meta.quantization is not None and meta.quantization.enabled


def _global_requests(meta: Metafile) -> Iterator[tuple[str, str, str]]:
    if meta.security is not None and meta.security.secure:
        yield "security", "secure models", meta.where("security")
    for name in ("dequantize_outputs", "denormalize_outputs"):
        if getattr(meta, name):
            yield "dequantize", "output dequantization", meta.where(name)


def _tensor_requests(meta: Metafile) -> Iterator[tuple[str, str, str]]:
    for i, entry in enumerate(meta.inputs):
        if entry.preprocess is not None and entry.preprocess.type not in NO_PREPROCESSING:
            yield "preprocess", f"input preprocessing {entry.preprocess.type!r}", meta.where("inputs", i, "preprocess")
    for i, output in enumerate(meta.outputs):
        if output.dequantize:
            yield "dequantize", "output dequantization", meta.where("outputs", i, "dequantize")


def check_whole_graph(meta: Metafile) -> None:
    """Refuse what a canonical graph cannot hold.

    Raises:
        InputError: The metafile asks for preprocessing, security or dequantization.
    """
    requests = [*_tensor_requests(meta), *_global_requests(meta)]
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
        yield f"{meta.where('optimize')}: 'optimize' has no effect on the delegates of this model"
    for i, entry in enumerate(meta.inputs):
        idle = entry.preprocess
        if idle is not None and idle.type in NO_PREPROCESSING and (idle.size is not None or idle.crop):
            where = meta.where("inputs", i, "preprocess")
            yield f"{where}: without a preprocessing type, 'size' and 'crop' have no effect"
    yield from _idle_quantization(meta)


def _idle_quantization(meta: Metafile) -> Iterator[str]:
    if meta.quantization is not None and not _is_quantized(meta):
        yield f"{meta.where('quantization')}: no 'dataset', so the model is not quantized"
