"""Distribution names -> version of the one that is installed, without importing it."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import metadata

_CLAUSE = re.compile(r"(>=|<=|==|!=|>|<)\s*([0-9.]+)")


def installed_version(*distributions: str, version: Callable[[str], str] = metadata.version) -> str:
    """Version of the first of ``distributions`` that is installed, "" for none."""
    for name in distributions:
        try:
            return version(name)
        except metadata.PackageNotFoundError:
            continue
    return ""


def satisfies(version: str, wanted: str) -> bool:
    """Whether a release ``version`` ("1.31.1") lies in a range such as ">=1.20,<2"; "" takes any.

    Compares the numeric release segments only (PEP 440, release segment); a suffix such as "rc1" is ignored.
    """
    have = _release(version)
    return all(_holds(have, sign, _release(bound)) for sign, bound in _CLAUSE.findall(wanted))


def _release(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in found.group().split(".")] if found else [0]
    while len(numbers) > 1 and numbers[-1] == 0:  # 1.20 and 1.20.0 are one version
        numbers.pop()
    return tuple(numbers)


def _holds(have: tuple[int, ...], sign: str, bound: tuple[int, ...]) -> bool:
    return {
        ">=": have >= bound,
        "<=": have <= bound,
        "==": have == bound,
        "!=": have != bound,
        ">": have > bound,
        "<": have < bound,
    }[sign]
