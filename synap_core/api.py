"""The public interface for plugins; provisional until version 1.0.

A plugin imports this module and no other of the core. It loads nothing heavy, so a plugin's registration module may
import it at the top.
"""

from __future__ import annotations

from synap_core.bundle_writer import BundleEntry, pack_bundle
from synap_core.conversion import Conversion
from synap_core.errors import InputError, ModelExecutionError, PluginError, SynapError
from synap_core.format_string import FormatString
from synap_core.hooks import hookimpl
from synap_core.model_info import render_model_info
from synap_core.native import native_delegate
from synap_core.payloads import (
    Artifact,
    Command,
    Delegate,
    Executable,
    Frontend,
    OutputFormat,
    Runtime,
    RuntimeModel,
    Subgraph,
    Support,
    Target,
)
from synap_core.source import INPUT_TYPE, BoundarySpec, Layer, ModelRequest, Slice, SourceModel
from synap_core.tensors import BOUNDARY_DTYPES, QuantParams, TensorInfo, TensorMeta

__all__ = [
    "BOUNDARY_DTYPES",
    "INPUT_TYPE",
    "Artifact",
    "BoundarySpec",
    "BundleEntry",
    "Command",
    "Conversion",
    "Delegate",
    "Executable",
    "FormatString",
    "Frontend",
    "InputError",
    "Layer",
    "ModelExecutionError",
    "ModelRequest",
    "OutputFormat",
    "PluginError",
    "QuantParams",
    "Runtime",
    "RuntimeModel",
    "Slice",
    "SourceModel",
    "Subgraph",
    "Support",
    "SynapError",
    "Target",
    "TensorInfo",
    "TensorMeta",
    "hookimpl",
    "native_delegate",
    "pack_bundle",
    "render_model_info",
]
