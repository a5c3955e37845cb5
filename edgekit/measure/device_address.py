"""What a user types after --device -> Address.

    A1 local · A2 ssh://[user@]host[:port], IPv6 in brackets, or a Host of ~/.ssh/config · A3 adb:SERIAL

Anything else is a name of devices.toml (``device_list``) or an error. A password in an address is refused
and not repeated: it would stand in the list of processes and in the shell's history. User and host must not
begin with "-": the system's ssh would read them as options.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from edgekit.errors import InputError

Kind = Literal["local", "ssh", "adb"]
LOCAL = "local"

_USER = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"
_HOST = r"[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.%A-Za-z0-9]+\]"
_SSH = re.compile(rf"ssh://(?:(?P<user>{_USER})@)?(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?/?")
_ADB = re.compile(r"adb:(?P<serial>[A-Za-z0-9_][A-Za-z0-9_.:-]*)")  # an address of adb connect holds a colon
_SCHEME = re.compile(r"(ssh://|adb:)")


@dataclass(frozen=True)
class Address:
    """Where a device is.

    Attributes:
        text: as a user would type it; what results call the device.
        host: of ssh, without brackets; the serial number of adb; "" for local.
        user: "" = as the user's ssh configuration says.
        port: 0 = as the user's ssh configuration says.
    """

    kind: Kind
    text: str
    host: str = ""
    user: str = ""
    port: int = 0

    @property
    def destination(self) -> str:
        """As ssh takes it: host, or user@host."""
        return f"{self.user}@{self.host}" if self.user else self.host


def is_address(text: str) -> bool:
    """Whether ``text`` is meant as an address and not as a name."""
    return text == LOCAL or _SCHEME.match(text) is not None


def parse(text: str) -> Address:
    """The address that ``text`` is.

    Raises:
        InputError: it is none, or it holds a password.
    """
    if text == LOCAL:
        return Address("local", LOCAL)
    found = _ADB.fullmatch(text)
    if found:
        return Address("adb", text, found["serial"])
    if text.startswith("ssh://") and ":" in text.removeprefix("ssh://").rpartition("@")[0]:
        raise InputError(
            "a password in the address of a device",
            why="everybody on this machine can read command lines; edgekit hands no password to ssh",
            remedy="use a key: ssh-copy-id USER@HOST, then --device ssh://USER@HOST",
        )
    found = _SSH.fullmatch(text)
    port = int(found["port"] or 0) if found else 0
    if not found or port > 65535 or found["port"] == "0":
        raise InputError(
            f"{text!r} is no address of a device",
            why="an address is local, ssh://[user@]host[:port] or adb:SERIAL",
            remedy="correct --device; `adb devices` lists serial numbers",
            more="docs/devices.md",
        )
    return Address("ssh", text, found["host"].strip("[]"), found["user"] or "", port)
