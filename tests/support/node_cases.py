"""At least one node of each operator that has a type rule, with small operands."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Case:
    """A node: its operator, operands (None for one that is absent), attributes and number of outputs."""

    op_type: str
    inputs: Sequence[Array | None]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1

    def __str__(self) -> str:
        operands = " ".join("-" if a is None else f"{a.dtype}{list(a.shape)}" for a in self.inputs)
        return f"{self.op_type} {operands} {reprlib.repr(self.attributes)}".replace("[", "(").replace("]", ")")


def reals(*shape: int, dtype: type = np.float32, low: float = -2.0, high: float = 2.0) -> Array:
    """Real numbers; the same ones for the same shape."""
    return np.random.default_rng([len(shape), *shape]).uniform(low, high, shape).astype(dtype)


def ints(*items: int, dtype: type = np.int64) -> Array:
    """A list of integers."""
    return np.array(items, dtype)


def counting(*shape: int, dtype: type = np.int32, start: int = -5) -> Array:
    """Consecutive integers from ``start``."""
    return np.arange(start, start + int(np.prod(shape))).reshape(shape).astype(dtype)


def scalar(value: float, dtype: type = np.int64) -> Array:
    """A tensor without dimensions."""
    return np.array(value, dtype)


SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 1e30, -1e-30, np.inf, -np.inf, np.nan], np.float32)
FINITE = np.array([0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 3e-5, -40.0, 7.25], np.float32)
EXTREME = np.array([-(2**31), -(2**31) + 1, -1, 0, 1, 2**31 - 1], np.int32)
BOOLS = np.array([[True, False], [False, True]])
BYTES = counting(2, 6, dtype=np.uint8, start=3)

UNBOUNDED = (
    "Abs Atan Ceil Cos Elu Erf Exp Floor HardSigmoid HardSwish Identity LeakyRelu Mish Neg Relu Round Selu Shrink"
)
UNBOUNDED += " Sigmoid Sign Sin Sinh Softplus Softsign Tan Tanh ThresholdedRelu Celu Cosh Asinh"

ELEMENTWISE = [
    *(Case(op, [FINITE]) for op in UNBOUNDED.split()),
    *(Case(op, [reals(2, 3)]) for op in UNBOUNDED.split()),
    *(
        Case(op, [SPECIAL])
        for op in ("Abs", "Ceil", "Floor", "Round", "Neg", "IsNaN", "IsInf", "Identity", "Reciprocal")
    ),
    *(Case(op, [reals(3, 2, low=-0.9, high=0.9)]) for op in ("Acos", "Asin", "Atanh")),
    *(Case(op, [reals(3, 2, low=1.1, high=9.0)]) for op in ("Acosh", "Log", "Sqrt", "Reciprocal")),
    *(Case(op, [EXTREME]) for op in ("Abs", "Neg", "Sign", "Identity", "BitwiseNot")),
    *(Case(op, [reals(4, dtype=np.float64)]) for op in ("Exp", "Sqrt", "Floor", "Tanh", "Neg")),
    *(Case(op, [counting(2, 3), counting(3, start=1)]) for op in ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min")),
    *(Case(op, [reals(2, 1, 3), reals(4, 1)]) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean")),
    *(Case(op, [EXTREME, EXTREME[::-1].copy()]) for op in ("Add", "Sub", "Mul", "Max", "Min", "Equal", "Less")),
    *(Case(op, [reals(2, 3), reals(3)]) for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")),
    *(Case(op, [SPECIAL, SPECIAL[::-1].copy()]) for op in ("Add", "Mul", "Div", "Less", "Equal", "Greater")),
    *(Case(op, [BOOLS, BOOLS[0]]) for op in ("And", "Or", "Xor", "Equal")),
    *(Case(op, [BYTES, BYTES[:1]]) for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "Add", "Sub", "Div")),
    *(Case(op, [reals(3), reals(2, 3), reals(1)]) for op in ("Max", "Min", "Sum", "Mean")),
    *(Case(op, [reals(2, 3, 4)], {"axis": 1}) for op in ("Hardmax", "LogSoftmax", "LpNormalization", "Softmax")),
    *(Case("BitShift", [BYTES, ints(1, 2, 3, 4, 5, 6, dtype=np.uint8)], {"direction": d}) for d in ("LEFT", "RIGHT")),
    *(Case("Mod", [counting(3, 4), ints(3, -3, 4, -7, dtype=np.int32)], {"fmod": f}) for f in (0, 1)),
    Case("Mod", [SPECIAL, SPECIAL[::-1].copy()], {"fmod": 1}),
    Case("Pow", [reals(2, 3, low=0.1, high=3.0), reals(3)]),
    Case("Pow", [reals(2, 3, low=0.1, high=3.0), ints(2, -1, 3)]),
    Case("Not", [BOOLS]),
    Case("IsInf", [SPECIAL], {"detect_negative": 0}),
    Case("IsInf", [SPECIAL], {"detect_positive": 0}),
    Case("LeakyRelu", [reals(2, 3)], {"alpha": 0.3}),
    Case("Elu", [reals(2, 3)], {"alpha": 0.3}),
    Case("Shrink", [reals(2, 3)], {"bias": 0.2, "lambd": 1.0}),
    Case("HardSigmoid", [reals(2, 3)], {"alpha": 0.3, "beta": 0.1}),
    Case("LRN", [reals(1, 5, 2, 2)], {"size": 3}),
    Case("PRelu", [reals(2, 3, 4), reals(3, 1)]),
    Case("Clip", [reals(2, 3), scalar(-1, np.float32), scalar(0.5, np.float32)]),
    Case("Clip", [counting(2, 3), None, scalar(-2, np.int32)]),
    Case("Where", [BOOLS, reals(2, 1), reals(2)]),
    *(Case("Cast", [np.array([-3.7, 0.0, 2.5, 100.9], np.float32)], {"to": to}) for to in (1, 3, 5, 6, 7, 9, 10, 11)),
    *(Case("Cast", [EXTREME], {"to": to}) for to in (1, 2, 3, 4, 7, 9, 11, 12, 13)),
    Case("Cast", [np.array([1.5, -65504.0, 6e-8, np.inf], np.float16)], {"to": 1}),
    Case("Cast", [np.array([1e5, -1e5, 1e-9, 1.0004883, np.nan], np.float32)], {"to": 10}),
    Case("Cast", [BOOLS], {"to": 1}),
    Case("CastLike", [reals(2, 3), ints(1)]),
    Case("Dropout", [reals(2, 3)], outputs=2),
    Case("CumSum", [reals(2, 5), scalar(1)]),
    Case("CumSum", [reals(2, 5), scalar(-1)], {"exclusive": 1}),
    Case("CumSum", [counting(3, 4), scalar(0)], {"reverse": 1}),
    Case("CumSum", [counting(3, 4), scalar(1)], {"reverse": 1, "exclusive": 1}),
    *(Case("Trilu", [reals(2, 3, 4), scalar(k)], {"upper": upper}) for k in (-1, 0, 2, 9) for upper in (0, 1)),
    Case("ReverseSequence", [counting(4, 3), ints(4, 0, 2)]),
    Case("ReverseSequence", [counting(3, 4, 2), ints(4, 1, 2)], {"batch_axis": 0, "time_axis": 1}),
]

RANDOM = [
    Case("Bernoulli", [reals(2, 3, low=0.0, high=1.0)], {"dtype": 7}),
    Case("RandomNormalLike", [reals(2, 3)]),
    Case("RandomUniformLike", [counting(2, 3)], {"dtype": 1}),
    Case("RandomNormal", [], {"shape": [2, 3]}),
    Case("RandomUniform", [], {"shape": [2, 3], "dtype": 11}),
    Case("Multinomial", [reals(2, 5)], {"sample_size": 4}),
]

MOVEMENT = [
    Case("Transpose", [reals(2, 3, 4)]),
    Case("Transpose", [reals(2, 3, 4)], {"perm": [1, 2, 0]}),
    *(Case("Concat", [reals(2, 3), reals(2, 1)], {"axis": axis}) for axis in (1, -1)),
    Case("Split", [reals(2, 7)], {"axis": -1, "num_outputs": 3}, 3),
    Case("Split", [reals(7, 2), ints(4, 0, 3)], {}, 3),
    Case("Slice", [reals(4, 5), ints(1, -1), ints(9, -9), ints(0, 1), ints(2, -2)]),
    Case("Slice", [reals(4, 5), ints(-99, 2), ints(3, 2**62)]),
    Case("Slice", [reals(4, 5), ints(-99), ints(-(2**62)), ints(-1), ints(-1)]),
    Case("Slice", [reals(4, 5), ints(3), ints(1)]),
    Case("Expand", [reals(3, 1), ints(2, 1, 4)]),
    Case("Expand", [reals(2, 3, 4), ints(4)]),
    Case("Tile", [reals(2, 3), ints(2, 3)]),
    Case("Tile", [reals(2, 3), ints(0, 1)]),
    Case("DepthToSpace", [reals(1, 8, 2, 3)], {"blocksize": 2}),
    Case("DepthToSpace", [reals(1, 8, 2, 3)], {"blocksize": 2, "mode": "CRD"}),
    Case("SpaceToDepth", [reals(1, 2, 4, 6)], {"blocksize": 2}),
    Case("Reshape", [reals(2, 3, 4), ints(0, -1)]),
    Case("Reshape", [reals(2, 3, 4), ints(4, 6)]),
    Case("Reshape", [reals(0, 3), ints(3, 0)], {"allowzero": 1}),
    Case("Reshape", [reals(), ints(1, 1)]),
    *(Case("Flatten", [reals(2, 3, 4)], {"axis": axis}) for axis in (0, 1, -1, 3)),
    Case("Squeeze", [reals(1, 3, 1)]),
    Case("Squeeze", [reals(1, 3, 1), ints(-1)]),
    Case("Unsqueeze", [reals(2, 3), ints(-1, 0)]),
    *(Case("Pad", [reals(3, 4), ints(1, 0, 2, 3)], {"mode": mode}) for mode in ("edge", "wrap")),
    Case("Pad", [reals(3, 4), ints(1, 0, 2, 3)], {"mode": "reflect"}),
    Case("Pad", [reals(3, 4), ints(1, -1, -2, 3), scalar(7, np.float32)]),
    Case("Pad", [reals(3, 4), ints(1, -2), None, ints(-1)]),
    Case("CenterCropPad", [reals(3, 4, 5), ints(6, 2, 5)]),
    Case("CenterCropPad", [reals(3, 4, 5), ints(2, 8)], {"axes": [2, 0]}),
]

SELECTION = [
    Case("Gather", [reals(3, 4, 2), ints(0, -1, 2).reshape(3, 1)], {"axis": 1}),
    Case("Gather", [reals(3, 4), scalar(-2)]),
    Case("GatherElements", [reals(3, 4), ints(0, -1, 2, 1).reshape(2, 2)], {"axis": 1}),
    Case("GatherElements", [reals(3, 4), ints(0, -1, 2, 1, 1).reshape(5, 1)]),
    Case("GatherND", [reals(3, 4, 2), ints(0, -1, 2, 1).reshape(2, 2)]),
    Case("GatherND", [reals(2, 3, 4), ints(0, -1).reshape(2, 1)], {"batch_dims": 1}),
    Case("GatherND", [reals(2, 3, 4), ints(0, 1, 2, 3, -1, 0, 1, 1).reshape(2, 2, 2)], {"batch_dims": 1}),
    Case("ScatterElements", [reals(3, 4), ints(0, -1, 2, 1).reshape(2, 2), reals(2, 2)], {"axis": 1}),
    Case("ScatterElements", [reals(5), ints(1, -1), reals(2)]),
    Case("ScatterND", [reals(4, 3), ints(0, -1).reshape(2, 1), reals(2, 3)]),
    Case("ScatterND", [reals(4, 3), ints(0, -1, 2, 1).reshape(2, 2), reals(2)]),
    *(Case(op, [counting(3, 4, dtype=np.float32) % 5], {"axis": 1}) for op in ("ArgMax", "ArgMin")),
    Case("ArgMax", [counting(3, 4) % 2], {"axis": -1, "keepdims": 0, "select_last_index": 1}),
    Case("ArgMin", [counting(3, 4) % 2], {"select_last_index": 1}),
    Case("TopK", [reals(3, 5), ints(2)], {}, 2),
    Case("TopK", [reals(3, 5), ints(2)], {"axis": 0}, 2),
    Case("OneHot", [ints(1, -1, 5, 0), scalar(3), np.array([0.5, 2.0], np.float32)]),
    Case("OneHot", [ints(1, 0).reshape(1, 2), ints(3), ints(7, 9)], {"axis": 1}),
    Case("OneHot", [ints(1, 0).reshape(1, 2), scalar(3), ints(7, 9)], {"axis": 0}),
    Case("Compress", [reals(3, 4), np.array([True, False, True])], {"axis": 1}),
    Case("Compress", [reals(2, 2), np.array([False, True, True])]),
    Case("NonZero", [counting(3, 4) % 3]),
    Case(
        "TfIdfVectorizer",
        [counting(2, 5, start=1)],
        {
            "mode": "TF",
            "min_gram_length": 1,
            "max_gram_length": 1,
            "max_skip_count": 0,
            "ngram_counts": [0],
            "ngram_indexes": [0, 2, 5],
            "pool_int64s": [1, 2, 3],
        },
    ),
]

REDUCE = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"
)
REDUCTION = [
    *(Case(op, [reals(2, 3, 4, low=0.1)]) for op in REDUCE.split()),
    *(Case(op, [reals(2, 3, 4, low=0.1), ints(-1, 0)], {"keepdims": 0}) for op in REDUCE.split()),
    *(Case(op, [reals(2, 3, low=0.1), ints()], {"noop_with_empty_axes": 1}) for op in ("ReduceSum", "ReduceMax")),
    *(Case(op, [counting(3, 4), ints(1)]) for op in REDUCE.split() if op not in ("ReduceLogSum", "ReduceL2")),
]

GENERATION = [
    Case("Constant", [], {"value": reals(2, 3)}),
    Case("Constant", [], {"value_float": 1.5}),
    Case("Constant", [], {"value_floats": [1.5, 2.0]}),
    Case("Constant", [], {"value_int": 3}),
    Case("Constant", [], {"value_ints": [3, -4]}),
    Case("ConstantOfShape", [ints(2, 3)]),
    Case("ConstantOfShape", [ints()], {"value": ints(7, dtype=np.int32)}),
    Case("Shape", [reals(2, 3, 4)]),
    Case("Shape", [reals(2, 3, 4)], {"start": -2, "end": 99}),
    Case("Size", [reals(2, 3, 4)]),
    Case("EyeLike", [counting(3, 4)], {"dtype": 1, "k": 1}),
    Case("EyeLike", [reals(3, 4)], {"k": -1}),
    Case("Range", [scalar(1), scalar(10), scalar(4)]),
    Case("Range", [scalar(5), scalar(-4), scalar(-3)]),
    Case("Range", [scalar(5), scalar(9), scalar(-3)]),
    Case("Range", [scalar(0.1, np.float32), scalar(1.3, np.float32), scalar(0.1, np.float32)]),
    *(Case(op, [scalar(7)]) for op in ("BlackmanWindow", "HammingWindow", "HannWindow")),
    Case("HannWindow", [scalar(7, np.int32)], {"output_datatype": 11, "periodic": 0}),
    Case(
        "MelWeightMatrix",
        [scalar(5), scalar(17), scalar(8000), scalar(10, np.float32), scalar(900, np.float32)],
    ),
]

LAYERS = [
    Case(
        "Conv", [reals(1, 4, 7, 8), reals(6, 2, 3, 2), reals(6)], {"group": 2, "pads": [1, 0, 2, 1], "strides": [2, 1]}
    ),
    Case("Conv", [reals(2, 1, 9), reals(3, 1, 3)], {"dilations": [2], "kernel_shape": [3]}),
    Case("Conv", [reals(1, 1, 5, 6), reals(2, 1, 3, 3)], {"auto_pad": "SAME_UPPER", "strides": [2, 4]}),
    Case(
        "ConvInteger",
        [BYTES.reshape(1, 1, 3, 4), counting(2, 1, 2, 2, dtype=np.uint8, start=0)],
        {"pads": [0, 1, 0, 1]},
    ),
    Case(
        "QLinearConv",
        [
            BYTES.reshape(1, 1, 3, 4),
            scalar(0.5, np.float32),
            scalar(3, np.uint8),
            counting(2, 1, 2, 2, dtype=np.uint8, start=0),
            scalar(0.25, np.float32),
            scalar(1, np.uint8),
            scalar(0.75, np.float32),
            scalar(4, np.uint8),
            ints(5, 6, dtype=np.int32),
        ],
    ),
    Case(
        "ConvTranspose",
        [reals(1, 4, 3, 2), reals(4, 3, 3, 2), reals(6)],
        {"group": 2, "strides": [2, 3], "pads": [1, 0, 0, 1]},
    ),
    Case("ConvTranspose", [reals(1, 2, 3), reals(2, 3, 3)], {"strides": [3], "output_padding": [2]}),
    Case("ConvTranspose", [reals(1, 2, 3), reals(2, 3, 4)], {"strides": [2], "output_shape": [7]}),
    Case("ConvTranspose", [reals(1, 2, 3), reals(2, 3, 3)], {"strides": [3], "output_shape": [11]}),
    Case("ConvTranspose", [reals(1, 2, 3), reals(2, 3, 4)], {"strides": [2], "auto_pad": "SAME_LOWER"}),
    Case(
        "DeformConv",
        [reals(1, 2, 5, 4), reals(3, 2, 2, 2), reals(1, 8, 4, 3), reals(3), reals(1, 4, 4, 3)],
    ),
    Case("Col2Im", [reals(1, 4, 6), ints(3, 4), ints(2, 2)]),
    Case("AveragePool", [reals(1, 2, 6, 7)], {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1}),
    Case("MaxPool", [reals(1, 2, 9)], {"kernel_shape": [3], "dilations": [2], "pads": [1, 2]}, 2),
    Case(
        "MaxPool",
        [reals(1, 2, 5, 5)],
        {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    ),
    Case("MaxPool", [reals(1, 1, 5)], {"kernel_shape": [3], "auto_pad": "SAME_LOWER", "strides": [2]}),
    Case("LpPool", [reals(1, 2, 6, 7)], {"kernel_shape": [3, 2], "auto_pad": "VALID", "p": 1}),
    *(Case(op, [reals(1, 2, 3, 4)]) for op in ("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool")),
    Case(
        "MaxUnpool",
        [reals(1, 1, 2, 2), ints(0, 3, 9, 15).reshape(1, 1, 2, 2)],
        {"kernel_shape": [2, 2], "strides": [2, 2]},
    ),
    Case(
        "MaxUnpool",
        [reals(1, 1, 2, 2), ints(0, 3, 9, 15).reshape(1, 1, 2, 2), ints(1, 1, 5, 5)],
        {"kernel_shape": [2, 2], "strides": [2, 2]},
    ),
    Case(
        "MaxRoiPool",
        [reals(1, 2, 5, 5), np.array([[0, 0, 0, 3, 3], [0, 1, 1, 4, 4]], np.float32)],
        {"pooled_shape": [2, 3]},
    ),
    Case(
        "RoiAlign",
        [reals(1, 2, 5, 5), np.array([[0, 0, 3, 3]], np.float32), ints(0)],
        {"output_height": 2, "output_width": 3},
    ),
    Case("MatMul", [reals(2, 1, 3, 4), reals(5, 4, 2)]),
    Case("MatMul", [reals(4), reals(2, 4, 3)]),
    Case("MatMul", [reals(2, 3, 4), reals(4)]),
    Case("MatMul", [reals(4), reals(4)]),
    Case("MatMulInteger", [BYTES, BYTES.T.copy()]),
    Case(
        "QLinearMatMul",
        [
            BYTES,
            scalar(0.5, np.float32),
            scalar(3, np.uint8),
            BYTES.T.copy(),
            scalar(0.25, np.float32),
            scalar(1, np.uint8),
            scalar(0.75, np.float32),
            scalar(4, np.uint8),
        ],
    ),
    Case("Gemm", [reals(4, 2), reals(3, 4), reals(3)], {"transA": 1, "transB": 1}),
    Case("Det", [reals(2, 3, 3)]),
    Case("Einsum", [reals(2, 3), reals(3, 4)], {"equation": "ij,jk->ik"}),
    Case("Einsum", [reals(5, 2, 3), reals(2, 3)], {"equation": "...ij, ij -> ...i"}),
    Case("Einsum", [reals(3, 3)], {"equation": "ii"}),
    Case("Einsum", [reals(2, 3), reals(3, 4)], {"equation": "ba,ac"}),
    Case("BatchNormalization", [reals(2, 3, 4), reals(3), reals(3), reals(3), reals(3, low=0.1)]),
    Case("InstanceNormalization", [reals(2, 3, 4), reals(3), reals(3)]),
    Case("LayerNormalization", [reals(2, 3, 4), reals(3, 4), reals(4)], {"axis": 1}, 3),
    Case("MeanVarianceNormalization", [reals(2, 3, 4, 5)]),
    Case("Resize", [reals(1, 2, 3, 4), None, np.array([1, 1, 1.7, 0.6], np.float32)]),
    Case("Resize", [reals(1, 2, 3, 4), None, None, ints(7, 5)], {"axes": [3, 2]}),
    *(
        Case(
            "Resize", [reals(1, 2, 3, 4), None, None, ints(7, 5)], {"axes": [2, 3], "keep_aspect_ratio_policy": policy}
        )
        for policy in ("not_larger", "not_smaller")
    ),
    Case("GridSample", [reals(1, 2, 4, 5), reals(1, 3, 6, 2)]),
    Case("DFT", [reals(1, 6, 1)], {"axis": 1}),
    Case("DFT", [reals(1, 6, 1), scalar(9)], {"axis": -2, "onesided": 1}),
    Case("DFT", [reals(1, 5, 6, 2)], {"axis": 2, "inverse": 1}),
    Case("STFT", [reals(1, 20, 1), scalar(3), reals(8), scalar(8)]),
    Case("STFT", [reals(1, 20, 2), scalar(3), None, scalar(8)], {"onesided": 0}),
    Case("QuantizeLinear", [reals(2, 3) * 100, scalar(0.7, np.float32), scalar(5, np.uint8)]),
    Case("QuantizeLinear", [reals(2, 3), scalar(0.25, np.float32)]),
    Case("QuantizeLinear", [reals(2, 3), np.array([0.1, 0.02], np.float32), ints(0, 4, dtype=np.int8)], {"axis": 0}),
    Case("DequantizeLinear", [BYTES, scalar(0.7, np.float32), scalar(5, np.uint8)]),
    Case(
        "DequantizeLinear",
        [counting(2, 3, dtype=np.int8), np.array([0.1, 0.02], np.float32), ints(0, 4, dtype=np.int8)],
        {"axis": 0},
    ),
    Case("DequantizeLinear", [EXTREME, scalar(0.25, np.float32)]),
    Case("DynamicQuantizeLinear", [reals(2, 3)], {}, 3),
    Case("NegativeLogLikelihoodLoss", [reals(2, 5), ints(1, 4)]),
    Case(
        "NegativeLogLikelihoodLoss",
        [reals(2, 5, 3), counting(2, 3, start=0, dtype=np.int64) % 5, reals(5)],
        {"reduction": "none"},
    ),
    Case("SoftmaxCrossEntropyLoss", [reals(2, 5), ints(1, 4)], {"reduction": "sum"}, 2),
]


def recurrent(op_type: str, gates: int, direction: str, *, layout: int = 0) -> Case:
    """A recurrent layer with all operands but the lengths, and all outputs."""
    sides = 2 if direction == "bidirectional" else 1
    state = reals(2, sides, 4) if layout else reals(sides, 2, 4)
    inputs: list[Array | None] = [
        reals(2, 5, 3) if layout else reals(5, 2, 3),
        reals(sides, gates * 4, 3),
        reals(sides, gates * 4, 4),
        reals(sides, 2 * gates * 4),
        None,
        state,
    ]
    more = [state, reals(sides, 12)] if op_type == "LSTM" else []
    attributes = {"hidden_size": 4, "direction": direction, "layout": layout}
    return Case(op_type, inputs + more, attributes, 3 if op_type == "LSTM" else 2)


RECURRENT = [
    recurrent("GRU", 3, "reverse"),
    recurrent("LSTM", 4, "bidirectional"),
    recurrent("LSTM", 4, "forward", layout=1),
    recurrent("RNN", 1, "bidirectional", layout=1),
]

CASES = [*ELEMENTWISE, *RANDOM, *MOVEMENT, *SELECTION, *REDUCTION, *GENERATION, *LAYERS, *RECURRENT]
