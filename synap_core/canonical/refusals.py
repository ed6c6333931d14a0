"""Layers that a delegate does not run: what is said about them, and where else they can go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synap_core.companions import companions
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
    along = [layer for layer, _ in companions([f.layer for f in found], opened.selection.layers, source, _nowhere)]
    lines = _rules([*(f.layer for f in found), *along], source, meta, target, last)
    others = f" with {len(along)} more that cannot be parted from them" if along else ""
    hint = f"run them on {last}{others}: --fallback {last} does it, and so does in the metafile: {lines}"
    return InputError(msg, where=meta.where("delegate") or None, hint=hint)


def _nowhere(_layer: Layer) -> bool:
    return False


def _rules(found: Sequence[Layer], source: SourceModel, meta: Metafile, target: Target, fallback: str) -> str:
    """The metafile's ``delegate`` with further rules."""
    names = Counter(layer.name for layer in source.layers)
    names_of = {DEFAULT: target.delegates[0]}
    rules = {rule.pattern: f"{names_of.get(rule.type, rule.type)} {rule.options}".strip() for rule in meta.delegate}
    for layer in found[:MAX_LISTED]:
        key = _pattern(layer, names)
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
    """Give refused layers another delegate; those that cannot be parted from one go along.

    Returns:
        The assignment of all layers, and a line about each that was moved.
    """
    result, lines = dict(assigned), []
    first = list(found)
    for item in first:
        result[_index(item.layer)] = Assignment(fallback)
        lines.append(_line(item.layer, item.delegate, item.reason, fallback))
    layers = [layer for layer in source.layers if layer.index in result]

    def settled(layer: Layer) -> bool:
        return result[_index(layer)].delegate == fallback

    for layer, reason in list(companions([item.layer for item in first], layers, source, settled)):
        lines.append(_line(layer, result[_index(layer)].delegate, reason, fallback))
        result[_index(layer)] = Assignment(fallback)
    return result, lines


def _line(layer: Layer, delegate: str, reason: str, fallback: str) -> str:
    return f"layer {layer.name!r} ({layer.type}) runs on {fallback}, not on {delegate}, because {reason}"


def _index(layer: Layer) -> int:
    return -1 if layer.index is None else layer.index
