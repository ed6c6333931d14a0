"""The metafile as validated, immutable models."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from synap_core.metafile import fields
from synap_core.metafile.delegate import DEFAULT_RULES, DelegateRule, delegate_rules
from synap_core.metafile.document import Document
from synap_core.metafile.entries import Flag, FormatText, InputEntry, OutputEntry, Section, context_of, named, words
from synap_core.metafile.problems import FieldError, not_allowed, show
from synap_core.metafile.security import read_security
from synap_core.metafile.substitute import lower_text
from synap_core.metafile.vocabulary import (
    ALGORITHMS,
    DATA_LAYOUTS,
    DATA_TYPES,
    DEFAULT_DATA_TYPE,
    EIGHT_BIT_TYPES,
    EVERY_LAYER,
    MODES,
    RANDOM_DATASET,
    SCHEMES,
)

_GLOBS: dict[str, object] = {
    "anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string", "minLength": 1}}]
}


def _algorithm(value: object, info: ValidationInfo) -> str:
    context = context_of(info)
    allowed = ALGORITHMS if context is None else tuple(context.algorithms)
    if isinstance(value, str) and value in allowed:
        return value
    error = not_allowed("quantization algorithm", value, allowed or ("none",))
    if context is not None and isinstance(value, str) and value:
        error.hint = context.explain(value) or error.hint
    raise error


def _lower_case(value: object) -> object:
    return lower_text(value) if isinstance(value, str) else value


class Quantization(Section):
    """How the model is quantized during the conversion."""

    data_type: Annotated[str | dict[str, str], BeforeValidator(fields.data_type)] = Field(
        default=DEFAULT_DATA_TYPE,
        description="Type of weights and activations; or a type for each layer, by name, index, '@layerId', "
        "'name...' (all layers behind it), INPUTS or '*' (all others).",
        json_schema_extra={
            "anyOf": [
                {"type": "string", "enum": list(DATA_TYPES)},
                {"type": "object", "additionalProperties": {"type": "string", "enum": list(DATA_TYPES)}},
            ]
        },
    )
    scheme: Annotated[str, BeforeValidator(fields.word(tuple(SCHEMES), "quantization scheme")), words(SCHEMES)] = Field(
        default="default", description="How numbers are mapped to integers; chosen by the data type by default."
    )
    mode: Annotated[str, BeforeValidator(fields.word(MODES, "quantization mode")), words(MODES)] = Field(
        default="standard", description="Whether layers that only move data are quantized, too (full)."
    )
    algorithm: Annotated[str, BeforeValidator(_algorithm), words(ALGORITHMS)] = Field(
        default="standard", description="How the range of a tensor is estimated from the samples."
    )
    options: Annotated[dict[str, object], named(fields.mapping)] = Field(
        default_factory=dict, description="Fine tuning of the algorithm, which says what there is; normally not needed."
    )
    dataset: Annotated[tuple[str, ...], WithJsonSchema(_GLOBS)] = Field(
        default=(),
        description="Sample files: one glob for each input, of images or .npy files, or 'random'. "
        "Without it the model is not quantized.",
    )

    @field_validator("dataset", mode="before")
    @classmethod
    def _absolute(cls, value: object, info: ValidationInfo) -> tuple[str, ...]:
        checked, context = fields.globs(value), context_of(info)
        if context is None:
            return checked
        # The folder's own name may contain characters that mean something in a glob.
        folder = Path(glob.escape(str(context.folder)))
        return tuple(item if item == RANDOM_DATASET else str(folder / item) for item in checked)

    @model_validator(mode="after")
    def _scheme_fits_type(self) -> Self:
        base = self.base_type
        if base not in SCHEMES[self.scheme]:
            fitting = ", ".join(scheme for scheme, types in SCHEMES.items() if base in types)
            msg = f"quantization scheme {self.scheme!r} cannot be used with data_type {base!r}; allowed: {fitting}"
            hint = f"{self.scheme} works with {' and '.join(SCHEMES[self.scheme])}"
            raise FieldError(msg, hint=hint, at=("scheme",))
        return self

    @property
    def enabled(self) -> bool:
        """Whether the model is to be quantized: there is a dataset."""
        return bool(self.dataset)

    @property
    def base_type(self) -> str:
        """Type of the layers that no other rule names: the 8-bit type in the map, else that of ``*``, else uint8."""
        if isinstance(self.data_type, str):
            return self.data_type
        named = self.data_type.values()
        eight_bit = next((name for name in named if name in EIGHT_BIT_TYPES), None)
        return eight_bit or self.data_type.get(EVERY_LAYER, DEFAULT_DATA_TYPE)


class Security(Section):
    """Encryption and signature of the model."""

    secure: Flag = Field(default=True, description="Whether the model is encrypted and signed.")
    file: Path | None = Field(default=None, description="File with the four keys that can also be given here.")
    encryption_key: Path | None = Field(default=None, description="File of the key that encrypts the model.")
    signature_key: Path | None = Field(default=None, description="File of the key that signs the model.")
    model_certificate: Path | None = Field(default=None, description="File of the certificate of the model.")
    vendor_certificate: Path | None = Field(default=None, description="File of the certificate of the vendor.")

    @model_validator(mode="before")
    @classmethod
    def _find_files(cls, data: object, info: ValidationInfo) -> object:
        context = context_of(info)
        return data if context is None or not isinstance(data, dict) else read_security(data, context.folder)


class Metafile(Section):
    """Options of a conversion, as a metafile gives them."""

    delegate: tuple[DelegateRule, ...] = Field(
        default=DEFAULT_RULES,
        description="Delegate that runs the model, followed by a blank and options for it; or a mapping from layers "
        "(name, index, '@layerId', 'name...', INPUTS or '*') to delegates.",
    )
    data_layout: Annotated[
        str, BeforeValidator(fields.word(DATA_LAYOUTS, "data_layout", fold=True)), words(DATA_LAYOUTS)
    ] = Field(default="default", description="Order of the dimensions of the tensors in memory.")
    input_format: Annotated[FormatText, BeforeValidator(_lower_case)] = Field(
        default="", description="Format of the inputs that have no format of their own."
    )
    output_format: Annotated[FormatText, BeforeValidator(_lower_case)] = Field(
        default="", description="Format of the outputs that have no format of their own."
    )
    inputs: Annotated[tuple[InputEntry, ...], named(fields.entries)] = Field(
        default=(), description="The inputs, by name when all have names, otherwise in the model's order."
    )
    outputs: Annotated[tuple[OutputEntry, ...], named(fields.entries)] = Field(
        default=(), description="The outputs, by name when all have names, otherwise in the model's order."
    )
    quantization: Annotated[Quantization, named(fields.mapping)] | None = Field(
        default=None,
        description="Quantization of a floating-point model; for the npu delegate, and for graphs of the whole model.",
    )
    security: Annotated[Security, named(fields.mapping)] | None = Field(
        default=None, description="Protection of the model; only for the npu delegate."
    )
    optimize: Flag | None = Field(default=None, description="Whether memory bandwidth is spared; true by default.")
    dequantize_outputs: Flag = Field(default=False, description="Like 'dequantize' on every output.")
    denormalize_outputs: Flag = Field(default=False, description="Older name of 'dequantize_outputs'.")
    custom: object = Field(default=None, description="Anything; not used.")

    _document: Document | None = PrivateAttr(default=None)
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @field_validator("delegate", mode="before")
    @classmethod
    def _delegate_rules(cls, value: object, info: ValidationInfo) -> object:
        context = context_of(info)
        if isinstance(value, tuple):
            return value
        return delegate_rules(value, None if context is None else context.delegates)

    @field_validator("inputs", "outputs", mode="after")
    @classmethod
    def _names_are_unique(
        cls, value: tuple[InputEntry | OutputEntry, ...], info: ValidationInfo
    ) -> tuple[InputEntry | OutputEntry, ...]:
        kind = (info.field_name or "").removesuffix("s")
        seen: dict[str, int] = {}
        for i, entry in enumerate(value):
            if (entry.name is None) != (value[0].name is None):
                msg = f"All {kind} names or none must be specified: {kind} {i} is not like {kind} 0"
                raise FieldError(msg, hint="give each entry a 'name', or none", at=(i,))
            if entry.name is not None and seen.setdefault(entry.name, i) != i:
                msg = f"Duplicate {kind} names: {show(entry.name)} is also the name of {kind} {seen[entry.name]}"
                raise FieldError(msg, hint="remove one of the entries", at=(i, "name"))
        return value

    @model_validator(mode="after")
    def _one_dataset_per_input(self) -> Self:
        datasets = () if self.quantization is None else self.quantization.dataset
        if self.inputs and datasets and len(datasets) != len(self.inputs):
            msg = f"metafile has {len(self.inputs)} input(s) but {len(datasets)} quantization dataset(s)"
            raise FieldError(msg, hint="give one dataset for each input", at=("quantization", "dataset"))
        return self

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is accepted but probably not meant, one line each, place first."""
        return self._warnings

    def attach(self, document: Document, warnings: tuple[str, ...]) -> None:
        """Remember the file that this was loaded from, and what deserves a warning in it."""
        self._document = document
        self._warnings = warnings

    def where(self, *path: str | int) -> str:
        """``file:line:column`` of a key, or of the nearest enclosing one that was written.

        Args:
            path: Keys and positions from the root, such as ``"inputs", 0, "means"``.

        Returns:
            The place; the file alone when no part of the path was written, and empty when the metafile comes from none.
        """
        document = self._document
        if document is None:
            return ""
        return document.where(path) if not path or document.has(path[:1]) else document.name
