"""Calibration on a Dask cluster: shards of samples go to workers, which send their observers back.

Workers need the same toolkit and plugins, but no files: graph and samples are sent to them. A cluster executes what
its clients send, and clients load what its workers send; both must be trusted.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import functools
import importlib
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synap_core.errors import InputError, PluginError
from synap_core.host import PluginHost
from synap_core.payloads import QuantizationAlgorithm
from synap_core.plugin_policy import PluginPolicy
from synap_core.quantization.calibrate import NotFiniteError, Observed, Watched, Work, observe_shard
from synap_core.quantization.runner import find_engine, runnable
from synap_core.version import toolkit_version

if TYPE_CHECKING:
    from synap_core.quantization.interface import Algorithm, Session

Client = Any
"""A client of the library, which has no types."""

Task = Any
"""A future of the library."""

CONNECT_SECONDS = 10
WORKERS_SECONDS = 30
"""How long to wait for a worker to join, and for one to come back when all are lost."""

SHARDS_PER_THREAD = 2
"""Shards that are sent ahead for each thread of the workers, so that none waits for its samples."""

_POLL_SECONDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardJob:
    """What a worker needs to know, besides the samples.

    Attributes:
        graph: The graph, as an ONNX model that gives the observed values.
        watched: What is observed.
        algorithm: Name of the algorithm.
        options: Its options in JSON.
        policy: Plugins that may be loaded.
        version: Version of the toolkit.
    """

    graph: bytes
    watched: Watched
    algorithm: str
    options: str
    policy: PluginPolicy
    version: str


class DaskShards:
    """Observes shards on the workers of a Dask cluster.

    Args:
        address: Address of its scheduler, such as ``tcp://host:8786``.
        algorithm: Name of the algorithm.
        options: Its validated options, fit for JSON; each worker makes the algorithm of them.
        policy: Plugins that workers may load.
    """

    def __init__(self, address: str, algorithm: str, options: Mapping[str, object], policy: PluginPolicy) -> None:
        self._address = address
        self._algorithm = algorithm
        self._options = json.dumps(dict(options))
        self._policy = policy

    def observe(self, work: Work) -> Iterator[Observed]:
        """Observe the shards on all workers; the samples are read here.

        Raises:
            InputError: The library is missing, the scheduler cannot be reached, or its workers cannot do the work.
        """
        client = _connected(self._address)
        try:
            yield from self._observed(client, work)
        finally:
            client.close(timeout=CONNECT_SECONDS)

    def _observed(self, client: Client, work: Work) -> Iterator[Observed]:
        threads = _worker_threads(client, self._address)
        job = client.scatter(self._job(work), broadcast=True, hash=False)
        shards = _with_samples(work)
        pending: collections.deque[Task] = collections.deque()

        def submit(number: int) -> None:
            for shard, samples in itertools.islice(shards, number):
                sent = client.scatter(samples, hash=False)
                pending.append(client.submit(observe_remotely, job, shard.start, sent, pure=False))

        submit(SHARDS_PER_THREAD * threads)
        while pending:
            observed = self._result(client, pending.popleft())
            submit(1)
            yield observed

    def _job(self, work: Work) -> ShardJob:
        return ShardJob(
            graph=_to_bytes(work),
            watched=work.watched,
            algorithm=self._algorithm,
            options=self._options,
            policy=self._policy,
            version=toolkit_version(),
        )

    def _result(self, client: Client, task: Task) -> Observed:
        """Wait for a shard as long as there are workers; an error over there becomes one here."""
        last_seen = time.monotonic()
        while True:
            try:
                result: Observed = task.result(timeout=_POLL_SECONDS)
            except (InputError, PluginError, NotFiniteError):
                raise
            except TimeoutError as error:
                if _thread_count(client):
                    last_seen = time.monotonic()
                elif time.monotonic() - last_seen > WORKERS_SECONDS:
                    msg = "the cluster has lost all its workers"
                    raise InputError(msg, where=self._address) from error
            except (asyncio.CancelledError, concurrent.futures.CancelledError) as error:
                msg = "the connection to the scheduler was lost"
                raise InputError(msg, where=self._address) from error
            except Exception as error:  # boundary to other machines: anything may go wrong there
                msg = f"a worker cannot do its work: {type(error).__name__}: {error}"
                hint = f"install synap-toolkit {toolkit_version()} and the same plugins on all workers"
                raise InputError(msg, where=self._address, hint=hint) from error
            else:
                return result


def observe_remotely(job: ShardJob, first: int, samples: Sequence[Mapping[str, np.ndarray]]) -> Observed:
    """Observe one shard; runs on a worker.

    Args:
        job: What is to be done.
        first: Number of the first sample.
        samples: The graph's inputs by name, for each sample.

    Raises:
        InputError: This worker has another version of the toolkit, or lacks a plugin.
        NotFiniteError: A value of some sample is infinite or NaN.
    """
    if job.version != toolkit_version():
        msg = f"a worker has synap-toolkit {toolkit_version()}, not {job.version}"
        raise InputError(msg, hint="install the same version on all workers")
    session, algorithm = _prepared(job)
    return observe_shard(session, enumerate(samples, first), job.watched, algorithm)


@functools.lru_cache(maxsize=1)
def _prepared(job: ShardJob) -> tuple[Session, Algorithm]:
    """Session and algorithm of a job, made once in each worker."""
    import onnx_ir as ir

    host = PluginHost(job.policy)
    # An empty model of the library's own, because only a plugin knows the classes that its files are made of.
    proto = ir.to_proto(ir.Model(ir.Graph([], [], nodes=[]), ir_version=1))
    proto.ParseFromString(job.graph)
    found = host.find(QuantizationAlgorithm, job.algorithm)
    options = found.options_model().model_validate_json(job.options, strict=True)
    return find_engine(host)(ir.from_proto(proto)), found.load(options)


def _to_bytes(work: Work) -> bytes:
    import onnx_ir as ir

    try:
        data: bytes = ir.to_proto(runnable(work.plan.graph, work.watched.outputs)).SerializeToString()
    except ValueError as error:  # what the library raises for more than 2 GiB
        msg = "the model is too large to be sent to a cluster"
        raise InputError(msg, hint="calibrate on this machine, without --scheduler") from error
    return data


def _with_samples(work: Work) -> Iterator[tuple[range, list[Mapping[str, np.ndarray]]]]:
    """The shards with their samples, which are read ahead a little."""
    samples = work.runner.samples(range(work.runner.count))
    return ((shard, list(itertools.islice(samples, len(shard)))) for shard in work.shards())


def _connected(address: str) -> Client:
    try:
        # Not by a statement: whether it is installed makes no difference to a type checker then.
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        msg = "calibration on a cluster needs Dask, which is not installed"
        raise InputError(msg, hint="pip install 'synap-toolkit[dask]'") from error
    try:
        return distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        msg = f"cannot reach the scheduler {address!r}: {str(error) or type(error).__name__}"
        raise InputError(msg, hint="give the address that 'dask scheduler' prints, such as tcp://host:8786") from error


def _worker_threads(client: Client, address: str) -> int:
    try:
        client.wait_for_workers(1, timeout=WORKERS_SECONDS)
    except TimeoutError as error:
        msg = f"the scheduler {address!r} has no workers"
        raise InputError(msg, hint=f"start some: dask worker {address}") from error
    return max(1, _thread_count(client))


def _thread_count(client: Client) -> int:
    """Threads of all workers; none when the scheduler does not answer."""
    try:
        return sum(client.nthreads().values())
    except OSError:
        return 0
