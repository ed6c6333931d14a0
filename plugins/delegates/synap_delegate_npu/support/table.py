"""The operators of the hardware: engines as the manual's table has them, and what each is recognised from.

Source: SyNAP user manual 3.2, operator tables. Cells marked (E) are concluded: the tables have no int16 where the NN
cores do not run uint8, but a published int16 run of a whole network includes operators of the other engines.
"""

from __future__ import annotations

from synap_delegate_npu.support import conditions as c
from synap_delegate_npu.support.record import Condition, Record

Cells = tuple[str, str, str, str, str]

PRODUCT: Cells = ("NN", "NN or PPU", "NN", "PPU", "PPU")
TENSOR: Cells = ("TP", "TP", "TP (E)", "TP", "PPU")
PROGRAM: Cells = ("PPU", "PPU", "PPU (E)", "PPU", "PPU")
EITHER: Cells = ("TP or PPU", "TP or PPU", "TP (E)", "TP or PPU", "PPU")
ALWAYS_EITHER: Cells = ("TP or PPU", "TP or PPU", "TP (E)", "TP or PPU", "TP or PPU")
SUM: Cells = ("NN", "NN", "NN", "PPU", "PPU")
POOL: Cells = ("NN or TP", "NN or TP", "NN", "TP", "PPU")
STATEFUL: Cells = ("NN", "NN", "NN (E)", "PPU", "PPU")
LOGIC: Cells = ("PPU", "PPU", "-", "PPU", "PPU")
RECURRENT: Cells = ("TP or PPU", "TP or PPU", "-", "TP or PPU", "PPU")
NO_FLOAT32: Cells = ("PPU", "PPU", "PPU (E)", "PPU", "-")

WEIGHTED = (c.real_tensors, c.weights_are_constant, c.uint8_weights_have_one_scale)
UNAIDED = (c.stride_is_1, c.kernel_fits_cores, c.dilated_kernel_fits_cores)
MOVED = (c.real_tensors, c.parameters_are_constant)


def _plain(cells: Cells, **canonical: str) -> tuple[Record, ...]:
    """Operators that only need real numbers: those of the canonical graph by name, with blanks between."""
    return tuple(
        Record(name=name, engines=cells, canonical=tuple(words.split()), conditions=(c.real_tensors,))
        for name, words in canonical.items()
    )


def _unused(cells: Cells, names: str, *, moves: bool = False) -> tuple[Record, ...]:
    """Operators that nothing in the canonical graph stands for by itself."""
    return tuple(Record(name=name, engines=cells, moves=moves) for name in names.split())


def _moving(name: str, canonical: str, *conditions: Condition) -> Record:
    """An operator of the tensor processor that only moves numbers."""
    return Record(
        name=name, engines=TENSOR, canonical=tuple(canonical.split()), conditions=conditions or MOVED, moves=True
    )


def _program(name: str, canonical: str, *conditions: Condition) -> Record:
    """An operator of the programmable unit."""
    return Record(name=name, engines=PROGRAM, canonical=tuple(canonical.split()), conditions=conditions)


CONVOLUTIONS = (
    *(
        Record(name=name, engines=PRODUCT, canonical=("Conv",), conditions=WEIGHTED, unaided=UNAIDED)
        for name in ("CONV2D", "CONV1D", "GROUPED_CONV1D", "GROUPED_CONV2D")
    ),
    *(
        Record(name=name, engines=PRODUCT, canonical=("ConvTranspose",), conditions=(*WEIGHTED, c.one_group))
        for name in ("DECONVOLUTION", "DECONVOLUTION1D")
    ),
    Record(
        name="FULLY_CONNECTED",
        engines=TENSOR,
        canonical=("Gemm", "MatMul", "Conv"),
        conditions=(*WEIGHTED, c.plain_product),
    ),
    *_unused(STATEFUL, "CONV2D_LSTM CONV2D_LSTM_CELL"),
)

ELEMENTWISE = (
    *_plain(SUM, ADD="Add", SUBTRACT="Sub"),
    *_plain(TENSOR, RELU="Relu", LEAKY_RELU="LeakyRelu", SIGMOID="Sigmoid", TANH="Tanh", ABS="Abs"),
    Record(
        name="PRELU",
        engines=TENSOR,
        canonical=("PRelu",),
        conditions=(c.real_tensors, c.parameters_are_constant, c.slope_per_channel),
    ),
    *(
        Record(name=name, engines=cells, canonical=("Clip",), conditions=(c.real_tensors, c.limits_are_numbers))
        for name, cells in (("RELUN", TENSOR), ("CLIP", EITHER))
    ),
    *_plain(TENSOR, SWISH="SiLU Sigmoid+Mul"),
    *_plain(EITHER, LOG="Log", NEG="Neg", MISH="Mish", ERF="Erf", GELU="GELU"),
    *_plain(ALWAYS_EITHER, ELU="Elu", HARD_SIGMOID="HardSigmoid", HARD_SWISH="HardSwish"),
    *_plain(PROGRAM, EXP="Exp", SQRT="Sqrt", RSQRT="Sqrt+Reciprocal Reciprocal+Sqrt", SQUARE="Mul", SIN="Sin"),
    *_plain(PROGRAM, SOFTRELU="Softplus", SOFTMAX="Softmax Mul+Softmax", LOG_SOFTMAX="LogSoftmax"),
    *_unused(PROGRAM, "LINEAR"),
    *_plain(PROGRAM, MULTIPLY="Mul", DIVIDE="Div Reciprocal", MAXIMUM="Max", MINIMUM="Min", POW="Pow"),
    *_plain(PROGRAM, FLOORDIV="Div+Floor", ADDN="Sum", MATRIXMUL="MatMul"),
    _program("SELECT", "Where", c.real_choices),
    *(
        Record(name=name, engines=LOGIC, canonical=tuple(canonical.split()), conditions=(condition,))
        for name, canonical, condition in (
            ("RELATIONAL_OPS", "Equal Greater GreaterOrEqual Less LessOrEqual", c.real_operands),
            ("LOGICAL_OPS", "And Or Xor", c.truth_tensors),
            ("LOGICAL_NOT", "Not", c.truth_tensors),
        )
    ),
    *_plain(PROGRAM, FLOOR="Floor", CEIL="Ceil", ROUND="Round"),
    _program("CAST", "Cast", c.stored_tensors),
)

POOLS = (
    Record(
        name="POOL",
        engines=POOL,
        canonical=("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
        conditions=(c.real_tensors, c.one_or_two_axes, c.window_is_whole),
        unaided=(c.averages, c.moves_by_1, c.kernel_fits_cores),
    ),
    _program("POOLWITHARGMAX", "MaxPool", c.real_operands, c.one_or_two_axes, c.window_is_whole),
    Record(name="ROI_POOL", engines=RECURRENT, canonical=("MaxRoiPool",), conditions=(c.real_tensors,)),
)

NORMALISATIONS = (
    _program("BATCH_NORM", "BatchNormalization", c.real_tensors, c.parameters_are_constant, c.is_inference),
    _program("L2_NORMALIZE", "LpNormalization", c.real_tensors, c.norm_is_euclidean),
    _program("LAYER_NORM", "LayerNormalization", c.real_tensors, c.parameters_are_constant, c.normalises_only),
    _program("INSTANCE_NORM", "InstanceNormalization", c.real_tensors, c.parameters_are_constant),
    *_unused(PROGRAM, "BATCHNORM_SINGLE GROUP_NORM MOMENTS"),
    *_plain(TENSOR, LRN2="LRN"),
)

MOVEMENTS = (
    *(_moving(name, "Slice") for name in ("SLICE", "STRIDED_SLICE", "REVERSE")),
    _moving("SPLIT", "Split"),
    _moving("CONCAT", "Concat", c.real_tensors),
    _moving("RESHAPE", "Reshape Flatten Unsqueeze", c.stored_tensors, c.parameters_are_constant),
    _moving("SQUEEZE", "Squeeze", c.stored_tensors, c.parameters_are_constant),
    _moving("PERMUTE", "Transpose"),
    _moving("PAD", "Pad", *MOVED, c.pads_with_numbers, c.pads_do_not_crop),
    _moving("SPACE2DEPTH", "SpaceToDepth"),
    _moving("DEPTH2SPACE", "DepthToSpace"),
    _moving("DATACONVERT", "Identity", c.stored_tensors),
    *_unused(TENSOR, "STACK UNSTACK REORG SPACE2BATCH BATCH2SPACE SHUFFLECHANNEL VARIABLE", moves=True),
)

SELECTIONS = (
    _program("REDUCE", "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd", *MOVED),
    *(_program(name, canonical, c.real_operands) for name, canonical in (("ARGMAX", "ArgMax"), ("ARGMIN", "ArgMin"))),
    _program("EXPAND_BROADCAST", "Expand", *MOVED),
    _program("TILE", "Tile", *MOVED),
    _program("ONE_HOT", "OneHot", c.real_data, c.parameters_are_constant),
    Record(
        name="RESIZE",
        engines=PROGRAM,
        canonical=("Resize", "MatMul+Reshape"),
        conditions=(c.real_tensors, c.sizes_are_constant, c.resizes_simply, c.resizes_all_of_it, c.resizes_maps),
    ),
    *_unused(PROGRAM, "REPEAT UPSAMPLE"),
    *_unused(NO_FLOAT32, "UPSAMPLESCALE"),
    _program("GATHER", "Gather", c.real_data),
    _program("GATHER_ND", "GatherND", c.real_data, c.no_batches_of_indices),
    _program("SCATTER_ND", "ScatterND", c.real_data, c.scatters_plainly),
    *_unused(PROGRAM, "GATHER_ND_UPDATE EMBEDDING_LOOKUP SEQUENCE_MASK SIGNAL_FRAME CONCATSHIFT ELTWISEMAX"),
    *_unused(PROGRAM, "PROPOSAL DROPOUT"),
)

RECURRENTS = (
    *(
        Record(
            name=name,
            engines=RECURRENT,
            canonical=(name,),
            conditions=(
                c.real_tensors,
                c.recurrent_weights_are_constant,
                c.runs_forward,
                c.usual_gates,
                c.no_cell_clip,
            ),
        )
        for name in ("LSTM", "GRU")
    ),
    *_unused(RECURRENT, "LSTMUNIT GRUCELL SVDF"),
)

RECORDS: tuple[Record, ...] = (
    *CONVOLUTIONS,
    *POOLS,
    *ELEMENTWISE,
    *NORMALISATIONS,
    *MOVEMENTS,
    *SELECTIONS,
    *RECURRENTS,
)
"""All operators."""

BY_NAME = {record.name: record for record in RECORDS}
"""All operators, by the manual's name."""

GENERAL: tuple[Condition, ...] = (c.ranks_fit, c.int16_is_fixed_point)
"""What every operator needs."""

UNLESS_CONVERSION: tuple[Condition, ...] = (c.one_kind_of_8_bits,)
"""What every operator but a conversion needs."""
