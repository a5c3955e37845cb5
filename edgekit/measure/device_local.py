"""This machine as a device: a folder under the system's temporary folder, commands as processes in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from edgekit.errors import EdgekitError, MissingBackendError
from edgekit.measure.devices import FOLDER_PREFIX, LostDeviceError
from edgekit.measure.line_process import LineProcess


class LocalDevice:
    """``devices.Device`` without a connection."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._running: LineProcess | None = None

    @property
    def folder(self) -> str:
        """The folder, "" before ``put``."""
        return str(self._folder or "")

    def put(self, files: Mapping[str, Path | bytes]) -> None:
        """Copy."""
        self._folder = self._folder or Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        for name, content in files.items():
            target = self._folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.read_bytes())

    def lines(self, command: Sequence[str], *, silence_s: float, limit_s: float) -> Iterator[str]:
        """Run; see ``devices.Device``."""
        program = shutil.which(command[0])
        if program is None:
            raise MissingBackendError(
                f"{command[0]} is not on this machine",
                why="the agent runs in it",
                remedy="give --python PATH",
            )
        with LineProcess([program, *command[1:]], folder=self._folder) as process:
            self._running = process
            try:
                yield from process.lines(silence_s=silence_s, limit_s=limit_s)
            except TimeoutError as error:
                raise LostDeviceError(f"local: {error}", why="a limit was passed") from error
            if process.wait():
                raise EdgekitError(f"{command[0]} ended with an error on this machine", why=process.said())

    def close(self) -> None:
        """Remove the folder."""
        if self._running is not None:
            self._running.interrupt()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
