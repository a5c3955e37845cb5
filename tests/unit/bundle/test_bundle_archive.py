"""Folder <-> its one tar, and every tar that is not that one is refused (U1 to U5 of ``bundle.archive``)."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgekit.bundle import archive
from edgekit.bundle.archive import EARLIEST_S, pack, unpack
from edgekit.errors import VerificationError

LONG = "files/" + "l" * 150 + "/" + "ö" * 60
CONTENT = {
    "artifacts/a.bin": bytes(range(256)) * 5,
    "files/Größe.txt": b"x",
    "files/a-b": b"",
    "files/a/z": b"1",
    LONG: b"2",
    "manifest.json": b"{}\n",
}


def folder_of(content: dict[str, bytes], folder: Path) -> Path:
    for path, body in content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(body)
    return folder


def packed(folder: Path, *, root: str = "x-1") -> bytes:
    out = io.BytesIO()
    pack(folder, CONTENT, root=root, out=out)
    return out.getvalue()


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    return packed(folder_of(CONTENT, tmp_path / "made"))


def unpacked(body: bytes, tmp_path: Path) -> dict[str, bytes]:
    (tmp_path / "x.tar").write_bytes(body)
    root, paths = unpack(tmp_path / "x.tar", tmp_path / "out")
    return {path: (tmp_path / "out" / root / path).read_bytes() for path in paths}


def test_it_comes_back(whole: bytes, tmp_path: Path) -> None:
    assert unpacked(whole, tmp_path) == CONTENT


def test_nothing_of_the_machine_is_in_it(whole: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(whole)) as found:
        entries = found.getmembers()
    assert [entry.name for entry in entries] == [f"x-1/{path}" for path in sorted(CONTENT)]
    for entry in entries:
        assert (entry.uid, entry.gid, entry.uname, entry.gname) == (0, 0, "", "")
        assert (entry.mode, entry.mtime, entry.type) == (0o644, EARLIEST_S, tarfile.REGTYPE)
        assert not set(entry.pax_headers) - {"path"}


def test_order_times_modes_and_other_files_do_not_matter(whole: bytes, tmp_path: Path) -> None:
    other = folder_of(dict(reversed(CONTENT.items())), tmp_path / "other")
    (other / "somebody.txt").write_text("mine")
    for path in CONTENT:
        os.utime(other / path, (1, 2))
        (other / path).chmod(0o600)
    assert packed(other) == whole


def test_plain_tar_reads_it(whole: bytes, tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "x.tar").write_bytes(whole)
    subprocess.run(["tar", "xf", "x.tar"], cwd=tmp_path, check=True)
    assert {path: (tmp_path / "x-1" / path).read_bytes() for path in CONTENT} == CONTENT


Entries = Callable[[tarfile.TarFile], None]


def entry(name: str, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.mtime, made.mode = EARLIEST_S, 0o644
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def tar_of(*entries: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        for each in entries:
            made.addfile(each, io.BytesIO(b"\0" * each.size))
    return out.getvalue()


@dataclass(frozen=True)
class Hostile:
    id: str
    body: bytes
    words: str


HOSTILE = [
    Hostile("parent", tar_of(entry("x-1/../../outside")), "no path inside"),
    Hostile("parent-first", tar_of(entry("../outside")), "no path inside"),
    Hostile("absolute", tar_of(entry("/tmp/edgekit-outside")), "no path inside"),
    Hostile("backslash", tar_of(entry("x-1/..\\outside")), "no path inside"),
    Hostile("drive", tar_of(entry("x-1/c:outside")), "no path inside"),
    Hostile("long-name", tar_of(entry("x-1/" + "a" * 256)), "longer than 255"),
    Hostile("line-feed", tar_of(entry("x-1/a\nb")), "no path inside"),
    Hostile("link", tar_of(entry("x-1/a", type=tarfile.SYMTYPE, linkname="/etc/passwd")), "no plain file"),
    Hostile(
        "hard-link", tar_of(entry("x-1/a"), entry("x-1/b", type=tarfile.LNKTYPE, linkname="x-1/a")), "plain"
    ),
    Hostile("device", tar_of(entry("x-1/a", type=tarfile.CHRTYPE, devmajor=1, devminor=3)), "no plain file"),
    Hostile("pipe", tar_of(entry("x-1/a", type=tarfile.FIFOTYPE)), "no plain file"),
    Hostile("folder", tar_of(entry("x-1/a", type=tarfile.DIRTYPE)), "no plain file"),
    Hostile("no-root", tar_of(entry("a")), "not below"),
    Hostile("two-roots", tar_of(entry("x-1/a"), entry("x-2/b")), "not below"),
    Hostile("twice", tar_of(entry("x-1/a"), entry("x-1/a")), "twice"),
    Hostile("out-of-order", tar_of(entry("x-1/b"), entry("x-1/a")), "out of order"),
    Hostile("file-and-folder", tar_of(entry("x-1/a"), entry("x-1/a-b"), entry("x-1/a/z")), "lies in a file"),
    Hostile("owner", tar_of(entry("x-1/a", uid=7)), "not those that edgekit writes"),
    Hostile("time", tar_of(entry("x-1/a", mtime=EARLIEST_S + 1)), "not those that edgekit writes"),
    Hostile("fraction-of-a-time", tar_of(entry("x-1/a", mtime=EARLIEST_S + 0.5)), "not those"),
    Hostile("mode", tar_of(entry("x-1/a", mode=0o755)), "not those that edgekit writes"),
    Hostile(
        "comment", tar_of(entry("x-1/a", pax_headers={"comment": "hi"})), "not those that edgekit writes"
    ),
    Hostile("empty", tar_of(), "it is empty"),
    Hostile("nothing", b"", "it is no tar"),
    Hostile("no-tar", b"PK\x03\x04" * 1000, "it is no tar"),
]


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.id)
def test_what_edgekit_would_not_write_is_refused(case: Hostile, tmp_path: Path) -> None:
    inside = tmp_path / "deep" / "er"
    inside.mkdir(parents=True)
    (inside / "x.tar").write_bytes(case.body)
    with pytest.raises(VerificationError, match=case.words):
        unpack(inside / "x.tar", inside / "out")
    left = {path.relative_to(tmp_path).parts[:3] for path in tmp_path.rglob("*") if path.is_file()}
    assert left <= {("deep", "er", "x.tar"), ("deep", "er", "out")}  # nothing outside
    assert not Path("/tmp/edgekit-outside").exists()


def test_compressed_archives_are_not_opened(whole: bytes, tmp_path: Path) -> None:
    """A few bytes could become any number."""
    import gzip

    with pytest.raises(VerificationError, match="it is no tar"):
        unpacked(gzip.compress(whole), tmp_path)


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [("MAX_FILES", len(CONTENT) - 1, "more than 5 files"), ("MAX_BYTES", 1000, "more than 1000 bytes")],
)
def test_too_much_is_refused(
    whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, limit: str, value: int, words: str
) -> None:
    monkeypatch.setattr(archive, limit, value)
    with pytest.raises(VerificationError, match=words):
        unpacked(whole, tmp_path)
    monkeypatch.undo()
    (tmp_path / "again").mkdir()
    assert unpacked(whole, tmp_path / "again") == CONTENT


def test_a_size_that_lies_writes_no_file_of_that_size(tmp_path: Path) -> None:
    """A header that promises six gigabytes over an archive of some kilobytes."""
    body = bytearray(tar_of(entry("x-1/a", size=100)))
    body[124:136] = b"%011o\0" % (6 << 30)
    body[148:156] = b"        "
    body[148:156] = b"%06o\0 " % sum(body[:512])
    with pytest.raises(VerificationError, match=r"ends too early|it is no tar"):
        unpacked(bytes(body), tmp_path)
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*")) < 100_000


@pytest.mark.parametrize("place", range(3, 20_480, 331))
def test_every_byte_counts_padding_included(whole: bytes, place: int, tmp_path: Path) -> None:
    body = bytearray(whole)
    body[place % len(body)] ^= 1 << (place % 8)
    try:
        found = unpacked(bytes(body), tmp_path)
    except VerificationError:
        return
    assert found != CONTENT  # a byte of a name or of a file: the manifest names both
    if set(found) == set(CONTENT):
        assert sum(a != b for path in CONTENT for a, b in zip(found[path], CONTENT[path], strict=True)) == 1


def test_longer_and_shorter_are_found(whole: bytes, tmp_path: Path) -> None:
    for number, body in enumerate((whole + b"\0" * 512, whole[:-1], whole[:-10_240], whole + b"x")):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(VerificationError):
            unpacked(body, tmp_path / str(number))
