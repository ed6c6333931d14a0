"""Calibration on a Dask cluster of real worker processes on this machine."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.api import GraphBuilder, InputError
from synap_core.host import PluginHost
from synap_core.payloads import QuantizationAlgorithm
from synap_core.plugin_policy import PluginPolicy
from synap_core.quantization import cluster
from synap_core.quantization.calibrate import SHARD_SIZE, Calibration, Executor, Target, Watched, calibrate
from synap_core.quantization.cluster import DaskShards, ShardJob, observe_remotely
from synap_core.quantization.interface import QuantSpec
from synap_core.quantization.plan import ConstantSlot, Plan, Slot
from synap_core.quantization.runner import GraphRunner, find_engine

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="Dask is not installed"),
    # The library warns of its own use of event loops, sockets and other things that change from version to version.
    pytest.mark.filterwarnings("default"),
]

F32 = np.float32
SPEC = QuantSpec(dtype="uint8", scheme="asymmetric_affine")

PLUGIN = '''
from pydantic import BaseModel, ConfigDict
import numpy as np
from synap_core.api import QuantizationAlgorithm, Range, hookimpl

class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    decay: float = 0.5

class Averaging:
    """The order of the samples tells in its result."""
    def __init__(self, decay):
        self.decay, self.count, self.value = decay, 0, 0.0
    def update(self, values):
        self.value = self.decay * self.value + float(np.sum(values, dtype=np.float64))
        self.count += 1
    def merge(self, other):
        self.value = self.value * self.decay ** other.count + other.value
        self.count += other.count
    def range(self):
        return Range(low=np.array(0.0), high=np.array(abs(self.value)))

class Algorithm:
    def __init__(self, options):
        self.options = options
    def observer(self, role, spec):
        return Averaging(self.options.decay)

@hookimpl
def synap_quantization_algorithms():
    yield QuantizationAlgorithm(name="toy_average", summary="For a test", options_model=lambda: Options, load=Algorithm)
'''


class Samples:
    """Samples in memory."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.made = [np.random.default_rng(i).normal(size=(1, 3)).astype(F32) for i in range(count)]

    def samples(self, indices: Sequence[int]) -> Iterator[Mapping[str, np.ndarray]]:
        return ({"x": self.made[i]} for i in indices)

    def describe(self, index: int) -> str:
        return f"samples/{index}.npy"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed plugin."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "toy_average.py").write_text(PLUGIN)
    info = folder / "toy_average-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-average\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[synap.plugins]\nquantization-toy-average = toy_average\n")
    return folder


def local_cluster(workers: int) -> Any:
    """A scheduler in this process, and worker processes with one thread each."""
    distributed = importlib.import_module("distributed")
    return distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs="CRITICAL",
    )


@pytest.fixture(scope="module")
def workers(site: Path) -> Iterator[str]:
    """Address of a scheduler with two worker processes, which find the plugin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)  # new processes take it over
        with local_cluster(2) as made:
            yield made.scheduler_address


@pytest.fixture
def toy_host(site: Path, monkeypatch: pytest.MonkeyPatch) -> PluginHost:
    monkeypatch.syspath_prepend(site)
    return PluginHost()


def plan() -> Plan:
    build = GraphBuilder("toy")
    x = build.input("x", ir.DataType.FLOAT, (1, 3))
    product = build.emit("MatMul", [x, build.constant(np.arange(12, dtype=F32).reshape(3, 4), "weight")])
    exp = build.emit("Exp", [product])
    values = {str(value.name): value for value in (x, product, exp)}
    slots = {n: Slot(key=n, spec=SPEC, values=(n,), observed=(n,), layer_id=f"of_{n}") for n in values}
    constant = ConstantSlot(key="weight", spec=SPEC, role="weight", layer_id="of", label="@of:weight")
    graph = build.finish([exp])
    return Plan(graph=graph, groups=(), types={}, slots=slots, constants={"weight": constant}, biases={})


def calibrated(host: PluginHost, samples: Samples, executor: Executor | None, **options: object) -> Calibration:
    found = host.find(QuantizationAlgorithm, "toy_average")
    algorithm = found.load(found.options_model()(**options))
    return calibrate(plan(), algorithm, GraphRunner(find_engine(host), samples, jobs=2), executor)


def as_bytes(found: Calibration) -> dict[str, bytes]:
    """What was observed, bit by bit."""
    observers = {key: pickle.dumps(vars(observer)) for key, observer in found.observers.items()}
    return observers | {f"{name} extent": pickle.dumps(extent) for name, extent in found.extents.items()}


@pytest.mark.parametrize("count", [1, 5 * SHARD_SIZE + 3])
def test_two_processes_give_the_same_bytes_as_one(workers: str, toy_host: PluginHost, count: int) -> None:
    executor = DaskShards(workers, "toy_average", {"decay": 0.875}, toy_host.policy)
    remote = calibrated(toy_host, Samples(count), executor, decay=0.875)
    local = calibrated(toy_host, Samples(count), None, decay=0.875)
    assert as_bytes(remote) == as_bytes(local)
    assert set(remote.observers) == {*plan().slots, "weight"}
    assert as_bytes(local) != as_bytes(calibrated(toy_host, Samples(count), None, decay=0.5)) or count == 1


def test_infinite_value_is_found_over_there_and_named_here(workers: str, toy_host: PluginHost) -> None:
    samples = Samples(30)
    samples.made[21][:] = 1e6
    executor = DaskShards(workers, "toy_average", {}, toy_host.policy)
    with pytest.raises(InputError, match=r"samples/21\.npy: layer @of_Exp_\w+ computes infinity or NaN"):
        calibrated(toy_host, samples, executor)


def test_plugin_that_is_not_allowed_over_there_is_an_error_here(workers: str, toy_host: PluginHost) -> None:
    executor = DaskShards(workers, "no_such_algorithm", {}, toy_host.policy)
    with pytest.raises(InputError, match="quantization algorithm 'no_such_algorithm' is not installed") as caught:
        calibrated(toy_host, Samples(2), executor)
    assert "\n" not in str(caught.value)


def test_other_failure_of_a_worker_is_one_line(workers: str, toy_host: PluginHost) -> None:
    executor = DaskShards(workers, "toy_average", {"unknown": 1}, toy_host.policy)
    with pytest.raises(InputError, match=f"{workers}: a worker cannot do its work: ValidationError") as caught:
        calibrated(toy_host, Samples(2), executor)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "nonsense", "nothing://127.0.0.1:1", "tcp://127.0.0.1:notaport", ""]
)
def test_scheduler_that_cannot_be_reached_is_one_line(
    toy_host: PluginHost, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    executor = DaskShards(address, "toy_average", {}, toy_host.policy)
    with pytest.raises(InputError, match="cannot reach the scheduler .*give the address that") as caught:
        calibrated(toy_host, Samples(2), executor)
    assert "\n" not in str(caught.value)


def test_scheduler_without_workers_is_one_line(toy_host: PluginHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "WORKERS_SECONDS", 0.5)
    with local_cluster(0) as made:
        executor = DaskShards(made.scheduler_address, "toy_average", {}, toy_host.policy)
        with pytest.raises(InputError, match="has no workers; start some: dask worker"):
            calibrated(toy_host, Samples(2), executor)


def test_missing_library_says_how_to_install_it(toy_host: PluginHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    executor = DaskShards("tcp://127.0.0.1:1", "toy_average", {}, toy_host.policy)
    with pytest.raises(InputError, match=r"pip install 'synap-toolkit\[dask\]'"):
        calibrated(toy_host, Samples(2), executor)


def test_worker_of_another_version_refuses() -> None:
    job = ShardJob(
        graph=b"",
        watched=Watched(targets=(Target(key="x", spec=SPEC, values=("x",)),)),
        algorithm="toy_average",
        options="{}",
        policy=PluginPolicy(),
        version="0.0.0",
    )
    assert pickle.loads(pickle.dumps(job)) == job  # noqa: S301 - our own bytes
    assert asdict(job)["version"] == "0.0.0"
    with pytest.raises(InputError, match=r"a worker has synap-toolkit .*, not 0\.0\.0; install the same version"):
        observe_remotely(job, 0, [])
