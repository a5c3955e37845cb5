"""ETDump of a few inferences -> the kernels that ran, in XNNPACK's and ExecuTorch's own words, with times.

    "Convolution (NHWC, QC8) IGEMM #1"     inside the delegate: operator, layout and type, kernel, number
    "native_call_addmm.out"                a kernel of ExecuTorch's own, outside of it

The events of one inference end with "Method::execute". Times are whole microseconds in XNNPACK.

Source: executorch/devtools/etdump/etdump_schema_flatcc.fbs (1.5): numbers of fields in the order of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.backends.executorch_file import root, table_of, tables, text
from edgekit.errors import EdgekitError
from edgekit.spec import Executed, KernelTime

OUTSIDE = "portable"
"""The device, as ``spec.Executed`` has it, of a kernel outside of the delegate."""

_IDENTIFIER = b"ED00"
_END = "Method::execute"
_FRAMES = ("DELEGATE_CALL", "OPERATOR_CALL", "Execute", "Program::", "Method::")  # what stands around kernels
_PORTABLE = "native_call_"
_FREE = ("executorch_prim::", "sym_size", "sym_numel")
_MULTIPLYING = ("Convolution", "Deconvolution", "Fully Connected", "Batch Matrix Multiply")
_MULTIPLYING_PORTABLE = ("convolution", "addmm", "mm.", "bmm", "linear", "matmul")
# XNNPACK writes types as QS8 (int8), QC8 and QC8W (per channel), S8, F32, F16, and X8 where it moves bytes
_TYPES = (
    (re.compile(r"\b(QS8|QC8|QU8|QD8|S8|U8)\w*"), "int8"),
    (re.compile(r"\bF32\b"), "float32"),
    (re.compile(r"\bF16\b"), "float16"),
)
_NUMBER = re.compile(r" #\d+$")


@dataclass(frozen=True, slots=True)
class Event:
    """One kernel of one inference."""

    name: str
    us: float

    @property
    def outside(self) -> bool:
        """Whether it is ExecuTorch's own."""
        return self.name.startswith(_PORTABLE)

    @property
    def operator(self) -> str:
        """The first words of XNNPACK's name, or the operator of ExecuTorch's own kernel."""
        if self.outside:
            return self.name.removeprefix(_PORTABLE).partition(".")[0]
        return self.name.partition(" (")[0]

    @property
    def kernel(self) -> str:
        """The name without its number."""
        return _NUMBER.sub("", self.name.removeprefix(_PORTABLE))

    @property
    def precision(self) -> str:
        """Element type that it computes in, "" where the name does not say."""
        if self.outside:
            return "float32" if self.multiplies else ""
        return next((name for pattern, name in _TYPES if pattern.search(self.name)), "")

    @property
    def multiplies(self) -> bool:
        """Whether it multiplies and accumulates."""
        if self.outside:
            return self.name.removeprefix(_PORTABLE).startswith(_MULTIPLYING_PORTABLE)
        return self.name.startswith(_MULTIPLYING)


def events_of(path: Path) -> list[list[Event]]:
    """The kernels of each inference in the file, in their order."""
    done: list[list[Event]] = []
    current: list[Event] = []
    for name, us in _profiled(path.read_bytes()):
        if name == _END:
            done.append(current)
            current = []
        elif not name.startswith(_FRAMES) and not any(each in name for each in _FREE):
            current.append(Event(name, us))
    return done


def executed_in(run: Sequence[Event]) -> tuple[Executed, ...]:
    """The kernels of one inference. Each delegate counts its own: two of one name are two kernels."""
    return tuple(
        Executed(
            (each.name,),
            each.operator,
            OUTSIDE if each.outside else "cpu",
            each.precision,
            each.multiplies,
        )
        for each in run
    )


def kernels_of(runs: Sequence[Sequence[Event]]) -> tuple[KernelTime, ...]:
    """Each kernel with its times: by its place, since two delegates may have kernels of one name.

    Raises:
        EdgekitError: two inferences ran different kernels.
    """
    names = {tuple(each.name for each in run) for run in runs}
    if len(names) != 1:
        raise EdgekitError("ExecuTorch's trace holds inferences of different kernels")
    return tuple(
        KernelTime(
            names=(),
            operator=same[0].operator,
            kernel=same[0].kernel,
            device="cpu",
            precision=same[0].precision,
            multiplies=same[0].multiplies,
            outside=same[0].outside,
            calls=1,
            us=tuple(each.us for each in same),
        )
        for same in zip(*runs, strict=True)
    )


def _profiled(content: bytes) -> Iterator[tuple[str, float]]:
    """Name and microseconds of every profiling event."""
    if content[8:12] == _IDENTIFIER:  # the length of the whole stands in front
        content = content[4:]
    for run in tables(root(content), 1):
        for event in tables(run, 3):
            found = table_of(event, 0)
            if found is not None:
                # what a delegate reports has the name of its own as identifier (field 4)
                yield text(found, 0) or text(found, 4), (_long(found, 7) - _long(found, 6)) / 1e3


def _long(table: Any, field: int) -> int:
    from flatbuffers import number_types

    offset = table.Offset(4 + 2 * field)
    return int(table.Get(number_types.Uint64Flags, offset + table.Pos)) if offset else 0
