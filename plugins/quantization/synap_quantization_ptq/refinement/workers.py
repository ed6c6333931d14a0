"""Threads that work on samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")
Item = TypeVar("Item")


class Workers:
    """Threads that live as long as there is work: the C library keeps some memory for each new one.

    Args:
        jobs: How many.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._pool = ThreadPoolExecutor(jobs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def each(self, step: Callable[[Item], T], items: Iterable[Item], *, ahead: int) -> Iterator[T]:
        """What a step gives for each of some items, in their order.

        Args:
            step: Is called by several threads.
            items: What it is given.
            ahead: Results for each thread that may wait for their use.
        """
        waiting = deque[Future[T]]()
        try:
            for item in items:
                waiting.append(self._pool.submit(step, item))
                if len(waiting) > ahead * self._jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # nobody wants the rest
                future.cancel()
