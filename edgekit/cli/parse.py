"""Flag values -> values: ``--input``, ``--dynamic``, and names out of a table.

    --input NAME:DTYPE:SIZES     image:float32:1x3x224x224     image:float32:batch,3,224,224
    --dynamic NAME:AXIS=SIZE     image:0=batch          --size NAME=NUMBER     batch=1
    --batch N[,N...]             1,2,4          --pin CORES     0-1,3          --sustained TIME   10m

Names may hold colons (TensorFlow's do), so the parts are cut from the right. SIZES are separated by commas,
or by "x" where that can mean only one thing: an "x" beside a digit separates, and a size name that holds an
"x" must be written with commas.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import typer

from edgekit.backends import affinity
from edgekit.errors import InputError, UnknownNameError
from edgekit.spec import ELEMENT_TYPES, TensorSpec

Name = TypeVar("Name", bound=str)
_SIZE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_SEPARATOR = re.compile(r"(?<=\d)x|x(?=\d)")
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)(s|m)?")
_INPUT_FORM = "write NAME:DTYPE:SIZES, as in image:float32:1x3x224x224 or image:float32:batch,3,224,224"
_DYNAMIC_FORM = "write NAME:AXIS=SIZE, as in image:0=batch"


def parse_input(value: str) -> TensorSpec:
    """One value of ``--input``.

    Raises:
        InputError: it does not have three parts, or a size is neither a positive number nor a name.
        UnknownNameError: no such element type.
    """
    name, dtype, sizes = _parts(value)
    if dtype not in ELEMENT_TYPES:
        raise UnknownNameError("element type", dtype, ELEMENT_TYPES, listing="edgekit export --help")
    return TensorSpec(name, dtype, tuple(_size(part, value) for part in _split(sizes, value)))


def _parts(value: str) -> tuple[str, str, str]:
    parts = value.rsplit(":", 2)
    if len(parts) != 3 or not parts[0]:
        raise InputError(
            f"--input {value!r} has no three parts", why="name, type and sizes", remedy=_INPUT_FORM
        )
    return parts[0], parts[1], parts[2]


def _split(sizes: str, value: str) -> list[str]:
    if sizes in {"", "scalar"}:
        return []
    if "," in sizes:
        return [part.strip() for part in sizes.split(",")]
    parts = _SEPARATOR.split(sizes)
    doubtful = [part for part in parts if "x" in part]
    if doubtful:
        raise InputError(
            f"--input {value!r}: {doubtful[0]!r} may be one size or several",
            why='an "x" between letters may separate two names or belong to one',
            remedy=f"separate the sizes with commas, as in {value.rsplit(':', 1)[0]}:1,height,width",
        )
    return parts


def _size(part: str, value: str) -> int | str:
    if part.isascii() and part.isdigit() and int(part) > 0:
        return int(part)
    if _SIZE_NAME.fullmatch(part):
        return part
    raise InputError(
        f"--input {value!r}: {part!r} is no size",
        why="a size is a number above zero or the name of a dynamic size",
        remedy=_INPUT_FORM,
    )


def one_of(flag: str, value: str, known: Sequence[Name]) -> Name:
    """``value`` of ``flag``, which must be one of ``known``.

    Raises:
        UnknownNameError: it is none of them.
    """
    for name in known:
        if name == value:
            return name
    raise UnknownNameError(f"value of {flag}", value, known, listing="edgekit compile --help")


def parse_sizes(values: Iterable[str]) -> dict[str, int]:
    """All values of ``--size``: name of an open size -> number.

    Raises:
        InputError: a value does not have its form, or a size is named twice.
    """
    found: dict[str, int] = {}
    for value in values:
        name, _, number = value.rpartition("=")
        if not name or not (number.isascii() and number.isdigit() and int(number)) or name in found:
            raise InputError(
                f"--size {value!r} is no size" if name not in found else f"--size {name} is given twice",
                why="it is the name of an open size, and one number above zero",
                remedy="write NAME=NUMBER, as in batch=1",
            )
        found[name] = int(number)
    return found


def parse_dynamic(values: Iterable[str]) -> dict[str, dict[int, str]]:
    """All values of ``--dynamic``: input name -> axis -> name of the size.

    Raises:
        InputError: a value does not have its form, or an axis is named twice.
    """
    found: dict[str, dict[int, str]] = {}
    for value in values:
        left, _, size = value.rpartition("=")
        name, _, axis = left.rpartition(":")
        if not name or not axis.isdigit() or not _SIZE_NAME.fullmatch(size):
            raise InputError(
                f"--dynamic {value!r} cannot be read",
                why="an input, an axis and a size name",
                remedy=_DYNAMIC_FORM,
            )
        axes = found.setdefault(name, {})
        if int(axis) in axes:
            raise InputError(
                f"--dynamic names axis {axis} of {name!r} twice",
                why="an axis has one name",
                remedy="remove one",
            )
        axes[int(axis)] = size
    return found


def listed(reader: Callable[[str], object]) -> Callable[[str | None], str | None]:
    """The callback of an option: its value as it is, if ``reader`` can read it."""

    def check(value: str | None) -> str | None:
        if value is not None:
            reader(value)
        return value

    return check


def counts(value: str) -> tuple[int, ...]:
    """Numbers from 1 on, in their order, each once: "1,2,4".

    Raises:
        typer.BadParameter: it is no such list.
    """
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() and int(part) >= 1 for part in parts):
        raise typer.BadParameter(f"{value!r} is no list of numbers from 1 on, such as 1,2,4")
    return tuple(dict.fromkeys(map(int, parts)))


def seconds(value: str) -> float:
    """A time: "90", "90s", "1.5m".

    Raises:
        typer.BadParameter: it is none, or not above zero.
    """
    found = _SECONDS.fullmatch(value.strip())
    if not found or float(found[1]) <= 0:
        raise typer.BadParameter(f"{value!r} is no time, such as 90s or 2m")
    return float(found[1]) * (60.0 if found[2] == "m" else 1.0)


def cores(value: str) -> tuple[int, ...]:
    """Numbers of CPUs: "0-1,3".

    Raises:
        typer.BadParameter: it is no such list.
    """
    try:
        found = affinity.read(value)
    except ValueError:
        found = ()
    if not found:
        raise typer.BadParameter(f"{value!r} is no list of CPUs, such as 0-1,3")
    return found


def minutes(value: str) -> int:
    """Whole minutes: "10m", "1h".

    Raises:
        typer.BadParameter: it is no such time.
    """
    number, unit = value[:-1], value[-1:]
    if unit not in ("m", "h") or not number.isdecimal() or int(number) < 1:
        raise typer.BadParameter(f"{value!r} is no time in whole minutes or hours, such as 10m or 1h")
    return int(number) * (60 if unit == "h" else 1)
