""".pte file -> what it calls: delegates with their number, and kernels outside of them.

    "ET12" flatbuffer -> Program.execution_plan[0] -> chains -> instructions

    KernelCall(operator)     a kernel of ExecuTorch's own, outside any delegate
    DelegateCall(delegate)   a part that a delegate computes

Reading takes the package flatbuffers, which ExecuTorch itself requires, and no PyTorch.

Source: executorch/schema/program.fbs (1.5): numbers of fields in the order in which they stand there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import ModelFileError

XNNPACK = "XnnpackBackend"
_FREE = ("executorch_prim::", "aten::sym_", "dim_order_ops::_empty")
"""Kernels that compute sizes or move a pointer: no tensor's elements are touched."""
_IDENTIFIER = b"ET"  # at byte 4: "ET12" is the version of the schema


@dataclass(frozen=True)
class Calls:
    """Who computes the program.

    Attributes:
        delegates: name -> number of calls.
        kernels: name of ExecuTorch's own kernel -> number of calls; those that touch no element are left out.
    """

    delegates: dict[str, int]
    kernels: dict[str, int]

    @property
    def portable(self) -> str:
        """The kernels outside of delegates in words, "" for none."""
        return ", ".join(name if many == 1 else f"{name} x{many}" for name, many in self.kernels.items())


def calls_of(path: Path) -> Calls:
    """Read the first method of the program at ``path``.

    Raises:
        ModelFileError: it is no .pte file.
    """
    content = path.read_bytes()
    if content[4:6] != _IDENTIFIER:
        raise _unreadable(path, "its identifier is not that of an ExecuTorch program")
    try:
        return _calls(content)
    except (ValueError, IndexError, TypeError, ArithmeticError) as error:
        raise _unreadable(path, str(error)) from error
    except Exception as error:
        if type(error).__module__.startswith(("flatbuffers", "struct")):
            raise _unreadable(path, str(error)) from error
        raise


def _calls(content: bytes) -> Calls:
    plan = next(iter(tables(root(content), 1)))
    operators = [f"{text(each, 0)}.{text(each, 1)}".removesuffix(".") for each in tables(plan, 6)]
    names = [text(each, 0) for each in tables(plan, 7)]
    delegates: Counter[str] = Counter()
    kernels: Counter[str] = Counter()
    for chain in tables(plan, 5):
        for instruction in tables(chain, 2):
            kind, value = number(instruction, 0, "Uint8Flags"), table_of(instruction, 1)
            index = 0 if value is None else number(value, 0, "Int32Flags")
            if kind == 1:
                kernels[operators[index]] += 1
            elif kind == 2:
                delegates[names[index]] += 1
    paid = {name: many for name, many in kernels.items() if not name.startswith(_FREE)}
    return Calls(dict(delegates), paid)


def root(content: bytes) -> Any:
    """The table that a flatbuffer starts with."""
    import flatbuffers
    from flatbuffers.table import Table

    return Table(content, flatbuffers.encode.Get(flatbuffers.packer.uoffset, content, 0))


def _slot(table: Any, field: int) -> int:
    """Where field number ``field`` lies, 0 where it is left out."""
    offset: int = table.Offset(4 + 2 * field)
    return offset + table.Pos if offset else 0


def table_of(table: Any, field: int) -> Any:
    """The table in field number ``field``, None where it is left out."""
    from flatbuffers.table import Table

    place = _slot(table, field)
    return Table(table.Bytes, table.Indirect(place)) if place else None


def tables(table: Any, field: int) -> list[Any]:
    """The tables of the vector in field number ``field``."""
    from flatbuffers.table import Table

    offset = table.Offset(4 + 2 * field)
    if not offset:
        return []
    first = table.Vector(offset)
    return [Table(table.Bytes, table.Indirect(first + 4 * each)) for each in range(table.VectorLen(offset))]


def text(table: Any, field: int) -> str:
    """The string in field number ``field``, "" where it is left out."""
    place = _slot(table, field)
    return bytes(table.String(place)).decode("utf-8") if place else ""


def number(table: Any, field: int, flags: str) -> int:
    """The integer in field number ``field``, 0 where it is left out; ``flags`` names its type."""
    from flatbuffers import number_types

    place = _slot(table, field)
    return int(table.Get(getattr(number_types, flags), place)) if place else 0


def _unreadable(path: Path, why: str) -> ModelFileError:
    return ModelFileError(
        f"{path.name} is not a readable ExecuTorch program",
        why=why,
        remedy="compile it again, or copy it again and compare its hash",
    )
