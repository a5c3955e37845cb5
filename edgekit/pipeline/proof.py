"""Artifact x data -> Proof: what the real runtime computed, held against the float reference.

Numbers come from running the shipped file. Evaluation and golden outputs are cached by the artifact's bytes,
its run options, the data and the machine: another machine measures for itself.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.backends import registry
from edgekit.bundle import golden
from edgekit.dataset import Dataset
from edgekit.errors import MissingBackendError
from edgekit.pipeline import software_gpu
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.evaluation import compare_on, drift_rows, evaluation_of
from edgekit.pipeline.result import DriftRow
from edgekit.spec import (
    Artifact,
    Progress,
    RunOptions,
    Session,
    from_json,
    to_json,
)
from edgekit.target import Target
from edgekit.validation.compare import Side
from edgekit.validation.drift import Drift, DriftTally
from edgekit.validation.evaluate import Evaluation
from edgekit.validation.metrics import TaskMetric
from edgekit.validation.reference import shuffled

GOLDEN_SAMPLES = 4  # enough to see a wrong layout, class order or scale; small enough to travel in a bundle
DRIFT_SAMPLES = 256  # per-element drift settles long before the task metric does
KEPT_BYTES = (
    32_000_000  # of outputs that a proof keeps, so that any two can be compared without running again
)


@dataclass(frozen=True)
class Place:
    """Where an artifact of a target can run here.

    Attributes:
        options: what to open it with; None where it cannot run at all.
        caveat: what that does not show; "" = it is the real device.
        timed: whether latencies measured there mean anything for the target.
    """

    options: RunOptions | None
    caveat: str
    timed: bool


@dataclass(frozen=True, eq=False)
class Proof:
    """What an artifact computed.

    Attributes:
        evaluation: task metric with its per-sample statistics.
        labels: (samples,) most likely class per sample, or None where the output is no class score.
        golden: outputs of the golden inputs, by name, (samples, ...).
        drift: against the float reference.
        ran_on: runtime, version, device, threads in words.
        kept_at: file of the first samples' outputs, (DRIFT_SAMPLES or fewer, ...) by name.
        facts: of the session.
    """

    evaluation: Evaluation
    labels: npt.NDArray[np.int64] | None
    golden: Mapping[str, npt.NDArray[Any]]
    drift: tuple[DriftRow, ...]
    ran_on: str
    kept_at: Path | None = None
    facts: Mapping[str, str] = field(default_factory=dict)

    def kept(self) -> dict[str, npt.NDArray[Any]]:
        """The first samples' outputs; empty where none could be kept."""
        return _arrays(self.kept_at) if self.kept_at is not None else {}


def where(target: Target, options: RunOptions) -> Place:
    """Where artifacts of ``target`` can run on this machine.

    Raises:
        MissingBackendError: neither the device nor a stand-in for its numerics is here.
    """
    found = registry.availability(target)
    if found.ok:
        return Place(options, software_gpu.caveat(found.software), timed=not found.software)
    if target.numerics_on == "cpu":
        return Place(
            replace(options, device="cpu"),
            f"{_absent(target, options.device)} here ({found.reason}); "
            f"numerics checked on {_stand_in(target)}",
            timed=False,
        )
    raise MissingBackendError(
        f"target {target.name} cannot run here: {found.reason}",
        why="a number in a report comes from the real runtime, never from an estimate",
        remedy=found.remedy or "edgekit doctor",
    )


def _absent(target: Target, device: str) -> str:
    if target.architecture and device == "cpu":
        return f"not run on {target.architecture}"
    if device == "cpu-bf16":
        return "not run in bfloat16"
    return f"not run on a {device if device == 'cpu' else 'GPU'}"


def open_at(artifact: Artifact, place: Place) -> Session:
    """Open ``artifact`` where it can run."""
    options = options_at(artifact, place)
    if options is None:
        raise MissingBackendError(f"{artifact.path.name} cannot run here", why=place.caveat)
    return registry.backend(artifact.backend).open(artifact, options)


def options_at(artifact: Artifact, place: Place) -> RunOptions | None:
    """The artifact's own settings on the device of ``place``; None where it cannot run at all.

    They are part of the artifact: one OpenVINO file is w8 or dynamic by its settings alone.
    """
    return place.options and replace(place.options, settings=artifact.options.settings)


def describe(facts: Mapping[str, str]) -> str:
    """What really ran, in one line."""
    head = f"{facts.get('runtime', '?')} {facts.get('version', '')}".strip()
    rest = [f"{name}: {value}" for name, value in facts.items() if name not in {"runtime", "version"}]
    return ", ".join([head, *rest])


def _stand_in(target: Target) -> str:
    return "this CPU, which runs the same file" if target.architecture else "the CPU"


@dataclass(frozen=True, eq=False)
class Subject:
    """What is to be proved.

    Attributes:
        identity: JSON-ready key of what runs (file hashes and options, or the reference model's digest).
        name: for progress lines.
        output_steps: quantization step by output name.
    """

    identity: Mapping[str, Any]
    name: str
    output_steps: Mapping[str, float]


def subject_of(artifact: Artifact, place: Place) -> Subject:
    """The key under which an artifact's proof is kept."""
    return Subject(
        identity={
            "files": [entry.sha256 for entry in artifact.files],
            "options": to_json(options_at(artifact, place)),
            "bindings": [to_json(binding) for binding in (*artifact.inputs, *artifact.outputs)],
            "backend": artifact.backend,
            "place": place.caveat,  # a GPU that is none today may be one tomorrow
        },
        name=artifact.path.name,
        output_steps=artifact.output_steps,
    )


Opener = Callable[[], Session]
"""Opens a session on demand: a proof out of the cache starts no runtime."""


class Prover:
    """Proves sessions against one reference on one evaluation set; each runs once.

    Args:
        data: the evaluation set, with labels.
        metric: task metric.
        code: digest of a user's own metric; "" for those of the table.
        output: which output is scored; "" where there is only one.
        machine_key: measurements of another machine do not count.
        reference_id: digest of the float reference.
        cache: where proofs are kept.
        progress: a step per sample.
    """

    def __init__(
        self,
        *,
        data: Dataset,
        metric: TaskMetric,
        code: str,
        output: str,
        machine_key: str,
        reference_id: str,
        cache: Cache,
        progress: Progress,
    ) -> None:
        self._data = data
        self._metric = metric
        self._output = output
        self._cache = cache
        self._progress = progress
        self._key = {
            "data": data.digest,
            "metric": metric.id,
            "code": code,
            "output": output,
            "machine": machine_key,
            "reference": reference_id,
        }

    def prove(
        self, subject: Subject, opener: Opener, *, against: Proof | None, first: int | None = None
    ) -> Proof:
        """Run the evaluation set and the golden inputs; drift comes from outputs that both proofs keep.

        Args:
            subject: what runs, as a key.
            opener: opens it; called only when the proof is not in the cache.
            against: the float reference's proof; None where this is the float reference.
            first: only so many samples; all by default.

        Raises:
            DataError: the reference's outputs are not finite.
            NonFiniteOutputError: another's are not.
        """

        def make(folder: Path) -> None:
            with opener() as session:
                self._measure(session, subject, folder, against=against, first=first)

        entry = self._cache.folder("prove", {**self._key, **subject.identity, "first": first}, make)
        return _restore(entry, self._metric)

    def _measure(
        self, session: Session, subject: Subject, folder: Path, *, against: Proof | None, first: int | None
    ) -> None:
        data = self._data if first is None else head(self._data, first)
        outputs = golden.record(session, golden_inputs(data).ready)
        labels = data.labels
        assert labels is not None  # noqa: S101  dataset.check has refused such data
        found = compare_on(
            data,
            [Side(subject.name, session, subject.output_steps, is_reference=against is None)],
            pairs=[],
            metric=self._metric,
            output=self._output,
            mispaired=shuffled(labels) if against is None else None,
            keep=_samples_to_keep(outputs, data.count),
            progress=self._progress,
        )
        evaluation = evaluation_of(found, 0)
        classes = found.labels[0]
        np.savez(folder / _KEPT, allow_pickle=False, **dict(found.kept[0]))
        away = drift_of(against.kept() if against else found.kept[0], found.kept[0], subject.output_steps)
        proof = Proof(
            evaluation=evaluation,
            labels=None if classes is None else classes.astype(np.int64),
            golden=outputs,
            drift=drift_rows(away.outputs) if away else (),
            ran_on=describe(session.facts),
            facts=dict(session.facts),
        )
        _store(folder, proof)


def head(data: Dataset, count: int) -> Dataset:
    """The first ``count`` samples."""
    count = min(count, data.count)
    return replace(
        data,
        samples=lambda: itertools.islice(data.samples(), count),
        count=count,
        labels=None if data.labels is None else data.labels[:count],
        slices={name: column[:count] for name, column in data.slices.items()},
    )


def drift_of(
    reference: Mapping[str, npt.NDArray[Any]],
    candidate: Mapping[str, npt.NDArray[Any]],
    output_steps: Mapping[str, float],
) -> Drift | None:
    """Drift of outputs that two proofs keep; None where one keeps none."""
    if not reference or not candidate:
        return None
    tally = DriftTally(reference, output_steps=output_steps)
    count = min(len(next(iter(reference.values()))), len(next(iter(candidate.values()))))
    tally.add({n: a[:count] for n, a in reference.items()}, {n: a[:count] for n, a in candidate.items()})
    return tally.finish()


def _samples_to_keep(outputs: Mapping[str, npt.NDArray[Any]], count: int) -> int:
    """As many as drift needs, fewer where outputs are large, and at least one."""
    each = sum(array.nbytes / max(1, len(array)) for array in outputs.values() if array.ndim)
    return max(1, min(DRIFT_SAMPLES, count, int(KEPT_BYTES / max(each, 1.0))))


@dataclass(frozen=True, eq=False)
class GoldenInputs:
    """The same samples twice, (samples, ...) by input name.

    Attributes:
        raw: before pre-processing: what the bundle holds.
        ready: what a session takes.
    """

    raw: Mapping[str, npt.NDArray[Any]]
    ready: Mapping[str, npt.NDArray[Any]]


def golden_inputs(data: Dataset) -> GoldenInputs:
    """The first samples of the evaluation set; of raw samples of several sizes, those of the first's."""
    ready = list(itertools.islice(data.samples(), GOLDEN_SAMPLES))
    raw = ready if data.raw is None else list(itertools.islice(data.raw(), GOLDEN_SAMPLES))
    kept = [index for index, sample in enumerate(raw) if _shapes(sample) == _shapes(raw[0])]
    return GoldenInputs(
        raw={name: np.stack([np.asarray(raw[index][name]) for index in kept]) for name in raw[0]},
        ready={name: np.stack([ready[index][name] for index in kept]) for name in ready[0]},
    )


def _shapes(sample: Mapping[str, npt.NDArray[Any]]) -> dict[str, tuple[int, ...]]:
    return {name: np.shape(array) for name, array in sample.items()}


_KEPT, _STATISTICS, _MISPAIRED = "kept.npz", "statistics.npz", "mispaired.npz"
_GOLDEN, _LABELS, _CONFIDENCE = "golden.npz", "labels.npy", "confidence.npy"


def _store(folder: Path, proof: Proof) -> None:
    evaluation = proof.evaluation
    np.savez(folder / _STATISTICS, allow_pickle=False, **dict(evaluation.statistics))
    np.savez(folder / _GOLDEN, allow_pickle=False, **dict(proof.golden))
    if evaluation.mispaired is not None:
        np.savez(folder / _MISPAIRED, allow_pickle=False, **dict(evaluation.mispaired))
    if evaluation.confidence is not None:
        np.save(folder / _CONFIDENCE, evaluation.confidence)
    if proof.labels is not None:
        np.save(folder / _LABELS, proof.labels)
    document = {
        "metric": evaluation.metric,
        "value": evaluation.value,
        "count": evaluation.count,
        "output": dict(evaluation.output),
        "drift": [to_json(row) for row in proof.drift],
        "ran_on": proof.ran_on,
        "facts": dict(proof.facts),
    }
    (folder / "proof.json").write_text(json.dumps(document))


def _restore(folder: Path, metric: TaskMetric) -> Proof:
    document = json.loads((folder / "proof.json").read_text())
    labels, confidence, mispaired = folder / _LABELS, folder / _CONFIDENCE, folder / _MISPAIRED
    return Proof(
        evaluation=Evaluation(
            metric=document["metric"],
            value=document["value"],
            statistics=_arrays(folder / _STATISTICS),
            count=document["count"],
            output=document["output"],
            own=metric if metric.is_own else None,
            confidence=np.load(confidence) if confidence.is_file() else None,
            mispaired=_arrays(mispaired) if mispaired.is_file() else None,
        ),
        labels=np.load(labels) if labels.is_file() else None,
        golden=_arrays(folder / _GOLDEN),
        drift=tuple(from_json(DriftRow, row) for row in document["drift"]),
        ran_on=document["ran_on"],
        kept_at=folder / _KEPT,
        facts=document["facts"],
    )


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
