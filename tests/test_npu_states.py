"""Variables of npu programs last from one inference to the next."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from synap_core.convert import Converted, ConvertRequest, convert, write
from synap_core.errors import ModelExecutionError
from synap_core.host import PluginHost
from synap_core.network import Network
from synap_core.payloads import OutputFormat
from tests.support.tflite_models import counter

ONES = np.ones((1, 2), np.float32)


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost.from_environment()


@pytest.fixture(scope="module")
def converted(host: PluginHost, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """A float model that adds its input to a variable, which is 10 at first, for the unit."""
    path = tmp_path_factory.mktemp("states") / "model.tflite"
    path.write_bytes(counter())
    return convert(ConvertRequest(model=path, target="VS680"), host)


@pytest.fixture
def network(converted: Converted, host: PluginHost, tmp_path: Path) -> Network:
    written = write(converted.conversion, host.find(OutputFormat, "synap"), tmp_path / "out", host)
    return Network(written.files[0], host=host, isolate=False)


def test_variable_is_no_input_of_the_bundle(network: Network) -> None:
    assert [tensor.name for tensor in network.inputs] == ["x"]
    assert len(network.outputs) == 1


def test_variable_grows_until_it_is_reset(network: Network) -> None:
    ones = ONES.astype(network.inputs[0].dtype).reshape(network.inputs[0].shape)
    assert [float(network.predict([ones])[0].flat[0]) for _ in range(3)] == [11, 12, 13]
    network.reset()
    assert float(network.predict([ones])[0].flat[0]) == 11


def test_looking_at_the_operations_does_not_move_the_variable(network: Network) -> None:
    ones = ONES.astype(network.inputs[0].dtype).reshape(network.inputs[0].shape)
    network.run_layers([ones])
    assert float(network.predict([ones])[0].flat[0]) == 11


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [1 << 40]},
        {"shape": "x"},
        {"dtype": "complex64"},
        {"initial": "no base64"},
        {"initial": "AAAA"},
        {"name": None, "shape": None},
    ],
    ids=str,
)
def test_damaged_description_is_refused(
    converted: Converted, host: PluginHost, tmp_path: Path, change: dict[str, object]
) -> None:
    (artifact,) = converted.conversion.artifacts
    model = onnx.ModelProto.FromString(artifact.model)
    (entry,) = [item for item in model.metadata_props if item.key == "states"]
    (state,) = json.loads(entry.value)
    entry.value = json.dumps([state | change])
    damaged = replace(converted.conversion, artifacts=(replace(artifact, model=model.SerializeToString()),))
    written = write(damaged, host.find(OutputFormat, "synap"), tmp_path / "out", host)
    with pytest.raises(ModelExecutionError, match="describes its variables wrongly"):
        Network(written.files[0], host=host, isolate=False)
