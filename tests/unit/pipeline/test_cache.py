"""The cache: content-addressed, atomic, resumable, and never anybody else's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit import drafts
from edgekit.errors import InputError, OutputError
from edgekit.pipeline import versions
from edgekit.pipeline.cache import Cache, is_cache, opened
from edgekit.pipeline.clean import clean


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path), []

    def make() -> int:
        calls.append(1)
        return 41 + len(calls)

    assert [cache.value("s", {"k": 1}, make) for _ in range(3)] == [42, 42, 42]
    assert cache.value("s", {"k": 2}, make) == 43
    assert cache.value("other", {"k": 1}, make) == 44


def test_an_interrupted_entry_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def interrupted(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.folder("s", {"k": 1}, interrupted)
    assert not any((tmp_path / "s").iterdir())
    assert cache.value("s", {"k": 1}, lambda: "whole") == "whole"


@pytest.mark.parametrize("name", ["k", "code", "edgekit"])
def test_a_changed_compiler_makes_the_entry_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path)
    assert cache.value("s", {name: ""}, lambda: "old") == "old"
    monkeypatch.setattr("edgekit.pipeline.cache.code_digest", lambda: "another")
    assert cache.value("s", {name: ""}, lambda: "new") == "new"


def test_the_code_digest_names_every_module() -> None:
    assert len(versions.code_digest()) == 16


def test_without_the_cache_nothing_is_kept(tmp_path: Path) -> None:
    with opened(tmp_path / "cache", use=False) as cache:
        root = cache.root
        cache.value("s", {}, lambda: 1)
        assert root.is_dir()
    assert not root.exists()
    assert not (tmp_path / "cache").exists()


def test_an_unwritable_cache_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError) as caught:
        Cache(tmp_path / "file").value("s", {}, lambda: 1)
    assert "EDGEKIT_CACHE" in caught.value.remedy


def test_clean_removes_a_cache_and_nothing_else(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    cache.value("s", {}, lambda: 1)
    assert is_cache(tmp_path / "cache")
    assert clean(cache_dir=tmp_path / "cache").size_bytes > 0
    assert not (tmp_path / "cache").exists()
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "cat.jpg").write_text("meow")
    with pytest.raises(InputError, match="not a cache"):
        clean(cache_dir=foreign)
    assert (foreign / "cat.jpg").is_file()


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a new process knows of entries: nothing."""
    monkeypatch.setattr("edgekit.pipeline.cache._seen_whole", set())


@pytest.mark.parametrize("damage", ["flip", "cut", "lost", "seal", "no seal"])
def test_a_damaged_entry_is_made_again(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path)

    def make(folder: Path) -> None:
        (folder / "inner").mkdir()
        (folder / "inner" / "weights.bin").write_bytes(b"weights")

    entry = cache.folder("s", {"k": 1}, make)
    weights, seal = entry / "inner" / "weights.bin", entry / ".hashes.json"
    match damage:
        case "flip":
            weights.write_bytes(b"weighus")
        case "cut":
            weights.write_bytes(b"")
        case "lost":
            weights.unlink()
        case "seal":
            seal.write_text("[]")
        case _:
            seal.unlink()
    forget(monkeypatch)
    assert not cache.holds("s", {"k": 1})
    again = cache.folder("s", {"k": 1}, make)
    assert again == entry
    assert (again / "inner" / "weights.bin").read_bytes() == b"weights"
    assert [path.name for path in (tmp_path / "s").iterdir()] == [entry.name]  # nothing of it is left


def test_a_whole_entry_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Must not fire; what a later stage lays beside its files is no damage."""
    cache = Cache(tmp_path)
    entry = cache.folder("s", {"k": 1}, lambda folder: (folder / "f").touch())
    (entry / "later").touch()
    forget(monkeypatch)
    assert cache.holds("s", {"k": 1})
    assert cache.folder("s", {"k": 1}, lambda _: pytest.fail("made again")) == entry


def test_a_draft_that_is_left_beside_a_whole_entry_goes(tmp_path: Path) -> None:
    """Its run was killed after the entry's rename: nobody makes that entry again."""
    cache = Cache(tmp_path)
    cache.value("stage", {"k": 1}, lambda: 1)
    left = tmp_path / "stage" / ".making.0123456789ab.draft"
    left.mkdir()
    assert cache.value("stage", {"k": 1}, lambda: 2) == 1
    assert not left.exists()


def test_a_draft_that_somebody_works_on_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.value("stage", {"k": 1}, lambda: 1)
    with drafts.folder(tmp_path / "stage" / "making") as held:
        assert cache.value("stage", {"k": 1}, lambda: 2) == 1
        assert held.is_dir()
