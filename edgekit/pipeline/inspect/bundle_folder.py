"""Bundle -> one row per artifact, with what the evidence says about it. Nothing is run.

What is shown is checked first: an artifact whose bytes are not those of the manifest is an error, not a row.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgekit.bundle import bom, checksums, manifest
from edgekit.bundle import evidence as evidence_file
from edgekit.bundle.bom import license_of
from edgekit.bundle.describe import data_words
from edgekit.bundle.evidence import AccuracyFacts, Evidence, Measurement
from edgekit.bundle.facts import FloatParent, ModelFacts, Transformation
from edgekit.bundle.manifest import CandidateEntry, Manifest
from edgekit.errors import VerificationError
from edgekit.pipeline.inspect.compiled import look_inside
from edgekit.pipeline.result import AccuracyRow, BundledRow, InspectResult, RatioRow, TransformationRow
from edgekit.spec import Artifact


def inspect_bundle(path: Path) -> InspectResult:
    """Look into a bundle.

    Raises:
        VerificationError: its manifest, its evidence or an artifact is damaged.
    """
    found = manifest.load(path)
    evidence = _evidence(path, found.digest)
    measured = {each.target: each for each in evidence.measurements} if evidence else {}
    artifacts = found.artifacts(path)
    rows = tuple(_row(artifact, path, measured.get(name)) for name, artifact in artifacts.items())
    machine = evidence.machine.facts if evidence else {}
    facts = {
        "name": found.name,
        "version": found.version,
        **_said(found.model),
        "made by": f"edgekit {found.edgekit_version}",
        "measured on": machine.get("cpu", ""),
        "measured at": evidence.created if evidence else "",
        "model": found.model_digest,
        **_float_parent(found.float_parent),
        **{f"{each.role} data": data_words(each) for each in found.data},
        "manifest digest": found.digest,
    }
    first = next(iter(artifacts.values()), None)
    return InspectResult(
        path=path,
        kind="bundle",
        facts={name: value for name, value in facts.items() if value},
        inputs=tuple(binding.reference for binding in first.inputs) if first else (),
        outputs=tuple(binding.reference for binding in first.outputs) if first else (),
        provenance=tuple(_step(entry.subject, step) for entry in found.entries for step in entry.provenance),
        licenses=_licenses(path, found),
        size_bytes=sum(entry.size_bytes for entry in found.files),
        bundled=rows,
        notes=(
            *(() if evidence else ("it holds no evidence: nothing is known about its accuracy or speed",)),
            *(_waiting(name, each) for name, each in found.open_choices().items()),
        ),
    )


def _waiting(target: str, candidates: tuple[CandidateEntry, ...]) -> str:
    labels = ", ".join(each.label for each in candidates)
    return f"the choice for {target} waits for the device: {labels} (docs/devices.md)"


def _said(about: ModelFacts) -> dict[str, str]:
    """What the recipe said about the model."""
    return {
        "description": about.description,
        "author": about.author,
        "intended use": about.intended_use,
        "limitations": "; ".join(about.limitations),
    }


def _float_parent(parent: FloatParent | None) -> dict[str, str]:
    if parent is None:
        return {}
    form = "quantized, as it came" if parent.quantized else "float"
    return {"float parent": f"{parent.file} ({form}, from {parent.framework}), sha256 {parent.sha256 or '-'}"}


def _step(target: str, step: Transformation) -> TransformationRow:
    return TransformationRow(
        target=target,
        action=step.action,
        inputs={each.name: each.digest for each in step.inputs},
        outputs={each.name: each.digest for each in step.outputs},
        using={each.name: each.digest for each in step.using},
        tools=step.tools,
        details=step.details,
    )


def _licenses(path: Path, found: Manifest) -> dict[str, str]:
    """Of the model and the data out of the manifest, of the tools out of the bill of materials."""
    if found.float_parent is None:  # written before there were licences
        return {}
    known = {"model": license_of(found.model)}
    known |= {f"{each.role} data": license_of(each) for each in found.data}
    listed = {entry.path: entry for entry in found.files}
    if bom.FILE_NAME not in listed:
        return known
    content = manifest.read_member(path, bom.FILE_NAME)
    if hashlib.sha256(content).hexdigest() != listed[bom.FILE_NAME].sha256:
        raise _changed(bom.FILE_NAME)
    return known | bom.tool_licenses(content)


def _changed(name: str) -> VerificationError:
    return VerificationError(
        f"{name} is not the file that the manifest names",
        why="its bytes were changed after the bundle was written",
        remedy="get the bundle again, or release it again; `edgekit verify` checks all of it",
    )


def _evidence(path: Path, manifest_digest: str) -> Evidence | None:
    if not (path / evidence_file.FILE_NAME).exists():
        return None
    content = manifest.read_member(path, evidence_file.FILE_NAME)
    found = manifest.parse(Evidence, content, name=evidence_file.FILE_NAME)
    if found.manifest_digest != manifest_digest:
        raise VerificationError(
            f"{evidence_file.FILE_NAME} is about another bundle",
            why="it names a manifest with another digest",
            remedy="get the bundle again, or release it again",
        )
    return found


def _row(artifact: Artifact, folder: Path, measured: Measurement | None) -> BundledRow:
    for entry in artifact.files:
        name = f"{manifest.ARTIFACTS}/{entry.path}"
        if checksums.sha256_of_member(folder, name) != entry.sha256:
            raise _changed(name)
    bare = InspectResult(path=artifact.path, kind="", facts={})
    inside = look_inside(bare, artifact.path)
    looked = bool(inside.layers)
    return BundledRow(
        target=artifact.target,
        precision=artifact.precision,
        file=f"{manifest.ARTIFACTS}/{artifact.files[0].path}",
        size_bytes=artifact.size_bytes,
        operators=sum(inside.operators.values()) if looked else None,
        parameters=inside.parameters if looked else None,
        macs=inside.macs if looked else None,
        accuracy=_accuracy(measured.accuracy) if measured and measured.accuracy else None,
        p50_ms=measured.latency.p50_ms if measured and measured.latency else None,
        ratio=RatioRow("float", measured.ratio.value, measured.ratio.low, measured.ratio.high)
        if measured and measured.ratio
        else None,
        ran_on=measured.runtime if measured else "",
        note=measured.not_run if measured and measured.not_run else "; ".join(() if looked else inside.notes),
    )


def _accuracy(found: AccuracyFacts) -> AccuracyRow:
    return AccuracyRow(
        metric=found.metric,
        value=found.candidate,
        reference=found.reference,
        drop_pp=found.drop,
        drop_low_pp=found.low,
        drop_high_pp=found.high,
        samples=found.samples,
        unit=found.unit,
        method=found.method,
    )
