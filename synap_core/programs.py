"""Ask runtimes what the models in a bundle consist of, without executing anything."""

from __future__ import annotations

from synap_core.bundle_reader import BundleSubgraph
from synap_core.format_string import FormatString
from synap_core.host import PluginHost
from synap_core.payloads import require_type
from synap_core.program_report import ProgramDescription
from synap_core.subgraphs import RuntimeModel


def describe_program(subgraph: BundleSubgraph, host: PluginHost) -> ProgramDescription | None:
    """What the runtime of a subgraph says of its model; None when it says nothing, or is not installed.

    Raises:
        InputError: The model is damaged.
        PluginError: The runtime broke its contract.
    """
    options = FormatString.parse(subgraph.meta.delegate)
    runtime = host.runtimes.get(options.type)
    if runtime is None or runtime.describe is None:
        return None
    model = RuntimeModel(
        name=subgraph.model_name,
        model=subgraph.model,
        inputs=subgraph.meta.inputs,
        outputs=subgraph.meta.outputs,
        options=options,
    )
    with host.boundary(runtime):
        found = runtime.describe(model)
    if found is not None:
        require_type(runtime, found, ProgramDescription)
    return found
