"""The operators of programs: what each computes, and what makes one of a group of the canonical graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from synap_delegate_npu.program.operation import Form, Request

Build = Callable[[Request], Form | None]
"""Makes the form of a group; None when the operator does not express it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """An operator of programs.

    Attributes:
        name: In the domain of programs.
        canonical: Operators of the canonical graph that a group may begin with to be expressed by it.
        build: Makes its form.
        attributes: Its own attributes: type and meaning.
    """

    name: str
    canonical: tuple[str, ...]
    build: Build
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def definition(self) -> str:
        """What it computes, in words: the documentation of its builder."""
        return self.build.__doc__ or ""


class Registry:
    """Operators by the canonical operator that groups begin with; the first one that takes a group expresses it."""

    def __init__(self) -> None:
        self.operators: dict[str, Operator] = {}
        self._by_canonical: dict[str, list[Operator]] = {}

    def add(self, operator: Operator) -> None:
        """Add an operator.

        Raises:
            RuntimeError: There is one of that name.
        """
        if operator.name in self.operators:
            msg = f"operator {operator.name!r} is defined twice"
            raise RuntimeError(msg)
        self.operators[operator.name] = operator
        for word in operator.canonical:
            self._by_canonical.setdefault(word, []).append(operator)

    def form(self, request: Request) -> tuple[Operator, Form] | None:
        """The operator that expresses a group, and its form."""
        for operator in self._by_canonical.get(request.node.op_type, ()):
            form = operator.build(request)
            if form is not None:
                return operator, form
        return None


REGISTRY = Registry()


def operator(name: str, *canonical: str, attributes: Mapping[str, str] | None = None) -> Callable[[Build], Build]:
    """Register a function as the builder of an operator; its docstring is the definition."""

    def register(build: Build) -> Build:
        REGISTRY.add(Operator(name=name, canonical=canonical, build=build, attributes=attributes or {}))
        return build

    return register
