"""What is inside a file or a bundle -> Page: facts first, then who would take it, then where the work is.

The terminal shows the heaviest layers and the first reasons; ``--all``, JSON and the reports hold everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edgekit.ir.contents import LayerCost, Quantization
from edgekit.pipeline.result import BundledRow, InspectResult, TargetFit, TransformationRow
from edgekit.report import number
from edgekit.report.page import Block, Cell, Column, Facts, Line, Lines, Page, Table, Tone
from edgekit.report.view_rows import accuracy_cells, licenses_facts, ratio_value, rejections_lines
from edgekit.spec import Dim, TensorSpec

_LAYERS_SHOWN = 10  # they hold nearly all the work of nearly every model, and fit a screen
_REASONS_SHOWN = 3
_DIGEST_SHOWN = 16  # enough to tell models apart; the JSON holds all of it

_VERDICTS: dict[str, tuple[str, Tone]] = {
    "takes": ("takes it", "good"),
    "refuses": ("refuses it", "bad"),
    "would_take": ("would take it, not run here", "warn"),
    "would_leave": ("would leave parts out, not run here", "warn"),
    "not_installed": ("not asked", "warn"),
    "not_checked": ("not asked", "warn"),
}


def view(result: InspectResult) -> Page:
    """The whole result."""
    blocks: list[Block] = [
        Facts("", tuple(_facts(result))),
        _interface(result),
        *_bundled(result.bundled),
        *_provenance(result.provenance),
        *licenses_facts(result.licenses),
        *_targets(result.targets),
        *_layers(result),
        Lines("Notes", tuple(Line(text) for text in result.notes)),
    ]
    return Page(str(result.path), "", "plain", tuple(block for block in blocks if not _is_empty(block)))


def _is_empty(block: Block) -> bool:
    return (isinstance(block, Table) and not block.rows) or (isinstance(block, Lines) and not block.items)


def _facts(result: InspectResult) -> Iterator[tuple[str, str]]:
    yield "kind", result.kind
    if result.size_bytes is not None:
        yield "size", f"{number.size(result.size_bytes)} ({result.size_bytes:,} bytes)"
    if result.parameters is not None:
        stored = f", stored in {number.size(result.parameter_bytes)}" if result.parameters else ""
        yield "parameters", f"{result.parameters:,}{stored}"
    if result.macs is not None:
        least = "at least " if any(layer.macs is None for layer in result.layers) else ""
        yield "MACs", f"{least}{count(result.macs)} ({result.macs:,}), batch 1"
    if result.peak_bytes is not None:
        yield "activations", f"{number.size(result.peak_bytes)} at once at most, batch 1"
    if result.quantization is not None:
        yield from _quantization(result.quantization)
    if result.operators:
        yield "operators", _operators(result)
    for name, value in result.facts.items():
        yield name, value[:_DIGEST_SHOWN] if name in {"digest", "manifest digest", "model"} else value


def _quantization(found: Quantization) -> Iterator[tuple[str, str]]:
    if found.weighted:
        yield "quantized", f"{found.quantized} of {found.weighted} operators with weights"
    schemes = [f"{times} × {words}" for words, times in _most_first(found.schemes)]
    if found.schemes and set(found.schemes) != {"float"}:
        yield "schemes", "; ".join(schemes)
    if found.tensors:
        yield "tensors", ", ".join(f"{times} {words}" for words, times in _most_first(found.tensors))


def _operators(result: InspectResult) -> str:
    """``9 Conv, 4 Relu``; a version stands behind the name where it is not the first."""
    return ", ".join(
        f"{times} {name}{_version(result.versions.get(name, ''))}"
        for name, times in _most_first(result.operators)
    )


def _version(text: str) -> str:
    return "" if text in {"", "1", "opset1"} else f" ({text if text.startswith('opset') else 'v' + text})"


def _most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def count(value: int) -> str:
    """A count in powers of 1000: 812, 12.3 k, 4.56 M, 1.20 G."""
    if value < 1000:
        return str(value)
    scaled = float(value)
    for unit in ("k", "M", "G"):
        scaled /= 1000
        if scaled < 999.5:  # above, three digits would round to 1,000
            return f"{number.significant(scaled)} {unit}"
    return f"{number.significant(scaled / 1000)} T"


def _interface(result: InspectResult) -> Table:
    columns = tuple(map(Column, ("", "name", "type", "shape")))
    both = [("input", spec) for spec in result.inputs] + [("output", spec) for spec in result.outputs]
    rows = tuple((Cell(kind), Cell(spec.name), Cell(spec.dtype), Cell(_shape(spec))) for kind, spec in both)
    return Table("Interface", columns, rows)


def _shape(spec: TensorSpec) -> str:
    return _sizes(spec.shape)


def _sizes(shape: tuple[Dim, ...]) -> str:
    return " × ".join("?" if size is None else str(size) for size in shape) or "scalar"


def _targets(rows: Sequence[TargetFit]) -> Iterator[Block]:
    columns = (Column("target"), Column("verdict"))
    yield Table("Targets", columns, tuple((Cell(row.target), Cell(*_VERDICTS[row.status])) for row in rows))
    yield Lines("", tuple(Line(_remark(row), "muted") for row in rows if row.reason))
    for row in rows:
        lines = rejections_lines(row.rejections)
        says = "would leave parts out" if row.status == "would_leave" else "refuses it"
        yield Lines(f"Why {row.target} {says}", tuple(lines), brief=_REASONS_SHOWN)
        hidden = len(lines) - _REASONS_SHOWN
        if hidden > 0:
            yield Lines("", (Line(f"and {hidden} more; `--all` shows all", "muted"),), short=True)


def _remark(row: TargetFit) -> str:
    asked = row.status in {"takes", "refuses"}
    return f"{row.target}: {row.reason}" + (f"; next: {row.remedy}" if row.remedy and not asked else "")


def _layers(result: InspectResult) -> Iterator[Block]:
    # what is not known could be the most: before the zeros
    ranked = sorted(result.layers, key=lambda layer: -0.5 if layer.macs is None else -layer.macs)
    shown = min(_LAYERS_SHOWN, max(1, sum(layer.macs != 0 for layer in ranked)))
    columns = (
        Column("layer", cut=True),
        Column("operator"),
        Column("MACs", right=True),
        Column("share", right=True),
        Column("parameters", right=True),
        Column("output"),
    )
    rows = tuple(_layer(layer, result.macs or 0) for layer in ranked)
    yield Table("Layers by MACs", columns, rows, brief=shown)
    rest = ranked[shown:]
    if rest:
        macs = sum(layer.macs or 0 for layer in rest)
        share = (
            f" with {100 * macs / result.macs:.1f} % of the MACs"
            if macs and result.macs
            else ", without MACs"
        )
        text = f"and {len(rest)} more{share}; `--all` shows all"
        yield Lines("", (Line(text, "muted"),), short=True)


def _layer(layer: LayerCost, total: int) -> tuple[Cell, ...]:
    share = layer.macs / total if layer.macs and total else None
    shape = number.ABSENT if layer.output is None else _sizes(layer.output)
    unknown = layer.macs is None
    return (
        Cell(layer.name),
        Cell(layer.operator),
        Cell("unknown" if layer.macs is None else count(layer.macs), "warn" if unknown else "plain"),
        Cell(number.ABSENT if share is None else f"{100 * share:.1f} %"),
        Cell(f"{layer.parameters:,}" if layer.parameters else number.ABSENT),
        Cell(shape),
    )


def _bundled(rows: Sequence[BundledRow]) -> Iterator[Block]:
    columns = (
        Column("target"),
        Column("precision"),
        Column("size", right=True),
        Column("parameters", right=True),
        Column("MACs", right=True),
        Column("accuracy", right=True),
        Column("drop", right=True),
        Column("p50, ms", right=True),
        Column("ratio", right=True),
    )
    yield Table("Artifacts", columns, tuple(_artifact(row) for row in rows))
    yield Lines("Files", tuple(Line(f"{row.target}: {row.file}") for row in rows))
    yield Lines("Measured with", tuple(Line(f"{row.target}: {row.ran_on}") for row in rows if row.ran_on))
    yield Lines("", tuple(Line(f"{row.target}: {row.note}", "warn") for row in rows if row.note))


def _provenance(rows: Sequence[TransformationRow]) -> Iterator[Block]:
    """One line for each artifact; every step with its digests among the details."""
    chains: dict[str, list[str]] = {}
    for row in rows:
        words = ", ".join(f"{name} {value}" for name, value in row.details.items())
        chains.setdefault(row.target, []).append(f"{row.action} ({words})" if words else row.action)
    lines = tuple(Line(f"{target}: {' → '.join(steps)}") for target, steps in chains.items())
    yield Lines("Provenance", lines)
    columns = tuple(map(Column, ("target", "step", "took", "gave", "by", "with")))
    yield Table(
        "Steps",
        columns,
        tuple(
            (
                Cell(row.target),
                Cell(row.action),
                Cell(_digests(row.inputs)),
                Cell(_digests(row.outputs)),
                Cell(_digests(row.using)),
                Cell(", ".join(f"{name} {version}" for name, version in sorted(row.tools.items()))),
            )
            for row in rows
        ),
        detail=True,
    )


def _digests(subjects: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {_short(digest)}" for name, digest in subjects.items()) or number.ABSENT


def _short(digest: str) -> str:
    kind, _, value = digest.partition(":")
    return f"{kind}:{value[:_DIGEST_SHOWN]}"


def _artifact(row: BundledRow) -> tuple[Cell, ...]:
    accuracy, drop = accuracy_cells(row.accuracy)
    if row.accuracy:
        accuracy = Cell(f"{row.accuracy.metric} {accuracy.text}")
    return (
        Cell(row.target),
        Cell(row.precision.value),
        Cell(number.size(row.size_bytes)),
        Cell(number.ABSENT if row.parameters is None else f"{row.parameters:,}"),
        Cell(number.ABSENT if row.macs is None else count(row.macs)),
        accuracy,
        drop,
        Cell(number.significant(row.p50_ms)),
        ratio_value(row.ratio) if row.ratio else Cell(number.ABSENT, "muted"),
    )
