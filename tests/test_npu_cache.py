"""What the npu delegate keeps from one conversion to the next."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.api import Artifact, Cache, Subgraph
from synap_core.convert import ConvertRequest, convert
from synap_core.graph.groups import Group
from synap_core.graph.quantized import QuantizedTensor
from synap_core.host import PluginHost
from synap_delegate_npu import compiler, results
from synap_delegate_npu.cost.parameters import NpuParameters
from synap_delegate_npu.program import fingerprint, lowered
from tests.support.npu_files import EXAMPLE


@pytest.fixture(scope="module")
def subgraph() -> Subgraph:
    """The example, as the delegate is asked to compile it."""
    (found,) = convert(ConvertRequest(model=EXAMPLE, target="SL1680"), PluginHost()).conversion.subgraphs
    return found


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many results and functions have been made, not taken from the cache."""
    counts = {"results": 0, "functions": 0}

    def counted(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def counting(*arguments: object) -> object:
            counts[name] += 1
            return call(*arguments)

        return counting

    monkeypatch.setattr(compiler, "_compiled", counted("results", compiler._compiled))
    monkeypatch.setattr(lowered, "_lowered", counted("functions", lowered._lowered))
    return counts


def compiled(subgraph: Subgraph, folder: Path | None, **changes: object) -> Artifact:
    cache = None if folder is None else Cache(folder)
    return compiler.compile_subgraph(replace(subgraph, cache=cache, **changes))  # type: ignore[arg-type]  # any field


def parameters(subgraph: Subgraph, **changes: object) -> NpuParameters:
    assert isinstance(subgraph.parameters, NpuParameters)
    return subgraph.parameters.model_copy(update=changes)


def test_second_compilation_makes_nothing_and_gives_the_same(
    subgraph: Subgraph, made: dict[str, int], tmp_path: Path
) -> None:
    first = compiled(subgraph, tmp_path)
    assert made["results"] == 1
    assert made["functions"] > 3
    made |= dict.fromkeys(made, 0)
    second = compiled(subgraph, tmp_path)
    assert made == {"results": 0, "functions": 0}
    assert (second.model, second.listings) == (first.model, first.listings)
    assert first.model == compiled(subgraph, None).model


def test_with_functions_from_the_cache_the_program_is_the_same(
    subgraph: Subgraph, made: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compiled(subgraph, tmp_path)
    made |= dict.fromkeys(made, 0)
    monkeypatch.setattr(results.Results, "get", lambda *_: None)
    assert compiled(subgraph, tmp_path).model == first.model
    assert made == {"results": 1, "functions": 0}


@pytest.mark.parametrize(
    "change",
    [
        lambda subgraph: {"parameters": parameters(subgraph, clock_hz=9e8)},
        lambda _: {"profiling": True},
        lambda subgraph: {"target": replace(subgraph.target, name="SL1640")},
        lambda subgraph: {"groups": (replace(subgraph.groups[0], layer_id="other"), *subgraph.groups[1:])},
    ],
    ids=["parameter", "profiling", "target", "layer id"],
)
def test_changed_option_is_compiled_anew_with_the_same_functions(
    change: Callable[[Subgraph], dict[str, object]], subgraph: Subgraph, made: dict[str, int], tmp_path: Path
) -> None:
    compiled(subgraph, tmp_path)
    made |= dict.fromkeys(made, 0)
    changes = change(subgraph)
    found = compiled(subgraph, tmp_path, **changes)
    assert made == {"results": 1, "functions": 0}
    assert found.model == compiled(subgraph, None, **changes).model


def test_changed_code_is_not_taken_for_the_same(
    subgraph: Subgraph, made: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled(subgraph, tmp_path)
    functions = made["functions"]
    made |= dict.fromkeys(made, 0)
    for module in (results, lowered):
        monkeypatch.setattr(module, "code_version", lambda: "another")
    compiled(subgraph, tmp_path)
    assert made == {"results": 1, "functions": functions}


def test_version_of_the_code_is_that_of_all_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "PACKAGE", tmp_path)
    versions = []
    for name, text in (("a.py", "1"), ("a.py", "2"), ("inner/b.py", "2"), ("inner/c.py", "2")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        versions.append(fingerprint.code_version.__wrapped__())
    assert len(set(versions)) == len(versions)


def other_weight(subgraph: Subgraph) -> None:
    assert subgraph.graph is not None
    for value in subgraph.graph.graph.initializers.values():
        stored = value.const_value
        if isinstance(stored, QuantizedTensor) and stored.integers.ndim > 1:
            integers = stored.integers.copy()
            integers.reshape(-1)[0] ^= 1
            value.const_value = QuantizedTensor(integers, stored.quant, stored.name)
            return


def test_changed_weight_makes_its_function_anew_and_no_other(made: dict[str, int], tmp_path: Path) -> None:
    (subgraph,) = convert(ConvertRequest(model=EXAMPLE, target="SL1680"), PluginHost()).conversion.subgraphs
    first = compiled(subgraph, tmp_path)
    made |= dict.fromkeys(made, 0)
    other_weight(subgraph)
    assert compiled(subgraph, tmp_path).model != first.model
    assert made == {"results": 1, "functions": 1}


def test_damaged_entry_is_made_again(
    subgraph: Subgraph, made: dict[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = compiled(subgraph, tmp_path)
    counts = dict(made)
    for number, path in enumerate(sorted(tmp_path.iterdir())):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if number % 2 else content[:-1] + bytes([content[-1] ^ 1]))
    made |= dict.fromkeys(made, 0)
    assert compiled(subgraph, tmp_path).model == first.model
    assert made == counts
    assert "damaged" in caplog.text
    made |= dict.fromkeys(made, 0)
    assert compiled(subgraph, tmp_path).model == first.model
    assert made["results"] == 0


def test_conversions_at_one_time_share_a_cache(subgraph: Subgraph, tmp_path: Path) -> None:
    expected = compiled(subgraph, None).model
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: compiled(subgraph, tmp_path).model, range(8)))
    assert set(found) == {expected}
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def parts(swapped: bool, shift: float = 1.0, reread: bool = False) -> list[str]:
    """Parts of the hash of ``(a - b) * a`` or ``(a - b) * b``, both of one type."""
    one, other = (ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([4])) for name in "ab")
    term = ir.Value(name="c", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([]), const_value=ir.tensor(shift))
    difference = ir.Node("", "Sub", [one, other])
    product = ir.Node("", "Mul", [difference.outputs[0], other if swapped else one])
    total = ir.Node("", "Add", [product.outputs[0], difference.outputs[0] if reread else term])
    return list(fingerprint.of_group(Group(layer_id="x", nodes=(difference, product, total), origins=())))


def test_groups_that_are_wired_otherwise_differ() -> None:
    assert parts(swapped=False) == parts(swapped=False)
    found = [parts(swapped=False), parts(swapped=True), parts(swapped=False, shift=2.0), parts(False, reread=True)]
    assert len({str(one) for one in found}) == len(found)


def test_large_attributes_count_in_full() -> None:
    def of(last: float) -> list[str]:
        array = np.zeros(5000, np.float32)
        array[2500] = last
        node = ir.Node("", "Constant", [], attributes=[ir.AttrTensor("value", ir.tensor(array))])
        return list(fingerprint.of_group(Group(layer_id="x", nodes=(node,), origins=())))

    assert of(1.0) == of(1.0)
    assert of(1.0) != of(2.0)


def test_texts_count_by_their_letters() -> None:
    one, other = (fingerprint.of_array(np.array(["a", letter], object)) for letter in "bc")
    assert one == fingerprint.of_array(np.array(["a", "b"], object))
    assert one != other
