"""Write the page about the file of a program, from the operators that are registered."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from synap_delegate_npu.operators.families import REGISTRY
from synap_delegate_npu.operators.real import real_form
from synap_delegate_npu.program.body import DOMAIN, OPSET
from synap_delegate_npu.program.names import real_name
from synap_delegate_npu.program.registry import Operator
from synap_delegate_npu.program.schemas import DESCRIBING, QUANTIZATION
from synap_delegate_npu.program.writer import IR_VERSION, VERSION
from synap_delegate_npu.support import RECORDS

NOTICE = "<!-- Written by docs/generate.py; do not edit. -->"

INTRODUCTION = f"""\
The file `model.nb` of a subgraph on the NPU is an ONNX model (IR version {IR_VERSION}) whose nodes are the operations
of the hardware, in the domain `{DOMAIN}`, version {VERSION}. Each of them refers to a function of the model that
computes it with standard operators (version {OPSET}), and with these ONNX Runtime executes the file as it is. Any
viewer of ONNX models shows it. The unit itself executes only what the vendor's compiler makes of the same subgraph."""

RUN = """\
A program takes and gives tensors as they are in memory: integers, and not the real numbers that they stand for. After
`synap convert --model examples/digits/digits_int8.tflite --target SL1680 --out-dir out`:

```python
import zipfile
import numpy, onnxruntime

content = zipfile.ZipFile("out/model.synap").read("0/model.nb")
session = onnxruntime.InferenceSession(content)
inputs = {value.name: numpy.zeros(value.shape, "int8") for value in session.get_inputs()}
print(session.run(None, inputs)[0].shape)  # (1, 10)
```

`synap run` gives the same results sooner: it puts the functions in the place of the nodes, and where one operation
converts integers to their type in memory and the next one back, leaves out both. It proves first that the number is
whole, within the type, and not minus zero; and it refuses files with anything that the toolkit does not write: other
domains, functions that call functions, control flow, or constants in other files."""

ATTRIBUTES = ("Attribute", "Type", "Meaning")

PARTS = (
    ("nodes", "the operations, in execution order; `name` is the layer id, `overload` the number of the function"),
    ("initializers", "weights, biases and tables, as they are in memory"),
    ("inputs and outputs", "those of the subgraph, with the names that they have in it"),
    (
        "other values",
        (
            "every tensor between operations, with type and shape; its name is the id of the source tensor that it"
            " holds, with `/nchw` or a number behind it where several hold the same"
        ),
    ),
    ("functions", "one for each operation; they declare its attributes, but compute with the constants inside"),
    (
        "`metadata_props`",
        (
            "`target`, `unit` (the NPU), `format_version`, and what is predicted of the whole, such as the time of a"
            " start; `predictions` says where predictions come from and how far off they are"
        ),
    ),
)

QUANTIZED = """\
Data with two spatial axes are `[N, C, H, W]`. A tensor of integers stands for `scale * (q - zero_point)`; the
attributes of an operation say it for each of its inputs and outputs, counted from 0:"""

MEMORY = """\
Types in memory are int8, uint8, int16 and float16; int32 and int64 for biases and indices, bool for conditions, and
float32 at the ends of a subgraph where the model has it there."""

RESCALING = """\
Sums and products get the step of the output by a multiplier in fixed point, `multiplier * 2**(shift - 31)`, with
`2**30 <= multiplier < 2**31`; there are one or one for each channel. `rounding` says how. Below, `>>` rounds down, and
`right = max(-shift, 0)`:"""

ROUNDINGS = {
    "twice": (
        (
            "`h = ((x << max(shift, 0)) * multiplier + 2**30) >> 31`; then"
            " `(h + 2**(right - 1) - (h < 0)) >> right` if `right > 0`, else `h`"
        ),
        "upwards in the first step, away from zero in the second",
    ),
    "once": ("`(x * multiplier + 2**(30 - shift)) >> (31 - shift)`", "upwards"),
    "short": (
        "`m = min((multiplier + 2**15) >> 16, 2**15 - 1)`; then `(x * m + 2**(14 - shift)) >> (15 - shift)`",
        "upwards",
    ),
    "real": (
        "`multiplier` has 53 bits behind the point: the product in float64, rounded to the nearest",
        "away from zero",
    ),
}

ORIGINS = """\
These are what TensorFlow Lite's reference kernels do: `twice` for 8 bits, `short` for sums of int16 data, `real` for
fully connected layers. `once` is for steps that are powers of two, where rounding twice would make 1 of a quarter, and
for integers that are rescaled in other models than TensorFlow Lite's: their operators are those of real numbers, and of
small products, rounding twice often makes another integer."""

FUNCTIONS = """\
A function computes in floating point, because that is several times as fast as 64-bit integers, and gives the result
of the definition for every input. What guarantees that was checked when it was compiled:

- sums of products are exact in float32 while the sum of all sizes is below `2**24`: weights and data are split into
  parts until that holds, and the parts are added in float64;
- rescaling is a product, a sum and a rounding in float64. Either all bits of what is rounded fit in 53; or, as both
  sides grow with the sum, the sums just before and at each step of the output were compared, for every channel. In the
  first case, one `BatchNormalization` multiplies and adds where there are channels, as its scale and bias. `Floor`
  rounds; where results begin at the zero point, as behind ReLU, and fit in 32 bits, it is a conversion to int32, which
  rounds towards zero: what is below zero is cut off anyway;
- operations on few values, such as sums of two 8-bit tensors, were compared for all combinations;
- a function of one tensor is a table;
- what fits none of these is computed in 64-bit integers, as it is defined."""

INTEGERS = """\
An operation of the [canonical graph](canonical.md) is the first of these that can express it. `x` are inputs, `y` is
the output, and `rescale` is as above."""

REAL = """\
All operators of float16 tensors are of this kind, those above included, and so are the following;
[npu-operators.md](npu-operators.md) says what they stand for. The attribute `arithmetic` tells the kinds apart."""

VERSIONS = f"""\
`opset_import` has version {VERSION} of the domain, and the key `format_version` repeats it. Within a version, operators
and describing attributes may be added, and readers ignore those that they do not know; a definition never changes. A
program of another version is refused. `synap_delegate_npu.program.schemas.register_schemas()` makes all operators known
to the `onnx` package, and `onnx.checker.check_model(model, check_custom_domain=True)` then checks a program. No
attribute is required: the same operator may compute in real numbers, and then has only those that describe."""


def render() -> str:
    """The page."""
    names = sorted({real_name(record.name) for record in RECORDS} - set(REGISTRY.operators))
    roundings = [(f"`{name}`", *cells) for name, cells in ROUNDINGS.items()]
    blocks = [
        "# NPU programs",
        NOTICE,
        INTRODUCTION,
        "## Running one",
        RUN,
        "## Structure",
        _table(("Part of the model", "What it holds"), PARTS),
        QUANTIZED,
        _table(ATTRIBUTES, _rows({f"input0_{key}": text for key, text in QUANTIZATION.items()})),
        MEMORY,
        "## Rescaling",
        RESCALING,
        _table(("`rounding`", "Definition", "Ties"), roundings),
        ORIGINS,
        "## Functions",
        FUNCTIONS,
        "## Operators of integers",
        INTEGERS,
        *(block for alike in _alike() for block in _operator(alike)),
        "## Operators of real numbers",
        _prose(inspect.getdoc(real_form) or ""),
        REAL,
        textwrap.fill(_words(names), 120, break_long_words=False, break_on_hyphens=False),
        "## Attributes that describe",
        "They change no result. What is predicted is for the chip, not for the host.",
        _table(ATTRIBUTES, _rows(DESCRIBING)),
        "## Versions",
        VERSIONS,
    ]
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def _alike() -> Iterator[Sequence[Operator]]:
    """Operators in order; those that have one definition and the same attributes together."""
    found: dict[str, list[Operator]] = {}
    for operator in REGISTRY.operators.values():
        found.setdefault(f"{_general(operator)} {operator.attributes}", []).append(operator)
    yield from found.values()


def _operator(alike: Sequence[Operator]) -> Iterator[str]:
    yield f"### {', '.join(operator.name for operator in alike)}"
    yield _prose(inspect.cleandoc(alike[0].definition if len(alike) == 1 else _general(alike[0])))
    yield _expressed(alike)
    if alike[0].attributes:
        yield _table(ATTRIBUTES, _rows(alike[0].attributes))


def _general(operator: Operator) -> str:
    """The definition without the name of the standard operator, where it refers to one."""
    return operator.definition.replace(f": {', '.join(operator.canonical)}.", ", named below.")


def _expressed(alike: Sequence[Operator]) -> str:
    if len(alike) == 1:
        return f"Begins with {_words(alike[0].canonical)}."
    return "Begin with " + ", ".join(f"{_words(operator.canonical)} ({operator.name})" for operator in alike) + "."


def _words(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _rows(attributes: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for name, text in attributes.items():
        kind, _, meaning = text.partition(": ")
        yield f"`{name}`", kind, meaning


def _prose(text: str) -> str:
    return text.replace("``", "`")


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, ["---"] * len(heading), *rows))
