"""Run the ``onnx`` package's native checker, shape inference and function bodies in a child process.

A small hostile file can make them crash, or run and grow without end; in a child each of these becomes one error.
"""

from __future__ import annotations

import atexit
import functools
import json
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO, cast

from synap_core.api import InputError
from synap_frontend_onnx.protos import ModelProto, parse_model, serialize

TIMEOUT_S = 120.0
"""For one request; models of some thousand operators take a second."""

MAX_REPLY_BYTES = 1 << 28
HEADER = struct.Struct("<cQ")
"""A letter that says what follows, and its length in bytes."""

DONE, REFUSED, OUT_OF_MEMORY = b"d", b"r", b"m"
"""What a reply begins with."""

# The child sees the modules that this process sees, and none from its working folder (-P).
_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from synap_frontend_onnx.child import main; main()"


class RefusedError(Exception):
    """The checker or the inference refused the model; carries its message."""


class Inspector:
    """The child process; started when it is first needed, and again after a failure.

    Args:
        timeout: Seconds that one request may take.
    """

    def __init__(self, timeout: float = TIMEOUT_S) -> None:
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def validate(self, model: ModelProto) -> ModelProto:
        """Infer the shapes of all tensors, then check the result in full.

        Returns:
            The model with shapes.

        Raises:
            RefusedError: The model is wrong.
            InputError: The library crashed or did not end.
        """
        return self._ask(b"v", model)

    def infer(self, model: ModelProto, *, strict: bool) -> ModelProto:
        """Infer the shapes of all tensors; a contradiction is an error, or leaves shapes out. Raises as `validate`."""
        return self._ask(b"s" if strict else b"i", model)

    def evaluate(self, model: ModelProto) -> ModelProto:
        """Compute the nodes of a model without inputs.

        Returns:
            A model whose initializers are the results that can be computed and are small. Raises as `validate`.
        """
        return self._ask(b"e", model)

    def body(self, model: ModelProto) -> ModelProto:
        """Find what an operator that is defined by others consists of.

        Args:
            model: A model of this one node, with the types of its operands as graph inputs.

        Returns:
            A model with this one function, or without any when the operator has no body. Raises as `validate`.
        """
        return self._ask(b"f", model)

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _ask(self, kind: bytes, model: ModelProto) -> ModelProto:
        data = serialize(model)
        with self._lock:
            process = self._process = self._process or _start()
            expired = threading.Event()
            timer = threading.Timer(self._timeout, _expire, [process.kill, expired])
            timer.daemon = True
            timer.start()
            try:
                status, reply = _exchange(process, kind, data)
            except (OSError, EOFError) as error:
                raise self._failure(process, timed_out=expired.is_set()) from error
            except BaseException:  # an exchange that is interrupted cannot be taken up again
                self.close()
                raise
            finally:
                timer.cancel()
        if status == OUT_OF_MEMORY:
            msg = "the ONNX library takes too much memory on this model"
            raise InputError(msg, hint="the file is damaged: export it again")
        if status == REFUSED:
            raise RefusedError(reply.decode("utf-8", errors="replace"))
        return parse_model(reply)

    def _failure(self, process: subprocess.Popen[bytes], *, timed_out: bool) -> InputError:
        self.close()
        if timed_out:
            msg = f"the ONNX library does not come to an end on this model within {self._timeout:g} s"
        else:
            code = process.returncode
            how = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit status {code}"
            msg = f"the ONNX library crashed on this model, or took too much memory ({how})"
        return InputError(msg, hint="the file is damaged: export it again")


@functools.cache
def shared_inspector() -> Inspector:
    """The child that serves all models of this process: starting it takes longer than most models."""
    inspector = Inspector()
    atexit.register(inspector.close)
    return inspector


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-P", "-c", _BOOT, json.dumps([entry for entry in sys.path if entry])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _expire(kill: Callable[[], None], expired: threading.Event) -> None:
    expired.set()
    kill()


def _exchange(process: subprocess.Popen[bytes], kind: bytes, data: bytes) -> tuple[bytes, bytes]:
    requests, replies = cast("BinaryIO", process.stdin), cast("BinaryIO", process.stdout)
    requests.write(HEADER.pack(kind, len(data)))
    requests.write(data)
    requests.flush()
    status, length = HEADER.unpack(read_exactly(replies, HEADER.size))
    if length > MAX_REPLY_BYTES + 2 * len(data):
        process.kill()
        raise EOFError
    return status, read_exactly(replies, length)


def read_exactly(stream: BinaryIO, count: int) -> bytes:
    """Read a number of bytes; raises EOFError when the stream ends before."""
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data
