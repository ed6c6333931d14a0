"""The conversion metafile: the YAML file in which a user says how a model is to be converted."""

from __future__ import annotations

from synap_core.metafile.delegate import DelegateRule
from synap_core.metafile.entries import InputEntry, OutputEntry, Preprocess
from synap_core.metafile.load import default_metafile, load_metafile
from synap_core.metafile.model import Metafile, Quantization, Security
from synap_core.metafile.schema import metafile_schema

__all__ = [
    "DelegateRule",
    "InputEntry",
    "Metafile",
    "OutputEntry",
    "Preprocess",
    "Quantization",
    "Security",
    "default_metafile",
    "load_metafile",
    "metafile_schema",
]
