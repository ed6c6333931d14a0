"""The public interface for plugins; provisional until version 1.0.

A plugin imports this module and no other of the core. A name is loaded when it is first used, and none of them loads
anything heavy; still, a registration module should import at its top only what registration itself needs, and the
names of types under ``typing.TYPE_CHECKING``: it is loaded at every start of the command line.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synap_core.bundle_writer import BundleEntry, pack_bundle
    from synap_core.conversion import Conversion
    from synap_core.errors import InputError, ModelExecutionError, PluginError, SynapError
    from synap_core.format_string import FormatString
    from synap_core.graph.annotations import (
        Origin,
        State,
        Twin,
        is_opaque,
        origins_of,
        quant_of,
        set_quant,
        set_twin,
        source_of,
        states_of,
    )
    from synap_core.graph.build import Attribute, GraphBuilder
    from synap_core.graph.qdq import to_qdq
    from synap_core.graph.quantized import QuantizedTensor, dequantized, scale_and_zero_point
    from synap_core.graph.storage import mirror_annotations
    from synap_core.graph.types import GraphError, TensorType, shape_of, type_of
    from synap_core.hooks import hookimpl
    from synap_core.model_info import render_model_info
    from synap_core.native import native_delegate
    from synap_core.payloads import (
        Command,
        Delegate,
        Frontend,
        OutputFormat,
        QuantizationAlgorithm,
        Runtime,
        Target,
    )
    from synap_core.quantization.interface import Observer, QuantSpec, Range, Runner, Session
    from synap_core.quantization.parameters import Parameters, annotate, quantized_bias, solve
    from synap_core.quantization.plan import Bias, ConstantSlot, Plan, Slot
    from synap_core.quantization.schemes import integer_limits, params_of, quantize
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
    from synap_core.subgraphs import Artifact, Executable, RuntimeModel, Subgraph, Support
    from synap_core.tensors import BOUNDARY_DTYPES, QuantParams, TensorInfo, TensorMeta

_MODULES = {
    "bundle_writer": ("BundleEntry", "pack_bundle"),
    "conversion": ("Conversion",),
    "errors": ("InputError", "ModelExecutionError", "PluginError", "SynapError"),
    "format_string": ("FormatString",),
    "graph.annotations": (
        "Origin",
        "State",
        "Twin",
        "is_opaque",
        "origins_of",
        "quant_of",
        "set_quant",
        "set_twin",
        "source_of",
        "states_of",
    ),
    "graph.build": ("Attribute", "GraphBuilder"),
    "graph.qdq": ("to_qdq",),
    "graph.quantized": ("QuantizedTensor", "dequantized", "scale_and_zero_point"),
    "graph.storage": ("mirror_annotations",),
    "graph.types": ("GraphError", "TensorType", "shape_of", "type_of"),
    "hooks": ("hookimpl",),
    "model_info": ("render_model_info",),
    "native": ("native_delegate",),
    "payloads": ("Command", "Delegate", "Frontend", "OutputFormat", "QuantizationAlgorithm", "Runtime", "Target"),
    "quantization.interface": ("Observer", "QuantSpec", "Range", "Runner", "Session"),
    "quantization.parameters": ("Parameters", "annotate", "quantized_bias", "solve"),
    "quantization.plan": ("Bias", "ConstantSlot", "Plan", "Slot"),
    "quantization.schemes": ("integer_limits", "params_of", "quantize"),
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
    "subgraphs": ("Artifact", "Executable", "RuntimeModel", "Subgraph", "Support"),
    "tensors": ("BOUNDARY_DTYPES", "QuantParams", "TensorInfo", "TensorMeta"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "BOUNDARY_DTYPES",
    "INPUT_TYPE",
    "Artifact",
    "Attribute",
    "Bias",
    "BoundarySpec",
    "BundleEntry",
    "Command",
    "ConstantSlot",
    "Conversion",
    "Delegate",
    "Executable",
    "FormatString",
    "Frontend",
    "GraphBuilder",
    "GraphError",
    "InputError",
    "Layer",
    "LayerSupport",
    "ModelExecutionError",
    "ModelRequest",
    "Observer",
    "OperatorSupport",
    "Origin",
    "OutputFormat",
    "Parameters",
    "Plan",
    "PluginError",
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
    "annotate",
    "dequantized",
    "hookimpl",
    "integer_limits",
    "is_opaque",
    "mirror_annotations",
    "native_delegate",
    "origins_of",
    "pack_bundle",
    "params_of",
    "quant_of",
    "quantize",
    "quantized_bias",
    "render_model_info",
    "scale_and_zero_point",
    "set_quant",
    "set_twin",
    "shape_of",
    "solve",
    "source_of",
    "states_of",
    "to_qdq",
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
