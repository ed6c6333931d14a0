"""Where the tensors of a program lie, how many bytes its weights take, and how convolutions are cut into tiles.

Everything here works on sizes, shapes and arrays alone: no graph, no operators. `docs/npu-memory.md` has the ideas and
what the results are worth.
"""

from synap_delegate_npu.memory.allocation import Memory, Place, Placement, Pool, allocate
from synap_delegate_npu.memory.buffers import Buffer, aligned, live_bytes, lower_bound
from synap_delegate_npu.memory.description import describe
from synap_delegate_npu.memory.stripes import Rows, Stripes, stripe
from synap_delegate_npu.memory.tiling import Convolution, Tile, Tiling, tile
from synap_delegate_npu.memory.weights import StoredWeights, stored_weights

__all__ = [
    "Buffer",
    "Convolution",
    "Memory",
    "Place",
    "Placement",
    "Pool",
    "Rows",
    "StoredWeights",
    "Stripes",
    "Tile",
    "Tiling",
    "aligned",
    "allocate",
    "describe",
    "live_bytes",
    "lower_bound",
    "stored_weights",
    "stripe",
    "tile",
]
