"""Results of whole compilations, kept from one conversion to the next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from synap_core.api import Cache, Subgraph
from synap_delegate_npu.program.body import DOMAIN
from synap_delegate_npu.program.fingerprint import code_version, of_graph

LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a compilation makes.

    Attributes:
        model: The file.
        listings: Reports by title.
    """

    model: bytes
    listings: Mapping[str, str]


class Results:
    """Results by the hash of all that they depend on.

    Args:
        cache: Where they are kept; None to keep none.
    """

    def __init__(self, cache: Cache | None) -> None:
        self._cache = cache

    def key(self, subgraph: Subgraph) -> str:
        """Hash of all that a result depends on; empty when none are kept."""
        if self._cache is None or subgraph.graph is None:
            return ""
        parameters = "" if subgraph.parameters is None else subgraph.parameters.model_dump_json()
        names = {key: tensor.name for key, tensor in subgraph.source.tensors.items()}
        about = f"{subgraph.source.format} {subgraph.target.name} {subgraph.profiling} {names}"
        return Cache.key(DOMAIN, code_version(), parameters, about, *of_graph(subgraph.graph, subgraph.groups))

    def get(self, key: str) -> Result | None:
        """The result that was kept under a key; None when there is none."""
        stored = None if self._cache is None else self._cache.get(key)
        if stored is None:
            return None
        start = LENGTH_BYTES + int.from_bytes(stored[:LENGTH_BYTES], "little")
        return Result(model=stored[start:], listings=json.loads(stored[LENGTH_BYTES:start]))

    def put(self, key: str, result: Result) -> None:
        """Keep a result."""
        if self._cache is not None:
            head = json.dumps(dict(result.listings)).encode()
            self._cache.put(key, len(head).to_bytes(LENGTH_BYTES, "little") + head + result.model)
