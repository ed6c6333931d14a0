"""The child process in which foreign models are loaded and run."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from typing import BinaryIO, cast

import numpy as np

from synap_core import errors
from synap_core.bundle_reader import load_bundle
from synap_core.channel import ChannelClosedError, Message, receive, send
from synap_core.executor import Executor
from synap_core.host import PluginHost
from synap_core.layer_messages import layers_message
from synap_core.plugin_policy import PluginPolicy, PolicyLayer

WATCH_S = 1.0


def main(greeting: str) -> None:
    """Serve requests on standard input and output until the other side closes them.

    Args:
        greeting: Written before the first reply.
    """
    # The parent decides about Ctrl-C, which reaches both processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, replies = _take_channel()
    replies.write(greeting.encode())
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    server = _Server(replies)
    while True:
        try:
            request = receive(requests)
            send(replies, server.answer(request))
        except ChannelClosedError:
            return


def _end_with_parent(parent: int) -> None:
    """End this process when its parent is gone, even while a model hangs."""
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)


def _take_channel() -> tuple[BinaryIO, BinaryIO]:
    """Keep the two pipes for messages, and let what native libraries print go to standard error."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return sys.stdin.buffer, replies


class _Server:
    def __init__(self, replies: BinaryIO) -> None:
        self._replies = replies
        self._executor: Executor | None = None

    def answer(self, request: Message) -> Message:
        try:
            return self._do(request)
        except errors.SynapError as error:
            values = {"error": type(error).__name__, "message": error.message, "where": error.where, "hint": error.hint}
            return Message("failed", cast("dict[str, object]", values))
        except Exception:  # noqa: BLE001 - process boundary: the parent raises it again, traceback included
            return Message("broken", {"traceback": traceback.format_exc()})

    def _do(self, request: Message) -> Message:
        if request.kind == "load":
            return self._load(request.values, request.arrays)
        if self._executor is None:
            msg = "nothing is loaded"
            raise errors.SynapError(msg)
        if request.kind == "reset":
            self._executor.reset()
            return Message("done")
        if request.kind == "layers":
            return layers_message(self._executor.run_layers(request.arrays))
        result = self._executor.run(request.arrays)
        times = {"milliseconds": result.milliseconds, "subgraphs": result.subgraph_milliseconds}
        return Message("outputs", times, result.outputs)

    def _load(self, values: dict[str, object], arrays: Sequence[np.ndarray]) -> Message:
        layers = cast("list[dict[str, object]]", values["policy"])
        host = PluginHost(PluginPolicy(tuple(_policy_layer(layer) for layer in layers)))
        path, meta = cast("str | None", values["path"]), cast("str | None", values["meta"])
        bundle = load_bundle(path if path is not None else arrays[0].tobytes(), meta)
        self._executor = Executor(bundle, host, self._progress)
        return Message("done", {"notes": self._executor.notes})

    def _progress(self, what: str) -> None:
        send(self._replies, Message("progress", {"what": what}))


def _policy_layer(values: dict[str, object]) -> PolicyLayer:
    only = values["only"]
    return PolicyLayer(
        source=str(values["source"]),
        disable=tuple(cast("list[str]", values["disable"])),
        enable=tuple(cast("list[str]", values["enable"])),
        only=None if only is None else tuple(cast("list[str]", only)),
    )
