"""Artifact x data -> Proof: what the real runtime computed, held against the float reference.

Numbers come from running the shipped file. Evaluation and golden outputs are cached by the artifact's bytes,
its run options, the data and the machine: another machine measures for itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.backends import registry
from edgekit.bundle import golden
from edgekit.dataset import Dataset
from edgekit.errors import MissingBackendError
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.evaluation import drift_rows
from edgekit.pipeline.result import DriftRow
from edgekit.spec import (
    Artifact,
    Feeds,
    Progress,
    Runner,
    RunOptions,
    Session,
    TensorSpec,
    from_json,
    to_json,
)
from edgekit.target import Target
from edgekit.validation.drift import drift
from edgekit.validation.evaluate import Evaluation, evaluate

GOLDEN_SAMPLES = 4  # enough to see a wrong layout, class order or scale; small enough to travel in a bundle
DRIFT_SAMPLES = 256  # per-element drift settles long before the task metric does


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
        golden: outputs of the golden inputs, by name, (GOLDEN_SAMPLES, ...).
        drift: against the float reference.
        ran_on: runtime, version, device, threads in words.
    """

    evaluation: Evaluation
    labels: npt.NDArray[np.int64] | None
    golden: Mapping[str, npt.NDArray[Any]]
    drift: tuple[DriftRow, ...]
    ran_on: str


def where(target: Target, options: RunOptions) -> Place:
    """Where artifacts of ``target`` can run on this machine.

    Raises:
        MissingBackendError: neither the device nor a stand-in for its numerics is here.
    """
    found = registry.backend(target.backend).probe(target)
    if found.ok:
        return Place(options, "", timed=True)
    if target.numerics_on == "cpu":
        return Place(
            replace(options, device="cpu"),
            f"not run on a {_device_word(options.device)} here ({found.reason}); numerics checked on the CPU",
            timed=False,
        )
    raise MissingBackendError(
        f"target {target.name} cannot run here: {found.reason}",
        why="a number in a report comes from the real runtime, never from an estimate",
        remedy=found.remedy or "edgekit doctor",
    )


def _device_word(device: str) -> str:
    return "GPU" if device == "cuda" else device


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


@dataclass
class _Recording:
    """A Runner that notes the most likely class of every sample that passes through it."""

    runner: Runner
    labels: list[npt.NDArray[np.int64]]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.runner.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.runner.outputs

    def run(self, feeds: Feeds) -> dict[str, Any]:
        outputs = self.runner.run(feeds)
        if len(outputs) == 1:
            scores = next(iter(outputs.values()))
            if scores.ndim == 2 and scores.shape[1] > 1:
                self.labels.append(np.argmax(scores, axis=1))
        return outputs


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
        },
        name=artifact.path.name,
        output_steps=artifact.output_steps,
    )


Opener = Callable[[], Session]
"""Opens a session on demand: a proof out of the cache starts no runtime."""


class Prover:
    """Proves sessions against one reference on one evaluation set.

    Args:
        data: the evaluation set, with labels.
        metric: task metric.
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
        metric: str,
        output: str,
        machine_key: str,
        reference_id: str,
        cache: Cache,
        progress: Progress,
    ) -> None:
        self._data = data
        self._metric = metric
        self._output = output or None
        self._cache = cache
        self._progress = progress
        self._key = {
            "data": data.digest,
            "metric": metric,
            "output": output,
            "machine": machine_key,
            "reference": reference_id,
        }

    def prove(self, subject: Subject, opener: Opener, reference: Opener) -> Proof:
        """Run the evaluation set, the drift samples and the golden inputs.

        Args:
            subject: what runs, as a key.
            opener: opens it; called only when the proof is not in the cache.
            reference: opens the float reference; likewise.

        Raises:
            DataError: outputs are NaN or infinite.
        """

        def make(folder: Path) -> None:
            with opener() as session, reference() as truth:
                _store(folder, self._measure(session, truth, subject))

        entry = self._cache.folder("prove", {**self._key, **subject.identity}, make)
        return _restore(entry)

    def _measure(self, session: Session, truth: Session, subject: Subject) -> Proof:
        recording = _Recording(session, [])
        assert self._data.labels is not None  # noqa: S101  dataset.check has refused such data
        evaluation = evaluate(
            recording,
            metric=self._metric,
            batches=self._data.batches,
            labels=self._data.labels,
            count=self._data.count,
            output=self._output,
            progress=self._progress,
            who=subject.name,
        )
        found = drift(
            truth,
            session,
            batches=self._data.batches,
            count=min(DRIFT_SAMPLES, self._data.count),
            output_steps=subject.output_steps,
        )
        return Proof(
            evaluation=evaluation,
            labels=np.concatenate(recording.labels) if recording.labels else None,
            golden=golden.record(session, golden_inputs(self._data)),
            drift=drift_rows(found.outputs),
            ran_on=describe(session.facts),
        )


def golden_inputs(data: Dataset) -> dict[str, npt.NDArray[Any]]:
    """The first samples of the evaluation set, (GOLDEN_SAMPLES, ...) by input name."""
    return dict(next(iter(data.batches(min(GOLDEN_SAMPLES, data.count)))))


def _store(folder: Path, proof: Proof) -> None:
    np.savez(folder / "statistics.npz", allow_pickle=False, **dict(proof.evaluation.statistics))
    np.savez(folder / "golden.npz", allow_pickle=False, **dict(proof.golden))
    if proof.labels is not None:
        np.save(folder / "labels.npy", proof.labels)
    document = {
        "metric": proof.evaluation.metric,
        "value": proof.evaluation.value,
        "count": proof.evaluation.count,
        "output": dict(proof.evaluation.output),
        "drift": [to_json(row) for row in proof.drift],
        "ran_on": proof.ran_on,
    }
    (folder / "proof.json").write_text(json.dumps(document))


def _restore(folder: Path) -> Proof:
    document = json.loads((folder / "proof.json").read_text())
    labels = folder / "labels.npy"
    return Proof(
        evaluation=Evaluation(
            metric=document["metric"],
            value=document["value"],
            statistics=_arrays(folder / "statistics.npz"),
            count=document["count"],
            output=document["output"],
        ),
        labels=np.load(labels) if labels.is_file() else None,
        golden=_arrays(folder / "golden.npz"),
        drift=tuple(from_json(DriftRow, row) for row in document["drift"]),
        ran_on=document["ran_on"],
    )


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
