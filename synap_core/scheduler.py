"""Run steps that wait for each other, some at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait


def run_steps(
    order: Sequence[int], dependencies: Sequence[frozenset[int]], limit: int, step: Callable[[int], None]
) -> None:
    """Call ``step`` for every number, each as soon as those it depends on are done.

    Args:
        order: The numbers, each behind those it depends on.
        dependencies: For each number, those it depends on.
        limit: Steps that may run at once; 0 for any number. With 1, or a single step, no thread is made.
        step: Called on a thread of its own. When it raises, what has not begun is dropped and the error raised again.
    """
    places = min(limit or len(order), len(order))
    if places <= 1:
        for number in order:
            step(number)
        return
    waiting = {number: set(dependencies[number]) for number in order}
    running: dict[Future[None], int] = {}
    with ThreadPoolExecutor(max_workers=places) as pool:
        while waiting or running:
            for number in [number for number, missing in waiting.items() if not missing]:
                del waiting[number]
                running[pool.submit(step, number)] = number
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                finished = running.pop(future)
                if (error := future.exception()) is not None:
                    pool.shutdown(cancel_futures=True)
                    raise error
                for missing in waiting.values():
                    missing.discard(finished)
