"""Messages of Caffe 1.0: the table of their fields, compiled to classes of the ``protobuf`` package.

The table states the public field numbers, so files of any Caffe 1.0 can be read. Fields that it lacks are tolerated.
The classes live in a descriptor pool of their own: another package that brings a schema of Caffe does not collide.

The classes are made when this module runs, so they have no static types: `Message` stands for all of them.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Message = Any
"""An object of one of the classes below, whose attributes are its fields; or such a class."""

PACKAGE = "synap.caffe"

_ENUMS = {
    "Phase": "TRAIN=0 TEST=1",
    "ParamSpec.DimCheckMode": "STRICT=0 PERMISSIVE=1",
    "BlobProto.RawType": "DOUBLE=0 FLOAT=1 FLOAT16=2 INT=3 UINT=4",
    "FillerParameter.VarianceNorm": "FAN_IN=0 FAN_OUT=1 AVERAGE=2",
    "LossParameter.NormalizationMode": "FULL=0 VALID=1 BATCH_SIZE=2 NONE=3",
    "DataParameter.DB": "LEVELDB=0 LMDB=1",
    "EltwiseParameter.EltwiseOp": "PROD=0 SUM=1 MAX=2",
    "HingeLossParameter.Norm": "L1=1 L2=2",
    "LRNParameter.NormRegion": "ACROSS_CHANNELS=0 WITHIN_CHANNEL=1",
    "PoolingParameter.PoolMethod": "MAX=0 AVE=1 STOCHASTIC=2",
    "PoolingParameter.RoundMode": "CEIL=0 FLOOR=1",
    "ReductionParameter.ReductionOp": "SUM=1 ASUM=2 SUMSQ=3 MEAN=4",
    "Engine": "DEFAULT=0 CAFFE=1 CUDNN=2",
    "V1LayerParameter.LayerType": """
        NONE=0 ACCURACY=1 BNLL=2 CONCAT=3 CONVOLUTION=4 DATA=5 DROPOUT=6 EUCLIDEAN_LOSS=7 FLATTEN=8 HDF5_DATA=9
        HDF5_OUTPUT=10 IM2COL=11 IMAGE_DATA=12 INFOGAIN_LOSS=13 INNER_PRODUCT=14 LRN=15 MULTINOMIAL_LOGISTIC_LOSS=16
        POOLING=17 RELU=18 SIGMOID=19 SOFTMAX=20 SOFTMAX_LOSS=21 SPLIT=22 TANH=23 WINDOW_DATA=24 ELTWISE=25 POWER=26
        SIGMOID_CROSS_ENTROPY_LOSS=27 HINGE_LOSS=28 MEMORY_DATA=29 ARGMAX=30 THRESHOLD=31 DUMMY_DATA=32 SLICE=33 MVN=34
        ABSVAL=35 SILENCE=36 CONTRASTIVE_LOSS=37 EXP=38 DECONVOLUTION=39
    """,
}
"""Enumerations. A name with a dot belongs to that message, so several may share the names of their members.

`Engine` is one in Caffe for each kind of layer; the members are the same.
"""

_COMMON_PARAMETERS = """
    transform_param=100,36:TransformationParameter loss_param=101,42:LossParameter
    accuracy_param=102,27:AccuracyParameter argmax_param=103,23:ArgMaxParameter concat_param=104,9:ConcatParameter
    contrastive_loss_param=105,40:ContrastiveLossParameter convolution_param=106,10:ConvolutionParameter
    data_param=107,11:DataParameter dropout_param=108,12:DropoutParameter dummy_data_param=109,26:DummyDataParameter
    eltwise_param=110,24:EltwiseParameter exp_param=111,41:ExpParameter hdf5_data_param=112,13:HDF5DataParameter
    hdf5_output_param=113,14:HDF5OutputParameter hinge_loss_param=114,29:HingeLossParameter
    image_data_param=115,15:ImageDataParameter infogain_loss_param=116,16:InfogainLossParameter
    inner_product_param=117,17:InnerProductParameter lrn_param=118,18:LRNParameter
    memory_data_param=119,22:MemoryDataParameter mvn_param=120,34:MVNParameter pooling_param=121,19:PoolingParameter
    power_param=122,21:PowerParameter relu_param=123,30:ReLUParameter sigmoid_param=124,38:SigmoidParameter
    softmax_param=125,39:SoftmaxParameter slice_param=126,31:SliceParameter tanh_param=127,37:TanHParameter
    threshold_param=128,25:ThresholdParameter window_data_param=129,20:WindowDataParameter
"""
"""Parameters that both kinds of layers have: the numbers are those in `LayerParameter` and in `V1LayerParameter`."""

_DATA_FIELDS = "source=1:string batch_size=4:uint32 scale=2:float=1 mean_file=3:string crop_size=5:uint32=0"

_MESSAGES = {
    "BlobShape": "dim=1:int64*",
    "BlobProto": """
        shape=7:BlobShape data=5:float* diff=6:float* double_data=8:double* double_diff=9:double*
        num=1:int32=0 channels=2:int32=0 height=3:int32=0 width=4:int32=0
        raw_data_type=10:BlobProto.RawType raw_diff_type=11:BlobProto.RawType raw_data=12:bytes raw_diff=13:bytes
    """,
    "FillerParameter": """
        type=1:string=constant value=2:float=0 min=3:float=0 max=4:float=1 mean=5:float=0 std=6:float=1
        sparse=7:int32=-1 variance_norm=8:FillerParameter.VarianceNorm=FAN_IN
    """,
    "NetParameter": """
        name=1:string input=3:string* input_shape=8:BlobShape* input_dim=4:int32* force_backward=5:bool=false
        state=6:NetState debug_info=7:bool=false layer=100:LayerParameter* layers=2:V1LayerParameter*
    """,
    "NetState": "phase=1:Phase=TEST level=2:int32=0 stage=3:string*",
    "NetStateRule": "phase=1:Phase min_level=2:int32 max_level=3:int32 stage=4:string* not_stage=5:string*",
    "ParamSpec": "name=1:string share_mode=2:ParamSpec.DimCheckMode lr_mult=3:float=1 decay_mult=4:float=1",
    "LayerParameter": """
        name=1:string type=2:string bottom=3:string* top=4:string* phase=10:Phase loss_weight=5:float*
        param=6:ParamSpec* blobs=7:BlobProto* propagate_down=11:bool* include=8:NetStateRule* exclude=9:NetStateRule*
        batch_norm_param=139:BatchNormParameter bias_param=141:BiasParameter clip_param=148:ClipParameter
        crop_param=144:CropParameter elu_param=140:ELUParameter embed_param=137:EmbedParameter
        flatten_param=135:FlattenParameter input_param=143:InputParameter log_param=134:LogParameter
        parameter_param=145:ParameterParameter prelu_param=131:PReLUParameter python_param=130:PythonParameter
        recurrent_param=146:RecurrentParameter reduction_param=136:ReductionParameter reshape_param=133:ReshapeParameter
        scale_param=142:ScaleParameter spp_param=132:SPPParameter swish_param=147:SwishParameter
        tile_param=138:TileParameter
    """,
    "V1LayerParameter": """
        bottom=2:string* top=3:string* name=4:string include=32:NetStateRule* exclude=33:NetStateRule*
        type=5:V1LayerParameter.LayerType blobs=6:BlobProto* param=1001:string*
        blob_share_mode=1002:ParamSpec.DimCheckMode* blobs_lr=7:float* weight_decay=8:float* loss_weight=35:float*
        layer=1:V0LayerParameter
    """,
    "V0LayerParameter": "name=1:string type=2:string",
    "Caffe2Net": "op=2:Caffe2Operator* external_input=7:string* external_output=8:string*",
    "Caffe2Operator": "input=1:string* output=2:string* name=3:string type=4:string",
    "TransformationParameter": """
        scale=1:float=1 mirror=2:bool=false crop_size=3:uint32=0 mean_file=4:string mean_value=5:float*
        force_color=6:bool=false force_gray=7:bool=false
    """,
    "LossParameter": """
        ignore_label=1:int32 normalization=3:LossParameter.NormalizationMode=VALID normalize=2:bool
    """,
    "AccuracyParameter": "top_k=1:uint32=1 axis=2:int32=1 ignore_label=3:int32",
    "ArgMaxParameter": "out_max_val=1:bool=false top_k=2:uint32=1 axis=3:int32",
    "BatchNormParameter": "use_global_stats=1:bool moving_average_fraction=2:float=0.999 eps=3:float=1e-5",
    "BiasParameter": "axis=1:int32=1 num_axes=2:int32=1 filler=3:FillerParameter",
    "ClipParameter": "min=1:float max=2:float",
    "ConcatParameter": "axis=2:int32=1 concat_dim=1:uint32=1",
    "ContrastiveLossParameter": "margin=1:float=1 legacy_version=2:bool=false",
    "ConvolutionParameter": """
        num_output=1:uint32 bias_term=2:bool=true pad=3:uint32* kernel_size=4:uint32* stride=6:uint32*
        dilation=18:uint32* pad_h=9:uint32=0 pad_w=10:uint32=0 kernel_h=11:uint32 kernel_w=12:uint32
        stride_h=13:uint32 stride_w=14:uint32
        group=5:uint32=1 weight_filler=7:FillerParameter bias_filler=8:FillerParameter engine=15:Engine=DEFAULT
        axis=16:int32=1 force_nd_im2col=17:bool=false
    """,
    "CropParameter": "axis=1:int32=2 offset=2:uint32*",
    "DataParameter": _DATA_FIELDS
    + """
        mirror=6:bool=false rand_skip=7:uint32=0 backend=8:DataParameter.DB=LEVELDB force_encoded_color=9:bool=false
        prefetch=10:uint32=4
    """,
    "DropoutParameter": "dropout_ratio=1:float=0.5",
    "DummyDataParameter": """
        data_filler=1:FillerParameter* shape=6:BlobShape* num=2:uint32* channels=3:uint32* height=4:uint32*
        width=5:uint32*
    """,
    "EltwiseParameter": "operation=1:EltwiseParameter.EltwiseOp=SUM coeff=2:float* stable_prod_grad=3:bool=true",
    "ELUParameter": "alpha=1:float=1",
    "EmbedParameter": """
        num_output=1:uint32 input_dim=2:uint32 bias_term=3:bool=true weight_filler=4:FillerParameter
        bias_filler=5:FillerParameter
    """,
    "ExpParameter": "base=1:float=-1 scale=2:float=1 shift=3:float=0",
    "FlattenParameter": "axis=1:int32=1 end_axis=2:int32=-1",
    "HDF5DataParameter": "source=1:string batch_size=2:uint32 shuffle=3:bool=false",
    "HDF5OutputParameter": "file_name=1:string",
    "HingeLossParameter": "norm=1:HingeLossParameter.Norm=L1",
    "ImageDataParameter": """
        source=1:string batch_size=4:uint32=1 scale=2:float=1 mean_file=3:string crop_size=5:uint32=0
        mirror=6:bool=false rand_skip=7:uint32=0 shuffle=8:bool=false new_height=9:uint32=0 new_width=10:uint32=0
        is_color=11:bool=true root_folder=12:string
    """,
    "InfogainLossParameter": "source=1:string axis=2:int32=1",
    "InnerProductParameter": """
        num_output=1:uint32 bias_term=2:bool=true weight_filler=3:FillerParameter bias_filler=4:FillerParameter
        axis=5:int32=1 transpose=6:bool=false
    """,
    "InputParameter": "shape=1:BlobShape*",
    "LogParameter": "base=1:float=-1 scale=2:float=1 shift=3:float=0",
    "LRNParameter": """
        local_size=1:uint32=5 alpha=2:float=1 beta=3:float=0.75 norm_region=4:LRNParameter.NormRegion=ACROSS_CHANNELS
        k=5:float=1 engine=6:Engine=DEFAULT
    """,
    "MemoryDataParameter": "batch_size=1:uint32 channels=2:uint32 height=3:uint32 width=4:uint32",
    "MVNParameter": "normalize_variance=1:bool=true across_channels=2:bool=false eps=3:float=1e-9",
    "ParameterParameter": "shape=1:BlobShape",
    "PoolingParameter": """
        pool=1:PoolingParameter.PoolMethod=MAX pad=4:uint32=0 pad_h=9:uint32=0 pad_w=10:uint32=0 kernel_size=2:uint32
        kernel_h=5:uint32 kernel_w=6:uint32 stride=3:uint32=1 stride_h=7:uint32 stride_w=8:uint32
        engine=11:Engine=DEFAULT global_pooling=12:bool=false round_mode=13:PoolingParameter.RoundMode=CEIL
    """,
    "PowerParameter": "power=1:float=1 scale=2:float=1 shift=3:float=0",
    "PReLUParameter": "filler=1:FillerParameter channel_shared=2:bool=false",
    "PythonParameter": "module=1:string layer=2:string param_str=3:string share_in_parallel=4:bool=false",
    "RecurrentParameter": """
        num_output=1:uint32=0 weight_filler=2:FillerParameter bias_filler=3:FillerParameter debug_info=4:bool=false
        expose_hidden=5:bool=false
    """,
    "ReductionParameter": "operation=1:ReductionParameter.ReductionOp=SUM axis=2:int32=0 coeff=3:float=1",
    "ReLUParameter": "negative_slope=1:float=0 engine=2:Engine=DEFAULT",
    "ReshapeParameter": "shape=1:BlobShape axis=2:int32=0 num_axes=3:int32=-1",
    "ScaleParameter": """
        axis=1:int32=1 num_axes=2:int32=1 filler=3:FillerParameter bias_term=4:bool=false bias_filler=5:FillerParameter
    """,
    "SigmoidParameter": "engine=1:Engine=DEFAULT",
    "SliceParameter": "axis=3:int32=1 slice_point=2:uint32* slice_dim=1:uint32=1",
    "SoftmaxParameter": "engine=1:Engine=DEFAULT axis=2:int32=1",
    "SPPParameter": "pyramid_height=1:uint32 pool=2:PoolingParameter.PoolMethod=MAX engine=6:Engine=DEFAULT",
    "SwishParameter": "beta=1:float=1",
    "TanHParameter": "engine=1:Engine=DEFAULT",
    "ThresholdParameter": "threshold=1:float=0",
    "TileParameter": "axis=1:int32=1 tiles=2:int32",
    "WindowDataParameter": _DATA_FIELDS
    + """
        mirror=6:bool=false fg_threshold=7:float=0.5 bg_threshold=8:float=0.5 fg_fraction=9:float=0.25
        context_pad=10:uint32=0 crop_mode=11:string=warp cache_images=12:bool=false root_folder=13:string
    """,
}
"""Fields as ``name=number:type``, then ``*`` for a repeated one or ``=default``.

``Caffe2Net`` is there to be recognised.
"""

COMMON_PARAMETERS = tuple(re.findall(r"(\w+)=\d+,", _COMMON_PARAMETERS))
"""Names of the parameters that a `V1LayerParameter` and a `LayerParameter` have in common."""

PACKED = frozenset({"dim", "data", "diff", "double_data", "double_diff"})
"""Repeated numbers that files store as one run of bytes; readers take either way."""

_FIELD = re.compile(r"(\w+)=(\d+):([\w.]+)(\*|=\S+)?")
_SCALARS = frozenset({"bool", "bytes", "double", "float", "int32", "int64", "string", "uint32"})


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="synap/caffe.proto", package=PACKAGE, syntax="proto2")
    tables = dict(_MESSAGES)
    for position, name in enumerate(("LayerParameter", "V1LayerParameter"), 1):
        common = re.findall(r"(\w+)=(\d+),(\d+):(\w+)", _COMMON_PARAMETERS)
        tables[name] += " ".join(f"{field[0]}={field[position]}:{field[3]}" for field in common)
    messages = {}
    for name, table in tables.items():
        messages[name] = file.message_type.add(name=name)
        for field in table.split():
            _add_field(messages[name], field)
    for name, members in _ENUMS.items():
        owner, _, short = name.rpartition(".")
        enum = messages[owner].enum_type.add(name=short) if owner else file.enum_type.add(name=short)
        for member in members.split():
            word, _, number = member.partition("=")
            enum.value.add(name=word, number=int(number))
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, text: str) -> None:
    match = _FIELD.fullmatch(text)
    if match is None:
        msg = f"{text!r} in the table of {message.name}"
        raise ValueError(msg)
    name, number, kind, rest = match.groups()
    kinds = descriptor_pb2.FieldDescriptorProto
    field = message.field.add(name=name, number=int(number), label=kinds.LABEL_OPTIONAL)
    if kind in _SCALARS:
        field.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
    else:
        field.type = kinds.TYPE_ENUM if kind in _ENUMS else kinds.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"
    if rest == "*":
        field.label = kinds.LABEL_REPEATED
        if message.name.startswith("Blob") and name in PACKED:
            field.options.packed = True
    elif rest:
        field.default_value = rest[1:]


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def _message_class(name: str) -> Message:
    """The class of a message of the table, such as ``NetParameter``."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


NetParameter = _message_class("NetParameter")
LayerParameter = _message_class("LayerParameter")
V1LayerParameter = _message_class("V1LayerParameter")
BlobProto = _message_class("BlobProto")
Caffe2Net = _message_class("Caffe2Net")

TEST = 1
"""Number of the phase of inference."""
