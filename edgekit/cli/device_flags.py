"""Flags of the verbs that use devices, and what they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgekit.measure.device_list import NamedDevice

PANEL = "Devices"
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="Where: local, ssh://[user@]host[:port], adb:SERIAL, or a name of devices.toml "
        "(docs/devices.md).",
        rich_help_panel=PANEL,
    ),
]
Devices = Annotated[
    Path | None,
    typer.Option("--devices", metavar="FILE", help="Devices by name; ./devices.toml.", rich_help_panel=PANEL),
]
Python = Annotated[
    str | None,
    typer.Option(
        "--python",
        metavar="PATH",
        help="The device's Python 3.9 or later, with NumPy and a runtime; python3.",
        rich_help_panel=PANEL,
    ),
]
Install = Annotated[
    bool,
    typer.Option(
        "--install",
        help="Let the device's pip install what is needed, into an environment that goes afterwards.",
        rich_help_panel=PANEL,
    ),
]
SshOptions = Annotated[
    list[str] | None,
    typer.Option("--ssh-option", metavar="KEY=VALUE", help="As ssh -o; repeatable.", rich_help_panel=PANEL),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=1,
        help="For all of one device's run (900).",
        rich_help_panel=PANEL,
    ),
]


def named(
    device: str,
    *,
    devices: Path | None,
    python: str | None,
    install: bool,
    ssh_options: Sequence[str] | None,
    timeout_s: float | None,
) -> NamedDevice:
    """The device that these flags stand for.

    Raises:
        InputError: an address is none.
        RecipeError: devices.toml is missing or does not follow its schema.
        UnknownNameError: it has no such name.
    """
    from edgekit.measure.device_list import Given, chosen

    given = Given(python, tuple(ssh_options or ()), install, None, timeout_s)
    return chosen([device], file=devices, given=given)[0]
