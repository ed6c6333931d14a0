"""What a target says about a delegate, checked by the delegate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synap_core.errors import PluginError
from synap_core.host import PluginHost
from synap_core.payloads import Delegate, Target

if TYPE_CHECKING:
    from pydantic import BaseModel


def delegate_parameters(delegate: Delegate, target: Target, host: PluginHost) -> BaseModel | None:
    """Settings that a target has for a delegate; None when the delegate takes none, or the target has none for it.

    Raises:
        PluginError: They are not what the delegate takes.
    """
    if delegate.parameters_model is None or delegate.name not in target.parameters:
        return None
    from pydantic import ValidationError

    with host.boundary(delegate):
        model = delegate.parameters_model()
    with host.boundary(target):
        given = dict(target.parameters[delegate.name])
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        msg = (
            f"target {target.name!r} has wrong parameters for delegate {delegate.name!r}: {place}: {first['msg']}{more}"
        )
        raise PluginError(
            msg, hint=f"report it to the authors of the plugin that offers target {target.name!r}"
        ) from error
