"""The entries of a metafile's ``inputs`` and ``outputs``, and what all sections have in common."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema, model_validator

from synap_core.metafile import fields
from synap_core.metafile.problems import FieldError, show
from synap_core.metafile.substitute import FileVariables
from synap_core.metafile.vocabulary import FLOAT_TYPE, INPUT_POLICIES, OUTPUT_POLICIES, PREPROCESS_TYPES


@dataclass(frozen=True, slots=True)
class LoadContext:
    """What a metafile is validated against; without it, models can be built in code.

    Attributes:
        folder: Folder of the metafile, absolute; relative paths start there.
        delegates: Names of the delegates that exist.
        algorithms: Names of the quantization algorithms that exist.
        explain: Says how to get an algorithm that does not, as `load_metafile` has it.
        files: Replaces the file variables of format strings.
    """

    folder: Path
    delegates: Collection[str]
    algorithms: Collection[str]
    explain: Callable[[str], str | None]
    files: FileVariables


def context_of(info: ValidationInfo) -> LoadContext | None:
    """What the metafile is validated against; None for a model that is built in code."""
    return info.context if isinstance(info.context, LoadContext) else None


def named(check: Callable[[object, str], object]) -> BeforeValidator:
    """Give a check the name of the field for its messages."""
    return BeforeValidator(lambda value, info: check(value, info.field_name))


def _format_text(value: object, info: ValidationInfo) -> str:
    text = fields.text(value, info.field_name or "format")
    context = context_of(info)
    return text if context is None else context.files.expand(text)


def words(allowed: Collection[str]) -> WithJsonSchema:
    """Describe a text that is one of some words."""
    return WithJsonSchema({"type": "string", "enum": list(allowed)})


def _list_schema(*first: dict[str, object], rest: dict[str, object] | bool, least: int, most: int) -> dict[str, object]:
    return {"type": "array", "prefixItems": list(first), "items": rest, "minItems": least, "maxItems": most}


_INTEGER: dict[str, object] = {"type": "integer"}
_DIMENSION: dict[str, object] = {"type": "integer", "minimum": 1, "maximum": fields.MAX_ITEMS}
_SIDE: dict[str, object] = {"type": "integer", "minimum": 1, "maximum": fields.MAX_SIDE}
_SIZE: dict[str, object] = {
    "anyOf": [
        _list_schema(_SIDE, _SIDE, rest=False, least=2, most=2),
        {
            "type": "object",
            "properties": {"h": _SIDE, "w": _SIDE},
            "required": ["h", "w"],
            "additionalProperties": False,
        },
    ]
}
_MEANS: dict[str, object] = {
    "anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}, "minItems": 1}]
}

Flag = Annotated[bool, named(fields.flag)]
Name = Annotated[str, named(fields.tensor_name)]
FormatText = Annotated[str, BeforeValidator(_format_text)]


class Section(BaseModel):
    """A mapping with known keys, which cannot be changed once it is made."""

    # pydantic reserves names that start with "model_", but model_certificate is a word of the language.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _null_is_unset(cls, data: object) -> object:
        """An undefined variable leaves nothing behind a key; that is as good as no key."""
        if not isinstance(data, dict):
            return data
        optional = {name for name, field in cls.model_fields.items() if not field.is_required()}
        return {key: value for key, value in data.items() if value is not None or key not in optional}


class Preprocess(Section):
    """Preprocessing that the NPU does on an input."""

    type: Annotated[
        str,
        BeforeValidator(fields.word(PREPROCESS_TYPES, "preprocess type")),
        BeforeValidator(lambda value: "" if value is None else value),
        words(PREPROCESS_TYPES),
    ] = Field(description="Format of the data that the application provides; empty or none for no preprocessing.")
    size: Annotated[tuple[int, int], BeforeValidator(fields.image_size), WithJsonSchema(_SIZE)] | None = Field(
        default=None,
        description="Size of the provided image in pixels, height before width; that of the tensor by default.",
    )
    crop: Annotated[bool | tuple[int, int, int, int], BeforeValidator(fields.crop)] = Field(
        default=False,
        description="Whether four extra inputs choose at run time which rectangle of the image is used.",
    )

    @model_validator(mode="after")
    def _float_has_no_size(self) -> Self:
        if self.type == FLOAT_TYPE and self.size is not None:
            msg = f"'size' is not allowed with preprocess type {FLOAT_TYPE!r}: raw numbers are not resized"
            raise FieldError(msg, hint="remove 'size'", at=("size",), key=True)
        return self


class InputEntry(Section):
    """An input of the converted model."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"name": {"type": "string"}}, "required": ["name"]},
            "then": {"required": ["shape"]},
        }
    )

    name: Name | None = Field(
        default=None,
        description="Tensor of the model that becomes the input; the model's own input at this position by default.",
    )
    shape: (
        Annotated[
            tuple[int, ...],
            named(fields.input_shape),
            WithJsonSchema(_list_schema(_INTEGER, rest=_DIMENSION, least=2, most=fields.MAX_RANK)),
        ]
        | None
    ) = Field(
        default=None,
        description="Dimensions in the model's own order, samples first; needed with 'name'.",
    )
    means: Annotated[tuple[float, ...] | float, BeforeValidator(fields.means), WithJsonSchema(_MEANS)] | None = Field(
        default=None,
        description="Subtracted from the data before dividing by 'scale': one number, or one per channel.",
    )
    scale: (
        Annotated[float, BeforeValidator(fields.scale), WithJsonSchema({"type": "number", "not": {"const": 0}})] | None
    ) = Field(
        default=None,
        description="Divisor of the data after 'means' is subtracted; not 0.",
    )
    format: FormatText = Field(
        default="",
        description="What the data is: a type, then key=value attributes; 'input_format' by default.",
    )
    preprocess: Annotated[Preprocess, named(fields.mapping)] | None = Field(
        default=None, description="Image conversion that is built into the model; only for the npu delegate."
    )
    security: Annotated[str, BeforeValidator(fields.word(INPUT_POLICIES, "input security")), words(INPUT_POLICIES)] = (
        Field(default="any", description="Which memory the input of a secure model may be in.")
    )
    custom: object = Field(default=None, description="Anything; not used.")

    @model_validator(mode="after")
    def _name_needs_shape(self) -> Self:
        if self.name is not None and self.shape is None:
            msg = f"shape is mandatory when name is specified: input {show(self.name)} has none"
            raise FieldError(msg, hint="add 'shape', samples first", at=("name",), key=True)
        return self


class OutputEntry(Section):
    """An output of the converted model."""

    name: Name | None = Field(
        default=None,
        description="Tensor of the model that becomes the output; the model's own output at this position by default.",
    )
    shape: (
        Annotated[
            tuple[int, ...],
            named(fields.shape),
            WithJsonSchema(_list_schema(_INTEGER, rest=_DIMENSION, least=0, most=fields.MAX_RANK)),
        ]
        | None
    ) = Field(default=None, description="Dimensions, for an output whose shape the model does not tell.")
    dequantize: Flag = Field(default=False, description="Whether the NPU converts the output to floating point.")
    format: FormatText = Field(
        default="",
        description="What the data is: a type, then key=value attributes; 'output_format' by default.",
    )
    security: Annotated[
        str, BeforeValidator(fields.word(OUTPUT_POLICIES, "output security")), words(OUTPUT_POLICIES)
    ] = Field(default="secure-if-input-secure", description="Which memory the output of a secure model may be in.")
    custom: object = Field(default=None, description="Anything; not used.")
