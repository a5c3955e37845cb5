"""A device over the system's own ssh: keys, jump hosts and names are those of the user's ssh configuration.

    master: ssh -M -N -S socket host          one connection, ours to end (ssh(1), -M, -S)
    put:    tar | ssh -S socket host python -c UNPACK        prints the fresh folder
    lines:  ssh -S socket host 'cd folder && python agent.py run job.json'
    close:  ssh -S socket host 'rm -rf folder', end of the master

S1 no password is asked for (BatchMode) · S2 an unknown or changed host key is refused, on loopback too ·
S3 a connect timeout, and a dead link is found by unanswered keep-alives · S4 nothing is forwarded.
ssh takes the first value of an option, so S1 to S4 stand in front of the user's own. Only Python is needed on
the other side: no tar, no scp, no sftp.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from edgekit.errors import EdgekitError, InputError, MissingBackendError
from edgekit.measure.device_address import Address
from edgekit.measure.devices import FOLDER_PREFIX, DeviceOptions, LostDeviceError
from edgekit.measure.line_process import LineProcess

CONNECT_S = 10  # to an answer of the host
LOGIN_S = 30.0  # to a usable connection: slow boards check a key for seconds
ALIVE_INTERVAL_S, ALIVE_COUNT = 5, 3  # a dead link is found after 15 s
_OURS = {
    "BatchMode": "yes",  # S1
    "StrictHostKeyChecking": "yes",  # S2
    "NoHostAuthenticationForLocalhost": "no",
    "UpdateHostKeys": "no",
    "ConnectTimeout": str(CONNECT_S),  # S3
    "ServerAliveInterval": str(ALIVE_INTERVAL_S),
    "ServerAliveCountMax": str(ALIVE_COUNT),
    "ForwardAgent": "no",  # S4
    "ForwardX11": "no",
    "ClearAllForwardings": "yes",
    "PermitLocalCommand": "no",
}
_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9]*=[^\n\0]+")
_FAILED = 255  # ssh(1): its own errors; everything else is the remote command's
_NOT_FOUND = (126, 127)  # sh(1)
_FOLDER = re.compile(rf"/[^\n]*/{FOLDER_PREFIX}[A-Za-z0-9_]+")
_ALL = 10_000  # characters of ssh: the warning about a changed key is long
_TAIL_S = 20.0  # for removing a folder

# Runs on the device, in any Python 3. The folder is said first: a full disk must not leave it behind.
_UNPACK = f"""
import sys, tarfile, tempfile
folder = tempfile.mkdtemp(prefix="{FOLDER_PREFIX}")
print("folder " + folder, flush=True)
tarfile.open(fileobj=sys.stdin.buffer, mode="r|").extractall(folder)
print("unpacked", flush=True)
"""


class SshDevice:
    """``devices.Device`` over ssh. Connects when constructed."""

    def __init__(self, address: Address, options: DeviceOptions) -> None:
        self._address, self._python, self._folder = address, options.python, ""
        self._arguments = [*_port(address), *option_arguments(options.ssh_options)]
        if shutil.which("ssh") is None:
            raise MissingBackendError(
                "the command ssh is not on this machine",
                why="devices over ssh are reached by it",
                remedy="install OpenSSH's client (Debian: apt install openssh-client)",
            )
        self._closed = False
        self._running: LineProcess | None = None
        self._sockets = Path(
            tempfile.mkdtemp(prefix="ek-")
        )  # short: a socket's path has 104 characters at most
        self._socket = self._sockets / "s"
        self._master: LineProcess | None = None
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    @property
    def folder(self) -> str:
        """The folder on the device, "" before ``put``."""
        return self._folder

    def put(self, files: Mapping[str, Path | bytes]) -> None:
        """One tar over one session."""
        unpack = self._ssh([self._python, "-c", _UNPACK])
        with LineProcess(unpack) as process:
            process.feed(_tar(files))
            said = self._read(process, silence_s=LOGIN_S, limit_s=LOGIN_S * 4)
            code = process.wait()
            found = [line.removeprefix("folder ") for line in said if line.startswith("folder ")]
            if found and _FOLDER.fullmatch(found[0]):
                self._folder = found[0]
            if code or "unpacked" not in said or not self._folder:
                raise self._failed(code, process.said(), command=self._python)

    def lines(self, command: Sequence[str], *, silence_s: float, limit_s: float) -> Iterator[str]:
        """See ``devices.Device``."""
        with LineProcess(self._ssh(command, folder=self._folder)) as process:
            self._running = process
            yield from process.lines_of(self._address.text, silence_s=silence_s, limit_s=limit_s)
            code = process.wait()
            if code:
                raise self._failed(code, process.said(), command=command[0])

    def close(self) -> None:
        """Remove the folder, over a new connection if the old one is lost; end the master."""
        if self._closed:
            return
        self._closed = True
        if self._running is not None:
            self._running.interrupt()
        if self._folder:
            remove = self._ssh(["rm", "-rf", "--", self._folder])
            with contextlib.suppress(subprocess.TimeoutExpired, OSError):
                # if it fails, the agent has removed the folder, because its life-line is gone
                subprocess.run(
                    remove, capture_output=True, timeout=_TAIL_S, check=False, stdin=subprocess.DEVNULL
                )
        if self._master is not None:
            self._master.end()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self) -> None:
        """Start the master and wait for its socket."""
        self._master = LineProcess(
            [
                "ssh",
                "-M",
                "-N",
                "-T",
                "-S",
                str(self._socket),
                *self._arguments,
                "--",
                self._address.destination,
            ]
        )
        until = time.monotonic() + LOGIN_S
        while not self._socket.exists():
            if self._master.ended() or time.monotonic() > until:
                raise _unreachable(
                    self._address, self._master.said(at_most=_ALL) or f"no answer within {LOGIN_S:g} s"
                )
            time.sleep(0.02)

    def _ssh(self, command: Sequence[str], *, folder: str = "") -> list[str]:
        """The command as one string, which the login shell there splits again."""
        line = shlex.join(command)
        if folder:
            line = f"cd {shlex.quote(folder)} && {line}"
        socket = ["-S", str(self._socket), "-o", "ControlMaster=no"]
        return ["ssh", "-T", *socket, *self._arguments, "--", self._address.destination, line]

    def _read(self, process: LineProcess, *, silence_s: float, limit_s: float) -> list[str]:
        try:
            return list(process.lines(silence_s=silence_s, limit_s=limit_s))
        except TimeoutError as error:
            raise LostDeviceError(f"{self._address.text}: {error}", why="files were being copied") from error

    def _failed(self, code: int, said: str, *, command: str) -> EdgekitError:
        if code == _FAILED or code < 0:
            return LostDeviceError(
                f"the connection to {self._address.text} was lost",
                why=said or "ssh ended",
                remedy="look at the device and the network, and run it again",
                more="docs/devices.md",
            )
        if code in _NOT_FOUND:
            return MissingBackendError(
                f"there is no {command} on {self._address.text}",
                why=said or "its shell does not find the command",
                remedy="install Python 3.9 or later there, or name it: --python /path/to/python3",
                more="docs/devices.md",
            )
        return EdgekitError(
            f"{command} on {self._address.text} ended with exit code {code}",
            why=said or "it gave no reason",
            remedy=f"try it by hand: ssh {self._address.destination} {command} --version",
        )


def _port(address: Address) -> list[str]:
    return ["-p", str(address.port)] if address.port else []


def option_arguments(given: Sequence[str]) -> list[str]:
    """Ours, then the user's.

    Raises:
        InputError: not KEY=VALUE, or one that edgekit sets.
    """
    ours = {name.lower() for name in (*_OURS, "ControlMaster", "ControlPath", "ControlPersist")}
    for option in given:
        if not _OPTION.fullmatch(option):
            raise InputError(
                f"ssh option {option!r} is not KEY=VALUE",
                why="it is handed to ssh -o",
                remedy="--ssh-option IdentityFile=~/.ssh/board",
            )
        if option.partition("=")[0].lower() in ours:
            raise InputError(
                f"ssh option {option.partition('=')[0]} is edgekit's own",
                why="host keys are always checked, no password is asked for, and a dead link must be found",
                remedy="leave it out; docs/devices.md says how a new host key is learned",
            )
    pairs = [f"{name}={value}" for name, value in _OURS.items()]
    return [part for pair in (*pairs, *given) for part in ("-o", pair)]


def _unreachable(address: Address, said: str) -> MissingBackendError:
    """What ssh said (OpenSSH 7 to 10, sshconnect.c and readconf.c) -> what it means and what to type."""
    where = f"{address.host}" if not address.port else f"-p {address.port} {address.host}"
    try_it = ("ssh could not connect", f"try it by hand: ssh {where} true")
    why, remedy = next((case[1:] for case in _cases(address, where) if case[0] in said), try_it)
    last = said.splitlines()[-1] if said else ""
    return MissingBackendError(
        f"no connection to {address.text}: {why}", why=f"ssh: {last}", remedy=remedy, more="docs/devices.md"
    )


def _cases(address: Address, where: str) -> tuple[tuple[str, str, str], ...]:
    """Words of ssh, what they mean, what to type; the first that fits counts."""
    known_as = f"[{address.host}]:{address.port}" if address.port not in (0, 22) else address.host
    changed = (
        "find out why: a new system on the board, or somebody in between; if it is right, forget the old key"
    )
    return (
        (
            "REMOTE HOST IDENTIFICATION HAS CHANGED",
            "its host key is not the one that this machine knows",
            f'{changed}: ssh-keygen -R "{known_as}", and learn the new one',
        ),
        (
            "Host key verification failed",
            "its host key is not known to this machine",
            f"compare the fingerprint on the device itself, then: ssh-keyscan {where} >> ~/.ssh/known_hosts",
        ),
        (
            "Permission denied",
            "it accepts none of your keys, and edgekit asks for no password",
            f"ssh-copy-id {where.replace(address.host, address.destination)}",
        ),
        ("Could not resolve hostname", "its name is not known", "correct the name, or give an IP address"),
        ("Connection refused", "nothing listens there", "start its ssh server, or correct the port"),
    )


class _Pipe(io.RawIOBase):
    """What tarfile writes, kept until it is taken."""

    def __init__(self) -> None:
        self.kept = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        self.kept += memoryview(content)  # type: ignore[arg-type]
        return len(memoryview(content))  # type: ignore[arg-type]

    def take(self) -> bytes:
        content, self.kept = bytes(self.kept), bytearray()
        return content


def _tar(files: Mapping[str, Path | bytes]) -> Iterator[bytes]:
    """A tar stream, file by file: memory holds the largest one at most."""
    pipe = _Pipe()
    with tarfile.open(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
            yield pipe.take()
    yield pipe.take()
