"""Text of a recipe -> the line of each of its keys, so that a report can point at the one that was missed.

    "budget.max_drop_pp" -> 14    "target.litert-cpu" -> 31    "target.litert-cpu.budget.max_size_bytes" -> 34

tomllib gives values without lines. The text has been parsed before, so it is TOML (1.0.0); what is looked at
here is only

L1 ``[a.b]`` and ``[[a.b]]``; an element of an array is called by its number, one of ``target`` by its name
L2 ``key = value``, dotted and quoted keys too; keys of inline tables have no line of their own
L3 values that go on: multi-line strings, arrays, inline tables
L4 comments
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_HEADER = re.compile(r"\s*(\[\[?)([^\]]+)\]\]?\s*(?:#.*)?$")
_KEY = re.compile(
    r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_TOKEN = re.compile(r'''"""|\'\'\'|"(?:\\.|[^"\\])*"|'[^']*'|\#|[\[{]|[\]}]''')


def lines_of(text: str) -> dict[str, int]:
    """Key path -> line, counted from 1; the first line of a key counts."""
    found: dict[str, int] = {}
    table, counts = "", dict[str, int]()
    for number, line in _statements(text):
        header = _HEADER.match(line)
        if header:  # L1
            table = _table(_path(header[2]), array=header[1] == "[[", counts=counts)
            found.setdefault(table, number)
            continue
        key = _KEY.match(line)
        if key:  # L2
            path = _path(key[1])
            found.setdefault(".".join(filter(None, (table, *path))), number)
    return found


def named(lines: Mapping[str, int], names: Mapping[int, str]) -> dict[str, int]:
    """The same with the elements of ``target`` called by their names; ``names`` has them by number."""
    renamed = {f"target.{number}": f"target.{name}" for number, name in names.items()}
    return {
        next((new + path[len(old) :] for old, new in renamed.items() if _below(path, old)), path): line
        for path, line in lines.items()
    }


def _below(path: str, table: str) -> bool:
    return path == table or path.startswith(f"{table}.")


def _path(text: str) -> list[str]:
    return [part.strip("\"'") for part in _PART.findall(text)]


def _table(path: list[str], *, array: bool, counts: dict[str, int]) -> str:
    """The full name of a header: elements of arrays above it have their number in it."""
    whole = ""
    for index, part in enumerate(path):
        whole = f"{whole}.{part}".lstrip(".")
        last = index == len(path) - 1
        if array and last:
            counts[whole] = counts.get(whole, -1) + 1
        if whole in counts:
            whole = f"{whole}.{counts[whole]}"
    return whole


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """The lines on which something begins, with their numbers; not those in which a value goes on (L3)."""
    closing, depth = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if not closing and depth == 0:
            yield number, line
            if _HEADER.match(line):
                continue
        closing, depth = _after(line, closing, depth)


def _after(line: str, closing: str, depth: int) -> tuple[str, int]:
    """The quotes that are open after ``line``, and how many brackets."""
    at = 0
    if closing:
        end = line.find(closing)
        if end < 0:
            return closing, depth
        at = end + len(closing)
    while token := _TOKEN.search(line, at):
        at = token.end()
        if token[0] == "#":  # L4
            break
        if token[0] in ('"""', "'''"):
            end = line.find(token[0], at)
            if end < 0:
                return token[0], depth
            at = end + len(token[0])
        elif token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
    return "", max(depth, 0)
