"""A pruned model and the way to it -> all of it as plain values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from edgekit.backends.onnxruntime import open_model
from edgekit.errors import ExitCode
from edgekit.ir.cost import inference_macs
from edgekit.ir.external_data import size_bytes
from edgekit.pipeline import judge
from edgekit.pipeline.prune.job import Found, Job
from edgekit.pipeline.prune.refined import refined_row
from edgekit.pipeline.result.prune import (
    CellRow,
    KeptRow,
    PruneResult,
    WidthRow,
)
from edgekit.pruning.dependency import dependencies
from edgekit.pruning.importance import Order
from edgekit.pruning.sensitivity import output_error

REMEDY = "a smaller --speedup (the search says what the budget allows), --recover 20, or more samples"
SAMPLES = 256  # of the error at the outputs: it is told, nothing is decided by it


def outcome(job: Job, found: Found, out: Path) -> PruneResult:
    """What ``job`` found, told for ``out``."""
    judged = judge.gate_rows(found.verdict) if found.verdict else ()
    gates = tuple(replace(row, remedy=REMEDY) if row.remedy else row for row in judged) + (
        (found.missed,) if found.missed else ()
    )
    code = found.verdict.exit_code if found.verdict else ExitCode.OK
    if code is ExitCode.OK and found.missed:
        code = ExitCode.LATENCY_OR_SIZE_GATE
    error = output_error(
        job.found.model,
        found.model,
        open_model=open_model,
        batches=job.data.batches,
        count=min(SAMPLES, job.data.count),
    )
    return PruneResult(
        path=out,
        importance=job.asked.importance,
        samples=job.data.count,
        parameters=_parameters(found.model),
        float_parameters=job.found.parameters(),
        macs=inference_macs(found.model),
        float_macs=inference_macs(job.found.model),
        size_bytes=size_bytes(found.model),
        float_size_bytes=size_bytes(job.canonical.model),
        output_error=error,
        widths=_widths(job.orders, found.gone),
        kept=tuple(KeptRow(each.initializer, each.count, each.reason) for each in job.found.kept),
        repairs=found.repairs,
        speeds=found.speeds,
        table=tuple(
            CellRow(c.group, c.width, c.saving, c.error if c.saving > 0 else None) for c in job.widths.table
        ),
        search=tuple(job.widths.path),
        recovered=job.asked.recover,
        refined=refined_row(found.refined),
        gates=gates,
        accuracy=found.evaluated.accuracy if found.evaluated else None,
        exit_code=code,
    )


def _widths(orders: tuple[Order, ...], gone: tuple[int, ...]) -> tuple[WidthRow, ...]:
    left = set(gone)
    return tuple(
        WidthRow(
            order.group.name,
            len(order.group.channels),
            sum(channel not in left for channel in order.group.channels),
            len(order.readers),
        )
        for order in orders
    )


def _parameters(model: ir.Model) -> int:
    """Floating-point numbers; a branch that went takes layers along that had channels left."""
    return dependencies(model).parameters()
