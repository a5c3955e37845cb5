"""Results of `bench` <-> a JSON-lines file that grows by one line for each artifact and run.

    {"schema": "edgekit/bench-history/1", "at": "2026-11-26T13:00:00+00:00", "artifact": "q.onnx", ...}

F1 a writer holds a lock on the file (flock(2)) and appends all its lines in one write: two benches at the
same time lose nothing · F2 a write that does not end (a full disk) is taken back · F3 a last line without an
end, of a machine that was switched off, is closed by the next writer and passed over by readers · F4 a line
of another format or version is passed over and counted.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from io import FileIO
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from edgekit._version import __version__
from edgekit.errors import EdgekitError, InputError
from edgekit.pipeline.open import artifact_at
from edgekit.pipeline.result import BenchResult, BenchRow, RunRow
from edgekit.spec import SOFTWARE, to_json
from edgekit.write_errors import cannot_write

SCHEMA = "edgekit/bench-history/1"


def now() -> str:
    """UTC to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def append(file: Path, result: BenchResult, *, clock: Callable[[], str] = now) -> int:
    """Write one line for each row of ``result``; gives their number.

    Rows of a GPU that is none stay out: one day the same machine has a GPU, and it would look like a change.

    Raises:
        OutputError: the file cannot be written.
    """
    at = clock()
    runs = [run_of(row, result, file=file, at=at) for row in result.rows if SOFTWARE not in row.facts]
    lines = [json.dumps({"schema": SCHEMA, **to_json(run)}, ensure_ascii=False) for run in runs]
    if lines:
        _append("".join(f"{line}\n" for line in lines).encode(), file)
    return len(lines)


def read(file: Path) -> tuple[list[RunRow], int]:
    """Its runs in order, and how many lines were passed over (F3, F4).

    Raises:
        InputError: the file is not there or cannot be read.
    """
    try:
        text = file.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise InputError(
            f"history {file} cannot be read",
            why=error.strerror or str(error),
            remedy=f"edgekit bench ARTIFACT --history {file}  writes it",
        ) from error
    found = [_parsed(line) for line in text.split("\n") if line.strip()]
    runs = [each for each in found if each is not None]
    return runs, len(found) - len(runs)


def _parsed(line: str) -> RunRow | None:
    """None for F3 and F4."""
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    if not isinstance(fields, dict) or fields.pop("schema", "") != SCHEMA:
        return None
    try:
        run = TypeAdapter(RunRow).validate_python(fields)
    except ValidationError:
        return None
    return run if run.p50_ms > 0 else None


def run_of(row: BenchRow, result: BenchResult, *, file: Path, at: str) -> RunRow:
    """One row as a line of ``file``."""
    device = next((each for each in result.devices if each.name == row.device), None)
    machine = (device.key or device.name) if device else result.machine.key
    facts = device.facts if device else result.machine.facts
    disturbances = (
        each.rule
        for environment in result.environments
        if environment.device == row.device
        for each in environment.disturbances
    )
    return RunRow(
        at=at,
        artifact=_from(file, row.artifact),
        sha256=_digest(Path(row.artifact)),
        machine=machine,
        cpu=facts.get("cpu", ""),
        device=row.device,
        threads=row.facts.get("threads", ""),
        runtime=row.facts.get("runtime", ""),
        version=row.facts.get("version", ""),
        edgekit=__version__,
        p50_ms=row.latency.p50_ms,
        low_ms=row.latency.low_ms,
        high_ms=row.latency.high_ms,
        p95_ms=row.latency.p95_ms,
        runs=row.latency.runs,
        stable=row.latency.stable,
        disturbances=tuple(disturbances),
        batch=row.batch,
        cores=row.cores,
    )


def _from(file: Path, artifact: str) -> str:
    """The artifact's path from the file's folder: typed in another folder it is no new series."""
    try:
        return Path(os.path.relpath(Path(artifact).resolve(), file.resolve().parent)).as_posix()
    except ValueError:  # another drive (Windows)
        return artifact


def _digest(artifact: Path) -> str:
    """Of the digests of its files; "" where it is gone."""
    try:
        entries = artifact_at(artifact).files
    except EdgekitError:
        return ""
    return sha256("".join(f"{each.path} {each.sha256}\n" for each in entries).encode()).hexdigest()


def _append(lines: bytes, file: Path) -> None:
    """F1 to F3."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a+b", buffering=0) as opened:
            _lock(opened.fileno())
            size = opened.seek(0, os.SEEK_END)
            if size and os.pread(opened.fileno(), 1, size - 1) != b"\n":
                lines = b"\n" + lines
            _write(opened, lines, size=size)
            os.fsync(opened.fileno())
    except OSError as error:
        raise cannot_write(file, error, elsewhere="choose another path") from error


def _write(opened: FileIO, lines: bytes, *, size: int) -> None:
    """F2: all of it, or the file is as it was."""
    try:
        written = opened.write(lines)
    except OSError:
        opened.truncate(size)
        raise
    if written != len(lines):
        opened.truncate(size)
        raise OSError(errno.ENOSPC, f"{written} of {len(lines)} bytes could be written")


def _lock(descriptor: int) -> None:
    """Until the file is closed; without flock (Windows) one write that appends has to be enough."""
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)
