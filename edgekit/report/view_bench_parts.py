"""Rows of `edgekit bench` -> tables of what lies beside the steady state: conditions, start, memory, size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.report import number
from edgekit.report.page import Block, Cell, Column, Line, Lines, Table

if TYPE_CHECKING:
    from edgekit.pipeline.result import BenchRow, EndToEndRow, MemoryRow, PhasesRow, SizeRow


def subject(row: BenchRow, rows: Sequence[BenchRow]) -> str:
    """What a line calls a row: its artifact, and what it shares with no other (device, batch, threads)."""
    parts = []
    if len({each.batch for each in rows}) > 1:
        parts.append(f"batch {row.batch}")
    if len({each.threads for each in rows}) > 1:
        parts.append(f"{row.threads} thread{'s' * (row.threads != 1)}")
    conditions = f" at {', '.join(parts)}" if parts else ""
    return f"{row.artifact}{conditions} on {row.device}" if row.device else f"{row.artifact}{conditions}"


def parts_of(rows: Sequence[BenchRow]) -> tuple[Block, ...]:
    """Tables and notes; () where nothing was measured beside the steady state."""
    known = [row for row in rows if row.phases or row.memory or row.size]
    if not known:
        return ()
    caveats = [Line(f"{subject(row, rows)}: {each}", "warn") for row in rows for each in row.caveats]
    notes = (Lines("", tuple(caveats)), Lines("", _legend(known)))
    return (_throughput(known), _start(known), *_streams(rows), *_end_to_end(rows), *notes)


def _streams(rows: Sequence[BenchRow]) -> tuple[Block, ...]:
    """One row for each artifact and number of processes."""
    cells = tuple(
        (
            Cell(subject(row, rows)),
            Cell(str(each.streams)),
            Cell(number.significant(each.per_s)),
            Cell(f"{number.significant(each.scaling)}×" if each.scaling else number.ABSENT),
            Cell(each.caveat, "warn"),
        )
        for row in rows
        for each in row.streams
    )
    titles = ("processes", "samples/s", "of one")
    columns = (Column("artifact"), *(Column(title, right=True) for title in titles), Column(""))
    return (Table("Throughput, several processes at once", columns, cells),) if cells else ()


def _end_to_end(rows: Sequence[BenchRow]) -> tuple[Block, ...]:
    """One row for each artifact that has it, and one for each step in reports."""
    found = [(subject(row, rows), row.end_to_end) for row in rows if row.end_to_end]
    if not found:
        return ()
    titles = ("before, ms", "inference, ms", "after, ms", "total, ms", "inference's share")
    columns = (Column("artifact"), *(Column(title, right=True) for title in titles))
    table = tuple(
        (
            Cell(name),
            Cell(number.significant(_sum_ms(each, "pre-processing"))),
            Cell(number.significant(each.inference_ms)),
            Cell(number.significant(_sum_ms(each, "post-processing"))),
            Cell(number.significant(each.total_ms)),
            Cell(number.percent(each.share)),
        )
        for name, each in found
    )
    steps = tuple(
        (Cell(name), Cell(step.where), Cell(step.name), Cell(number.significant(step.p50_ms)))
        for name, each in found
        for step in each.steps
    )
    heads = (Column("artifact"), Column("where"), Column("step"), Column("p50, ms", right=True))
    note = "steps as edgekit computes them here, in one thread; reading and decoding files is not in them"
    return (
        Table("End to end, from a raw sample to the answer", columns, table),
        Table("Steps around the inference", heads, steps, detail=True),
        Lines("", (Line(note, "muted"),)),
    )


def _sum_ms(row: EndToEndRow, where: str) -> float:
    return sum(step.p50_ms for step in row.steps if step.where == where)


def _throughput(rows: Sequence[BenchRow]) -> Table:
    titles = ("batch", "threads", "samples/s", "ms for a sample")
    columns = (Column("artifact"), *(Column(title, right=True) for title in titles), Column("cores"))
    cells = tuple(
        (
            Cell(f"{row.artifact} on {row.device}" if row.device else row.artifact),
            Cell(str(row.batch)),
            Cell(str(row.threads or number.ABSENT)),
            Cell(number.significant(row.throughput_per_s)),
            Cell(number.significant(row.latency.p50_ms / row.batch)),
            Cell(row.cores or "not pinned"),
        )
        for row in rows
    )
    alone = {(row.batch, row.threads, row.cores) for row in rows} == {(1, rows[0].threads, "")}
    return Table("Throughput, one inference after the other", columns, cells, detail=alone)


def _start(rows: Sequence[BenchRow]) -> Table:
    titles = ("runtime, ms", "load, ms", "first, ms", "steady, ms", "loaded", "peak", "file", "download")
    columns = (Column("artifact"), *(Column(title, right=True) for title in titles))
    cells = tuple(
        (
            Cell(subject(row, rows)),
            *_phases(row.phases),
            Cell(number.significant(row.latency.p50_ms)),
            *_memory(row.memory),
            *_size(row.size),
        )
        for row in rows
    )
    return Table("Start, memory, size", columns, cells)


def _phases(row: PhasesRow | None) -> tuple[Cell, ...]:
    values = (row.import_ms, row.load_ms, row.first_ms) if row else (None, None, None)
    return tuple(Cell(number.significant(value)) for value in values)


def _memory(row: MemoryRow | None) -> tuple[Cell, ...]:
    values = (row.loaded_bytes, row.peak_bytes) if row else (None, None)
    return tuple(Cell(number.size(value)) for value in values)


def _size(row: SizeRow | None) -> tuple[Cell, ...]:
    values = (row.file_bytes, row.download_bytes) if row else (None, None)
    return tuple(Cell(number.size(value)) for value in values)


def _legend(rows: Sequence[BenchRow]) -> tuple[Line, ...]:
    """What the columns mean, with the figures that they are without."""
    baselines = sorted({row.memory.baseline_bytes or 0 for row in rows if row.memory} - {0})
    without = ""
    if baselines:
        first, last = number.size(baselines[0]), number.size(baselines[-1])
        without = f" ({first if first == last else f'{first} to {last}'})"
    launches = max((row.phases.launches for row in rows if row.phases), default=0)
    packed = next((row.size.compression for row in rows if row.size), "")
    start = f"start: medians of {launches} new process{'es' * (launches > 1)}; the file was in the page cache"
    memory = f"memory: resident, without the process that has loaded the runtime and no model{without}"
    lines = (start if launches else "", memory if baselines else "", f"download: {packed}" if packed else "")
    return tuple(Line(each, "muted") for each in lines if each)
