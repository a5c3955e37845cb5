"""An Android device over the system's adb: push, shell, remove.

    put:    adb -s SERIAL push file folder/name        folder: /data/local/tmp/edgekit-<16 hex digits>
    lines:  adb -s SERIAL shell 'cd folder && python3 agent.py run job.json'
    close:  adb -s SERIAL shell 'rm -rf folder'

/data/local/tmp is the folder that the shell user may write to and execute from (Android's shell domain). Exit
codes come back since Android 7 (adb's shell_v2). Android has no Python of its own: with one (Termux), the
agent runs; without, ``benchmark_model`` drives LiteRT's own tool.
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Self

from edgekit import drafts
from edgekit.errors import EdgekitError, MissingBackendError
from edgekit.measure.device_address import Address
from edgekit.measure.devices import FOLDER_PREFIX, LostDeviceError
from edgekit.measure.line_process import LineProcess

ROOM = "/data/local/tmp"
_ANSWER_S = 30.0
_PUSH_S = 600.0
_NOT_FOUND = (126, 127)  # sh(1)
_GONE = ("no devices", "not found", "offline", "device unauthorized", "closed", "protocol fault")


class AdbDevice:
    """``devices.Device`` over adb. Looks for the device when constructed."""

    def __init__(self, address: Address) -> None:
        self._address, self._folder = address, ""
        self._running: LineProcess | None = None
        if shutil.which("adb") is None:
            raise MissingBackendError(
                "the command adb is not on this machine",
                why="Android devices are reached by it",
                remedy="install Android's platform-tools (Debian: apt install adb)",
            )
        done = self._adb("get-state", limit_s=_ANSWER_S)
        if done.returncode or done.stdout.strip() != b"device":
            said = _text(done) or "no answer"
            raise MissingBackendError(
                f"{address.text} is not there",
                why=f"adb: {said}",
                remedy="look at `adb devices`; unlock the device and allow debugging on it",
                more="docs/devices.md",
            )

    @property
    def folder(self) -> str:
        """The folder on the device, "" before ``put``."""
        return self._folder

    def put(self, files: Mapping[str, Path | bytes]) -> None:
        """Push file by file, into the folders that they need."""
        self._folder = f"{ROOM}/{FOLDER_PREFIX}{secrets.token_hex(8)}"
        folders = {str(PurePosixPath(self._folder, name).parent) for name in files}
        self._must(self._adb("shell", shlex.join(["mkdir", "-p", *sorted(folders)]), limit_s=_ANSWER_S))
        with drafts.temporary("ek-") as own:
            for name, content in files.items():
                path = content
                if isinstance(path, bytes):
                    path = Path(own, "file")
                    path.write_bytes(content if isinstance(content, bytes) else b"")
                self._must(self._adb("push", str(path), f"{self._folder}/{name}", limit_s=_PUSH_S))

    def lines(self, command: Sequence[str], *, silence_s: float, limit_s: float) -> Iterator[str]:
        """See ``devices.Device``."""
        line = f"cd {shlex.quote(self._folder)} && {shlex.join(command)}"
        with LineProcess(["adb", "-s", self._address.host, "shell", line]) as process:
            self._running = process
            yield from process.lines_of(self._address.text, silence_s=silence_s, limit_s=limit_s)
            code = process.wait()
            if code:
                raise self._failed(code, process.said(), command=command[0])

    def close(self) -> None:
        """Remove the folder."""
        if not self._folder:
            return
        folder, self._folder = self._folder, ""
        if self._running is not None:
            self._running.interrupt()
        with contextlib.suppress(LostDeviceError):
            self._adb("shell", shlex.join(["rm", "-rf", folder]), limit_s=_ANSWER_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _adb(self, *arguments: str, limit_s: float) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                ["adb", "-s", self._address.host, *arguments],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LostDeviceError(
                f"{self._address.text} gave no answer within {limit_s:g} s",
                why=f"adb {arguments[0]} did not end",
                remedy="look at the device and its cable",
            ) from error

    def _must(self, done: subprocess.CompletedProcess[bytes]) -> None:
        if done.returncode:
            raise self._failed(done.returncode, _text(done), command=str(done.args[3]))

    def _failed(self, code: int, said: str, *, command: str) -> EdgekitError:
        if code in _NOT_FOUND:
            return MissingBackendError(
                f"there is no {command} on {self._address.text}",
                why=said or "its shell does not find the command",
                remedy="Android has no Python: give --benchmark-model PATH, LiteRT's tool built for it",
                more="docs/devices.md",
            )
        if code < 0 or any(word in said for word in _GONE):
            return LostDeviceError(
                f"{self._address.text} went away",
                why=said or "adb ended",
                remedy="look at the device and its cable",
            )
        return EdgekitError(
            f"{command} on {self._address.text} ended with exit code {code}",
            why=said or "it gave no reason",
            remedy=f"try it by hand: adb -s {self._address.host} shell",
        )


def _text(done: subprocess.CompletedProcess[bytes]) -> str:
    return (done.stderr or done.stdout).decode("utf-8", "replace").strip()
