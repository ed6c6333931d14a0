"""Give every layer a delegate, as the metafile's ``delegate`` field says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.names import LayerIndex, is_operator, listing
from synap_core.payloads import Delegate, Target, require_type
from synap_core.source import Layer, SourceModel
from synap_core.subgraphs import Support

if TYPE_CHECKING:
    from synap_core.metafile import DelegateRule, Metafile

EVERYTHING = "*"
INPUTS = "INPUTS"
FOLLOWING = "..."
DEFAULT = "default"


@dataclass(frozen=True, slots=True, order=True)
class Assignment:
    """Where a layer runs: the delegate's name and the option text for its runtime."""

    delegate: str
    options: str = ""


def assign_delegates(
    source: SourceModel, layers: Sequence[Layer], meta: Metafile, target: Target, host: PluginHost
) -> dict[int, Assignment]:
    """Resolve the rules against the operators that are kept.

    ``'*'`` is the base wherever it stands, the target's default delegate without it; the other rules are applied in
    the order they are written, and a later one overwrites an earlier one.

    Args:
        source: The model.
        layers: The operators to assign.
        meta: The metafile.
        target: The system on chip.
        host: Where the delegates are.

    Returns:
        Assignment of each operator, by operator index.

    Raises:
        InputError: A rule names an unknown layer or a delegate that the target does not have or that is not installed,
            or a delegate refuses a layer.
    """
    rules = [(rule, meta.where("delegate", rule.pattern) or meta.where("delegate")) for rule in meta.delegate]
    base = next((_assignment(rule, target) for rule, _ in rules if rule.pattern == EVERYTHING), None)
    base = base or Assignment(target.delegates[0])
    resolver = _Resolver(source, layers)
    assigned = {_index(layer): base for layer in layers}
    for rule, where in rules:
        if rule.pattern != EVERYTHING:
            assigned |= dict.fromkeys(resolver.layers(rule.pattern, where), _assignment(rule, target))
    for name in sorted({a.delegate for a in assigned.values()}):
        where = next((place for rule, place in rules if _assignment(rule, target).delegate == name), "")
        _check_installed(name, target, host, where)
    check_support(source, layers, assigned, target, host)
    return assigned


def _index(layer: Layer) -> int:
    if layer.index is None:
        msg = f"layer {layer.name!r} is an input of the model; inputs run on no delegate"
        raise InputError(msg)
    return layer.index


def _assignment(rule: DelegateRule, target: Target) -> Assignment:
    return Assignment(target.delegates[0] if rule.type == DEFAULT else rule.type, rule.options)


def _check_installed(name: str, target: Target, host: PluginHost, where: str) -> None:
    available = [delegate for delegate in target.delegates if delegate in host.delegates]
    if name not in target.delegates:
        msg = f"delegate {name!r} is not supported for target SoC {target.name}; allowed: {', '.join(target.delegates)}"
        raise InputError(msg, where=where or None)
    if name not in host.delegates:
        error = host.missing(Delegate, name, available)
        role = ", the default of this target," if name == target.delegates[0] else ""
        hint = error.hint
        if available:
            *others, last = available
            choice = f"'delegate: {last}'{''.join(f' (or {other})' for other in others)}"
            hint = f"to run on another one, write {choice} in a metafile and give it with --meta"
            hint = f"{error.hint}; {hint}" if "is not available" in error.message else hint
        msg = f"{target.name}: {error.message.replace(repr(name), repr(name) + role)}"
        raise type(error)(msg, where=where or None, hint=hint) from error


def is_canonical(delegate: Delegate, source: SourceModel) -> bool:
    """Whether a delegate compiles the canonical graph of its layers, rather than take them in the source format."""
    return delegate.operations is not None and source.format not in delegate.formats


def check_support(
    source: SourceModel, layers: Sequence[Layer], assigned: Mapping[int, Assignment], target: Target, host: PluginHost
) -> None:
    """Ask the delegates that take the source format about their layers.

    Raises:
        InputError: One refuses a layer.
    """
    refused = []
    for layer in layers:
        name = assigned[_index(layer)].delegate
        delegate = host.delegates[name]
        if is_canonical(delegate, source):
            continue
        with host.boundary(delegate):
            support = delegate.support(layer, source, target)
        require_type(delegate, support, Support)
        if not support.ok:
            refused.append(f"layer {layer.name!r} ({layer.type}) cannot run on {name} because {support.reason}")
    if refused:
        more = f" (and {len(refused) - 1} more layers)" if len(refused) > 1 else ""
        msg = f"{refused[0]}{more}"
        raise InputError(msg, hint="assign another delegate to it in the metafile's 'delegate' field")


class _Resolver:
    """Finds the operators that a rule's pattern means."""

    def __init__(self, source: SourceModel, layers: Sequence[Layer]) -> None:
        inputs = [layer for layer in source.layers if not is_operator(layer)]
        self._operators = layers
        self._graph_inputs = {tensor for layer in inputs for tensor in layer.outputs}
        self._index = LayerIndex([*inputs, *layers], source)
        self._readers: dict[str, list[Layer]] = {}
        for layer in layers:
            for tensor in layer.inputs:
                self._readers.setdefault(tensor, []).append(layer)

    def layers(self, pattern: str, where: str) -> list[int]:
        """Operator indices of the layers a pattern means."""
        if pattern == INPUTS:
            return [_index(layer) for layer in self._operators if self._graph_inputs & set(layer.inputs)]
        if pattern.endswith(FOLLOWING):
            return self._following(self._index.find(pattern.removesuffix(FOLLOWING), where))
        layer = self._index.find(pattern, where)
        if not is_operator(layer):
            msg = f"layer {pattern!r} is an input of the model; inputs run on no delegate"
            operators = listing(operator.name for operator in self._operators)
            hint = f"'{pattern}{FOLLOWING}' means the layers behind it; operators: {operators}"
            raise InputError(msg, where=where, hint=hint)
        return [_index(layer)]

    def _following(self, start: Layer) -> list[int]:
        found: dict[int, None] = {}
        pending = [start]
        while pending:
            for tensor in pending.pop().outputs:
                for layer in self._readers.get(tensor, []):
                    if _index(layer) not in found:
                        found[_index(layer)] = None
                        pending.append(layer)
        return list(found)
