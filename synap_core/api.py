"""The public interface for plugins; provisional until version 1.0.

A plugin imports this module and no other of the core. A name is loaded when it is first used, and none of them loads
anything heavy; still, a registration module should import at its top only what registration itself needs, and the
names of types under ``typing.TYPE_CHECKING``: it is loaded at every start of the command line.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synap_core.bundle_writer import BundleEntry, pack_bundle, subgraph_metadata
    from synap_core.cache import Cache
    from synap_core.cli.shell import load_host, plugin_options
    from synap_core.columns import align_columns
    from synap_core.conversion import Conversion
    from synap_core.errors import InputError, ModelExecutionError, PluginError, SynapError
    from synap_core.estimation import Estimate, EstimatedOperation, Overhead, estimate_model
    from synap_core.format_string import FormatString
    from synap_core.graph.annotations import (
        Activation,
        Origin,
        State,
        Twin,
        activation_of,
        is_opaque,
        merge_origins,
        origins_of,
        quant_of,
        reason_of,
        set_activation,
        set_origins,
        set_quant,
        set_twin,
        source_of,
        states_of,
        twin_of,
    )
    from synap_core.graph.build import Attribute, GraphBuilder
    from synap_core.graph.edit import Editor
    from synap_core.graph.evaluate import evaluate
    from synap_core.graph.groups import Group, group, layer_id
    from synap_core.graph.passes import normalise
    from synap_core.graph.qdq import to_qdq
    from synap_core.graph.quantized import QuantizedTensor, dequantized, scale_and_zero_point
    from synap_core.graph.storage import mirror_annotations, serialize
    from synap_core.graph.types import GraphError, TensorType, shape_of, type_of
    from synap_core.hooks import hookimpl
    from synap_core.model_info import render_model_info
    from synap_core.native import native_delegate
    from synap_core.output_files import replacing
    from synap_core.payloads import Command, Delegate, Frontend, OutputFormat, QuantizationAlgorithm, Runtime, Target
    from synap_core.program_report import MemoryPlace, MemoryUse, OperationRow, ProgramDescription, ProgramTensor
    from synap_core.quantization.interface import Algorithm, Observer, QuantSpec, Range, Runner, Session
    from synap_core.quantization.parameters import Parameters, annotate, quantized_bias, solve
    from synap_core.quantization.plan import Bias, ConstantSlot, Plan, Slot
    from synap_core.quantization.schemes import integer_limits, params_of, quantize
    from synap_core.request import ConvertRequest
    from synap_core.source import (
        INPUT_TYPE,
        BoundarySpec,
        Layer,
        LayerSupport,
        ModelRequest,
        OperatorSupport,
        Slice,
        SourceModel,
    )
    from synap_core.subgraphs import (
        Artifact,
        Cost,
        Executable,
        InspectableExecutable,
        LayerOutput,
        RuntimeModel,
        Subgraph,
        Support,
    )
    from synap_core.tensors import BOUNDARY_DTYPES, QuantParams, TensorInfo, TensorMeta, format_shape

_MODULES = {
    "bundle_writer": ("BundleEntry", "pack_bundle", "subgraph_metadata"),
    "cache": ("Cache",),
    "cli.shell": ("load_host", "plugin_options"),
    "columns": ("align_columns",),
    "conversion": ("Conversion",),
    "estimation": ("Estimate", "EstimatedOperation", "Overhead", "estimate_model"),
    "errors": ("InputError", "ModelExecutionError", "PluginError", "SynapError"),
    "format_string": ("FormatString",),
    "graph.annotations": (
        "Activation",
        "Origin",
        "State",
        "Twin",
        "activation_of",
        "is_opaque",
        "merge_origins",
        "origins_of",
        "quant_of",
        "reason_of",
        "set_activation",
        "set_origins",
        "set_quant",
        "set_twin",
        "source_of",
        "states_of",
        "twin_of",
    ),
    "graph.build": ("Attribute", "GraphBuilder"),
    "graph.edit": ("Editor",),
    "graph.evaluate": ("evaluate",),
    "graph.groups": ("Group", "group", "layer_id"),
    "graph.passes": ("normalise",),
    "graph.qdq": ("to_qdq",),
    "graph.quantized": ("QuantizedTensor", "dequantized", "scale_and_zero_point"),
    "graph.storage": ("mirror_annotations", "serialize"),
    "graph.types": ("GraphError", "TensorType", "shape_of", "type_of"),
    "hooks": ("hookimpl",),
    "model_info": ("render_model_info",),
    "native": ("native_delegate",),
    "output_files": ("replacing",),
    "payloads": ("Command", "Delegate", "Frontend", "OutputFormat", "QuantizationAlgorithm", "Runtime", "Target"),
    "program_report": ("MemoryPlace", "MemoryUse", "OperationRow", "ProgramDescription", "ProgramTensor"),
    "quantization.interface": ("Algorithm", "Observer", "QuantSpec", "Range", "Runner", "Session"),
    "quantization.parameters": ("Parameters", "annotate", "quantized_bias", "solve"),
    "quantization.plan": ("Bias", "ConstantSlot", "Plan", "Slot"),
    "quantization.schemes": ("integer_limits", "params_of", "quantize"),
    "request": ("ConvertRequest",),
    "source": (
        "INPUT_TYPE",
        "BoundarySpec",
        "Layer",
        "LayerSupport",
        "ModelRequest",
        "OperatorSupport",
        "Slice",
        "SourceModel",
    ),
    "subgraphs": (
        "Artifact",
        "Cost",
        "Executable",
        "InspectableExecutable",
        "LayerOutput",
        "RuntimeModel",
        "Subgraph",
        "Support",
    ),
    "tensors": ("BOUNDARY_DTYPES", "QuantParams", "TensorInfo", "TensorMeta", "format_shape"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "BOUNDARY_DTYPES",
    "INPUT_TYPE",
    "Activation",
    "Algorithm",
    "Artifact",
    "Attribute",
    "Bias",
    "BoundarySpec",
    "BundleEntry",
    "Cache",
    "Command",
    "ConstantSlot",
    "Conversion",
    "ConvertRequest",
    "Cost",
    "Delegate",
    "Editor",
    "Estimate",
    "EstimatedOperation",
    "Executable",
    "FormatString",
    "Frontend",
    "GraphBuilder",
    "GraphError",
    "Group",
    "InputError",
    "InspectableExecutable",
    "Layer",
    "LayerOutput",
    "LayerSupport",
    "MemoryPlace",
    "MemoryUse",
    "ModelExecutionError",
    "ModelRequest",
    "Observer",
    "OperationRow",
    "OperatorSupport",
    "Origin",
    "OutputFormat",
    "Overhead",
    "Parameters",
    "Plan",
    "PluginError",
    "ProgramDescription",
    "ProgramTensor",
    "QuantParams",
    "QuantSpec",
    "QuantizationAlgorithm",
    "QuantizedTensor",
    "Range",
    "Runner",
    "Runtime",
    "RuntimeModel",
    "Session",
    "Slice",
    "Slot",
    "SourceModel",
    "State",
    "Subgraph",
    "Support",
    "SynapError",
    "Target",
    "TensorInfo",
    "TensorMeta",
    "TensorType",
    "Twin",
    "activation_of",
    "align_columns",
    "annotate",
    "dequantized",
    "estimate_model",
    "evaluate",
    "format_shape",
    "group",
    "hookimpl",
    "integer_limits",
    "is_opaque",
    "layer_id",
    "load_host",
    "merge_origins",
    "mirror_annotations",
    "native_delegate",
    "normalise",
    "origins_of",
    "pack_bundle",
    "params_of",
    "plugin_options",
    "quant_of",
    "quantize",
    "quantized_bias",
    "reason_of",
    "render_model_info",
    "replacing",
    "scale_and_zero_point",
    "serialize",
    "set_activation",
    "set_origins",
    "set_quant",
    "set_twin",
    "shape_of",
    "solve",
    "source_of",
    "states_of",
    "subgraph_metadata",
    "to_qdq",
    "twin_of",
    "type_of",
]


def __getattr__(name: str) -> object:
    """Import a name from its module."""
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(importlib.import_module(f"synap_core.{_HOME[name]}"), name)
    globals()[name] = value
    return value
