"""Flip one bit of any file of a release: `verify` is red, whatever lies beside it and with or without a key.

    F1 the folder alone     F2 the folder with archives and root digest beside it     F3 the archives alone
    F4 all of it, with the key

Hashes only: nothing is run, so that a flip that a runtime would notice does not count as found.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgekit.bundle import sign
from edgekit.bundle.sign import KeyOrigin, Origin
from edgekit.bundle.verify import Verification, verify
from edgekit.bundle.write import write
from edgekit.errors import MissingBackendError
from edgekit.spec import Artifact, Session
from tests.sabotage.test_bundle_damage import content_in
from tests.unit.bundle.signing_keys import make_key, needs_signing

pytestmark = needs_signing
STEM = "digits-1.0.0"


def nothing_runs(artifact: Artifact) -> Session:
    raise MissingBackendError("no runtime")


@dataclass(frozen=True)
class Release:
    """One release in three places."""

    whole: Path
    folder_alone: Path
    archives_alone: Path
    origin: Origin

    def found(self, case: str) -> Verification:
        path = {
            "F1": self.folder_alone / STEM,
            "F2": self.whole / STEM,
            "F3": self.archives_alone / f"{STEM}.tar",
            "F4": self.whole / STEM,
        }[case]
        return verify(path, open_artifact=nothing_runs, origin=self.origin if case == "F4" else None)

    def files(self, case: str) -> list[Path]:
        root = {"F1": self.folder_alone, "F3": self.archives_alone}.get(case, self.whole)
        return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    home = tmp_path_factory.mktemp("flips")
    private, public = make_key(home / "keys")
    write(content_in(home / "work"), home / "whole" / STEM, signer=sign.with_key(private))
    shutil.copytree(home / "whole" / STEM, home / "folder" / STEM)
    (home / "archives").mkdir()
    for suffix in (".tar", ".evidence.tar"):
        shutil.copy(home / "whole" / f"{STEM}{suffix}", home / "archives")
    made = Release(home / "whole", home / "folder", home / "archives", KeyOrigin(public))
    for case in CASES:
        assert made.found(case).ok, case
    return made


CASES = ("F1", "F2", "F3", "F4")


@contextmanager
def flipped(path: Path, rng: np.random.Generator) -> Iterator[str]:
    """One bit of ``path`` turned, for a while; says which."""
    whole = path.read_bytes()
    place, bit = int(rng.integers(len(whole))), int(rng.integers(8))
    body = bytearray(whole)
    body[place] ^= 1 << bit
    path.write_bytes(bytes(body))
    try:
        yield f"{path.name}, byte {place} of {len(whole)}, bit {bit}"
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("case", CASES)
def test_25_flips_and_one_of_every_file_are_found(release: Release, case: str) -> None:
    rng = np.random.default_rng(CASES.index(case))
    files = release.files(case)
    sizes = np.array([file.stat().st_size for file in files], float)
    picked = [*files, *rng.choice(len(files), 25, p=sizes / sizes.sum())]
    for file in (each if isinstance(each, Path) else files[int(each)] for each in picked):
        with flipped(file, rng) as words:
            found = release.found(case)
        assert found.exit_code == 8, words
        assert found.first_difference, words
    assert release.found(case).ok  # all was put back


def test_the_first_difference_names_the_file(release: Release) -> None:
    """Where a file itself is listed, it is named; a list that is wrong is named itself."""
    rng = np.random.default_rng(9)
    for file in release.files("F1"):
        with flipped(file, rng):
            assert (
                file.relative_to(release.folder_alone / STEM).as_posix()
                in release.found("F1").first_difference
            )


def test_without_checksums_a_flip_in_a_signature_would_be_missed(release: Release) -> None:
    """What V5 is for: nobody can tell a wrong signature from a right one without the key."""
    folder = release.folder_alone / STEM
    sums = (folder / "SHA256SUMS").read_bytes()
    signature = folder / "evidence.sigstore.json"
    whole = signature.read_bytes()
    place = whole.index(b'"sig": "') + 40  # in the middle of the signature
    signature.write_bytes(
        whole[:place] + (b"A" if whole[place : place + 1] != b"A" else b"B") + whole[place + 1 :]
    )
    try:
        assert release.found("F1").exit_code == 8
        (folder / "SHA256SUMS").unlink()
        assert release.found("F1").exit_code == 0
    finally:
        signature.write_bytes(whole)
        (folder / "SHA256SUMS").write_bytes(sums)


def test_archives_that_contradict_their_root_digest_are_not_unpacked(release: Release) -> None:
    archive = release.whole / f"{STEM}.tar"
    with flipped(archive, np.random.default_rng(3)):
        found = verify(archive, open_artifact=nothing_runs)
    assert [(check.name, check.status) for check in found.checks] == [("root", "fail")]
    assert f"{STEM}.tar is not the file that it names" in found.first_difference


def test_a_release_that_was_interrupted_contradicts_its_root_digest(release: Release, tmp_path: Path) -> None:
    """The new folder is in place, the root digest is still the earlier one's."""
    dist = tmp_path / "dist"
    shutil.copytree(release.whole, dist)
    from dataclasses import replace

    later = write(
        replace(content_in(tmp_path / "work"), recipe={"schema": 1, "name": "later"}), tmp_path / "n" / STEM
    )
    shutil.rmtree(dist / STEM)
    shutil.copytree(later, dist / STEM)
    found = verify(dist / STEM, open_artifact=nothing_runs)
    assert found.exit_code == 8
    assert found.first_difference.startswith(f"{STEM}.sha256: {STEM}/")


def test_a_broken_rename_in_the_middle_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fails between the folder and the archives of a second release."""
    from dataclasses import replace

    content = content_in(tmp_path / "work")
    folder = write(content, tmp_path / "dist" / STEM)
    move = Path.replace

    def stubborn(self: Path, target: Path) -> Path:
        if self.name.endswith(".evidence.tar"):
            raise OSError(5, "Input/output error")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", stubborn)
    with pytest.raises(Exception, match="Input/output error"):
        write(replace(content, ranges={}), folder)
    monkeypatch.undo()
    assert verify(folder, open_artifact=nothing_runs).exit_code == 8
    assert verify(folder.with_name(f"{STEM}.tar"), open_artifact=nothing_runs).exit_code == 8
    write(replace(content, ranges={}), folder)  # and a second run repairs it
    assert verify(folder, open_artifact=nothing_runs).ok
    assert sorted(path.name for path in folder.parent.iterdir())[0] == STEM  # no draft is left
