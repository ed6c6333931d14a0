"""Time the partitioner on growing models: ``python benchmarks/partition.py``.

Prints seconds for both strategies, for models whose layers change delegate every 50 layers and for the worst case, a
change at every layer; and the ratio of the time for 4,000 layers to that for 1,000 (4 would be linear).
"""

from __future__ import annotations

import random
import sys
import time

from synap_core.delegate_rules import Assignment
from synap_core.partition import partition
from synap_core.source import Layer

DELEGATES = (Assignment("npu"), Assignment("gpu"), Assignment("cpu"))
SIZES = (1000, 2000, 4000, 5000)


def make_layers(count: int) -> list[Layer]:
    """Layers in a row with a skip connection at every fifth."""
    choose = random.Random(count)
    layers = []
    for index in range(count):
        read = ["x"] if index == 0 else [f"t{index - 1}"]
        if index > 20 and index % 5 == 0:
            read.append(f"t{index - choose.randint(2, 20)}")
        layers.append(Layer(name=f"l{index}", type="OP", index=index, inputs=tuple(read), outputs=(f"t{index}",)))
    return layers


def seconds(count: int, period: int, *, branch_split: bool) -> float:
    """Best of three runs."""
    layers = make_layers(count)
    assigned = {index: DELEGATES[index // period % len(DELEGATES)] for index in range(count)}
    times = []
    for _ in range(3):
        start = time.perf_counter()
        partition(layers, assigned, ["x"], [f"t{count - 1}"], branch_split=branch_split)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> int:
    """Print the table; 1 when 5,000 layers take a second or more."""
    slow = False
    for period, title in ((50, "a change of delegate every 50 layers"), (1, "a change of delegate at every layer")):
        for branch_split in (True, False):
            times = {count: seconds(count, period, branch_split=branch_split) for count in SIZES}
            row = "  ".join(f"{count}: {value:.3f} s" for count, value in times.items())
            ratio = times[4000] / times[1000]
            print(f"{title}, branch split {'on ' if branch_split else 'off'}:  {row}  4000/1000: {ratio:.1f}")
            slow |= times[5000] >= 1
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
