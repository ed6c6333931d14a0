"""Quantized ``.tflite`` models of the zoo on the npu delegate, against LiteRT's reference kernels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from docs.npu_results import PAGE, page
from synap_core.bundle_writer import pack_bundle
from synap_core.convert import ConvertRequest, convert
from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.network import Network
from synap_core.source import ModelRequest
from synap_frontend_tflite.model import TfliteModel
from tests.support.canonical import Reference
from tests.support.cli import Synap
from tests.support.npu_zoo import LAST_BOX_LAYER, QUANTIZED, conversion, loadable, measured, random_inputs, samples

pytestmark = pytest.mark.zoo

CUSTOM = "misc/unknown_custom_op"
TARGETS = ("VS680", "VS640")

REAL = {"Softmax", "Sigmoid", "Tanh", "Reshape", "Permute", "Split", "Slice", "Gather", "Concat", "Pad"}
"""Operations that need no integers: the first three are rounded to units, and the others only move data."""

UNSEEN = {
    # Reshaped again at once.
    "audio/micro_speech_quantized": {"RESHAPE"},
    # Transposed at once.
    "classification/tf2_mobilenet_v2_1.0_224_ptq": {"QUANTIZE"},
    # Its steps are operations; the reshaped whole is compared.
    "misc/keras_lstm_mnist_ptq": {"UNIDIRECTIONAL_SEQUENCE_LSTM"},
}
"""Layers of the source whose own result no operation leaves in memory; what is computed from it is compared."""

WITHOUT_LITERT = """\
import sys
sys.modules["ai_edge_litert"] = None  # an import of it, or of what is in it, fails
import numpy
from synap_core.network import Network
for bundle in sys.argv[1:]:
    given = numpy.load(bundle + ".in.npz")
    with Network(bundle, isolate=False) as network:
        results = network.predict([given[name] for name in sorted(given.files)])
    numpy.savez(bundle + ".out.npz", *results)
try:
    import ai_edge_litert.interpreter
except ImportError:
    sys.exit(0)
sys.exit("it was there")
"""


def test_the_list_is_complete(zoo: Path) -> None:
    paths = (zoo / "models").glob("*/*.tflite")
    sources = [(path, TfliteModel.open(ModelRequest(path=path))) for path in paths]
    quantized = {
        f"{path.parent.name}/{path.stem}"
        for path, source in sources
        if any(source.tensors[tensor].dtype in {"int8", "uint8"} for tensor in source.inputs)
    }
    assert quantized == {*QUANTIZED, CUSTOM}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_models_convert_without_a_metafile(zoo: Path, name: str, target: str) -> None:
    """The whole model is one subgraph of the unit, and only functions that the kernels look up are in real numbers."""
    made = conversion(zoo, name, target)
    assert made.delegates == (("npu", "cpu") if name == LAST_BOX_LAYER else ("npu",))
    table = made.artifacts[0].listings["Operation table"].splitlines()[1:]
    real = [line.split()[1] for line in table if line.split()[2] == "real"]
    assert set(real) <= REAL


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("name", "layer"),
    [(LAST_BOX_LAYER, "TFLite_Detection_PostProcess"), (CUSTOM, "fake-op-double")],
    ids=["boxes", "unknown"],
)
def test_custom_layers_are_refused_by_name(zoo: Path, name: str, layer: str, target: str) -> None:
    request = ConvertRequest(model=zoo / f"models/{name}.tflite", target=target)
    with pytest.raises(InputError, match=rf"1 layer cannot run on npu: .*{layer}.*--fallback cpu"):
        convert(request, PluginHost())


def test_the_processor_takes_the_layer_that_the_unit_does_not_run(zoo: Path, synap: Synap, out: Path) -> None:
    model = zoo / f"models/{LAST_BOX_LAYER}.tflite"
    result = synap("convert", "--model", model, "--target", "VS680", "--fallback", "cpu", "--out-dir", out)
    assert result.code == 0, result.err
    assert "TFLite_Detection_PostProcess" in result.err
    network = Network(out / "model.synap")
    with network:
        for inputs, outputs in samples(zoo, LAST_BOX_LAYER):
            for found, expected in zip(network.predict(inputs), outputs, strict=True):
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", QUANTIZED)
def test_every_operation_gives_what_the_reference_kernel_does(zoo: Path, name: str) -> None:
    """From the program's own earlier results, for the samples of the zoo and for random inputs.

    Nothing may differ but tables, by one unit, and recurrent layers, by two; and what is computed from those.
    """
    assert measured(zoo, name).unlike == {}


@pytest.mark.parametrize("name", QUANTIZED)
def test_the_results_of_all_layers_are_compared(zoo: Path, name: str) -> None:
    layers = [layer for layer in conversion(zoo, name).subgraphs[0].part.layers if layer.index is not None]
    compared = measured(zoo, name).compared
    unseen = {layer.type for layer in layers if not compared.issuperset(map(int, layer.outputs))}
    assert unseen == UNSEEN.get(name, set())


def test_a_program_needs_no_other_runtime(zoo: Path, tmp_path: Path) -> None:
    """The outputs are those of the reference runtime, which this process cannot import."""
    names = [name for name in QUANTIZED if name != LAST_BOX_LAYER]
    bundles, expected = [], []
    for name in names:
        path = tmp_path / f"{Path(name).name}.synap"
        path.write_bytes(pack_bundle(conversion(zoo, name)))
        inputs, outputs = next(samples(zoo, name))
        np.savez(f"{path}.in.npz", *inputs)
        bundles.append(str(path))
        expected.append(outputs)
    command = [sys.executable, "-c", WITHOUT_LITERT, *bundles]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    for name, bundle, outputs in zip(names, bundles, expected, strict=True):
        results = np.load(f"{bundle}.out.npz")
        units = measured(zoo, name).outputs.allowed
        for key, output in zip(results.files, outputs, strict=True):
            assert np.abs(results[key].astype(int) - output).max() <= units, name


def test_the_runtime_gives_what_the_program_does_to_three_digits_in_a_row(zoo: Path, tmp_path: Path) -> None:
    """The variables of a recurrent layer go on from one prediction to the next, and start anew after a reset."""
    name = "misc/keras_lstm_mnist_ptq"
    path = tmp_path / "lstm.synap"
    path.write_bytes(pack_bundle(conversion(zoo, name)))
    with Network(path) as network:
        for _ in range(2):
            reference = Reference(zoo / f"models/{name}.tflite")
            for inputs, _ in samples(zoo, name):
                (found,), (wanted,) = network.predict(inputs), reference(inputs)
                assert np.abs(found.astype(int) - wanted).max() <= measured(zoo, name).outputs.allowed
            network.reset()


@pytest.mark.parametrize("name", [name for name in QUANTIZED if name != LAST_BOX_LAYER])
def test_the_runtime_gives_what_the_program_does(zoo: Path, name: str) -> None:
    """What the runtime simplifies between operations changes no integer."""
    units = measured(zoo, name).outputs.allowed
    content = loadable(zoo / f"models/{name}.tflite")
    with Network(pack_bundle(conversion(zoo, name)), isolate=False) as network:
        for inputs in random_inputs(Reference(content).inputs):
            network.reset()
            for found, wanted in zip(network.predict(inputs), Reference(content)(inputs), strict=True):
                assert np.abs(found.astype(int) - wanted).max() <= units


def test_the_page_of_results_is_current(zoo: Path) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(zoo), "run python -m docs.npu_results"
