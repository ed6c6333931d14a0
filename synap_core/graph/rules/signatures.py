"""Which inputs and attributes each operator has, and the element types they may be of.

Source: the operator schemas of the default ONNX domain at opset 19.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from synap_core.graph.rules.registry import Operands

_WINDOW = "auto_pad dilations kernel_shape pads strides"
_SIGNED = "int8 int16 int32 int64"
_UNSIGNED = "uint8 uint16 uint32 uint64"
_REAL = "float16 float double"
_PLAIN = f"{_REAL} {_SIGNED} {_UNSIGNED}"
_ANY = f"{_PLAIN} bool complex64 complex128 string"
_FLOAT8 = "float8e4m3fn float8e4m3fnuz float8e5m2 float8e5m2fnuz"
_RECURRENT = "activation_alpha activation_beta activations clip direction hidden_size layout"

_CLASSES = {
    "any": f"{_ANY} bfloat16",
    "bool": "bool",
    "byte": "int8 uint8",
    "castable": f"{_PLAIN} bool string bfloat16 {_FLOAT8}",
    "comparable": f"{_PLAIN} bool string bfloat16",
    "countable": "float double int16 int32 int64",
    "every": f"{_ANY} bfloat16 {_FLOAT8}",
    "factor": f"{_REAL} bfloat16 int32 int64 uint32 uint64",
    "float": "float",
    "index": "int32 int64",
    "int32": "int32",
    "int64": "int64",
    "integer": f"{_SIGNED} {_UNSIGNED}",
    "logical": f"{_PLAIN} bool",
    "narrow": "float float16 bfloat16",
    "number": f"{_PLAIN} bfloat16",
    "old": _ANY,
    "ordered": f"{_REAL} bfloat16 int8 uint8 int32 int64 uint32 uint64",
    "plain": _PLAIN,
    "pooled": f"{_REAL} int8 uint8",
    "power": f"{_REAL} bfloat16 int32 int64",
    "quantizable": "float float16 bfloat16 int32",
    "real": _REAL,
    "scalable": f"{_REAL} bfloat16",
    "short": f"int8 uint8 {_FLOAT8}",
    "signed": f"{_REAL} bfloat16 {_SIGNED}",
    "stored": f"int8 uint8 int32 {_FLOAT8}",
    "term": "int32 int64 string",
    "unsigned": _UNSIGNED,
    "wide": "float double",
}
"""Element types by the names that the table uses."""

_TABLE = f"""
Abs Sign = number
Acos Acosh Asin Asinh Atan Atanh Cos Cosh Det GlobalAveragePool GlobalMaxPool HardSwish Mish Round Sin Sinh = real
Add Div Greater GreaterOrEqual Less LessOrEqual Mul Sub = X:number X
And Or Xor = bool bool
ArgMax ArgMin = number | axis keepdims select_last_index
AveragePool = real | {_WINDOW} ceil_mode count_include_pad
BatchNormalization = scalable X:scalable X Y:scalable Y | epsilon momentum training_mode
Bernoulli = real | dtype seed
BitShift = X:unsigned X | direction
BitwiseAnd BitwiseOr BitwiseXor = X:integer X
BitwiseNot = integer
BlackmanWindow HammingWindow HannWindow = index | output_datatype periodic
Cast = castable | saturate to
CastLike = castable castable | saturate
Ceil Erf Exp Floor IsNaN Log Reciprocal Sigmoid Sqrt Tanh = scalable
Celu = float | alpha
CenterCropPad = any index | axes
Clip = X:number X? X?
Col2Im = any int64 int64 | dilations pads strides
Compress = old bool | axis
Concat = X:any* | axis
Constant = | sparse_value value value_float value_floats value_int value_ints value_string value_strings
ConstantOfShape = int64 | value
Conv = X:real X X? | {_WINDOW} group
ConvInteger = X:byte Y:byte X? Y? | {_WINDOW} group
ConvTranspose = X:real X X? | {_WINDOW} group output_padding output_shape
CumSum = factor index | exclusive reverse
DFT = scalable index? | axis inverse onesided
DeformConv = X:real X X X? X? | dilations group kernel_shape offset_group pads strides
DepthToSpace = any | blocksize mode
DequantizeLinear = X:stored narrow X? | axis
Dropout = scalable real? bool? | seed
DynamicQuantizeLinear = float
Einsum = X:plain* | equation
Elu ThresholdedRelu = real | alpha
Equal = X:comparable X
Expand Tile Unsqueeze = any int64
EyeLike = logical | dtype k
Flatten = any | axis
GRU = X:real X X X? int32? X? | {_RECURRENT} linear_before_reset
Gather GatherElements = any index | axis
GatherND = any int64 | batch_dims
Gemm = X:factor X X? | alpha beta transA transB
GlobalLpPool = real | p
GridSample = old real | align_corners mode padding_mode
HardSigmoid = real | alpha beta
Hardmax LogSoftmax Softmax = scalable | axis
Identity Size = every
InstanceNormalization = X:real X X | epsilon
IsInf = wide | detect_negative detect_positive
LRN = scalable | alpha beta bias size
LSTM = X:real X X X? int32? X? X? X? | {_RECURRENT} input_forget
LayerNormalization = X:scalable X X? | axis epsilon stash_type
LeakyRelu = scalable | alpha
LpNormalization = real | axis p
LpPool = real | {_WINDOW} ceil_mode p
MatMul PRelu = X:factor X
MatMulInteger = X:byte Y:byte X? Y?
Max Min = X:number*
MaxPool = pooled | {_WINDOW} ceil_mode storage_order
MaxRoiPool = X:real X | pooled_shape spatial_scale
MaxUnpool = real int64 int64? | kernel_shape pads strides
Mean Sum = X:scalable*
MeanVarianceNormalization = scalable | axes
MelWeightMatrix = X:index X X Y:scalable Y | output_datatype
Mod = X:number X | fmod
Multinomial = real | dtype sample_size seed
Neg Relu = signed
NegativeLogLikelihoodLoss = X:real index X? | ignore_index reduction
NonMaxSuppression = float float int64? float? float? | center_point_box
NonZero = any
Not = bool
OneHot = plain plain old | axis
Pad = X:any int64 X? index? | mode
Pow = power number
QLinearConv = X:byte float X Y:byte float Y float byte int32? | {_WINDOW} group
QLinearMatMul = X:byte float X Y:byte float Y float byte
QuantizeLinear = X:quantizable X short? | axis saturate
RNN = X:real X X X? int32? X? | {_RECURRENT}
RandomNormal = | dtype mean scale seed shape
RandomNormalLike = old | dtype mean scale seed
RandomUniform = | dtype high low seed shape
RandomUniformLike = old | dtype high low seed
Range = X:countable X X
ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMean = factor int64? | keepdims noop_with_empty_axes
ReduceProd ReduceSum ReduceSumSquare = factor int64? | keepdims noop_with_empty_axes
ReduceMax ReduceMin = ordered int64? | keepdims noop_with_empty_axes
Reshape = every int64 | allowzero
Resize = any real? float? int64? | antialias axes coordinate_transformation_mode cubic_coeff_a exclude_outside \
extrapolation_value keep_aspect_ratio_policy mode nearest_mode
ReverseSequence = old int64 | batch_axis time_axis
RoiAlign = X:real X int64 | coordinate_transformation_mode mode output_height output_width sampling_ratio spatial_scale
STFT = X:scalable Y:index X? Y? | onesided
ScatterElements = X:any index X | axis reduction
ScatterND = X:any int64 X | reduction
Selu = real | alpha gamma
Shape = every | end start
Shrink = plain | bias lambd
Slice = any X:index X X? X?
SoftmaxCrossEntropyLoss = X:scalable index X? | ignore_index reduction
Softplus Softsign Tan = real
SpaceToDepth = any | blocksize
Split = any int64? | axis num_outputs
Squeeze = any int64?
TfIdfVectorizer = term | max_gram_length max_skip_count min_gram_length mode ngram_counts ngram_indexes pool_int64s \
pool_strings weights
TopK = plain int64 | axis largest sorted
Transpose = any | perm
Trilu = any int64? | upper
Unique = old | axis sorted
Where = bool X:any X
"""
"""Operators = inputs | attributes. An input is a class of element types; ``X:`` in front of it names a type that is the
same wherever the letter stands; ``?`` marks an optional input and ``*`` any number of them, at least one."""


@dataclass(frozen=True, slots=True)
class Input:
    """An input that an operator has.

    Attributes:
        allowed: Element types it may be of.
        letter: Inputs of the same letter are of the same type; empty for one by itself.
        optional: It may be absent.
    """

    allowed: frozenset[ir.DataType]
    letter: str
    optional: bool


@dataclass(frozen=True, slots=True)
class Signature:
    """What an operator has.

    Attributes:
        inputs: In order; an operator that takes any number has the one they are all like.
        variadic: It takes any number of inputs, at least one.
        attributes: Names.
    """

    inputs: tuple[Input, ...]
    variadic: bool
    attributes: frozenset[str]


def _parsed(line: str) -> tuple[list[str], Signature]:
    operators, _, rest = line.partition(" =")
    inputs, _, attributes = rest.partition("|")
    found, classes = [], dict[str, str]()
    for word in inputs.split():
        letter, colon, name = word.rstrip("?*").rpartition(":")
        letter = letter if colon else name if name in classes else ""
        name = classes.setdefault(letter, name) if letter else name
        found.append(Input(_types(name), letter, word.endswith("?")))
    return operators.split(), Signature(tuple(found), "*" in inputs, frozenset(attributes.split()))


def _types(name: str) -> frozenset[ir.DataType]:
    return frozenset(ir.DataType[word.upper()] for word in _CLASSES[name].split())


SIGNATURES = {
    operator: signature
    for operators, signature in map(_parsed, _TABLE.replace("\\\n", "").strip().splitlines())
    for operator in operators
}
"""The signature of each operator."""


def check_signature(node: Operands) -> None:
    """Refuse inputs and attributes that the operator does not have.

    Raises:
        GraphError: A required input is absent, there are too many, one is of a wrong element type, or an attribute is
            unknown.
    """
    signature = SIGNATURES[node.op_type]
    unknown = sorted(map(str, set(node.attributes) - signature.attributes))
    node.require(not unknown, f"attributes {', '.join(unknown)}, which it does not have at opset 19")
    count = max(len(node.types), 1) if signature.variadic else len(signature.inputs)
    node.require(len(node.types) <= count, f"{len(node.types)} inputs, where it has {count}")
    same: dict[str, ir.DataType] = {}
    for position in range(count):
        wanted = signature.inputs[0 if signature.variadic else position]
        if not (wanted.optional and not node.has(position)):
            _check_type(node, position, wanted, same)


def _check_type(node: Operands, position: int, wanted: Input, same: dict[str, ir.DataType]) -> None:
    found = node.type(position).dtype
    if found not in wanted.allowed:
        allowed = ", ".join(sorted(dtype.name for dtype in wanted.allowed))
        node.refuse(f"input {position} is of {found.name}, which must be one of {allowed}")
    if wanted.letter and same.setdefault(wanted.letter, found) != found:
        node.refuse(f"input {position} is of {found.name}, another input of {same[wanted.letter].name}")
