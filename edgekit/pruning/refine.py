"""Pruned model, solved layer by layer -> all its weights together, moved towards what float blocks give.

    least squares, layer by layer  --some passes of gradients over the joints-->  the lower error of the two

Least squares cannot make up in one block for what is lost in another. The loop is that of ``recover``, with a
bound on what it costs:

F1: as many passes as WORK allows, at most PASSES, so that any model takes about the same minutes; fewer than
    FEWEST are not worth a change of every weight.
F2: one sample of JUDGES is not learned from; the result is taken where the error at the outputs is smaller on
    these, and else the solved model stays.
F3: where it cannot be done it says why: no PyTorch, an operator without gradients, a batch of fixed size, too
    few samples.
F4: zeros that leave the outputs within NEAR_ENOUGH on the samples of F2 stay as solved: least squares has
    used what the data says, and gradients learn its noise. Of models with zeros those 0.005 to 1.3 % off came
    out no better (four, text_bert at any learning rate from 1e-5 to 5e-4), those 3.6 and 14.7 % off did. Of
    models that have lost channels some come out better from 0.3 % on.

Source: as ``joints`` and ``recover``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.errors import InputError, MissingBackendError
from edgekit.ir import io
from edgekit.pruning.dependency import Dependencies
from edgekit.pruning.joints import joints
from edgekit.pruning.recover import recover
from edgekit.pruning.sensitivity import output_error
from edgekit.pruning.stream import OpenModel
from edgekit.spec import Array, BatchStream, Progress

WORK = 2.5e12  # multiply-accumulates of the float model over all passes: 3 minutes of one AVX-512 core
PASSES = 30
FEWEST = 2
JUDGES = 16  # F2: one of so many samples
FEWEST_SAMPLES = 64
NEAR_ENOUGH = 0.01  # of the outputs' variance


@dataclass(frozen=True)
class Refinement:
    """What came of it.

    Attributes:
        passes: over the samples; 0 where the solved model stayed.
        before: error at the outputs of the solved model, on samples that were not learned from.
        after: of the refined one.
        why: the reason where it was not done, or not taken.
    """

    passes: int = 0
    before: float = 0.0
    after: float = 0.0
    why: str = ""


def passes_of(macs: int | None, count: int) -> int:
    """F1; ``macs`` of one sample, None where they are unknown: then as few as there may be."""
    if macs is None:
        return FEWEST
    return min(PASSES, int(WORK / max(1, macs * count)))


def refine(
    found: Dependencies,
    solved: ir.Model,
    removed: Collection[int],
    *,
    open_model: OpenModel,
    batches: BatchStream,
    count: int,
    passes: int,
    seed: int,
    threads: int | None,
    zeros: Collection[str] = (),
    half: bool = False,
    progress: Progress | None = None,
) -> tuple[ir.Model, Refinement]:
    """The better of ``solved`` and what the passes make of it.

    Args:
        found: of the float model.
        solved: the pruned model, repaired.
        removed: channels that are gone.
        open_model: opens a model in a runtime.
        batches: batch size -> a pass over the data.
        count: samples.
        passes: over them.
        seed: of order and mixtures.
        threads: of PyTorch; None = as many as it takes by itself.
        zeros: names of weights whose zeros stay zero.
        half: products in bfloat16.
        progress: advanced by passes; the caller has opened the stage.
    """
    why = _hindrance(found.model, count, passes)
    if why:
        return solved, Refinement(why=why)
    judges, judged = _judges(batches), -(-count // JUDGES)
    before = output_error(found.model, solved, open_model=open_model, batches=judges, count=judged)
    if zeros and before < NEAR_ENOUGH:
        why = f"it is within {100 * NEAR_ENOUGH:g} % of the outputs' variance on samples that it has not seen"
        return solved, Refinement(before=before, after=before, why=why)
    try:
        refined, _ = recover(
            found.model,
            solved,
            batches=batches,
            count=count,
            epochs=passes,
            seed=seed,
            threads=threads,
            joints=joints(found, solved, removed),
            but_every=JUDGES,
            zeros=zeros,
            half=half,
            progress=progress,
        )
    except (InputError, MissingBackendError) as error:
        return solved, Refinement(why=error.what)
    after = output_error(found.model, refined, open_model=open_model, batches=judges, count=judged)
    if after < before:
        return refined, Refinement(passes, before, after)
    return solved, Refinement(0, before, after, "on samples that it had not seen it was no better")


def _judges(batches: BatchStream) -> BatchStream:
    """The first of every JUDGES samples."""

    def some(size: int) -> Iterator[dict[str, Array]]:
        held: list[dict[str, Array]] = []
        for feeds in batches(JUDGES):
            held.append({name: array[:1] for name, array in feeds.items()})
            if len(held) == size:
                yield {name: np.concatenate([each[name] for each in held]) for name in held[0]}
                held = []
        if held:
            yield {name: np.concatenate([each[name] for each in held]) for name in held[0]}

    return some


def _hindrance(model: ir.Model, count: int, passes: int) -> str:
    """F3; "" where there is none."""
    if passes < FEWEST:
        return "one pass over the samples is beyond the work that a repair may cost"
    if count < FEWEST_SAMPLES:
        return f"{count} samples are fewer than {FEWEST_SAMPLES}"
    if any(not spec.shape or isinstance(spec.shape[0], int) for spec in io.specs(model)[0]):
        return "the model's batch has a fixed size"
    return ""
