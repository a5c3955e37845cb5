"""What `edgekit prune` made -> Page."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit.errors import EXIT_CODE_MEANINGS
from edgekit.report import number
from edgekit.report.page import Block, Cell, Column, Facts, Line, Lines, Page, Table, is_empty
from edgekit.report.view_rows import accuracy_items, gates_table, ratio_value, tone_of

if TYPE_CHECKING:
    from edgekit.pipeline.result import PruneResult


def view(result: PruneResult) -> Page:
    """Sizes and speeds first; then the gates, the widths, how they were found, and what may not go."""
    blocks: tuple[Block, ...] = (
        Facts("", (("model", str(result.path)), *pruned_items(result))),
        _speeds(result),
        gates_table("Gates", [("", gate) for gate in result.gates]),
        _widths(result),
        _zeros(result),
        _search(result),
        _table(result),
        _repairs(result),
        *_left_alone(result),
        Lines("Notes", tuple(Line(text) for text in result.notes)),
    )
    filled = tuple(block for block in blocks if not is_empty(block))
    if not result.gates:
        return Page("Pruned", "", "plain", filled)
    code = result.exit_code
    return Page("Pruned", EXIT_CODE_MEANINGS[code] if code else "pass", tone_of(code), filled)


def pruned_items(result: PruneResult) -> tuple[tuple[str, str], ...]:
    """What became of the model, in figures."""
    return (
        ("parameters", _share(result.parameters, result.float_parameters)),
        ("multiply-accumulates", _share(result.macs, result.float_macs)),
        ("size", f"{number.size(result.size_bytes)} (float: {number.size(result.float_size_bytes)})"),
        *_compressed(result),
        ("chosen by", f"{result.importance}, {result.samples} samples"),
        *_refined(result),
        *((("recovered", f"{result.recovered} epochs of distillation"),) if result.recovered else ()),
        ("output error", f"{100 * result.output_error:.3g} % of the outputs' variance, on calibration data"),
        *accuracy_items(result.accuracy),
    )


def pruned_blocks(result: PruneResult) -> tuple[Block, ...]:
    """How it came about, for a report that has more to say: all folded, and not on a terminal."""
    tables = (_speeds, _widths, _zeros, _search, _table, _repairs)
    shown: list[Table | Lines] = [table(result) for table in tables]
    shown += [*_left_alone(result), Lines("Notes on pruning", tuple(Line(text) for text in result.notes))]
    return tuple(replace(block, detail=True, folded=True) for block in shown)


def _left_alone(result: PruneResult) -> tuple[Lines, ...]:
    return (
        Lines(
            "Channels that stay",
            tuple(Line(f"{row.weight}: {row.channels}: {row.reason}") for row in result.kept),
            folded=True,
        ),
        Lines(
            "Layers without zeros",
            tuple(Line(f"{row.layer}: {row.weights}: {row.reason}") for row in result.dense),
            folded=True,
        ),
    )


def _refined(result: PruneResult) -> tuple[tuple[str, str], ...]:
    row = result.refined
    if row is None:
        return ()
    if not row.passes:
        return (("repaired", f"layer by layer; not refined: {row.why}"),)
    gained = f"{100 * row.before:.3g} -> {100 * row.after:.3g} % of the outputs' variance on unseen samples"
    return (("repaired", f"layer by layer, then all blocks together in {row.passes} passes: {gained}"),)


def _share(now: int | None, before: int | None) -> str:
    if now is None or not before:
        return number.ABSENT
    return f"{now:,} of {before:,} ({100 * now / before:.3g} %)"


def _compressed(result: PruneResult) -> tuple[tuple[str, str], ...]:
    if result.compressed_bytes is None or result.float_compressed_bytes is None:
        return ()
    now, before = number.size(result.compressed_bytes), number.size(result.float_compressed_bytes)
    return (("size compressed", f"{now} (float: {before})"),)


def _zeros(result: PruneResult) -> Table:
    columns = (
        Column("layer"),
        Column("weights", right=True),
        Column("zeros", right=True),
        Column("smallest zeroed", right=True),
        Column("solved", right=True),
    )
    rows = tuple(
        (
            Cell(row.layer),
            Cell(f"{row.weights:,}"),
            Cell(f"{100 * row.zeros / row.weights:.3g} %"),
            Cell(f"{100 * row.before:.3g} %"),
            Cell(f"{100 * row.after:.3g} %"),
        )
        for row in result.sparse
    )
    return Table("Zeros, and the squared error of each layer's output, of its variance", columns, rows)


def _speeds(result: PruneResult) -> Table:
    columns = (
        Column("target"),
        Column("float ms", right=True),
        Column("pruned ms", right=True),
        Column("times faster", right=True),
        Column("ratio to float"),
    )
    rows = tuple(
        (
            Cell(row.target),
            Cell(number.significant(row.reference.p50_ms)),
            Cell(number.significant(row.pruned.p50_ms)),
            Cell(f"{1 / row.ratio.value:.2f}"),
            ratio_value(row.ratio),
        )
        for row in result.speeds
    )
    return Table("Speed, measured alternately", columns, rows)


def _widths(result: PruneResult) -> Table:
    columns = (
        Column("group"),
        Column("channels", right=True),
        Column("kept", right=True),
        Column("readers", right=True),
    )
    rows = tuple(
        (Cell(row.group), Cell(str(row.channels)), Cell(str(row.kept)), Cell(str(row.readers)))
        for row in result.widths
    )
    return Table("Widths", columns, rows)


def _search(result: PruneResult) -> Table:
    columns = (
        Column("aimed at", right=True),
        Column("measured", right=True),
        Column("channels kept", right=True),
        Column("outcome"),
    )
    rows = tuple(
        (
            Cell(f"{row.aimed:.2f} times"),
            Cell(f"{row.measured:.2f} times"),
            Cell(f"{100 * row.kept:.3g} %"),
            Cell(row.said),
        )
        for row in result.search
    )
    return Table("Search", columns, rows)


def _table(result: PruneResult) -> Table:
    columns = (
        Column("group"),
        Column("kept", right=True),
        Column("saves", right=True),
        Column("output error", right=True),
    )
    rows = tuple(
        (
            Cell(row.group),
            Cell(str(row.kept)),
            Cell(f"{100 * row.saving:.3g} %"),
            Cell(number.ABSENT if row.error is None else f"{100 * row.error:.3g} %"),
        )
        for row in result.table
    )
    return Table("Each width alone, measured", columns, rows, folded=True)


def _repairs(result: PruneResult) -> Table:
    columns = (
        Column("layer"),
        Column("cut out", right=True),
        Column("bias moved", right=True),
        Column("solved", right=True),
    )
    rows = tuple(
        (Cell(row.layer), *(Cell(f"{100 * part:.3g} %") for part in (row.before, row.bias_only, row.after)))
        for row in result.repairs
    )
    return Table("Squared error of each layer's output, of its variance", columns, rows, folded=True)
