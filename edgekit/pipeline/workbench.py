"""Canonical model x data -> Workbench: what all candidates of all targets are proved against."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgekit.backends.base import ModelInfo
from edgekit.backends.onnxruntime import open_model
from edgekit.dataset import Dataset
from edgekit.errors import ExitCode
from edgekit.pipeline.baseline import Baseline
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.doctor import machine_row
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.prepare import Prepared
from edgekit.pipeline.proof import Opener, Proof, Prover, Subject
from edgekit.pipeline.source_digest import source_digest
from edgekit.spec import Progress, RunOptions, Session
from edgekit.validation.metrics import TaskMetric
from edgekit.validation.own_metric import metric_named
from edgekit.validation.reference import check_reference


@dataclass(frozen=True, eq=False)
class Metric:
    """The task metric, and the digest of the code that a user's own one may run."""

    row: TaskMetric
    code: str = ""


def metric_of(name: str, *, base: Path) -> Metric:
    """The metric ``name`` of a recipe or a flag; relative paths start at ``base``.

    Raises:
        InputError: no such metric, or the user's file cannot be used.
    """
    row = metric_named(name, base=base)
    if not row.is_own:
        return Metric(row)
    # A folder that is too large to hash: nothing that it computed is taken out of the cache.
    return Metric(row, source_digest(name, base=base) or str(uuid.uuid4()))


@dataclass(frozen=True)
class Workbench:
    """What all targets of a release share.

    Attributes:
        canonical: the float truth.
        prepared: gives what static quantization starts from; called only when a candidate needs it.
        data: the evaluation set.
        learning: the calibration set, where there is one.
        reference: the float truth's proof on ONNX Runtime.
        open_reference: opens the float truth.
        info: what a file may say about the model.
        baseline: the last release, where candidates are held against one.
        pruned: the smaller model that candidates are made of; None = the float truth itself. ``prepared`` is
            of that, then.
        missed: why no candidate may be made, and the exit code; None = they may.
    """

    canonical: Canonical
    prepared: Callable[[], Prepared]
    data: Dataset
    prover: Prover
    reference: Proof
    open_reference: Opener
    stem: str
    machine_key: str
    cache: Cache
    progress: Progress
    info: ModelInfo | None = None
    learning: Dataset | None = None
    baseline: Baseline | None = None
    pruned: Canonical | None = None
    missed: tuple[str, ExitCode] | None = None


def make(
    canonical: Canonical,
    *,
    judging: Dataset,
    learning: Dataset | None,
    metric: Metric,
    output: str,
    expected: float | None,
    prepared: Callable[[], Prepared],
    stem: str,
    info: ModelInfo | None,
    cache: Cache,
    progress: Progress,
) -> Workbench:
    """Prove the float truth itself on ONNX Runtime; candidates are held against that.

    Args:
        canonical: the float truth.
        judging: the evaluation set, with labels.
        learning: the calibration set, where there is one.
        metric: task metric.
        output: which output is scored; "" where there is only one.
        expected: what the float truth should score; None where nobody says so.
        prepared: gives what static quantization starts from; called only when a candidate needs it.
        stem: start of every file name.
        info: what a file may say about the model.
        cache: where proofs and artifacts are kept.
        progress: told about each stage.

    Raises:
        DataError: the float truth itself scores as if the data were another's (``validation.reference``).
    """
    machine_key = machine_row().key
    prover = Prover(
        data=judging,
        metric=metric.row,
        code=metric.code,
        output=output,
        machine_key=machine_key,
        reference_id=canonical.digest,
        cache=cache,
        progress=progress,
    )

    def open_reference() -> Session:
        return open_model(canonical.model, RunOptions())

    reference = prover.prove(
        Subject({"reference": canonical.digest}, "float reference", {}), open_reference, against=None
    )
    assert judging.labels is not None  # noqa: S101  dataset.check has refused such data
    check_reference(reference.evaluation, judging.labels, expected=expected)
    return Workbench(
        canonical=canonical,
        prepared=prepared,
        learning=learning,
        data=judging,
        prover=prover,
        reference=reference,
        open_reference=open_reference,
        stem=stem,
        machine_key=machine_key,
        cache=cache,
        progress=progress,
        info=info,
    )
