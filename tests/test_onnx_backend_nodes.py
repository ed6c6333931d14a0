"""All node tests of the ``onnx`` package through the canonical graph and ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import onnx.defs
import pytest

from docs import onnx_operators
from tests.support.onnx_node_tests import INAPPLICABLE, PASSED, REFUSED, RUNTIME, WRONG, Outcome, outcomes

CANONICAL_OPSET = 19

RUNTIME_LIMITS: Mapping[str, str] = {
    "ConvInteger": "ConvInteger: no zero point of the weights with padding",
    "DFT": "DFT: less exact in float32 than the tests ask for",
    "MaxUnpool": "MaxUnpool: takes the places for those of the smaller output",
    "Resize": "Resize: aligns corners in another way when it shrinks by scales",
    "STFT": "STFT: less exact in float32 than the tests ask for",
    "TopK": "TopK: no kernel for unsigned integers of 64 bits",
}
"""Why ONNX Runtime does not give the expected numbers for the models themselves, either."""

REASONS = (
    "the shape of its result depends on data",
    "its result is random",
    "it decodes files",
    "it computes gradients, for training",
    "it computes statistics, as for training",
    "operators of classical machine learning are not imported",
    "the graph has tensors only",
    "must be constant",
    "it samples in 3 dimensions",
    "it reads the bits of",
    "has no counterpart in operator set 19",
    "is no tensor, but a optional_type",
    "is a constant: no operator computes it",
)
"""Every reason for which a test may be refused begins or ends with one of these."""


def of_known_operators(found: Outcome) -> bool:
    """Whether operator set 19 has all operators of a test."""
    return all("." not in name and onnx.defs.has(name, CANONICAL_OPSET, "") for name in found.operators)


def with_status(status: str) -> list[Outcome]:
    return [found for found in outcomes() if found.status == status]


@pytest.fixture(scope="module", autouse=True)
def enough() -> None:
    """The package has its tests."""
    assert len(outcomes()) > 1000


def test_no_operator_gives_a_wrong_number() -> None:
    assert [(found.name, found.reason) for found in with_status(WRONG)] == []


def test_at_least_95_percent_of_the_tests_of_known_operators_pass() -> None:
    tried = [found for found in outcomes() if of_known_operators(found) and found.status != INAPPLICABLE]
    # Those for which ONNX Runtime fails on the model itself count as failures, too.
    assert sum(found.status == PASSED for found in tried) / len(tried) >= 0.95


def test_all_others_are_refused_for_a_reason_that_is_known() -> None:
    unknown = [f for f in with_status(REFUSED) if not any(reason in f.reason for reason in REASONS)]
    assert [(found.name, found.reason) for found in unknown] == []


def test_where_the_runtime_itself_fails_it_is_known_why() -> None:
    assert {operator for found in with_status(RUNTIME) for operator in found.operators} <= RUNTIME_LIMITS.keys()


def test_only_tests_without_plain_tensors_are_left_out() -> None:
    kinds = Counter(found.reason for found in with_status(INAPPLICABLE))
    assert all(reason.startswith("a value of type ") for reason in kinds)
    assert sum(kinds.values()) < 0.2 * len(outcomes())


def test_page_has_a_row_for_every_operator_of_the_tests() -> None:
    page = onnx_operators.render()
    names = {name for found in outcomes() for name in found.operators}
    missing = [name for name in sorted(names) if f"| `{name}` |" not in page]
    assert missing == []


def test_page_counts_every_test_once_for_each_operator() -> None:
    counts = onnx_operators.counts()
    relu = [found.status for found in outcomes() if "Relu" in found.operators]
    assert counts["Relu"].passed == relu.count(PASSED)
    assert sum(found.passed for found in counts.values()) == sum(len(f.operators) for f in with_status(PASSED))
