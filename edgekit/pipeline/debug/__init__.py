"""`debug`: artifact x float reference x data -> where it loses, what each place costs the task, and why.

    look at every kernel's end (``looking``) -> evidence (``gather``) -> damage of each layer (``damage``)
    -> causes (``validation.diagnose``) -> the remedy in the recipe (``apply``)

A bundle and a folder of `compile` are looked into artifact by artifact. A reference that is not canonical is
made so: values have the names that `edgekit export` gives them.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from edgekit import dataset, drafts
from edgekit.dataset import Dataset, DataSource
from edgekit.errors import InputError, MissingBackendError
from edgekit.ir import io
from edgekit.ir.verify import is_quantized
from edgekit.passes import canonicalize
from edgekit.pipeline import steps
from edgekit.pipeline.blame_model import blames_model
from edgekit.pipeline.debug.apply import applied
from edgekit.pipeline.debug.damage import measured
from edgekit.pipeline.debug.gather import gathered
from edgekit.pipeline.debug.looking import Looking
from edgekit.pipeline.debug.named_disk import named_disk
from edgekit.pipeline.debug.rows import row
from edgekit.pipeline.debug.trials import tried
from edgekit.pipeline.open import artifact_at, artifacts_at
from edgekit.pipeline.result import DebugResult, DebugRow
from edgekit.spec import Artifact, Progress
from edgekit.validation.diagnose import diagnose
from edgekit.validation.diagnose.evidence import Cause

DEFAULT_SAMPLES = (
    64  # noise is an average over all elements of a tensor: more samples change it by under 1 dB
)


@blames_model
def debug(
    artifact: Path,
    *,
    reference: Path,
    data: str,
    metric: str,
    samples: int | None,
    progress: Progress,
    preprocess: Path | None = None,
    targets: tuple[str, ...] = (),
    top: int = 10,
    apply: Path | None = None,
) -> DebugResult:
    """Look into ``artifact``, or into each that it holds.

    Args:
        artifact: a file, a folder of `compile`, or a bundle.
        reference: the float ONNX model that it was made from.
        data: samples, with or without labels.
        metric: task metric, where there are labels.
        samples: at most so many; DEFAULT_SAMPLES where None.
        progress: told about each stage.
        preprocess: a file of steps from a raw sample to the model's inputs.
        targets: of a bundle or folder; empty = all.
        top: how many layers the text shows.
        apply: recipe into which the remedies of the causes are written; None = none.

    Raises:
        InputError: a file cannot be read, or the reference is quantized.
        DataError: the data does not fit the model.
        MissingBackendError: no runtime of any artifact is here.
    """
    model = io.load(reference)
    if is_quantized(model):
        raise InputError(
            f"{reference} is quantized",
            why="layers are held against what the float model computes",
            remedy="give the float model that the artifact was made from as --reference",
        )
    model = canonicalize(model)
    inputs = io.specs(model)[0]
    asked = DataSource(data, samples=samples or DEFAULT_SAMPLES)
    loaded = dataset.load(asked, inputs=inputs, base=Path.cwd(), preprocess=steps.read(preprocess))
    dataset.check(loaded, inputs)
    rows, missing = [], []
    causes: list[Cause] = []
    for found in _artifacts(artifact, targets):
        try:
            made, named = _looked(found, model, data=loaded, metric=metric, progress=progress)
        except MissingBackendError as error:
            missing.append((found, error))
            continue
        rows.append(made)
        causes += named
    if not rows:
        raise missing[0][1]
    edits = [cause.edit for cause in causes if cause.edit is not None]
    return DebugResult(
        artifact=str(artifact),
        reference=str(reference),
        rows=tuple(rows),
        top=top,
        applied=() if apply is None else applied(apply, edits),
        recipe="" if apply is None else str(apply),
        notes=tuple(f"{found.target}: {error.what}" for found, error in missing),
    )


def _artifacts(path: Path, targets: tuple[str, ...]) -> tuple[Artifact, ...]:
    if targets:
        return tuple(artifact_at(path, target=target) for target in targets)
    return tuple(artifacts_at(path).values())


def _looked(
    artifact: Artifact, model: ir.Model, *, data: Dataset, metric: str, progress: Progress
) -> tuple[DebugRow, tuple[Cause, ...]]:
    with drafts.temporary() as folder, named_disk(folder, artifact.size_bytes):
        progress.stage(f"{artifact.target}: find where kernels end")
        with Looking(artifact, model, data=data, folder=folder) as looking:
            progress.stage(f"{artifact.target}: compare layers", total=looking.count)
            evidence = tried(looking, gathered(looking, progress=progress))
            progress.stage(f"{artifact.target}: measure their damage", total=looking.count)
            damage = measured(looking, evidence, labels=data.labels, metric=metric, progress=progress)
            causes = diagnose(evidence)
            return row(looking, evidence, damage, causes), causes
