"""`validate`: artifact x float reference x labelled data -> verdict."""

from __future__ import annotations

from pathlib import Path

from edgekit.backends.onnxruntime import open_model
from edgekit.ir import io
from edgekit.pipeline import judge, steps
from edgekit.pipeline.align import in_terms_of
from edgekit.pipeline.evaluation import evaluate_pair
from edgekit.pipeline.open import artifact_at, open_artifact
from edgekit.pipeline.proof import describe
from edgekit.pipeline.result import ValidateResult
from edgekit.spec import Progress, RunOptions
from edgekit.validation.budget import Budget
from edgekit.validation.budget import judge as hold


def validate(
    artifact: Path,
    *,
    reference: Path,
    data: str,
    metric: str,
    max_drop_pp: float,
    samples: int | None,
    progress: Progress,
    preprocess: Path | None = None,
) -> ValidateResult:
    """Hold ``artifact`` against ``reference`` on its real runtime.

    ``preprocess`` is a file of steps (``steps.read``) from the samples of ``data`` to the model's inputs.

    Raises:
        InputError: either file cannot be read, or they do not belong together.
    """
    done_first = steps.read(preprocess)
    model = io.load(reference)
    found, notes = in_terms_of(artifact_at(artifact), *io.specs(model))
    for note in notes:
        progress.note(note)
    with open_model(model, RunOptions()) as truth, open_artifact(found) as session:
        evaluated = evaluate_pair(
            truth,
            session,
            source=data,
            metric=metric,
            samples=samples,
            output_steps=found.output_steps,
            progress=progress,
            preprocess=done_first,
        )
        ran_on = describe(session.facts)
    verdict = hold(Budget(max_drop_pp=max_drop_pp), drop=evaluated.drop)
    return ValidateResult(
        artifact=str(artifact),
        reference=str(reference),
        status=verdict.status,
        exit_code=verdict.exit_code,
        gates=judge.gate_rows(verdict),
        accuracy=evaluated.accuracy,
        drift=evaluated.drift,
        ran_on=ran_on,
        notes=notes,
    )
