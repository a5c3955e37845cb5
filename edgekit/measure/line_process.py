"""A command -> its lines as they arrive, with a limit on silence and a limit on all of it.

T1 no line for ``silence_s`` · T2 longer than ``limit_s`` · T3 the command ended: the iterator ends.
T1 and T2 raise TimeoutError. Standard input stays open until ``end``: it is the agent's life-line.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgekit.measure.devices import LostDeviceError

_QUOTED = 600  # characters of what a command said on standard error
_DYING_S = 5.0  # after its pipes are closed


class LineProcess:
    """A running command; ``with`` ends it.

    It has a session of its own, so that Ctrl-C reaches edgekit alone, which then cleans up over a connection
    that is still there.
    """

    def __init__(self, command: Sequence[str], *, folder: Path | None = None) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=folder,
            start_new_session=True,
        )

    def lines(self, *, silence_s: float, limit_s: float) -> Iterator[str]:
        """Complete lines, without their ends (T1 to T3)."""
        assert self._process.stdout is not None  # noqa: S101 - a pipe
        descriptor, kept = self._process.stdout.fileno(), b""
        until = time.monotonic() + limit_s
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"not done after {limit_s:g} s")
            if not select.select([descriptor], [], [], min(silence_s, left))[0]:
                if left > silence_s:
                    raise TimeoutError(f"silent for {silence_s:g} s")
                continue
            content = os.read(descriptor, 1 << 16)
            if not content:
                return
            *complete, kept = (kept + content).split(b"\n")
            for line in complete:
                yield line.decode("utf-8", "replace").rstrip("\r")

    def lines_of(self, device: str, *, silence_s: float, limit_s: float) -> Iterator[str]:
        """``lines`` of a command on ``device``: where a limit was passed, the device is lost."""
        try:
            yield from self.lines(silence_s=silence_s, limit_s=limit_s)
        except TimeoutError as error:
            raise LostDeviceError(
                f"{device}: {error}",
                why="a limit was passed",
                remedy="give it more with --timeout SECONDS, or look at the device",
            ) from error

    def feed(self, content: Iterable[bytes]) -> None:
        """Write to standard input and close it; a command that has gone is no error here."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        with contextlib.suppress(OSError):
            for part in content:
                self._process.stdin.write(part)
            self._process.stdin.close()

    def wait(self) -> int:
        """The exit code, once the output has ended; a command that does not end then is ended."""
        try:
            return self._process.wait(_DYING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def ended(self) -> bool:
        """Whether the command has ended."""
        return self._process.poll() is not None

    def said(self, *, at_most: int = _QUOTED) -> str:
        """The end of what it wrote on standard error."""
        self._errors.seek(0)
        return self._errors.read().decode("utf-8", "replace").strip()[-at_most:]

    def interrupt(self) -> None:
        """Ask it to end, from another thread than the one that reads its lines."""
        self._process.terminate()

    def end(self) -> None:
        """Close its pipes, and it if that is not enough."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what is buffered for a command that has gone
                    pipe.close()
        self._process.terminate()
        self.wait()
        self._errors.close()

    def __enter__(self) -> LineProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
