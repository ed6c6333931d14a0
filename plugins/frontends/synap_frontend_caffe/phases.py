"""Which layers of a network are there for inference: the rules ``include`` and ``exclude``."""

from __future__ import annotations

from collections.abc import Iterable

from synap_core.api import InputError
from synap_frontend_caffe.schema import TEST, Message


def is_included(layer: Message, state: Message) -> bool:
    """Tell whether a layer is part of the network for inference.

    Args:
        layer: A ``LayerParameter``.
        state: The ``NetState`` of the file, of which the stages count. The phase is TEST and the level 0, as they are
            when Caffe loads a network for inference.

    Raises:
        InputError: The layer has rules of both kinds.
    """
    if layer.include and layer.exclude:
        msg = f"layer {layer.name!r} has both 'include' and 'exclude'"
        raise InputError(msg, hint="remove one of them")
    if layer.include:
        return _any_holds(layer.include, state)
    return not _any_holds(layer.exclude, state)


def _any_holds(rules: Iterable[Message], state: Message) -> bool:
    return any(_holds(rule, set(state.stage)) for rule in rules)


def _holds(rule: Message, stages: set[str]) -> bool:
    return (
        (not rule.HasField("phase") or rule.phase == TEST)
        and (not rule.HasField("min_level") or rule.min_level <= 0)
        and (not rule.HasField("max_level") or rule.max_level >= 0)
        and stages.issuperset(rule.stage)
        and stages.isdisjoint(rule.not_stage)
    )
