"""Layers by damage, and the causes -> Page: causes first, then the table of layers, per artifact."""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.pipeline.result import CauseRow, DebugResult, DebugRow, LayerRow
from edgekit.report import number
from edgekit.report.page import Block, Cell, Column, Facts, Heading, Line, Lines, Page, Table, is_empty
from edgekit.report.view_layers import layers_chart
from edgekit.report.view_rows import accuracy_items, drift_table
from edgekit.spec import Precision

_NAMED = 5  # values whose names are worth a line; JSON holds all


def view(result: DebugResult) -> Page:
    """One part for each artifact."""
    blocks: list[Block] = []
    for row in result.rows:
        if len(result.rows) > 1:
            blocks.append(Heading(row.artifact, detail=False))
        blocks += _artifact(row, result)
    if result.recipe:
        lines = [Line(text, "good") for text in result.applied] or [Line("nothing: no cause has a remedy")]
        blocks.append(Lines(f"Written into {result.recipe}", tuple(lines)))
    blocks.append(Lines("Not looked at", tuple(Line(text, "warn") for text in result.notes)))
    return Page(
        f"Debugged {result.artifact} against {result.reference}",
        "",
        "plain",
        tuple(block for block in blocks if not is_empty(block)),
    )


def _artifact(row: DebugRow, result: DebugResult) -> Iterator[Block]:
    items = [
        ("artifact", row.artifact),
        ("target", f"{row.target}, {row.precision.value}"),
        ("ran on", row.ran_on),
        ("samples", str(row.samples)),
        *accuracy_items(row.accuracy),
    ]
    if row.accuracy is None and row.flips is not None:
        items.append(("labels that change", number.percent(row.flips)))
    yield Facts("", tuple(items))
    yield Lines("Causes", tuple(line for cause in row.causes for line in _cause(cause)))
    if not row.causes:
        yield Lines("Causes", (Line(f"none is named: {_what_is_lost(row)}", "muted"),))
    yield layers_chart(row.layers)
    yield _layers(row, result.top)
    yield drift_table("Outputs", [("", each) for each in row.drift], detail=True)
    yield Lines("Notes", tuple(map(Line, _notes(row))))


def _what_is_lost(row: DebugRow) -> str:
    if row.precision is Precision.FP32:
        return (
            "nothing is rounded in float32; what differs are weights, as those of a pruned file do "
            "(without pruning: --reference PRUNED.onnx)"
        )
    return "what is lost here is what rounding costs"


def _cause(cause: CauseRow) -> Iterator[Line]:
    where = f" at {cause.where}" if cause.where else ""
    yield Line(f"{cause.name}{where}: {cause.says}", "bad")
    written = f" [--apply writes {cause.edit}]" if cause.edit else ""
    yield Line(f"  next: {cause.remedy}{written}")


def _layers(row: DebugRow, top: int) -> Table:
    columns = (
        Column("layer", cut=True),
        Column("operator"),
        Column("kernel", cut=True),
        Column("drop, pp", right=True),
        Column("flips", right=True),
        Column("damage, dB", right=True),
        Column("own, dB", right=True),
        Column("own, steps", right=True),
        Column("total, dB", right=True),
        Column("clipped", right=True),
        Column("used", right=True),
        Column("cause"),
    )
    return Table(
        "Layers, the most damaging first",
        columns,
        tuple(_layer(layer) for layer in row.layers),
        brief=top,
    )


def _layer(layer: LayerRow) -> tuple[Cell, ...]:
    words = [*layer.causes, *(("disturbed",) if layer.disturbed else ())]
    return (
        Cell(layer.name, "bad" if layer.causes else "plain"),
        Cell(layer.op_type),
        Cell(layer.kernel or number.ABSENT, "plain" if layer.integer else "muted"),
        Cell(number.ABSENT if layer.drop_pp is None else number.signed(layer.drop_pp)),
        Cell(number.ABSENT if layer.flips is None else number.percent(layer.flips)),
        Cell(number.significant(layer.damage_sqnr_db)),
        Cell(number.significant(layer.own_sqnr_db)),
        Cell(number.significant(layer.own_steps)),
        Cell(number.significant(layer.total_sqnr_db)),
        Cell(number.percent(layer.clipped) if layer.clipped else number.ABSENT),
        Cell(number.percent(layer.used)),
        Cell(", ".join(words) or number.ABSENT, "bad" if words else "muted"),
    )


def _notes(row: DebugRow) -> Iterator[str]:
    yield from row.notes
    disturbed = [layer.name for layer in row.layers if layer.disturbed]
    if disturbed:
        yield (
            f"kernels that are others when they are looked at: {len(disturbed)} ({_some(disturbed)}); "
            "their figures are those of the other kernels"
        )
    if row.unmatched:
        yield (
            f"tensors that have no place in the reference, and were not compared: {len(row.unmatched)} "
            f"({_some(row.unmatched)})"
        )


def _some(names: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
