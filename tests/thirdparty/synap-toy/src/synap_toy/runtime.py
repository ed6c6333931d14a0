"""Registration of the ``toy`` runtime."""

from __future__ import annotations

from collections.abc import Iterable

from synap_core.api import Executable, Runtime, RuntimeModel, hookimpl


def load(model: RuntimeModel) -> Executable:
    """Load a model; the first thing that needs NumPy."""
    from synap_toy.engine import ToyExecutable

    return ToyExecutable(model)


@hookimpl
def synap_runtimes() -> Iterable[Runtime]:
    """Offer the runtime."""
    yield Runtime(name="toy", summary="Toy models, by NumPy", load=load)
