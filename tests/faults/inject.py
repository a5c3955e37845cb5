"""A command line of edgekit x a fault at its n-th write -> how it ended, what it left.

    Room(home).run(("compile", ...), fault="full", at=n)

``shim.c`` is compiled once and loaded into every process of the run (LD_PRELOAD): Python, native code and
workers alike. Calls that change files below the room are counted over all of them, so ``at`` goes from 1 to
the number that an undisturbed run has: a fault between any two writes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHIM = Path(__file__).with_name("shim.c")
FAULTS = {
    "full": "full",
    "denied": f"sticky:{errno.EACCES}",
    "read-only": f"sticky:{errno.EROFS}",
    "broken": str(errno.EIO),
    "kill": "kill",
    "SIGTERM": "term",
    "SIGINT": "int",
    "clock": "clock",
}
"""Name -> $FAULT_MODE of the shim."""
COMPILER = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
WITHOUT = "the faults are put in by a small C library: Linux and a C compiler"
HERE = COMPILER is not None and sys.platform == "linux"


def built(folder: Path) -> Path:
    """The library, compiled into ``folder``."""
    assert COMPILER is not None
    library = folder / "shim.so"
    subprocess.run([COMPILER, "-O1", "-shared", "-fPIC", "-o", str(library), str(SHIM), "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class Ended:
    """One run.

    Attributes:
        code: exit code; -9 = the kill arrived.
        calls: "process call path" of each counted call, in order.
        silent: whether it was ended because it took too long.
        outlived: whether a process that it started lives on.
    """

    code: int
    out: str
    err: str
    calls: tuple[str, ...]
    silent: bool = False
    outlived: bool = False


def _outlived(group: int) -> bool:
    """Whether somebody of the process group is still there after the time that a hang-up takes."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    return True


@dataclass(frozen=True)
class Room:
    """A folder with everything that a run reads and writes: work, cache, temporary files."""

    home: Path
    library: Path

    @property
    def work(self) -> Path:
        """The working folder."""
        return self.home / "work"

    def fill_from(self, other: Path) -> None:
        """Everything as it is in ``other``, and nothing else."""
        if self.home.exists():
            for path in sorted(self.home.rglob("*")):
                path.chmod(0o755)
            shutil.rmtree(self.home)
        shutil.copytree(other, self.home, symlinks=True)

    def run(
        self,
        arguments: tuple[str, ...],
        *,
        fault: str = "",
        at: int = 0,
        boot: str = "",
        limit_s: float = 300.0,
    ) -> Ended:
        """``edgekit ARGUMENTS`` with the fault at the ``at``-th call; without one it is only counted.

        ``boot`` is code that runs in it before: what takes a guard away.
        """
        for name in ("work", "tmp"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        counter, book = (self.home.with_name(f"{self.home.name}.{each}") for each in ("count", "log"))
        counter.write_bytes(bytes(8))
        book.write_bytes(b"")
        environment = {
            **os.environ,
            "TMPDIR": str(self.home / "tmp"),
            "EDGEKIT_CACHE": str(self.home / "cache"),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LD_PRELOAD": str(self.library),
            "FAULT_ROOT": str(self.home.resolve()),
            "FAULT_MODE": FAULTS.get(fault, "count"),
            "FAULT_AT": str(at),
            "FAULT_COUNT": str(counter),
            "FAULT_LOG": str(book),
        }
        code = f"{boot}\nfrom edgekit.cli.main import main\nmain()"
        with subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=self.work,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=limit_s)
                silent = False
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                out, err = process.communicate()
                silent = True
        outlived = _outlived(process.pid)
        calls = tuple(line.split(" ", 1)[1] for line in book.read_text("utf-8", "replace").splitlines())
        return Ended(process.returncode, out, err, calls, silent, outlived)

    def left(self) -> tuple[str, ...]:
        """Names that nobody should find after a run: temporary ones, wherever they are."""
        hidden = (path for path in self.home.rglob("*") if path.name.startswith("."))
        strange = [path for path in hidden if path.name != ".hashes.json"]
        strange += [*(self.home / "tmp").iterdir()] if (self.home / "tmp").is_dir() else []
        strange += self.home.rglob("*.tmp")
        return tuple(sorted({path.relative_to(self.home).as_posix() for path in strange}))

    def files(self) -> dict[str, str]:
        """Digest of every file of the working folder, by path; temporary names are not among them."""
        found = {}
        for path in sorted(self.work.rglob("*")):
            name = path.relative_to(self.work).as_posix()
            if path.is_file() and not any(part.startswith(".") for part in name.split("/")):
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found
