"""devices.toml -> devices by name.

    [[device]]
    name = "pi5"
    address = "ssh://pi@pi5.local"
    python = "/opt/bench/bin/python"     # default python3
    threads = 4                          # default: the artifact's own
    ssh_options = ["IdentityFile=~/.ssh/board"]
    install = false
    benchmark_model = "tools/benchmark_model"      # relative to this file
    timeout_s = 900
    emulated = false                     # true: an emulator that does not show that it is one

A ``--device`` is an address (``device_address``) or a name of this file. What the command line says wins.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit.errors import InputError, RecipeError, UnknownNameError
from edgekit.measure import device_address
from edgekit.measure.device_address import Address
from edgekit.measure.devices import LIMIT_S, DeviceOptions

FILE = Path("devices.toml")


class DeviceEntry(BaseModel):
    """One ``[[device]]``; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    address: str
    python: str = "python3"
    threads: int | None = Field(default=None, ge=1)
    ssh_options: tuple[str, ...] = ()
    install: bool = False
    benchmark_model: Path | None = None
    timeout_s: float = Field(default=LIMIT_S, gt=0)
    emulated: bool = False


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    device: tuple[DeviceEntry, ...]


@dataclass(frozen=True)
class NamedDevice:
    """A device to be used: what results call it, where it is, how it is used, its threads if it says so."""

    name: str
    address: Address
    options: DeviceOptions
    threads: int | None = None


@dataclass(frozen=True)
class Given:
    """What the command line says of all devices; None and () = nothing."""

    python: str | None = None
    ssh_options: tuple[str, ...] = ()
    install: bool = False
    benchmark_model: Path | None = None
    limit_s: float | None = None


def chosen(names: Sequence[str], *, file: Path | None, given: Given) -> tuple[NamedDevice, ...]:
    """The devices that ``names`` stand for, in their order.

    Raises:
        InputError: one is named twice, or an address is none.
        RecipeError: the file is missing or does not follow its schema.
        UnknownNameError: it has no such name.
    """
    if len(set(names)) < len(names):
        raise InputError("a device is named twice", why="it would disturb itself", remedy="name it once")
    known: dict[str, NamedDevice] = {}
    if not all(map(device_address.is_address, names)):
        known = read(file or FILE)
    found = []
    for name in names:
        if device_address.is_address(name):
            found.append(NamedDevice(name, device_address.parse(name), DeviceOptions()))
        elif name in known:
            found.append(known[name])
        else:
            raise UnknownNameError("device", name, known, listing=f"cat {file or FILE}")
    return tuple(replace(each, options=_overridden(each.options, given)) for each in found)


def read(path: Path) -> dict[str, NamedDevice]:
    """The devices of a file; raises as ``entries`` does."""
    return {name: named(entry, path.parent) for name, entry in entries(path).items()}


def entries(path: Path) -> dict[str, DeviceEntry]:
    """The tables of a file by name.

    Raises:
        RecipeError: missing, no TOML, an unknown key, a name twice.
    """
    try:
        found = _File.model_validate(tomllib.loads(path.read_text("utf-8"))).device
    except FileNotFoundError as error:
        raise RecipeError(
            f"there is no {path}",
            why="a --device that is no address is a name in that file",
            remedy="write it, or name another with --devices FILE; an address begins with ssh:// or adb:",
            more="docs/devices.md",
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path} is no TOML", why=str(error), remedy="correct it") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        keys = ", ".join(DeviceEntry.model_fields)
        raise RecipeError(
            f"{path}: {where}: {first['msg']}",
            why=f"the keys of a [[device]] are {keys}",
            remedy="correct it",
        ) from error
    names = [entry.name for entry in found]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise RecipeError(
            f"{path} has two devices {twice!r}", why="a name stands for one", remedy="rename one"
        )
    return {entry.name: entry for entry in found}


def named(entry: DeviceEntry, folder: Path) -> NamedDevice:
    """The device of an entry; its own paths start at ``folder``."""
    options = DeviceOptions(
        python=entry.python,
        ssh_options=entry.ssh_options,
        install=entry.install,
        benchmark_model=folder / entry.benchmark_model if entry.benchmark_model else None,
        limit_s=entry.timeout_s,
        emulated=entry.emulated,
    )
    return NamedDevice(entry.name, device_address.parse(entry.address), options, entry.threads)


def _overridden(options: DeviceOptions, given: Given) -> DeviceOptions:
    return DeviceOptions(
        python=given.python or options.python,
        ssh_options=(*given.ssh_options, *options.ssh_options),
        install=given.install or options.install,
        benchmark_model=given.benchmark_model or options.benchmark_model,
        limit_s=given.limit_s or options.limit_s,
        emulated=options.emulated,
    )
