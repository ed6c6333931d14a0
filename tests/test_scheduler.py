"""Running steps in parallel."""

from __future__ import annotations

import threading
import time

import pytest

from synap_core.scheduler import run_steps

DIAMOND = [frozenset[int](), frozenset({0}), frozenset({0}), frozenset({1, 2})]
WAIT_S = 20
"""Long enough for any machine; only a failing test waits for it."""


class Recorder:
    """Counts steps that run at once."""

    def __init__(self) -> None:
        self.order: list[int] = []
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def __call__(self, number: int) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(0.01)
        with self._lock:
            self._now -= 1
            self.order.append(number)


@pytest.mark.acceptance("R3")
@pytest.mark.parametrize("limit", [0, 2])
def test_r3_branches_of_a_diamond_run_at_the_same_time(limit: int) -> None:
    meeting = threading.Barrier(2)
    done = []

    def step(number: int) -> None:
        if number in {1, 2}:
            meeting.wait(WAIT_S)  # raises when the other branch is not running
        done.append(number)

    run_steps([0, 1, 2, 3], DIAMOND, limit, step)
    assert (done[0], done[-1], sorted(done)) == (0, 3, [0, 1, 2, 3])


@pytest.mark.acceptance("R3")
def test_r3_limit_of_1_runs_in_order_on_this_thread() -> None:
    threads = set()
    recorder = Recorder()

    def step(number: int) -> None:
        threads.add(threading.current_thread())
        recorder(number)

    run_steps([0, 2, 1, 3], DIAMOND, 1, step)
    assert (recorder.order, recorder.most, threads) == ([0, 2, 1, 3], 1, {threading.current_thread()})


@pytest.mark.parametrize("limit", [2, 3])
def test_no_more_than_the_limit_run_at_once(limit: int) -> None:
    recorder = Recorder()
    run_steps(range(12), [frozenset[int]()] * 12, limit, recorder)
    assert sorted(recorder.order) == list(range(12))
    assert recorder.most <= limit


def test_every_step_waits_for_those_it_depends_on() -> None:
    dependencies = [frozenset(range(max(0, k - 3), k)) for k in range(40)]
    recorder = Recorder()
    run_steps(range(40), dependencies, 0, recorder)
    position = {number: place for place, number in enumerate(recorder.order)}
    assert all(position[before] < position[k] for k in range(40) for before in dependencies[k])


def test_error_ends_the_run_and_drops_what_has_not_begun() -> None:
    done = []

    def step(number: int) -> None:
        if number == 1:
            msg = "broken"
            raise ValueError(msg)
        done.append(number)

    with pytest.raises(ValueError, match="broken"):
        run_steps([0, 1, 2, 3], DIAMOND, 0, step)
    assert 3 not in done
