"""ProfileRow, RoofRow -> blocks: where the time of an inference goes, and how near the roof each kernel is.

The table is ordered by time; the terminal shows the first rows and one line for the rest, reports hold all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgekit.report import number
from edgekit.report.page import (
    Block,
    Cell,
    Column,
    Facts,
    Line,
    Lines,
    RoofLine,
    Roofline,
    RoofPoint,
    Table,
    Tone,
)

if TYPE_CHECKING:
    from edgekit.pipeline.result import BenchResult, KernelRow, ProfileRow, RoofRow

_SHOWN = 12  # rows in a terminal; most networks spend four fifths of their time in fewer
_OPEN = 30  # rows of a report; what is behind them is folded in HTML
_TONES: dict[str, Tone] = {"compute": "good", "memory": "plain", "overhead": "warn", "": "muted"}
_LEAST_SHARE = 0.002  # of the time, below which a kernel is a dot that hides others
_COLUMNS = (
    Column("node", cut=True),
    Column("operator"),
    Column("kernel", cut=True),
    Column("type"),
    Column("us", right=True),
    Column("share", right=True),
    Column("MACs", right=True),
    Column("moved", right=True),
    Column("GOP/s", right=True),
    Column("GB/s", right=True),
    Column("of the roof", right=True),
    Column("bound by"),
    Column("fell back"),
)


def blocks(result: BenchResult) -> Iterator[Block]:
    """What stands below the latencies."""
    for row in result.profiles:
        yield from _profile(row, result.roof)
    if result.roof is not None:
        yield Facts("The machine's roof", tuple(_roof(result.roof)))


def _profile(row: ProfileRow, roof: RoofRow | None) -> Iterator[Block]:
    title = f"Profile of {row.artifact}"
    if row.reason:
        said = f"no profile: {row.reason}" + (f"; next: {row.remedy}" if row.remedy else "")
        yield Lines(title, (Line(said, "warn"),))
        return
    if roof is not None:
        yield picture(row, roof)
    ordered = sorted(row.kernels, key=lambda kernel: -kernel.us)
    rows = tuple(map(_kernel, ordered))
    yield Table(title, _COLUMNS, rows[:_OPEN], brief=_SHOWN)
    yield Table(f"{title}: the other kernels", _COLUMNS, rows[_OPEN:], detail=True, folded=True)
    yield Lines("", tuple(_rest(ordered[_SHOWN:])), short=True)
    yield Facts("", tuple(_sums(row)))
    fallen = [kernel for kernel in ordered if kernel.fallback]
    yield Lines("Fell back", tuple(Line(_fallen(kernel), "warn") for kernel in fallen), brief=_SHOWN)
    yield Lines("", tuple(Line(note, "warn") for note in row.notes))


def _kernel(kernel: KernelRow) -> tuple[Cell, ...]:
    moved = _moved(kernel)
    fraction = kernel.fraction
    return (
        Cell(_node(kernel)),
        Cell(kernel.operator),
        Cell(kernel.kernel),
        Cell(kernel.dtype or number.ABSENT),
        Cell(number.significant(kernel.us)),
        Cell(_share(kernel.share)),
        Cell(number.ABSENT if kernel.macs is None else f"{kernel.macs:,}" if kernel.macs else "0"),
        Cell(number.size(moved)),
        Cell(number.significant(kernel.gops)),
        Cell(number.significant(kernel.gbs)),
        Cell(number.ABSENT if fraction is None else f"{100 * fraction:.0f} %"),
        Cell(kernel.bound or number.ABSENT, _TONES[kernel.bound]),
        Cell(kernel.fallback, "bad" if kernel.fallback else "plain"),
    )


def _node(kernel: KernelRow) -> str:
    """The operator itself comes first where a runtime lists what it fused."""
    return kernel.source[0] if kernel.source else number.ABSENT


def _moved(kernel: KernelRow) -> int | None:
    parts = [kernel.read_bytes, kernel.weight_bytes, kernel.written_bytes]
    return None if None in parts else sum(part for part in parts if part is not None)


def _rest(kernels: Sequence[KernelRow]) -> Iterator[Line]:
    if kernels:
        us, share = sum(kernel.us for kernel in kernels), sum(kernel.share for kernel in kernels)
        yield Line(
            f"{len(kernels)} kernels more: {number.significant(us)} us, {_share(share)}; "
            "--report html or csv lists all"
        )


def _sums(row: ProfileRow) -> Iterator[tuple[str, str]]:
    total = sum(kernel.us for kernel in row.kernels)
    yield "kernels", f"{len(row.kernels)}, {number.significant(total)} us together"
    if row.inside is not None:
        yield "inside kernels", f"{_share(row.inside)} of an inference under the profiler"
    if row.slowdown is not None and row.latency_us is not None:
        times, without = number.significant(row.slowdown), number.significant(row.latency_us)
        yield "profiler", f"an inference takes {times} times the {without} us that it takes without"
    held = {name: sum(k.share for k in row.kernels if k.bound == name) for name in _TONES}
    words = [f"{name} {_share(share)}" for name, share in held.items() if name and share]
    if held[""]:
        words.append(f"not known {_share(held[''])}")
    yield "bound by", ", ".join(words)
    yield "MACs", f"{sum(kernel.macs or 0 for kernel in row.kernels):,}"
    yield "clock", f"{row.clock}; {row.runs} inferences, each kernel's middle half"


def _fallen(kernel: KernelRow) -> str:
    return f"{_node(kernel)} ({kernel.operator}): {kernel.fallback}, {_share(kernel.share)} of the time"


def _share(part: float) -> str:
    return f"{number.significant(100 * part, digits=2)} %"


def _roof(roof: RoofRow) -> Iterator[tuple[str, str]]:
    for dtype, rate in sorted(roof.gops.items()):
        yield dtype, f"{number.significant(rate)} GOP/s ({roof.how.get(dtype, '')})"
    curve = ", ".join(f"{number.significant(rate)} in {_binary(size)}" for size, rate in roof.bandwidth)
    yield "memory, GB/s", f"{curve} ({roof.how.get('bandwidth', '')})"
    yield "threads", str(roof.threads)


def _binary(size: int) -> str:
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << power:
            return f"{size >> power} {unit}"
    return f"{size} B"


def picture(row: ProfileRow, roof: RoofRow) -> Roofline:
    """The kernels that have an intensity and a rate, over the roof of their types."""
    shown = [
        kernel
        for kernel in sorted(row.kernels, key=lambda kernel: -kernel.us)
        if kernel.gops and kernel.intensity and kernel.share >= _LEAST_SHARE
    ]
    points = tuple(
        RoofPoint(
            kernel.intensity or 0.0,
            kernel.gops or 0.0,
            kernel.share,
            f"{_node(kernel)} ({kernel.operator}): {number.significant(kernel.us)} us, "
            f"{_share(kernel.share)}, {number.significant(kernel.gops)} GOP/s, "
            f"{kernel.bound or 'unknown'} bound",
            _TONES[kernel.bound],
        )
        for kernel in shown
    )
    used = {kernel.dtype or "float32" for kernel in shown}
    peaks = tuple(
        RoofLine(rate, f"{dtype} {number.significant(rate)}")
        for dtype, rate in sorted(roof.gops.items(), key=lambda each: each[1])
        if dtype in used
    )
    slopes = _slopes(roof)
    left_out = len(row.kernels) - len(shown)
    caption = (
        "Area: share of the time. Green: compute bound; blue: memory bound; amber: overhead bound.",
        "Rising lines: bandwidth of the fastest and of the largest working set.",
        f"Not shown: {left_out} kernels without arithmetic or with less than 0.2 % of the time.",
    )
    return Roofline(f"Roofline of {row.artifact}", points, peaks, slopes, caption)


def _slopes(roof: RoofRow) -> tuple[RoofLine, ...]:
    if not roof.bandwidth:
        return ()
    sizes = dict(roof.bandwidth)
    fastest, largest = max(sizes, key=lambda size: sizes[size]), max(sizes)
    return tuple(
        RoofLine(sizes[size], f"{number.significant(sizes[size])} GB/s, {_binary(size)}")
        for size in dict.fromkeys((fastest, largest))
    )
