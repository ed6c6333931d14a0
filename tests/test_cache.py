"""The content-addressed store: keys, damage, concurrency and folders that cannot be used."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core import cache as module
from synap_core.cache import Cache

Parts = list[bytes | str | dict[str, object]]
PARTS = st.lists(st.binary(max_size=4) | st.text(max_size=4) | st.dictionaries(st.text(max_size=2), st.integers()))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "deep" / "cache")


KEY = Cache.key("a")


def entry(folder: Path) -> Path:
    return folder / "deep" / "cache" / KEY


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 1000])
def test_what_was_put_is_got(cache: Cache, data: bytes) -> None:
    assert cache.get(KEY) is None
    cache.put(KEY, data)
    assert cache.get(KEY) == data
    cache.put(KEY, b"newer")
    assert cache.get(KEY) == b"newer"


def test_nothing_but_the_entry_is_left_behind(cache: Cache, tmp_path: Path) -> None:
    cache.put(KEY, b"data")
    assert [path.name for path in (tmp_path / "deep" / "cache").iterdir()] == [KEY]


@given(PARTS, PARTS)
def test_keys_are_equal_only_for_equal_parts(first: Parts, second: Parts) -> None:
    assert Cache.key(*first) == Cache.key(*first)
    assert (Cache.key(*first) == Cache.key(*second)) == (repr(first) == repr(second))


def test_boundaries_and_kinds_of_parts_count() -> None:
    keys = {Cache.key(b"ab", b"c"), Cache.key(b"a", b"bc"), Cache.key(b"abc"), Cache.key("abc"), Cache.key("ab", "c")}
    keys |= {Cache.key({"a": 1, "b": 2}), Cache.key({"b": 2, "a": 1}), Cache.key({"a": 1}), Cache.key('{"a":1}')}
    assert len(keys) == 9
    assert all(len(key) == 64 and key == key.lower() for key in keys)


def test_version_of_the_toolkit_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "toolkit_version", lambda: "99.0")
    assert Cache.key("a") != KEY


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda data: data[:-1], id="truncated"),
        pytest.param(lambda data: data[:20], id="header-truncated"),
        pytest.param(lambda data: data + b"x", id="longer"),
        pytest.param(lambda data: data[:-1] + bytes([data[-1] ^ 1]), id="modified"),
        pytest.param(lambda data: b"other" + data[5:], id="another-kind-of-file"),
    ],
)
def test_damaged_entry_counts_as_absent_and_is_logged(
    cache: Cache, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    cache.put(KEY, b"some data")
    path = entry(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert cache.get(KEY) is None
    assert f"{path}: the cache entry is damaged" in caplog.text
    cache.put(KEY, b"again")
    assert cache.get(KEY) == b"again"


def test_entry_of_another_key_counts_as_damaged(cache: Cache, tmp_path: Path) -> None:
    cache.put(KEY, b"data")
    other = Cache.key("b")
    entry(tmp_path).rename(entry(tmp_path).with_name(other))
    assert cache.get(other) is None


def test_entry_that_is_too_large_is_not_read_or_written(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache.put(KEY, bytes(100))
    monkeypatch.setattr(module, "MAX_ENTRY_BYTES", 50)
    assert cache.get(KEY) is None
    cache.put(Cache.key("b"), bytes(51))
    assert len(list(entry(tmp_path).parent.iterdir())) == 1
    assert "is too large and is not used" in caplog.text
    assert "51 bytes is too large for the cache" in caplog.text


@pytest.mark.parametrize("what", ["a file stands there", "a folder has the entry's name"])
def test_unusable_folder_is_logged_and_gone_without(
    cache: Cache, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    if what == "a file stands there":
        (tmp_path / "deep").write_text("a file")
    else:
        entry(tmp_path).mkdir(parents=True)
    cache.put(KEY, b"data")
    assert cache.get(KEY) is None
    assert "cannot write to the cache, going on without" in caplog.text
    left = [path.name for path in tmp_path.rglob(".entry-*")]
    assert left == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_is_not_writable_is_gone_without(
    cache: Cache, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o500)
    cache.put(KEY, b"data")
    tmp_path.chmod(0o700)
    assert "cannot write to the cache" in caplog.text


def put_and_get(folder: Path, number: int) -> bool:
    """Write entries of two keys again and again, and look whether one that is read is ever half of one."""
    cache = Cache(folder)
    whole = {bytes([i]) * 100_000 for i in range(4)}
    for i in range(30):
        key = Cache.key(str(i % 2))
        cache.put(key, bytes([number]) * 100_000)
        if cache.get(key) not in whole:
            return False
    return True


def test_several_writers_may_use_one_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(put_and_get, [tmp_path] * 4, range(4)))
    assert found == [True] * 4
    assert len(list(tmp_path.iterdir())) == 2
