"""What is a Caffe network for inference: inputs, phases, and a batch of 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from synap_core.api import BoundarySpec, InputError, ModelRequest
from synap_frontend_caffe.importer.registry import operator_table
from synap_frontend_caffe.model import CaffeModel
from tests.support.caffe_models import Made, layer, network, open_made, save
from tests.support.canonical import run, whole

ACT = 'layer { name: "act" type: "ReLU" bottom: "data" top: "y" }\n'
DENSE = 'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 4 } }\n'
DENSE_WEIGHTS = [np.arange(48, dtype=np.float32).reshape(4, 12) / 48, np.arange(4, dtype=np.float32)]


def opened(folder: Path, prototxt: str, *inputs: BoundarySpec, blobs: Sequence[np.ndarray] = ()) -> CaffeModel:
    stored = network([layer("ip", "InnerProduct", blobs=blobs)]).caffemodel
    return open_made(folder, Made(prototxt, stored), inputs)


def refusal(folder: Path, prototxt: str, *inputs: BoundarySpec, blobs: Sequence[np.ndarray] = ()) -> str:
    """The message a network is refused with, less its path."""
    with pytest.raises(InputError, match=r"net\.prototxt") as caught:
        opened(folder, prototxt, *inputs, blobs=blobs)
    assert "\n" not in str(caught.value)
    return str(caught.value).partition("net.prototxt: ")[2]


def answer(model: CaffeModel, *arrays: np.ndarray) -> list[np.ndarray]:
    return run(model.canonical(whole(model)), arrays)


# Inputs


@pytest.mark.parametrize(
    "head",
    [
        'input: "data" input_dim: 1 input_dim: 3 input_dim: 2 input_dim: 5',
        'input: "data" input_shape { dim: 1 dim: 3 dim: 2 dim: 5 }',
        'layer { name: "in" type: "Input" top: "data" input_param { shape: { dim: 1 dim: 3 dim: 2 dim: 5 } } }',
        'layer { type: "MemoryData" top: "data" memory_data_param { batch_size: 1 channels: 3 height: 2 width: 5 } }',
        'layer { type: "DummyData" top: "data" dummy_data_param { shape { dim: 1 dim: 3 dim: 2 dim: 5 } } }',
        'layer { type: "DummyData" top: "data" dummy_data_param { num: 1 channels: 3 height: 2 width: 5 } }',
    ],
    ids=["input_dim", "input_shape", "Input", "MemoryData", "DummyData", "DummyData by name"],
)
def test_input_is_declared(tmp_path: Path, head: str) -> None:
    model = opened(tmp_path, f"{head}\n{ACT}")
    assert model.inputs == ("data",)
    assert model.tensors["data"].shape == (1, 3, 2, 5)
    assert [(item.name, item.index) for item in model.layers] == [("data", None), ("act", 0)]


SIZES = "dim: 1 dim: 2 dim: 3 dim: 4"
BOTH = 'layer { name: "sum" type: "Eltwise" bottom: "b" bottom: "a" top: "y" }\n'


@pytest.mark.parametrize(
    "head",
    [
        'input: "a" input: "b" ' + "input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4 " * 2,
        'layer { type: "Input" top: "a" top: "b" input_param { shape { dim: 1 dim: 2 dim: 3 dim: 4 } } }',
        f'input: "a" input_shape {{ {SIZES} }} layer {{ type: "Input" top: "b" input_param {{ shape {{ {SIZES} }}}}}}',
    ],
    ids=["declared", "one shape for both", "declared and layer"],
)
def test_inputs_have_the_order_of_the_file(tmp_path: Path, head: str) -> None:
    model = opened(tmp_path, head + BOTH)
    assert model.inputs == ("a", "b")
    assert {model.tensors[name].shape for name in "aby"} == {(1, 2, 3, 4)}


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ('input: "data" input_dim: 1 input_dim: 3', "the network has 1 'input' and 2 'input_dim'; give one"),
        ('input: "data" input: "b" input_shape { dim: 1 }', "the network has 2 'input' and 1 'input_shape'; give one"),
        ('input: "data" input_shape { dim: 1 } input_dim: 1', "the network has both 'input_shape' and 'input_dim'"),
        ('input: "data" input_shape { dim: 0 dim: 3 }', "input 'data' has the shape [0, 3]; a shape has up to"),
        ('input: "data" input_shape { dim: -1 dim: 3 }', "input 'data' has the shape [-1, 3]; a shape has up to"),
        ('input: "data" input_shape { }', "input 'data' has the shape []; a shape has up to"),
        ('input: "data" input_shape { dim: 1000000000 dim: 1000000000 }', "input 'data' has the shape [1000000000, 1"),
        ('input: "data" input_shape {' + " dim: 1" * 40 + " }", "input 'data' has the shape [1, 1, "),
        ('input: "data" input: "data" input_shape { dim: 1 } input_shape { dim: 1 }', "the network has two inputs 'da"),
        ('input: "data"', "the network gives 'data', and the file does not say its shape; give it in the metafile: in"),
        ('layer { name: "i" type: "Input" top: "data" input_param { shape { dim: 1 } shape { dim: 1 } } }',
         "layer 'i' (Input) has 1 tops and 2 shapes; give one shape, or one for each top"),
        ('input: "data" input_shape { dim: 1 } layer { name: "n" bottom: "data" }', "layer 'n' has no type; every"),
        ('input: "data" input_shape { dim: 1 } layer { name: "n" type: "ReLU" bottom: "data" top: "" }',
         "layer 'n' (ReLU) has a top without a name; every blob needs one"),
        ('input: "data" input: "" input_shape { dim: 1 } input_shape { dim: 1 }', "the network declares an input wi"),
        ('layer { name: "i" type: "Input" top: "" input_param { shape { dim: 1 } } }', "layer 'i' (Input) declares an"),
        ("", "layer 'act' reads the blob 'data', which no layer before it writes; layers stand in execution order"),
    ],
)  # fmt: skip
def test_wrong_declaration_is_refused(tmp_path: Path, head: str, message: str) -> None:
    assert refusal(tmp_path, f"{head}\n{ACT}").startswith(message)


def test_metafile_replaces_shapes(tmp_path: Path) -> None:
    text = f'input: "data" input_shape {{ dim: 1 dim: 3 dim: 8 dim: 8 }}\n{ACT}'
    for name in (None, "data"):
        model = opened(tmp_path, text, BoundarySpec(name=name, shape=(1, 3, 20, 30)))
        assert model.tensors["y"].shape == (1, 3, 20, 30)
    found = refusal(tmp_path, text, BoundarySpec(name="data", shape=(1, 20, 30)))
    assert found.startswith("the metafile gives input 'data' the shape [1, 20, 30]; it has 4 dimensions")


# Phases


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ("", True),
        ("include { phase: TEST }", True),
        ("include { phase: TRAIN }", False),
        ("exclude { phase: TEST }", False),
        ("exclude { phase: TRAIN }", True),
        ("include { phase: TRAIN } include { phase: TEST }", True),
        ("include { }", True),
        ("exclude { }", False),
        ("include { min_level: 1 }", False),
        ("include { min_level: 0 max_level: 0 }", True),
        ("include { max_level: -1 }", False),
        ('include { stage: "deploy" }', False),
        ('include { not_stage: "deploy" }', True),
        ('exclude { stage: "deploy" phase: TEST }', True),
        ("phase: TRAIN", True),
    ],
)
def test_layers_are_those_of_inference(tmp_path: Path, rules: str, kept: bool) -> None:
    ruled = f'layer {{ name: "z" type: "AbsVal" bottom: "y" top: "z" {rules} }}'
    model = opened(tmp_path, f'input: "data" input_shape {{ dim: 1 dim: 2 }}\n{ACT}{ruled}')
    assert model.outputs == (("z",) if kept else ("y",))
    expected = () if kept else ("dropped layers that 'include' or 'exclude' keep from inference: 'z' (AbsVal)",)
    assert model.notes == expected


def test_stages_of_the_file_count(tmp_path: Path) -> None:
    text = f'input: "data" input_shape {{ dim: 1 dim: 2 }} state {{ stage: "a" stage: "b" }}\n{ACT}'
    rules = ('include { stage: "a" stage: "b" }', 'include { stage: "a" stage: "c" }', 'include { not_stage: "a" }')
    layers = [f'layer {{ name: "{i}" type: "AbsVal" bottom: "y" top: "z{i}" {rule} }}' for i, rule in enumerate(rules)]
    assert opened(tmp_path, text + "".join(layers)).outputs == ("z0",)


def test_layer_with_rules_of_both_kinds_is_refused(tmp_path: Path) -> None:
    text = ACT.replace("top:", "include { phase: TEST } exclude { phase: TRAIN } top:")
    assert refusal(tmp_path, text) == "layer 'act' has both 'include' and 'exclude'; remove one of them"


TRAINING = """
layer { name: "db" type: "Data" top: "data" top: "label" include { phase: TRAIN } data_param { backend: LMDB } }
layer { name: "db" type: "Data" top: "data" top: "label" include { phase: TEST } data_param { batch_size: 50 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 4 } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
layer { name: "scaled" type: "Power" bottom: "loss" top: "scaled" }
"""


def test_network_for_training_gives_the_one_for_inference(tmp_path: Path) -> None:
    model = opened(tmp_path, TRAINING, BoundarySpec(name="data", shape=(1, 3, 2, 2)), blobs=DENSE_WEIGHTS)
    assert [item.name for item in model.layers] == ["data", "ip"]
    assert (model.inputs, model.outputs) == (("data",), ("ip",))
    assert model.notes == (
        "dropped layers that 'include' or 'exclude' keep from inference: 'db' (Data)",
        "dropped layers that only evaluate results: 'accuracy' (Accuracy), 'loss' (SoftmaxWithLoss), 'scaled' (Power)",
        "data layers became inputs: 'db' (Data)",
        "dropped inputs that no layer reads: 'label'",
    )
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    expected = x.reshape(1, 12) @ DENSE_WEIGHTS[0].T + DENSE_WEIGHTS[1]
    np.testing.assert_allclose(answer(model, x)[0], expected, rtol=1e-5)


def test_table_of_layer_types_says_what_is_left_out() -> None:
    table = {entry.name: (entry.status, entry.note) for entry in operator_table()}
    assert {table[name] for name in ("Accuracy", "SoftmaxWithLoss", "EuclideanLoss", "HDF5Output", "Silence")} == {
        ("imported", "left out: inference does not need it")
    }
    assert {table[name] for name in ("Input", "Data", "ImageData")} == {("imported", "becomes an input of the model")}


def test_data_layer_without_a_shape_says_how_to_give_it(tmp_path: Path) -> None:
    assert refusal(tmp_path, TRAINING, blobs=DENSE_WEIGHTS) == (
        "layer 'db' (Data) gives 'data', and the file does not say its shape; "
        "give it in the metafile: inputs: [{name: data, shape: [1, C, H, W]}]"
    )


def test_network_for_training_is_shown_with_open_shapes(tmp_path: Path) -> None:
    path, _ = save(tmp_path, Made(TRAINING, b""))
    model = CaffeModel.open(ModelRequest(path=path, inspect=True))
    assert {name: info.static for name, info in model.tensors.items()} == {"data": False, "ip": False}
    assert model.support()[0].reason == "it needs the blob 'data', whose shape is not known"


def test_data_layer_above_the_input_of_the_metafile_needs_no_shape(tmp_path: Path) -> None:
    text = TRAINING + 'layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }'
    model = opened(tmp_path, text, BoundarySpec(name="ip", shape=(1, 4)))
    assert model.tensors["prob"].shape == (1, 4)


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        ("transform_param { scale: 0.00390625 }", "multiplies by 0.00390625: give that in the metafile as scale: 256"),
        (
            "transform_param { mean_value: 104 mean_value: 117 mean_value: 123.5 }",
            "subtracts [104, 117, 123.5]: give that in the metafile as means: [104, 117, 123.5]",
        ),
        (
            'transform_param { mean_file: "m.proto" scale: 0.5 }',
            "subtracts the mean in 'm.proto' and multiplies by 0.5: give that in the metafile as means, scale: 2",
        ),
        ("data_param { scale: 0.5 }", "multiplies by 0.5: give that in the metafile as scale: 2"),
        ("transform_param { scale: 0 }", "multiplies by 0: give that in the metafile as scale"),
        ("transform_param { crop_size: 28 mirror: true }", ""),
    ],
)
def test_what_a_data_layer_did_to_its_samples_is_told(tmp_path: Path, body: str, advice: str) -> None:
    head = f'layer {{ name: "db" type: "Data" top: "data" top: "label" {body} }}\n'
    model = opened(tmp_path, head + ACT, BoundarySpec(name="data", shape=(1, 3, 2, 2)))
    prefix = "layer 'db' (Data), which became the input 'data', "
    assert model.warnings == ((prefix + advice,) if advice else ())


@pytest.mark.parametrize(
    "text",
    ["", 'input: "data" input_shape { dim: 1 }', f"layer {{ name: 'l' type: 'SoftmaxWithLoss' }}\n{TRAINING[:113]}"],
)
def test_network_without_results_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text).startswith("the network has no layers for inference whose result is an output")


def test_blob_that_two_layers_write_is_refused(tmp_path: Path) -> None:
    head = 'input: "data" input_shape { dim: 1 dim: 2 }\n'
    again = 'layer { name: "z" type: "AbsVal" bottom: "data" top: "y" }'
    assert refusal(tmp_path, head + ACT + again) == (
        "blob 'y' is written by layer 'act' and by layer 'z'; only a layer that works in place may write a blob again"
    )
    over = 'layer { name: "s" type: "Split" bottom: "y" top: "t" top: "data" }'
    assert "blob 'data' is written by the inputs and by layer 's'" in refusal(tmp_path, head + ACT + over)
    twice = 'layer { name: "s" type: "Split" bottom: "y" top: "t" top: "t" }'
    assert "blob 't' is written by layer 's' and by layer 's'" in refusal(tmp_path, head + ACT + twice)


# Batch


def batch(size: int, *layers: str) -> str:
    return f'input: "data" input_shape {{ dim: {size} dim: 3 dim: 2 dim: 2 }}\n' + "\n".join(layers)


def test_batch_becomes_one(tmp_path: Path) -> None:
    reshape = (
        'layer { name: "r" type: "Reshape" bottom: "ip" top: "r" reshape_param { shape { dim: 64 dim: -1 dim: 2 } } }'
    )
    model = opened(tmp_path, batch(64, DENSE, reshape), blobs=DENSE_WEIGHTS)
    assert model.notes == ("the fixed batch of 64 was changed to 1",)
    assert {name: info.shape for name, info in model.tensors.items()} == {
        "data": (1, 3, 2, 2),
        "ip": (1, 4),
        "r": (1, 2, 2),
    }


def test_sizes_in_front_are_no_batch_where_an_input_has_one(tmp_path: Path) -> None:
    text = f'input: "rois" input_shape {{ dim: 300 dim: 5 }}\n{batch(1, ACT)}'
    model = opened(tmp_path, text + 'layer { name: "z" type: "AbsVal" bottom: "rois" top: "z" }')
    assert {name: model.tensors[name].shape[0] for name in model.outputs} == {"y": 1, "z": 300}


def test_batch_of_the_metafile_becomes_one(tmp_path: Path) -> None:
    model = opened(tmp_path, batch(2, ACT), BoundarySpec(shape=(8, 3, 4, 4)))
    assert (model.tensors["y"].shape, model.notes) == ((1, 3, 4, 4), ("the fixed batch of 8 was changed to 1",))


@pytest.mark.parametrize(
    "text",
    [
        'type: "Concat" bottom: "data" bottom: "data" concat_param { axis: 0 }',
        'type: "Concat" bottom: "data" bottom: "data" concat_param { axis: -4 }',
        'type: "Concat" bottom: "data" bottom: "data" concat_param { concat_dim: 0 }',
        'type: "Slice" bottom: "data" top: "b" slice_param { axis: 0 }',
        'type: "Slice" bottom: "data" top: "b" slice_param { slice_dim: 0 }',
        'type: "Softmax" bottom: "data" softmax_param { axis: 0 }',
        'type: "Flatten" bottom: "data" flatten_param { axis: 0 }',
        'type: "Reduction" bottom: "data"',
        'type: "Tile" bottom: "data" tile_param { axis: 0 tiles: 2 }',
        'type: "ArgMax" bottom: "data" argmax_param { axis: 0 }',
        'type: "Reshape" bottom: "data" reshape_param { shape { dim: 32 dim: -1 } }',
        'type: "Reshape" bottom: "data" reshape_param { shape { dim: 1 dim: -1 } }',
        'type: "Reshape" bottom: "data" reshape_param { shape { } }',
    ],
)
def test_batch_stays_where_samples_are_mixed(tmp_path: Path, text: str) -> None:
    found = refusal(tmp_path, batch(64, f'layer {{ name: "mixer" top: "y" {text} }}'))
    assert found.startswith("the batch of 64 cannot become 1: layer 'mixer' (")


def normalised(options: str) -> str:
    return f'layer {{ name: "ip" type: "BatchNorm" bottom: "data" top: "y" batch_norm_param {{ {options} }} }}\n'


STATISTICS = [np.zeros(3, np.float32), np.ones(3, np.float32), np.ones(1, np.float32)]


@pytest.mark.parametrize("options", ["", "use_global_stats: true"])
def test_batch_becomes_one_where_the_file_has_the_statistics(tmp_path: Path, options: str) -> None:
    model = opened(tmp_path, batch(64, normalised(options)), blobs=STATISTICS)
    assert model.tensors["y"].shape == (1, 3, 2, 2)


def test_batch_stays_where_the_statistics_are_those_of_the_batch(tmp_path: Path) -> None:
    text = normalised("use_global_stats: false")
    assert refusal(tmp_path, batch(64, text), blobs=STATISTICS) == (
        "the batch of 64 cannot become 1: layer 'ip' (BatchNorm) mixes samples; give a network with batch 1, or the "
        "input's shape in the metafile, 1 in front"
    )
    given = BoundarySpec(name="data", shape=(1, 3, 2, 2))
    for model in (
        opened(tmp_path, batch(1, text), blobs=STATISTICS),
        opened(tmp_path, batch(64, text), given, blobs=STATISTICS),
    ):
        assert model.notes == ()


@pytest.mark.parametrize(
    "text",
    [
        'type: "Softmax" bottom: "y" top: "z" softmax_param { axis: 0 }',
        'type: "Reshape" bottom: "y" top: "z" reshape_param { shape { dim: 32 dim: -1 } }',
    ],
    ids=["Softmax", "Reshape"],
)
def test_layer_that_the_metafile_cuts_away_may_mix_samples(tmp_path: Path, text: str) -> None:
    made = Made(batch(64, ACT, f'layer {{ name: "mixer" {text} }}'), network([layer("act", "ReLU")]).caffemodel)
    model = open_made(tmp_path, made, outputs=[BoundarySpec(name="y")])
    assert model.tensors["y"].shape == (1, 3, 2, 2)


def test_batches_that_differ_are_refused(tmp_path: Path) -> None:
    text = f'input: "b" input_shape {{ dim: 4 dim: 5 }}\n{batch(2, ACT)}'
    found = refusal(tmp_path, text + 'layer { name: "z" type: "AbsVal" bottom: "b" top: "z" }')
    assert found.startswith(
        "the batch must be 1, and the inputs have different first dimensions: 'b' [4, 5], 'data' [2,"
    )
