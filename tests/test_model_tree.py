"""Finding the metafile of a model in a tree of models."""

from __future__ import annotations

from pathlib import Path

import pytest

from synap_core.errors import InputError
from synap_core.model_tree import find_metafiles, implies_profiling, the_metafile
from tests.support.cli import Synap
from tests.support.tflite_models import chain


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "a/b/c/d/m.tflite"
    path.parent.mkdir(parents=True)
    path.write_bytes(chain(["y"]))
    return path


def touch(path: Path, text: str = "delegate: cpu\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.acceptance("E22")
def test_e22_metafile_is_taken_from_the_nearest_place(model: Path) -> None:
    folder = model.parent
    too_far = touch(folder.parents[3] / "model_metafile.yaml")
    assert find_metafiles(model) == []
    for level in (2, 1, 0):
        shared = touch(folder.parents[level] / "model_metafile.yaml")
        assert find_metafiles(model) == [shared] != [too_far]
    here = touch(folder / "model_metafile.yaml")
    assert find_metafiles(model) == [here]
    several = [touch(folder / "m" / name) for name in ("a.yaml", "b.yaml")]
    assert find_metafiles(model) == several
    own = touch(folder / "m.yaml")
    assert find_metafiles(model) == [own]


@pytest.mark.acceptance("E22")
@pytest.mark.parametrize("name", ["m_float.tflite", "m_disabled.tflite", "m_disabled_2.tflite"])
def test_e22_models_that_are_set_aside_have_none(model: Path, name: str) -> None:
    aside = model.rename(model.with_name(name))
    touch(aside.with_suffix(".yaml"))
    assert find_metafiles(aside) == []
    with pytest.raises(InputError, match=r"models named \*_float\.\* or \*_disabled\* have no metafile"):
        the_metafile(aside)


@pytest.mark.acceptance("E22")
def test_e22_profiling_follows_from_the_name(model: Path, synap: Synap, tmp_path: Path) -> None:
    assert implies_profiling(Path("m_profiling.yaml"))
    assert not implies_profiling(Path("profiling.yaml"))
    touch(model.parent / "m/m_profiling.yaml")
    args = ["--model", model, "--find-meta", "--target", "VS680", "--out-dir", tmp_path / "out"]
    assert "delegate 'cpu' doesn't support --profiling" in synap("convert", *args).error


def test_found_metafile_is_used(model: Path, synap: Synap, tmp_path: Path) -> None:
    touch(model.with_suffix(".yaml"))
    args = ["--model", model, "--find-meta", "--target", "VS680", "--out-dir", tmp_path / "out"]
    assert synap("convert", *args).code == 0
    assert synap("convert", *args, "--meta", model.with_suffix(".yaml")).code == 2


def test_several_metafiles_or_none_end_in_one_line(model: Path) -> None:
    with pytest.raises(InputError, match="no m.yaml, no .yaml file in m/ and no model_metafile.yaml up to 3 folders"):
        the_metafile(model)
    for name in ("a.yaml", "b.yaml"):
        touch(model.parent / "m" / name)
    with pytest.raises(
        InputError, match="there are 2 metafiles for this model: a.yaml, b.yaml; choose one with --meta"
    ):
        the_metafile(model)
