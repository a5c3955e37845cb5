"""A real sshd on loopback as a device, with keys of its own in a temporary folder; environments for it."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgekit import settings

_SSHD_PLACES = ("/usr/sbin", "/usr/local/sbin", "/sbin")
_USER = "root" if os.geteuid() == 0 else os.environ.get("USER", "")


@dataclass
class Sshd:
    """A running server."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"ssh://{_USER}@127.0.0.1:{self.port}"

    @property
    def options(self) -> tuple[str, ...]:
        """The client's: no file of the user's is read or written for keys and hosts."""
        return (
            f"IdentityFile={self.folder / 'key'}",
            "IdentitiesOnly=yes",
            f"UserKnownHostsFile={self.folder / 'known_hosts'}",
            "GlobalKnownHostsFile=/dev/null",
        )

    def left_behind(self) -> list[Path]:
        """What is in the temporary folder of the "device"."""
        return list((self.folder / "device").iterdir())

    def know(self, public_key: Path) -> None:
        """Let the client know the server by this key."""
        kind, key, *_ = public_key.read_text().split()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")

    def sessions(self) -> list[int]:
        """Process ids of the server's connections."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except (OSError, ValueError):
                    continue
                if parent == self.process.pid:
                    found.append(int(entry.name))
        return found

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def start(folder: Path) -> Sshd:
    """A server, or a skip with the reason."""
    server = shutil.which("sshd", path=os.pathsep.join((os.environ.get("PATH", ""), *_SSHD_PLACES)))
    if server is None or shutil.which("ssh-keygen") is None or shutil.which("ssh") is None:
        pytest.skip("no sshd on this machine (Debian: apt install openssh-server)")
    if os.geteuid() == 0:
        try:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # compiled in: where sshd drops its privileges
        except OSError as error:
            pytest.skip(f"sshd needs /run/sshd: {error}")
    for name in ("host", "other", "key"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(make, check=True)
    (folder / "authorized_keys").write_text((folder / "key.pub").read_text())
    (folder / "device").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder / 'host'}\nPidFile none\nStrictModes no\n"
        f"AuthorizedKeysFile {folder / 'authorized_keys'}\nPasswordAuthentication no\nUsePAM no\n"
        "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
        f"SetEnv TMPDIR={folder / 'device'}\n"
    )
    log = (folder / "log").open("wb")
    process = subprocess.Popen([server, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    log.close()
    until = time.monotonic() + 20
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            pytest.skip(f"sshd does not start here: {(folder / 'log').read_text()[-300:]}")
        time.sleep(0.05)
    found = Sshd(folder, port, process)
    found.know(folder / "host.pub")
    return found


def environment(*packages: str) -> Path:
    """The Python of a virtual environment with only these packages, made once and kept in edgekit's cache."""
    key = hashlib.sha256(" ".join((sys.version, *packages)).encode()).hexdigest()[:12]
    folder = settings.cache_dir() / "test-environments" / key
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        own = Path(tempfile.mkdtemp(dir=folder.parent))
        pip = [str(own / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        bare = [] if packages else ["--without-pip"]
        make = [sys.executable, "-m", "venv", *bare, str(own)]
        for command in (make, [*pip, *packages])[: 1 + bool(packages)]:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                shutil.rmtree(own, ignore_errors=True)
                pytest.skip(f"pip cannot fetch {' '.join(packages)} here: {done.stderr.strip()[-200:]}")
        try:
            own.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(own, ignore_errors=True)
    return folder / "bin" / "python"
