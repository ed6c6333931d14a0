"""The parent's side of the worker process: start it, talk to it, and turn its death into an error."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from synap_core import errors
from synap_core.channel import ChannelClosedError, Message, receive, send, skip_to
from synap_core.errors import ModelExecutionError, SynapError, one_line
from synap_core.executor import RunResult, SubgraphLayers
from synap_core.layer_messages import layers_of
from synap_core.plugin_policy import PluginPolicy

# The child sees the modules that this process sees, and none from its working folder (-P).
_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from synap_core.worker import main; main(sys.argv[2])"
_STDERR_TAIL_BYTES = 4096
_LOG_LINE = re.compile(r"^(INFO|WARNING|VERBOSE)\b|^[IWV]\d{4} ")


class WorkerError(Exception):
    """The worker failed in a way that is a defect of the toolkit; carries its traceback."""


class Sandbox:
    """A loaded bundle in a process of its own.

    Args:
        source: Path of the bundle or model, or the content of a bundle.
        meta: Path of a single model's metadata.
        policy: Which plugins the child may load.
        timeout: Seconds that one request may take.

    Raises:
        InputError: The bundle cannot be loaded.
        ModelExecutionError: A runtime crashed or hung while it loaded a model.
    """

    def __init__(
        self, source: str | Path | bytes, meta: str | Path | None, policy: PluginPolicy, timeout: float
    ) -> None:
        self._timeout = min(timeout, threading.TIMEOUT_MAX)
        self._doing = "starting"
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._expired = self._closed = False
        # Whatever a start-up file of the interpreter prints comes before this word and is skipped.
        greeting = secrets.token_hex(16)
        modules = json.dumps([entry for entry in sys.path if entry])
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-P", "-c", _BOOT, modules, greeting],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
        )
        self._process = process
        self._requests, self._replies = cast("BinaryIO", process.stdin), cast("BinaryIO", process.stdout)
        values: dict[str, object] = {
            "path": None if isinstance(source, bytes) else str(Path(source).absolute()),
            "meta": None if meta is None else str(Path(meta).absolute()),
            "policy": [dataclasses.asdict(layer) for layer in policy.layers],
        }
        arrays = (np.frombuffer(source, np.uint8),) if isinstance(source, bytes) else ()
        try:
            reply = self._ask(Message("load", values, arrays), greeting.encode())
        except BaseException:
            self.close()
            raise
        self.notes = cast("list[str]", reply.values["notes"])

    def run(self, inputs: Sequence[np.ndarray]) -> RunResult:
        """Run once; see `Executor.run`.

        Raises:
            ModelExecutionError: A runtime failed, crashed or hung.
        """
        reply = self._ask(Message("run", {}, tuple(inputs)))
        values = cast("dict[str, Any]", reply.values)
        return RunResult(reply.arrays, values["milliseconds"], tuple(values["subgraphs"]))

    def run_layers(self, inputs: Sequence[np.ndarray]) -> list[SubgraphLayers]:
        """Run once and show what is between the operations; see `Executor.run_layers`.

        Raises:
            ModelExecutionError: A runtime failed, crashed or hung.
        """
        return layers_of(self._ask(Message("layers", {}, tuple(inputs))))

    def reset(self) -> None:
        """Forget the state that earlier runs left in variables."""
        self._ask(Message("reset"))

    def close(self) -> None:
        """End the process."""
        self._closed = True
        # First the process: its death ends a read that another thread may be waiting in.
        self._process.kill()
        self._process.wait()
        for stream in (self._requests, self._replies):
            with contextlib.suppress(OSError):
                stream.close()
        self._stderr.close()

    def _ask(self, request: Message, greeting: bytes = b"") -> Message:
        if self._process.poll() is not None:
            raise self._died()
        timer = threading.Timer(self._timeout, self._expire)
        timer.daemon = True
        timer.start()
        try:
            send(self._requests, request)
            skip_to(self._replies, greeting)
            while (reply := receive(self._replies)).kind == "progress":
                self._doing = str(reply.values["what"])
        except ChannelClosedError as error:
            raise self._died() from error
        except BaseException:
            # The reply of an interrupted exchange must not be taken for that of the next request.
            self._process.kill()
            self._process.wait()
            raise
        finally:
            timer.cancel()
        return _checked(reply)

    def _expire(self) -> None:
        self._expired = True
        self._process.kill()

    def _died(self) -> SynapError:
        if self._closed:
            msg = f"the network was closed while {self._doing}"
            return ModelExecutionError(msg)
        if self._expired:
            msg = f"no answer within {self._timeout:g} s while {self._doing}"
            return ModelExecutionError(msg, hint="give more time with --timeout, or check the model")
        self._process.kill()
        code = self._process.wait()
        how = _signal_name(-code) if code < 0 else f"exit status {code}"
        last = self._last_words()
        msg = f"the runtime crashed ({how}) while {self._doing}{': ' + last if last else ''}"
        return ModelExecutionError(msg, hint="the model is damaged or the runtime cannot handle it")

    def _last_words(self) -> str:
        """Last line the child wrote, less the messages native libraries always print."""
        self._stderr.seek(0, 2)
        self._stderr.seek(max(0, self._stderr.tell() - _STDERR_TAIL_BYTES))
        lines = self._stderr.read().decode("utf-8", errors="replace").splitlines()
        telling = [line for line in lines if line.strip() and not _LOG_LINE.match(line)]
        return one_line(telling[-1])[:300] if telling else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _checked(reply: Message) -> Message:
    if reply.kind == "broken":
        raise WorkerError(str(reply.values["traceback"]))
    if reply.kind == "failed":
        kind = getattr(errors, str(reply.values["error"]), ModelExecutionError)
        raise cast("type[SynapError]", kind)(
            str(reply.values["message"]),
            where=cast("str | None", reply.values["where"]),
            hint=cast("str | None", reply.values["hint"]),
        )
    return reply
