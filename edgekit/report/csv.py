"""Result -> CSV (RFC 4180): one row for each candidate and target, figures as plain numbers.

    release   every candidate of every target      validate   every artifact
    bench     every artifact, every kernel         diff       every figure of every target
    debug     every layer of every artifact        prune      every target
    bench --sustained   every minute               bench --history     every run
    sweep     every row

A figure that was not measured is an empty field.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from edgekit.errors import InputError
from edgekit.pipeline.result import (
    AccuracyRow,
    BenchResult,
    BenchRow,
    CandidateRow,
    DebugResult,
    DiffResult,
    EnergyRow,
    GateRow,
    HistoryResult,
    LatencyRow,
    PruneResult,
    RatioRow,
    ReleaseResult,
    SustainedResult,
    SweepResult,
    TargetRow,
    ValidateResult,
)

Row = dict[str, object]


def render(result: object) -> str:
    """The rows with their head.

    Raises:
        InputError: the result has no candidates.
    """
    kind = type(result)
    if kind not in ROWS:
        raise InputError(
            f"{kind.__name__} has no candidates",
            why="a CSV report has one row for each",
            remedy="use --report json, markdown or html",
        )
    rows = ROWS[kind](result)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _release(result: ReleaseResult) -> list[Row]:
    return [_candidate(target, each) for target in result.targets for each in target.candidates] + [
        {"target": target.target, "status": target.exit_code.name.lower(), "reason": target.reason}
        for target in result.targets
        if not target.candidates
    ]


def _candidate(target: TargetRow, row: CandidateRow) -> Row:
    return {
        "target": row.target,
        "candidate": row.name,
        "precision": row.precision.value,
        "role": row.role,
        "shipped": str(row.shipped).lower(),
        "status": row.status,
        **_gates(row.gates),
        **_accuracy(row.accuracy),
        **_latency(row.latency),
        **_ratio(row.ratio),
        "size_bytes": row.size_bytes,
        "memory_bytes": row.memory_bytes,
        "coverage": row.coverage.share if row.coverage else None,
        "file": row.file,
        "sha256": row.sha256,
        "plan": row.plan_digest,
        "ran_on": row.ran_on,
        "caveat": row.caveat,
        "reason": target.reason if row.shipped else "",
    }


def _sweep(result: SweepResult) -> list[Row]:
    return [
        {
            "row": row.id,
            "recipe": row.recipe,
            "target": row.target,
            "precision": row.precision.value,
            "prune": row.prune,
            "threads": row.threads,
            "device": row.device,
            "status": row.status,
            "exit_code": int(row.exit_code),
            "front": str(row.front).lower(),
            "beaten_by": row.beaten_by,
            **_made(row.artifact),
            "machine": row.machine,
            "reason": row.reason,
        }
        for row in result.rows
    ]


def _made(row: CandidateRow | None) -> Row:
    if row is None:
        return {}
    return {
        "candidate": row.name,
        **_gates(row.gates),
        **_accuracy(row.accuracy),
        **_latency(row.latency),
        **_ratio(row.ratio),
        "size_bytes": row.size_bytes,
        "memory_bytes": row.memory_bytes,
        "file": row.file,
        "sha256": row.sha256,
    }


def _validate(result: ValidateResult) -> list[Row]:
    return [
        {
            "artifact": row.artifact,
            "target": row.target,
            "precision": row.precision,
            "status": row.status,
            **_gates(row.gates),
            **_accuracy(row.accuracy),
            "ran_on": row.ran_on,
        }
        for row in result.artifacts
    ]


def _prune(result: PruneResult) -> list[Row]:
    """The speed on each target."""
    return [
        {
            "target": row.target,
            "float_p50_ms": row.reference.p50_ms,
            "p50_ms": row.pruned.p50_ms,
            **_ratio(row.ratio),
            "parameters": result.parameters,
            **_gates(result.gates),
            **_accuracy(result.accuracy),
        }
        for row in result.speeds
    ]


def _bench(result: BenchResult) -> list[Row]:
    """Every artifact; below them its energy by meter, and kernels in the order of execution."""
    return [*_latencies(result), *map(_energy, result.energy), *_kernels(result)]


def _energy(row: EnergyRow) -> Row:
    names = ("meter", "joules", "watts", "idle_watts", "seconds", "runs", "reason")
    return {"artifact": row.artifact, "device": row.device, **{name: getattr(row, name) for name in names}}


def _sustained(result: SustainedResult) -> list[Row]:
    return [
        {
            "artifact": row.artifact,
            "device": row.device,
            "minute": minute.index + 1,
            "whole": str(minute.whole).lower(),
            "runs": minute.runs,
            "p50_ms": minute.p50_ms,
            "p95_ms": minute.p95_ms,
            "per_s": minute.per_s,
            "frequency_mhz": minute.frequency_mhz,
            "temperature_c": minute.temperature_c,
            "watts": minute.watts,
            "factor": row.factor.value if row.factor else None,
            "verdict": row.verdict,
        }
        for row in result.rows
        for minute in row.minutes
    ]


def _history(result: HistoryResult) -> list[Row]:
    """Every run; ``change`` is the ratio to the level before where a new one begins."""
    rows = []
    for series in result.series:
        changed = {change.index: change.ratio for change in series.changes}
        for index, run in enumerate(series.runs):
            named = {name: getattr(run, name) for name in _RUN}
            rows.append({**named, "stable": str(run.stable).lower(), "change": changed.get(index)})
    return rows


def _kernels(result: BenchResult) -> list[Row]:
    return [
        {
            "artifact": row.artifact,
            "place": place,
            "source": " ".join(each.source),
            **{
                name: getattr(each, name)
                for name in (
                    "operator",
                    "kernel",
                    "device",
                    "dtype",
                    "us",
                    "share",
                    "calls",
                    "macs",
                    "operations",
                )
            },
            **{name: getattr(each, name) for name in ("read_bytes", "weight_bytes", "written_bytes")},
            **{name: getattr(each, name) for name in ("gops", "gbs", "intensity", "fraction", "bound")},
            "fallback": each.fallback,
        }
        for row in result.profiles
        for place, each in enumerate(row.kernels)
    ]


def _latencies(result: BenchResult) -> list[Row]:
    return [
        {
            **({"device": row.device} if result.devices else {}),
            "artifact": row.artifact,
            "verdict": row.verdict,
            "batch": row.batch,
            "threads": row.threads or None,
            "cores": row.cores,
            **_latency(row.latency),
            **_ratio(row.ratio),
            "launch_spread": row.effect.spread if row.effect else None,
            "more_launches": row.effect.more_launches if row.effect else None,
            "throughput_per_s": row.throughput_per_s,
            **_parts(row),
            "ran_on": row.ran_on,
        }
        for row in result.rows
    ]


def _parts(row: BenchRow) -> Row:
    """Start, memory and size."""
    phases, memory, size = row.phases, row.memory, row.size
    return {
        "import_ms": phases.import_ms if phases else None,
        "load_ms": phases.load_ms if phases else None,
        "first_ms": phases.first_ms if phases else None,
        "launches": phases.launches if phases else None,
        "baseline_bytes": memory.baseline_bytes if memory else None,
        "loaded_bytes": memory.loaded_bytes if memory else None,
        "peak_bytes": memory.peak_bytes if memory else None,
        "file_bytes": size.file_bytes if size else None,
        "download_bytes": size.download_bytes if size else None,
        "end_to_end_ms": row.end_to_end.total_ms if row.end_to_end else None,
        "inference_share": row.end_to_end.share if row.end_to_end else None,
    }


def _diff(result: DiffResult) -> list[Row]:
    rows: list[Row] = [
        {
            "target": row.target,
            "figure": each.figure,
            "old": each.old,
            "new": each.new,
            "change": each.change,
            "verdict": each.verdict,
            "reason": each.reason,
        }
        for row in result.targets
        for each in row.changes
    ]
    return rows + [
        {"target": row.target, "figure": "present", "verdict": row.status}
        for row in result.targets
        if not row.changes
    ]


def _debug(result: DebugResult) -> list[Row]:
    return [
        {
            "target": row.target,
            "artifact": row.artifact,
            "precision": row.precision.value,
            "layer": layer.name,
            "node": layer.node,
            "operator": layer.op_type,
            "kernel": layer.kernel,
            "integer": str(layer.integer).lower(),
            "own_sqnr_db": _finite(layer.own_sqnr_db),
            "total_sqnr_db": _finite(layer.total_sqnr_db),
            "damage_sqnr_db": _finite(layer.damage_sqnr_db),
            "clipped": layer.clipped,
            "used": layer.used,
            "flips": layer.flips,
            "drop_pp": layer.drop_pp,
            "causes": " ".join(layer.causes),
        }
        for row in result.rows
        for layer in row.layers
    ]


def _finite(value: float | None) -> float | None:
    """Nothing in place of an infinite ratio: a spreadsheet has no number for it."""
    return value if value is None or math.isfinite(value) else None


def _gates(gates: Iterable[GateRow]) -> Row:
    """``gates``: "accuracy=pass size=waived"."""
    return {"gates": " ".join(f"{gate.name}={gate.status}" for gate in gates)}


def _accuracy(row: AccuracyRow | None) -> Row:
    return {
        "metric": row.metric if row else None,
        "value": row.value if row else None,
        "reference": row.reference if row else None,
        "drop": row.drop_pp if row else None,
        "drop_low": row.drop_low_pp if row else None,
        "drop_high": row.drop_high_pp if row else None,
        "drop_unit": row.unit if row else None,
        "samples": row.samples if row else None,
    }


def _latency(row: LatencyRow | None) -> Row:
    return {
        "p50_ms": row.p50_ms if row else None,
        "p95_ms": row.p95_ms if row else None,
        "p50_low_ms": row.low_ms if row else None,
        "p50_high_ms": row.high_ms if row else None,
    }


def _ratio(row: RatioRow | None) -> Row:
    return {
        "ratio": row.value if row else None,
        "ratio_low": row.low if row else None,
        "ratio_high": row.high if row else None,
    }


# result type -> its rows; each takes exactly that type
_RUN = (
    *("artifact", "device", "machine", "runtime", "version", "threads", "batch", "cores", "at", "sha256"),
    *("p50_ms", "low_ms", "high_ms", "p95_ms", "runs"),
)
ROWS: Mapping[type, Callable[[Any], list[Row]]] = {
    ReleaseResult: _release,
    ValidateResult: _validate,
    BenchResult: _bench,
    PruneResult: _prune,
    SustainedResult: _sustained,
    HistoryResult: _history,
    DiffResult: _diff,
    DebugResult: _debug,
    SweepResult: _sweep,
}
