"""Layers that a delegate does not run: what is said about them, and where else they can go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synap_core.delegate_rules import DEFAULT, Assignment
from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.payloads import EXACT_TYPE, Delegate, Target
from synap_core.request import Opened
from synap_core.source import Layer, SourceModel

if TYPE_CHECKING:
    from synap_core.metafile import Metafile

YAML_WORDS = frozenset({"true", "false", "null"})
"""What is no text in YAML when it is written without quotes."""

MAX_LISTED = 20
"""Layers to name in an error."""

SPECIAL = ("*", "INPUTS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A layer that the delegate it is assigned to does not run.

    Attributes:
        layer: The layer.
        delegate: The delegate's name.
        reason: Why not, as a clause that fits behind "because".
        expressed: The canonical graph can express it; when it cannot, no delegate runs it that compiles that graph.
    """

    layer: Layer
    delegate: str
    reason: str
    expressed: bool = True


def fallbacks(source: SourceModel, target: Target, host: PluginHost, *, expressed: bool = True) -> list[str]:
    """Names of the delegates of a target that run all layers of a model as it says, in the target's order.

    They take its format as it is, or its canonical graph in float32.

    Args:
        source: The model.
        target: The SoC.
        host: Where the delegates are.
        expressed: The canonical graph expresses the layers in question.
    """
    known = [host.delegates[name] for name in target.delegates if name in host.delegates]
    return [d.name for d in known if source.format in d.formats or (expressed and _is_exact(d))]


def _is_exact(delegate: Delegate) -> bool:
    return delegate.operations is not None and delegate.real_type == EXACT_TYPE


def check_fallback(name: str, source: SourceModel, target: Target, host: PluginHost) -> None:
    """Check that refused layers can go to a delegate.

    Raises:
        InputError: It is not installed, not one of the target, or does not run all layers of the model as it says.
    """
    possible = fallbacks(source, target, host)
    if name in possible:
        return
    listed = ", ".join(possible) or "none"
    if name in target.delegates:
        if name not in host.delegates:
            raise host.missing(Delegate, name, possible)
        msg = f"--fallback {name}: it does not run {source.format} models as they are, or in float32; allowed: {listed}"
    else:
        msg = (
            f"--fallback {name}: target {target.name} has no such delegate that runs {source.format}; allowed: {listed}"
        )
    raise InputError(msg)


def refused(found: Sequence[Refusal], opened: Opened, host: PluginHost) -> InputError:
    """The error that lists refused layers, and says what to do.

    Args:
        found: The layers; at least one.
        opened: The model, its metafile and the target.
        host: Where the delegates are.
    """
    source, meta, target = opened.source, opened.meta, opened.target
    refusing = {item.delegate for item in found}
    expressed = all(item.expressed for item in found)
    possible = [name for name in fallbacks(source, target, host, expressed=expressed) if name not in refusing]
    listed = "; ".join(f"{f.layer.name!r} ({f.layer.type}), because {f.reason}" for f in found[:MAX_LISTED])
    delegates = " and ".join(dict.fromkeys(item.delegate for item in found))
    more = f"; and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
    layers = "1 layer" if len(found) == 1 else f"{len(found)} layers"
    msg = f"{layers} cannot run on {delegates}: {listed}{more}"
    if not possible:
        return InputError(msg, hint="end the model in front of them, with 'outputs' in the metafile")
    last = possible[-1]  # a target lists what it prefers first, and what runs everything last
    lines = _rules(found, source, meta, target, last)
    hint = f"run them on {last}: --fallback {last} does it, and so does in the metafile: {lines}"
    return InputError(msg, where=meta.where("delegate") or None, hint=hint)


def _rules(found: Sequence[Refusal], source: SourceModel, meta: Metafile, target: Target, fallback: str) -> str:
    """The metafile's ``delegate`` with further rules."""
    names = Counter(layer.name for layer in source.layers)
    names_of = {DEFAULT: target.delegates[0]}
    rules = {rule.pattern: f"{names_of.get(rule.type, rule.type)} {rule.options}".strip() for rule in meta.delegate}
    for item in found[:MAX_LISTED]:
        key = _pattern(item.layer, names)
        # A rule that is there already must come last to hold.
        rules.pop(key, None)
        rules[key] = fallback
    more = ", …" if len(found) > MAX_LISTED else ""
    return f"delegate: {{{', '.join(f'{_quoted(key)}: {_quoted(text)}' for key, text in rules.items())}{more}}}"


def _pattern(layer: Layer, names: Mapping[str, int]) -> str:
    name = layer.name
    plain = names[name] == 1 and not name.isdecimal() and name not in SPECIAL
    plain = plain and bool(name.strip()) and not name.startswith("@") and not name.endswith("...")
    return name if plain and name.isprintable() else str(layer.index)


def _quoted(text: str) -> str:
    plain = bool(text) and all(c.isalnum() or c in "_-" for c in text) and not text[0].isdecimal() and text[0] != "-"
    plain = plain and text.lower() not in YAML_WORDS
    return text if plain and text.isascii() else "'" + text.replace("'", "''") + "'"


def moved(
    found: Iterable[Refusal], source: SourceModel, assigned: Mapping[int, Assignment], fallback: str
) -> tuple[dict[int, Assignment], list[str]]:
    """Give refused layers another delegate; those that share a variable with one go along.

    Returns:
        The assignment of all layers, and a line about each that was moved.
    """
    result, lines = dict(assigned), []
    variables: dict[str, Refusal] = {}
    for item in found:
        result[_index(item.layer)] = Assignment(fallback)
        lines.append(_line(item.layer, item.delegate, item.reason, fallback))
        variables |= dict.fromkeys(item.layer.state, item)
    pending = [layer for layer in source.layers if layer.index in result and layer.state]
    while chosen := [la for la in pending if la.state & variables.keys() and result[_index(la)].delegate != fallback]:
        for layer in chosen:
            first = variables[min(layer.state & variables.keys())]
            reason = f"it shares a variable with {first.layer.name!r}"
            lines.append(_line(layer, result[_index(layer)].delegate, reason, fallback))
            result[_index(layer)] = Assignment(fallback)
            variables |= {name: first for name in layer.state if name not in variables}
    return result, lines


def _line(layer: Layer, delegate: str, reason: str, fallback: str) -> str:
    return f"layer {layer.name!r} ({layer.type}) runs on {fallback}, not on {delegate}, because {reason}"


def _index(layer: Layer) -> int:
    return -1 if layer.index is None else layer.index
