"""Path -> Snapshot: what is known about a release, an artifact or a report, to be compared with another.

    K1 bundle            manifest, lock and evidence; memory and coverage out of its report.json, the metric's
                         statistics for each sample out of report/samples.npz, where it has them
    K2 report of a release (``--report json``, a bundle's report.json)
    K3 artifact          a file, or a folder that `compile` wrote: sizes and plans only

What cannot be read or is of another schema is a BaselineError; a damaged bundle is a VerificationError.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit.bundle import evidence as evidence_file
from edgekit.bundle import manifest as manifest_file
from edgekit.bundle import npz
from edgekit.bundle.evidence import Evidence, Measurement
from edgekit.errors import BaselineError, EdgekitError, VerificationError
from edgekit.pipeline.lock import Lock
from edgekit.pipeline.open import artifacts_at
from edgekit.pipeline.result import AccuracyRow, LatencyRow, ReleaseResult
from edgekit.spec import Artifact
from edgekit.validation.evaluate import Evaluation
from edgekit.validation.regression import Scored

EVALUATION_DATA = "evaluation data"
"""Name of the evaluation set's digest among a release's inputs."""
SAMPLES = "samples.npz"
_HEADER = "header"
_RELEASE = ReleaseResult.__dataclass_fields__["schema"].default


@dataclass(frozen=True, eq=False)
class Figures:
    """One artifact.

    Attributes:
        name: precision, or the candidate's label where that is known.
        digests: SHA-256 of its files, sorted; empty where only the main file's is known (``main``).
        main: SHA-256 of the main file.
        latency_ms: median with the ends of its interval.
        coverage: share of MACs (or operators) that run as asked.
    """

    target: str
    name: str
    main: str
    size_bytes: int | None = None
    plan: str = ""
    scored: Scored | None = None
    latency_ms: tuple[float, float, float] | None = None
    memory_bytes: int | None = None
    coverage: float | None = None


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Everything about one side of a comparison.

    Attributes:
        source: the path that was given.
        kind: "bundle", "release report" or "artifacts".
        model: name of the model; "" where it is not known.
        data: digest of the evaluation set; "" where it is not known.
        machine: key of the machine that measured; "" where it is not known.
        artifacts: by target.
    """

    source: str
    kind: str
    model: str
    version: str
    data: str
    machine: str
    artifacts: Mapping[str, Figures] = field(default_factory=dict)


def load(path: Path) -> Snapshot:
    """What is known about ``path`` (K1 to K3).

    Raises:
        BaselineError: it is not there, cannot be read, or is of another schema.
        VerificationError: a bundle that is damaged.
    """
    if not path.exists():
        raise BaselineError(
            f"{path} does not exist",
            why="there is nothing to compare with",
            remedy="give a bundle, the JSON report of a release, or an artifact",
        )
    if (path / manifest_file.FILE_NAME).is_file():
        return _bundle(path)
    if path.suffix == ".json" and not path.with_suffix("").is_file():
        return _report(path)
    try:
        found = artifacts_at(path)
    except EdgekitError as error:
        raise BaselineError(
            f"{path} is neither a bundle, a release's report nor an artifact: {error.what}",
            why=error.why,
            remedy="give one of these",
        ) from error
    rows = {each.target: _bare(each) for each in found.values()}
    return Snapshot(str(path), "artifacts", "", "", "", "", rows)


def of_candidate(
    artifact: Artifact, accuracy: AccuracyRow, evaluation: Evaluation, latency: LatencyRow | None
) -> Figures:
    """A candidate of the release that is going on."""
    return replace(_bare(artifact), scored=_scored(accuracy, evaluation), latency_ms=_interval(latency))


def samples_of(evaluations: Mapping[str, Evaluation]) -> bytes:
    """The content of report/samples.npz: the metric's statistics for each sample, by target.

    A metric of the user's own is left out: whoever reads the file cannot know what its statistics mean.
    """
    kept = {name: each for name, each in evaluations.items() if each.own is None}
    header = {
        name: {"metric": each.metric, "value": each.value, "count": each.count, "output": dict(each.output)}
        for name, each in kept.items()
    }
    arrays: dict[str, npt.NDArray[Any]] = {
        f"{name}/{key}": np.asarray(value)
        for name, each in kept.items()
        for key, value in each.statistics.items()
    }
    arrays[_HEADER] = np.frombuffer(json.dumps(header, sort_keys=True).encode(), np.uint8)
    return npz.to_bytes(arrays)


def _samples(content: bytes, name: str) -> dict[str, Evaluation]:
    arrays = npz.from_bytes(content, name=name)
    header = json.loads(arrays.pop(_HEADER).tobytes())
    return {
        target: Evaluation(
            statistics={
                key.removeprefix(f"{target}/"): value
                for key, value in arrays.items()
                if key.startswith(f"{target}/")
            },
            **facts,
        )
        for target, facts in header.items()
    }


def _bare(artifact: Artifact) -> Figures:
    return Figures(
        target=artifact.target,
        name=str(artifact.precision),
        main=artifact.files[0].sha256,
        size_bytes=artifact.size_bytes,
        plan=artifact.plan_digest,
    )


# --- K1 -----------------------------------------------------------------------------------------------


def _bundle(path: Path) -> Snapshot:
    _check_schema(path / manifest_file.FILE_NAME, 1)
    found = manifest_file.load(path)
    rows = {name: _bare(artifact) for name, artifact in found.artifacts(path).items()}
    data = Lock.model_validate_json(manifest_file.read_member(path, manifest_file.LOCK)).inputs
    snapshot = Snapshot(
        str(path), "bundle", found.name, found.version, data.get(EVALUATION_DATA, ""), "", rows
    )
    if not (path / evidence_file.FILE_NAME).is_file():
        return snapshot
    _check_schema(path / evidence_file.FILE_NAME, 1)
    content = manifest_file.read_member(path, evidence_file.FILE_NAME)
    evidence = manifest_file.parse(Evidence, content, name=evidence_file.FILE_NAME)
    if evidence.manifest_digest != found.digest:
        raise VerificationError(
            f"{path / evidence_file.FILE_NAME} is about another bundle",
            why="it names a manifest with another digest",
            remedy="get the bundle again, or release it again",
        )
    reports = _reports(path, evidence)
    samples = _samples(reports[SAMPLES], SAMPLES) if SAMPLES in reports else {}
    measured = {each.target: each for each in evidence.measurements}
    rows = {name: _with_evidence(row, measured.get(name), samples.get(name)) for name, row in rows.items()}
    if "report.json" in reports:
        rows = _with_report(rows, _document(reports["report.json"]))
    return replace(snapshot, machine=evidence.machine.key, artifacts=rows)


def _reports(path: Path, evidence: Evidence) -> dict[str, bytes]:
    """The members of report/ that say more than the evidence, their hashes checked."""
    found = {}
    for entry in evidence.reports:
        name = entry.path.removeprefix(f"{evidence_file.REPORTS}/")
        if name in {SAMPLES, "report.json"}:
            content = manifest_file.read_member(path, entry.path)
            if hashlib.sha256(content).hexdigest() != entry.sha256:
                raise VerificationError(
                    f"{entry.path} is not the file that the evidence names",
                    why="its bytes were changed after the bundle was written",
                    remedy="get the bundle again, or release it again; `edgekit verify` checks all of it",
                )
            found[name] = content
    return found


def _with_evidence(row: Figures, measured: Measurement | None, evaluation: Evaluation | None) -> Figures:
    if measured is None:
        return row
    accuracy, latency = measured.accuracy, measured.latency
    scored = None
    if accuracy is not None:
        scored = Scored(
            metric=accuracy.metric,
            unit=accuracy.unit,
            value=accuracy.candidate,
            reference=accuracy.reference,
            drop=accuracy.drop,
            low=accuracy.low,
            high=accuracy.high,
            samples=accuracy.samples,
            evaluation=evaluation,
        )
    spread = (latency.p50_ms, latency.low_ms, latency.high_ms) if latency else None
    return replace(row, scored=scored, latency_ms=spread)


def _with_report(rows: Mapping[str, Figures], report: _Document | None) -> dict[str, Figures]:
    """What only the report says; one of an older schema says nothing."""
    said = {each.target: each for each in report.shipped} if report else {}
    return {
        name: replace(
            row,
            name=said[name].label or row.name,
            memory_bytes=said[name].memory_bytes,
            coverage=said[name].share,
        )
        if name in said and said[name].sha256 == row.main
        else row
        for name, row in rows.items()
    }


# --- K2 -----------------------------------------------------------------------------------------------


class _Open(BaseModel):
    """What is read out of a report; what else is in it does not matter here."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Coverage(_Open):
    share: float


class _Candidate(_Open):
    target: str
    precision: str
    sha256: str
    size_bytes: int
    plan_digest: str
    label: str = ""
    shipped: bool = False
    accuracy: AccuracyRow | None = None
    latency: LatencyRow | None = None
    memory_bytes: int | None = None
    coverage: _Coverage | None = None

    @property
    def share(self) -> float | None:
        return self.coverage.share if self.coverage else None


class _Target(_Open):
    candidates: tuple[_Candidate, ...]


class _Machine(_Open):
    key: str


class _Document(_Open):
    name: str
    version: str
    machine: _Machine
    targets: tuple[_Target, ...]
    inputs: dict[str, str] = {}

    @property
    def shipped(self) -> list[_Candidate]:
        return [each for target in self.targets for each in target.candidates if each.shipped]


def _document(content: bytes) -> _Document | None:
    """The report of a bundle, or None where it is of another schema: the evidence says the rest."""
    try:
        value = json.loads(content)
        return _Document.model_validate(value) if value.get("schema") == _RELEASE else None
    except (ValueError, AttributeError):
        return None


def _report(path: Path) -> Snapshot:
    _check_schema(path, _RELEASE)
    try:
        found = _Document.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _unreadable(path, f"{where}: {first['msg']}") from error
    rows = {
        each.target: Figures(
            target=each.target,
            name=each.label or each.precision,
            main=each.sha256,
            size_bytes=each.size_bytes,
            plan=each.plan_digest,
            scored=_scored(each.accuracy, None) if each.accuracy else None,
            latency_ms=_interval(each.latency),
            memory_bytes=each.memory_bytes,
            coverage=each.share,
        )
        for each in found.shipped
    }
    return Snapshot(
        str(path),
        "release report",
        found.name,
        found.version,
        found.inputs.get(EVALUATION_DATA, ""),
        found.machine.key,
        rows,
    )


def _check_schema(path: Path, wanted: object) -> None:
    """Raise BaselineError where ``path`` is no JSON document of the schema that this edgekit reads."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        if path.name in {manifest_file.FILE_NAME, evidence_file.FILE_NAME}:
            return  # the bundle's own reader says it better, as damage
        raise _unreadable(path, str(error)) from error
    found = value.get("schema") if isinstance(value, dict) else None
    if found != wanted:
        raise BaselineError(
            f"{path} has schema {found!r}, and this edgekit reads {wanted!r}",
            why="it was written by another version of edgekit, or is something else",
            remedy="release that version again with this edgekit, or give a newer baseline",
        )


def _unreadable(path: Path, why: str) -> BaselineError:
    return BaselineError(
        f"{path} cannot be read as the report of a release",
        why=why,
        remedy="give a bundle, the JSON report of a release (--report json), or an artifact",
    )


def _scored(row: AccuracyRow, evaluation: Evaluation | None) -> Scored:
    return Scored(
        metric=row.metric,
        unit=row.unit,
        value=row.value,
        reference=row.reference,
        drop=row.drop_pp,
        low=row.drop_low_pp,
        high=row.drop_high_pp,
        samples=row.samples,
        evaluation=evaluation,
    )


def _interval(row: LatencyRow | None) -> tuple[float, float, float] | None:
    return (row.p50_ms, row.low_ms, row.high_ms) if row else None
