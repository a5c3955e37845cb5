"""Files by digest: each travels once, and what is damaged or outside its folder is refused."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.errors import InputError, MissingBackendError, OutputError, VerificationError
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.sweep import store
from edgekit.pipeline.sweep.store import Store
from edgekit.pipeline.sweep.stored_cache import StoredCache, confined

Open = Callable[[Path], str]


@pytest.fixture(params=["folder", "fsspec"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "store")
    pytest.importorskip("fsspec", reason="extra dask is not installed")
    return f"file://{tmp_path}/store"


def _file(folder: Path, text: str) -> Path:
    path = folder / "file"
    path.write_text(text)
    return path


def test_a_file_travels_once(url: str, tmp_path: Path) -> None:
    first, second = store.opened(url), store.opened(url)
    digest = first.put(_file(tmp_path, "artifact"))
    assert second.put(_file(tmp_path, "artifact")) == digest
    assert (first.sent, second.sent) == (1, 0)
    second.fetch(digest, tmp_path / "there")
    assert (tmp_path / "there").read_text() == "artifact"
    assert second.has(digest)
    assert not second.has("0" * 64)
    assert not list((tmp_path / "store").rglob("*.draft"))


def test_s2_other_bytes_under_a_digest_are_refused(url: str, tmp_path: Path) -> None:
    held = store.opened(url)
    digest = held.put(_file(tmp_path, "artifact"))
    (tmp_path / "store" / "blobs" / digest[:2] / digest).write_text("artifacT")
    with pytest.raises(VerificationError, match="has other bytes"):
        held.fetch(digest, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_what_is_not_there(url: str, tmp_path: Path) -> None:
    held = store.opened(url)
    with pytest.raises(InputError, match="is not in the store"):
        held.fetch("0" * 64, tmp_path / "there")
    assert held.read_text("cache/none.json") is None
    held.write_text("cache/one.json", "{}", scratch=tmp_path)
    assert held.read_text("cache/one.json") == "{}"


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(OutputError, match="cannot be"):
        store.opened(str(tmp_path / "store")).put(_file(tmp_path, "artifact"))


def test_an_unknown_kind_of_url() -> None:
    pytest.importorskip("fsspec", reason="extra dask is not installed")
    with pytest.raises(InputError, match="cannot be used"):
        store.opened("nonsense://x/y")


def test_without_fsspec_a_url_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(MissingBackendError) as raised:
        store.opened("s3://bucket/x")
    assert "edgekit[dask]" in str(raised.value)


def _cache(root: Path, held: Store) -> StoredCache:
    return StoredCache(root, store=held)


def test_an_entry_is_made_by_one_and_fetched_by_the_other(url: str, tmp_path: Path) -> None:
    made: list[str] = []

    def make(folder: Path) -> None:
        made.append("made")
        (folder / "deep").mkdir()
        (folder / "deep" / "model.bin").write_bytes(b"\0\1")

    one = _cache(tmp_path / "one", store.opened(url))
    two = _cache(tmp_path / "two", store.opened(url))
    for cache in (one, two, two):
        folder = cache.folder("compile", {"a": 1}, make)
        assert (folder / "deep" / "model.bin").read_bytes() == b"\0\1"
    assert made == ["made"]
    # what belongs to a machine stays there: a proof is made by each
    for cache in (one, two):
        cache.folder("prove", {"a": 1}, make)
    assert made == ["made"] * 3


def test_an_entry_of_a_plain_cache_is_the_same(tmp_path: Path) -> None:
    held = _cache(tmp_path / "c", store.opened(str(tmp_path / "store")))
    entry = held.folder("compile", {"a": 1}, lambda folder: (folder / "x").touch())
    assert Cache(tmp_path / "c").holds("compile", {"a": 1})
    assert entry.is_dir()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "", "a\0b"])
def test_names_out_of_the_store_stay_below_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="names a file"):
        confined(tmp_path, name)
    assert confined(tmp_path, "a/b.onnx") == tmp_path / "a" / "b.onnx"


def test_a_forged_list_of_files_writes_nothing_outside(tmp_path: Path) -> None:
    held = store.opened(str(tmp_path / "store"))
    digest = held.put(_file(tmp_path, "evil"))
    cache = _cache(tmp_path / "cache", held)
    from edgekit.pipeline.cache import entry_digest

    name = f"cache/compile/{entry_digest({'a': 1})}.json"
    held.write_text(name, f'{{"../../../evil": "{digest}"}}', scratch=tmp_path)
    with pytest.raises(VerificationError, match="names a file"):
        cache.folder("compile", {"a": 1}, lambda folder: None)
    assert not list(tmp_path.rglob("evil"))


def test_a_document_that_cannot_be_drafted_names_this_machines_folder(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the suite: the store was blamed."""

    def full(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputError, match="Input/output error") as raised:
        store.opened(url).write_text("cache/x.json", "{}", scratch=tmp_path / "here")
    assert raised.value.what.startswith(str(tmp_path / "here"))
    assert "EDGEKIT_CACHE" in raised.value.remedy
