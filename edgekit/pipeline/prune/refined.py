"""A solved model -> the same with all its weights moved together, where that pays (``pruning.refine``)."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from edgekit.backends.onnxruntime import open_model
from edgekit.dataset import Dataset
from edgekit.ir.cost import inference_macs
from edgekit.ir.external_data import is_large
from edgekit.measure.machine import facts
from edgekit.pipeline.result.prune import RefinedRow
from edgekit.pruning.dependency import Dependencies
from edgekit.pruning.refine import Refinement, passes_of, refine
from edgekit.spec import Progress


def refined(
    found: Dependencies,
    solved: ir.Model,
    gone: Collection[int],
    *,
    data: Dataset,
    seed: int,
    threads: int | None,
    progress: Progress,
    zeros: Collection[str] = (),
) -> tuple[ir.Model, Refinement]:
    """The better of ``solved`` and what some passes make of it; ``zeros``: weights whose zeros stay."""
    if is_large(found.model):  # weights, gradients and two moments of each, in float32
        return solved, Refinement(why="the model is large: training holds five times its weights")
    passes = passes_of(inference_macs(found.model), data.count)
    progress.stage("refine all blocks together", total=passes)
    return refine(
        found,
        solved,
        gone,
        open_model=open_model,
        batches=data.batches,
        count=data.count,
        passes=passes,
        seed=seed,
        threads=threads,
        zeros=zeros,
        half=is_bfloat16_fast(),
        progress=progress,
    )


def is_bfloat16_fast() -> bool:
    """Whether products in bfloat16 are faster than in float32 here."""
    return "amx_bf16" in facts().features


def refined_row(found: Refinement | None) -> RefinedRow | None:
    """As it is told; None where nothing of it was asked for."""
    return None if found is None else RefinedRow(found.passes, found.before, found.after, found.why)
