"""Options of the post-training algorithms, and what they choose."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from synap_core.api import Observer, QuantizationAlgorithm, QuantSpec
from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.quantization.options import load_options
from synap_quantization_ptq import plugin
from synap_quantization_ptq.algorithm import PostTraining
from synap_quantization_ptq.observers import (
    ChannelObserver,
    HistogramObserver,
    MinMaxObserver,
    MovingAverageObserver,
)
from synap_quantization_ptq.options import OPTIONS, Options
from tests.support.metafiles import metafile

U8 = QuantSpec(dtype="uint8", scheme="asymmetric_affine", bounds=(-3.0, np.inf))
FIXED8 = QuantSpec(dtype="int8", scheme="dynamic_fixed_point")
FIXED16 = QuantSpec(dtype="int16", scheme="dynamic_fixed_point")
CHANNELS = QuantSpec(dtype="int8", scheme="perchannel_symmetric_affine", axis=0)

PLUGINS = {
    "standard": plugin.standard,
    "kl_divergence": plugin.kl_divergence,
    "moving_average": plugin.moving_average,
    "auto": plugin.auto,
}


def algorithm(name: str) -> QuantizationAlgorithm:
    """The algorithm, as a host finds it."""
    host = PluginHost(group="synap.none")
    record = host.register(PLUGINS[name], f"quantization-{name}")
    assert record.state == "enabled", record.reason
    return host.find(QuantizationAlgorithm, name)


def observer(name: str, role: str, spec: QuantSpec, **options: object) -> Observer:
    registered = algorithm(name)
    loaded = registered.load(registered.options_model().model_validate(options))
    return loaded.observer(role, spec)


def test_each_plugin_offers_the_algorithm_of_its_name() -> None:
    assert set(PLUGINS) == set(OPTIONS)
    for name in PLUGINS:
        assert algorithm(name).name == name
        assert algorithm(name).options_model() is OPTIONS[name]


def test_options_of_something_else_are_a_programming_error() -> None:
    class Other(Options):
        pass

    assert isinstance(plugin.load(Other()), PostTraining)
    with pytest.raises(TypeError, match="not options of a post-training algorithm"):
        plugin.load(object())  # type: ignore[arg-type] - what is shown


@pytest.mark.parametrize(
    ("name", "role", "spec", "expected"),
    [
        ("standard", "activation", U8, HistogramObserver),
        ("standard", "activation", FIXED8, HistogramObserver),
        ("standard", "activation", FIXED16, MinMaxObserver),
        ("standard", "weight", U8, MinMaxObserver),
        ("standard", "weight", FIXED8, HistogramObserver),
        ("standard", "constant", FIXED16, MinMaxObserver),
        ("standard", "weight", CHANNELS, MinMaxObserver),
        ("kl_divergence", "activation", U8, HistogramObserver),
        ("kl_divergence", "weight", U8, HistogramObserver),
        ("kl_divergence", "weight", CHANNELS, ChannelObserver),
        ("moving_average", "activation", U8, MovingAverageObserver),
        ("moving_average", "weight", U8, MinMaxObserver),
        ("auto", "activation", U8, HistogramObserver),
        ("auto", "weight", CHANNELS, MinMaxObserver),
    ],
)
def test_observers_that_the_defaults_choose(name: str, role: str, spec: QuantSpec, expected: type) -> None:
    assert type(observer(name, role, spec)) is expected


def test_divergence_is_told_by_one_algorithm_alone(rng: np.random.Generator) -> None:
    values = rng.normal(size=(4, 100)).astype(np.float32)
    for name in PLUGINS:
        for role, spec in (("activation", U8), ("weight", U8), ("weight", CHANNELS)):
            made = observer(name, role, spec)
            made.update(values)
            assert (made.range().divergence is not None) == (name == "kl_divergence")


def test_range_option_changes_the_range(rng: np.random.Generator) -> None:
    values = rng.laplace(size=100_000).astype(np.float32)
    ends = {}
    for chosen in ("auto", "min_max", "percentile", "mse"):
        made = observer("standard", "activation", U8, observer={"range": chosen, "percentile": 99})
        made.update(values)
        ends[chosen] = float(made.range().high)
    assert ends["auto"] == ends["min_max"] == values.max()
    assert ends["percentile"] == pytest.approx(np.percentile(values, 99.5), abs=0.05)
    assert ends["percentile"] < ends["mse"] < ends["min_max"]


def test_trim_decides_whether_the_bounds_of_readers_count() -> None:
    values = np.array([-9, 5], np.float32)
    for trim, low in ((True, -3), (False, -9)):
        for name in ("standard", "moving_average", "auto"):
            made = observer(name, "activation", U8, trim=trim)
            made.update(values)
            assert made.range().low == low


@pytest.mark.parametrize("name", PLUGINS)
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"equalise": True}, "Extra inputs are not permitted"),
        ({"equalize": 1}, "valid boolean"),
        ({"rounding": "down"}, "'nearest', 'adaptive' or 'auto'"),
        ({"bias_correction": "yes"}, "Input should be"),
        ({"trim": "auto"}, "valid boolean"),
        ({"weights": "kl"}, "'auto', 'min_max', 'percentile' or 'mse'"),
        ({"observer": {"rnge": "mse"}}, "Extra inputs are not permitted"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        OPTIONS[name].model_validate(options)


@pytest.mark.parametrize(
    ("name", "key", "value", "problem"),
    [
        ("standard", "percentile", 50, "greater than 50"),
        ("standard", "percentile", 100.5, "less than or equal to 100"),
        ("standard", "percentile", math.nan, "less than or equal to 100"),
        ("standard", "range", "kl", "'auto', 'min_max', 'percentile' or 'mse'"),
        ("standard", "bins", 300, "must be a power of two"),
        ("standard", "bins", 128, "greater than or equal to 256"),
        ("kl_divergence", "bins", 2**17, "less than or equal to 65536"),
        ("kl_divergence", "range", "kl", "Extra inputs"),
        ("moving_average", "decay", 1.0, "less than 1"),
        ("moving_average", "decay", 0, "greater than 0"),
        ("auto", "decay", 0.5, "Extra inputs"),
    ],
)
def test_wrong_observer_options_are_refused(name: str, key: str, value: object, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        OPTIONS[name].model_validate({"observer": {key: value}})


def test_metafile_names_the_wrong_option_and_its_place(tmp_path: Path) -> None:
    meta = metafile(tmp_path, "quantization:\n  options: {observer: {bins: 300}}\n")
    with pytest.raises(InputError, match=r"options.observer.bins'? 300: must be a power of two"):
        load_options(meta, algorithm("standard"))
    meta = metafile(tmp_path, "quantization:\n  options: {observer: {bin: 256}}\n")
    with pytest.raises(InputError, match="bin.*did you mean 'bins'"):
        load_options(meta, algorithm("standard"))


def test_every_option_is_documented() -> None:
    for model in OPTIONS.values():
        for name, field in model.model_fields.items():
            assert field.description or name == "observer"
        observed = model.model_fields["observer"].annotation
        assert observed is not None
        assert all(field.description for field in observed.model_fields.values())
