"""`prune --sparsity`, `--pattern`: float ONNX x calibration data -> the same graph with zeros in its weights.

    solve with zeros -> refine all blocks together, zeros staying -> measure on every target -> judge

Zeros make the file smaller when it is compressed; they make it faster only where a runtime has kernels that
leave them out. Each target is measured, and says "size only" where they save no time (Z1).

Z1: faster = the whole interval of the ratio to float lies below 1.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from edgekit import target as targets_
from edgekit.backends.onnxruntime import open_model
from edgekit.dataset import Dataset
from edgekit.errors import ExitCode, InputError
from edgekit.ir.external_data import buffer_of, size_bytes
from edgekit.pipeline import judge
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.prune.judging import Judging, in_memory
from edgekit.pipeline.prune.refined import refined, refined_row
from edgekit.pipeline.prune.speedometer import Speedometer
from edgekit.pipeline.result.prune import DenseRow, PruneResult, PruneSpeedRow, SparseRow
from edgekit.pipeline.result.rows import GateRow
from edgekit.preprocess import Step
from edgekit.pruning.dependency import dependencies
from edgekit.pruning.sensitivity import output_error
from edgekit.pruning.sparsify import Dense, Sparse, sparsify, weights_of
from edgekit.pruning.stream import threads
from edgekit.pruning.zeros import Pattern
from edgekit.spec import Progress

LOOKED_AT = 256  # samples for the error at the outputs
LEVEL = 6  # of deflate: what zip, an APK and most servers do
PIECE_BYTES = 2**22


@dataclass(frozen=True)
class ZerosAsked:
    """What the caller wants.

    Attributes:
        pattern: which weights become zero.
        targets: where it is measured.
        require_speedup: a target on which it saves no time is a failure.
        refines: whether weights beside the zeros are trained together after each was solved.
    """

    pattern: Pattern
    targets: tuple[str, ...]
    threads: int | None
    seed: int
    require_speedup: bool
    threads_of: Mapping[str, int] = field(default_factory=dict)
    refines: bool = True


def with_zeros(
    canonical: Canonical,
    data: Dataset,
    asked: ZerosAsked,
    judging: Judging,
    *,
    preprocess: tuple[Step, ...],
    out: Path,
    progress: Progress,
) -> tuple[ir.Model, PruneResult]:
    """The model, and all that was found out about it; nothing is written.

    Raises:
        InputError: no layer can take the pattern.
        TargetRefusalError: a target cannot take the model.
    """
    model, data = canonical.model, in_memory(data, beside=canonical.model)
    progress.stage("solve weights with zeros among them")
    made, sparse, dense = sparsify(
        model,
        asked.pattern,
        open_model=open_model,
        batches=data.batches,
        count=data.count,
        seed=asked.seed,
        progress=progress,
    )
    if not sparse:
        raise _nothing_takes(asked.pattern, dense)
    repair = None
    if asked.refines:
        made, repair = refined(
            dependencies(model),
            made,
            (),
            data=data,
            seed=asked.seed,
            threads=asked.threads,
            zeros=weights_of(made, sparse),
            progress=progress,
        )
    evaluated = None
    if judging.data:
        evaluated = judging.evaluated(model, made, preprocess=preprocess, progress=progress)
    verdict = judging.held(evaluated) if evaluated else None
    speeds = Speedometer(
        model,
        tuple(targets_.load(name) for name in asked.targets),
        asked.threads,
        next(iter(data.batches(1))),
        asked.seed,
        asked.threads_of,
    ).speeds(made, progress)
    missed = tuple(_missed(row) for row in speeds if asked.require_speedup and not is_faster(row))
    code = verdict.exit_code if verdict else ExitCode.OK
    if code is ExitCode.OK and missed:
        code = ExitCode.LATENCY_OR_SIZE_GATE
    parameters = dependencies(model).parameters()
    result = PruneResult(
        path=out,
        importance=f"zeros, {asked.pattern}",
        samples=data.count,
        parameters=parameters - sum(row.zeros for row in sparse),
        float_parameters=parameters,
        macs=None,
        float_macs=None,
        size_bytes=size_bytes(made),
        float_size_bytes=size_bytes(model),
        compressed_bytes=compressed_bytes(made),
        float_compressed_bytes=compressed_bytes(model),
        output_error=output_error(
            model, made, open_model=open_model, batches=data.batches, count=min(LOOKED_AT, data.count)
        ),
        widths=(),
        sparse=tuple(_row(row) for row in sparse),
        refined=refined_row(repair),
        dense=tuple(DenseRow(row.layer, row.weights, row.reason) for row in dense),
        speeds=speeds,
        gates=(judge.gate_rows(verdict) if verdict else ()) + missed,
        accuracy=evaluated.accuracy if evaluated else None,
        notes=tuple(_size_only(row, asked.pattern) for row in speeds if not is_faster(row)),
        exit_code=code,
    )
    return made, result


def is_faster(row: PruneSpeedRow) -> bool:
    """Z1."""
    return row.ratio.high < 1


def compressed_bytes(model: ir.Model) -> int:
    """Of all initializers, deflated one by one: what a zip archive holds, but for the graph."""
    tensors = [
        value.const_value
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    ]
    with ThreadPoolExecutor(threads()) as pool:  # zlib lets other threads run
        return sum(pool.map(_deflated_bytes, tensors))


def _deflated_bytes(tensor: ir.TensorProtocol) -> int:
    """In pieces: of a large tensor neither a copy nor its compressed form is held."""
    data = memoryview(buffer_of(tensor))
    stream, total = zlib.compressobj(LEVEL), 0
    for start in range(0, len(data), PIECE_BYTES):
        total += len(stream.compress(data[start : start + PIECE_BYTES]))
    return total + len(stream.flush())


def _row(row: Sparse) -> SparseRow:
    return SparseRow(row.layer, row.weights, row.zeros, row.before, row.after)


def _size_only(row: PruneSpeedRow, pattern: Pattern) -> str:
    return (
        f"{row.target}: size only: its kernels multiply by zeros ({pattern}) as by any other number"
        f" ({row.ratio.value:.2f} times the float model's time, {row.ratio.low:.2f} to {row.ratio.high:.2f})"
    )


def _missed(row: PruneSpeedRow) -> GateRow:
    return GateRow(
        name=f"speedup on {row.target}",
        status="fail",
        measured=f"{row.ratio.value:.2f} times the float model's time",
        limit="below 1 (--require-speedup)",
        reason="its kernels multiply by zeros as by any other number",
        remedy="--speedup 1.3 removes channels; without --require-speedup zeros count for size",
    )


def _nothing_takes(pattern: Pattern, dense: tuple[Dense, ...]) -> InputError:
    reasons = list(dict.fromkeys(row.reason for row in dense))
    return InputError(
        f"no layer of this model can have zeros in the pattern {pattern}",
        why="; ".join(reasons[:4]) or "no layer has a constant weight",
        remedy="--sparsity 0.5 needs no pattern; --keep 0.7 removes channels",
        more="docs/pruning.md",
    )
