"""Fix the dimensions that a model leaves open: the batch is 1, the others come from the metafile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from synap_core.api import BoundarySpec, InputError
from synap_frontend_onnx.protos import TypeProto, ValueInfoProto
from synap_frontend_onnx.weights import MAX_RANK

Dims = list[int | str | None]
"""A size, the name of an open size, or None for one without a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Graph inputs with as many fixed dimensions as possible.

    Attributes:
        inputs: The graph inputs.
        sizes: Size that each named dimension has got.
        changed: Something was fixed.
        file_holds: The shapes that the file gives for other tensors still hold.
        notes: What was fixed without being asked for.
    """

    inputs: tuple[ValueInfoProto, ...]
    sizes: Mapping[str, int]
    changed: bool
    file_holds: bool = True
    notes: tuple[str, ...] = ()


def dims_of(value_type: TypeProto) -> Dims | None:
    """Dimensions of a tensor type; None when not even their number is known, or for another type."""
    if not value_type.HasField("tensor_type") or not value_type.tensor_type.HasField("shape"):
        return None
    # A negative size is how some exporters write an open one.
    return [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else dim.dim_param or None
        for dim in value_type.tensor_type.shape.dim
    ]


def static_shape(value_type: TypeProto) -> tuple[int, ...] | None:
    """Shape of a tensor type with sizes for all dimensions; None for any other type."""
    dims = dims_of(value_type)
    if dims is None:
        return None
    sizes = tuple(dim for dim in dims if isinstance(dim, int))
    return sizes if len(sizes) == len(dims) else None


def with_shape(value: ValueInfoProto, dims: Iterable[int | str | None]) -> ValueInfoProto:
    """Copy the description of a tensor with another shape."""
    copy = ValueInfoProto()
    copy.CopyFrom(value)
    copy.type.tensor_type.ClearField("shape")
    copy.type.tensor_type.shape.SetInParent()
    for dim in dims:
        entry = copy.type.tensor_type.shape.dim.add()
        if isinstance(dim, int):
            entry.dim_value = dim
        elif dim:
            entry.dim_param = dim
    return copy


def same_name(asked: str, name: str) -> bool:
    """Whether a name in a metafile, in which ``:`` may be written ``/``, means a tensor."""
    return asked.replace(":", "/") == name.replace(":", "/")


def resolve(inputs: Sequence[ValueInfoProto], asked: Sequence[BoundarySpec], *, lenient: bool = False) -> Resolution:
    """Fix the dimensions of the graph inputs.

    Args:
        inputs: The graph inputs.
        asked: The metafile's ``inputs``.
        lenient: Leave dimensions open that nothing fixes.

    Raises:
        InputError: Nothing fixes a dimension of an input, or two inputs fix one differently.
    """
    return _Resolver(inputs, asked, lenient=lenient).resolve()


@dataclass
class _Resolver:
    inputs: Sequence[ValueInfoProto]
    asked: Sequence[BoundarySpec]
    lenient: bool
    sizes: dict[str, int] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)

    def resolve(self) -> Resolution:
        names = [spec.name for spec in self.asked if spec.name is not None]
        wanted = self._shapes(named=bool(names))
        dims = {value.name: self._dims(value, wanted.get(value.name)) for value in self.inputs}
        batches = [name for name, found in dims.items() if found and not isinstance(found[0], int)]
        for name in batches:
            self._fix(name, dims[name], 0, 1)
        for name, shape in wanted.items():
            self._apply(name, dims[name], shape)
        for found in dims.values():
            found[:] = [self.sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in found]
        for name, found in dims.items():
            # An input that is not among the named ones is cut away.
            if not self.lenient and (not names or any(same_name(asked, name) for asked in names)):
                self._require(name, found)
        fixed = tuple(with_shape(value, dims[value.name]) for value in self.inputs)
        changed = any(dims_of(new.type) != dims_of(old.type) for new, old in zip(fixed, self.inputs, strict=True))
        notes = (f"the open batch of {', '.join(map(repr, batches))} was set to 1",) if batches else ()
        return Resolution(inputs=fixed, sizes=self.sizes, changed=changed, notes=notes)

    @staticmethod
    def _dims(value: ValueInfoProto, wanted: Sequence[int] | None) -> Dims:
        if not value.type.HasField("tensor_type"):
            msg = f"input {value.name!r} is no tensor, but a {value.type.WhichOneof('value') or 'value without type'}"
            raise InputError(msg, hint="export the model with tensors as inputs")
        dims = dims_of(value.type)
        if dims is not None and len(dims) > MAX_RANK:
            msg = f"input {value.name!r} has {len(dims)} dimensions; at most {MAX_RANK} are allowed"
            raise InputError(msg, hint="the file is damaged: export it again")
        if dims is None and wanted is None:
            msg = f"input {value.name!r} has no shape"
            raise InputError(msg, hint=f"give it in the metafile: inputs: [{{name: {value.name}, shape: […]}}]")
        return [None] * len(wanted or ()) if dims is None else dims

    def _shapes(self, *, named: bool) -> dict[str, tuple[int, ...]]:
        """Shape that the metafile gives for each graph input, by name or by position."""
        if not named:
            pairs = zip(self.inputs, self.asked, strict=False)
            return {value.name: spec.shape for value, spec in pairs if spec.shape is not None}
        return {
            value.name: spec.shape
            for value in self.inputs
            for spec in self.asked
            if spec.shape is not None and spec.name is not None and same_name(spec.name, value.name)
        }

    def _apply(self, name: str, dims: Dims, shape: Sequence[int]) -> None:
        if len(shape) != len(dims):
            msg = f"the metafile gives input {name!r} the shape {list(shape)}; it has {len(dims)} dimensions"
            raise InputError(msg, hint=f"give a shape like {_listing(dims)}")
        for axis, size in enumerate(shape):
            if axis and not isinstance(dims[axis], int):
                self._fix(name, dims, axis, size)

    def _fix(self, name: str, dims: Dims, axis: int, size: int) -> None:
        symbol = dims[axis]
        dims[axis] = size
        if not isinstance(symbol, str):
            return
        known = self.sizes.setdefault(symbol, size)
        first = self.origin.setdefault(symbol, name)
        if known != size:
            msg = f"the dimension {symbol!r} is {known} in input {first!r} and {size} in input {name!r}"
            raise InputError(msg, hint="both have one size: give shapes that agree")

    def _require(self, name: str, dims: Dims) -> None:
        for axis, dim in enumerate(dims):
            if not isinstance(dim, int):
                what = f"the dynamic dimension {dim!r}" if dim else f"a dynamic dimension (number {axis})"
                msg = f"input {name!r} has {what}"
                hint = f"give its shape in the metafile: inputs: [{{name: {name}, shape: {_listing(dims)}}}]"
                raise InputError(msg, hint=hint)


def _listing(dims: Dims) -> str:
    """Write a shape with letters for what the user has to fill in."""
    letters = iter("HW" if len(dims) == 4 else "NMLKJ")
    return f"[{', '.join(str(dim) if isinstance(dim, int) else next(letters, '?') for dim in dims)}]"
