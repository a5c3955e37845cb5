"""BundleContent -> folder <name>-<version>/, whole or not at all.

    manifest.json        reproducible facts and hashes         (manifest)
    artifacts/           what ships
    files/               what belongs to the model: vocabulary, labels
    targets/             the target files as they were
    README.md            model card                            (model_card)
    sbom.cdx.json        bill of materials                     (bom)
    golden/inputs.npz    fixed inputs                          ranges.json, recipe.json, edgekit.lock
    evidence.json        what this machine measured            (evidence)
    golden/<target>.npz  what this machine's runtimes gave     report/
    and what lets others check it, archives and root digest included (complete)

Everything is built in a temporary folder beside the final one and renamed into place. An earlier bundle there
is replaced; files in it that it does not list are somebody else's and are carried over untouched. A folder
that is no bundle is refused. Equal content gives equal bytes: no time, path or user enters the reproducible
set.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgekit import drafts
from edgekit.bundle import bom, canonical_json, model_card, npz
from edgekit.bundle import evidence as evidence_file
from edgekit.bundle import manifest as manifest_file
from edgekit.bundle.archive import BLOCK_BYTES
from edgekit.bundle.complete import SEALS, complete, pack_beside, put_in_place, refuse_taken
from edgekit.bundle.evidence import Evidence, GoldenOutputs, MachineFacts, Measurement
from edgekit.bundle.facts import Facts, Transformation
from edgekit.bundle.manifest import (
    FileEntry,
    Manifest,
    TargetEntry,
    Tolerance,
    candidate_entry,
    entry_from_artifact,
    entry_of,
    safe_path,
)
from edgekit.bundle.packages_used import UsedPackage
from edgekit.bundle.processing import Processing
from edgekit.bundle.replace_folder import bring_back, draft_beside, members, put, swap
from edgekit.bundle.sign import Signer
from edgekit.errors import InputError, OutputError, VerificationError
from edgekit.spec import Artifact
from edgekit.write_errors import cannot_write

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class _Compiled:
    """An artifact's file where it was compiled; it is copied, never held in memory: it may be gigabytes."""

    source: Path
    target: str
    entry: FileEntry


Body = bytes | _Compiled


@dataclass(frozen=True)
class Shipped:
    """One target's artifact and what its runtime gave here.

    Attributes:
        artifact: compiled; its files are copied and their hashes checked on the way.
        tolerance: of the golden replay; ``golden.tolerance_for(precision)`` unless there is a reason.
        golden: outputs by reference name for the golden inputs; None where it could not run here.
        processing: what the app does around this artifact.
        provenance: every transformation from the source to its files.
        layouts: letters of the axes of the artifact's reference tensors, by name.
        ran: what the session of ``golden`` said of itself.
        label: the candidate's name among the target's others; "" where nobody asks.
    """

    artifact: Artifact
    tolerance: Tolerance
    golden: Arrays | None = None
    processing: Processing = field(default_factory=Processing)
    provenance: tuple[Transformation, ...] = ()
    layouts: Mapping[str, str] = field(default_factory=dict)
    ran: Mapping[str, str] = field(default_factory=dict)
    label: str = ""


@dataclass(frozen=True)
class BundleContent:
    """All that goes into a bundle.

    Attributes:
        name: of the model.
        version: of the model.
        edgekit_version: that wrote it.
        model_digest: of the canonical float model.
        sources: SHA-256 of what the model was built from, by relative path.
        calibration_digest: of the selected calibration samples.
        recipe: the resolved recipe, JSON-ready.
        ranges: the calibrated ranges, JSON-ready.
        lock: content of edgekit.lock.
        golden_inputs: (samples, ...) by input name, raw: before the steps of ``processing``.
        processing: what the app does around the model.
        associated: content of the files that belong to the model, by name.
        target_files: content of the targets' own files, by target name.
        facts: what the manifest says beyond this.
        packages: what is installed of the tools that took part.
        shipped: one for each target.
        candidates: of targets whose choice is open, by target and in the order in which they were tried; what
            ships is among them.
        machine: that measured.
        created: ISO 8601 time of the release; evidence only.
        seconds: how long each stage took; evidence only.
        measurements: evidence only.
        reports: content by path below report/; evidence only.
    """

    name: str
    version: str
    edgekit_version: str
    model_digest: str
    recipe: Mapping[str, Any]
    ranges: Mapping[str, Any]
    lock: bytes
    golden_inputs: Arrays
    shipped: tuple[Shipped, ...]
    machine: MachineFacts
    created: str
    sources: Mapping[str, str] = field(default_factory=dict)
    calibration_digest: str = ""
    processing: Processing = field(default_factory=Processing)
    associated: Mapping[str, bytes] = field(default_factory=dict)
    target_files: Mapping[str, bytes] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    packages: tuple[UsedPackage, ...] = ()
    candidates: tuple[Shipped, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    reports: Mapping[str, bytes] = field(default_factory=dict)


def write(content: BundleContent, folder: Path, *, signer: Signer | None = None) -> Path:
    """Write the bundle at ``folder`` (its last part is ``<name>-<version>`` by custom) and return it.

    Its archives and its root digest are written beside it (``complete``); ``signer``, if any, signs.

    Raises:
        OutputError: the folder holds something that is no bundle, a file of somebody else is in the way, or
            it cannot be written. Nothing is left behind.
        VerificationError: an artifact's file changed since it was compiled.
    """
    reproducible, described = _manifest(content)
    measured, witness = _evidence(content, described)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with drafts.alone(folder.parent):
            bring_back(folder)
        foreign = _foreign_files(folder)
        taken = sorted(foreign & {*reproducible, *measured})
        if taken:
            raise OutputError(
                f"{folder / taken[0]} is not part of the bundle there and would be overwritten",
                why="edgekit replaces its own outputs and leaves other files alone",
                remedy="move that file away, or choose another output folder",
            )
        refuse_taken(folder)
        with draft_beside(folder) as draft:
            for path, body in (reproducible | measured).items():
                if isinstance(body, _Compiled):
                    _copy(body, draft / path)
                else:
                    put(draft / path, body)
            put(draft / evidence_file.FILE_NAME, manifest_file.to_bytes(witness))
            put(draft / manifest_file.FILE_NAME, manifest_file.to_bytes(described))
            own = complete(draft, described, witness, signer=signer)
            pack_beside(draft, described, own)
            for path in sorted(foreign):
                (draft / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(folder / path, draft / path, follow_symlinks=False)
            with drafts.alone(folder.parent):
                swap(draft, folder)
                put_in_place(draft, folder)
    except OSError as error:
        size = sum(each.size_bytes for each in _listed(reproducible | measured))
        raise cannot_write(
            folder, error, elsewhere="choose a folder that you may write to (-o)", size_bytes=2 * size
        ) from error
    return folder


def _manifest(content: BundleContent) -> tuple[dict[str, Body], Manifest]:
    """The reproducible files by path, and the manifest that lists them."""
    files: dict[str, Body] = {
        manifest_file.GOLDEN_INPUTS: npz.to_bytes(content.golden_inputs),
        manifest_file.RANGES: canonical_json.render(dict(content.ranges)),
        manifest_file.RECIPE: canonical_json.render(dict(content.recipe)),
        manifest_file.LOCK: content.lock,
        **{f"{manifest_file.FILES}/{safe_path(name)}": body for name, body in content.associated.items()},
        **{
            f"{manifest_file.TARGET_FILES}/{safe_path(name)}.toml": body
            for name, body in content.target_files.items()
        },
    }
    for each in (*content.shipped, *beside(content)):
        for path, body in _artifact_files(each.artifact, folder=_folder_of(each, content)).items():
            if _entry_in_bundle(path, files.setdefault(path, body)) != _entry_in_bundle(path, body):
                raise OutputError(
                    f"two artifacts have a file {path} with different content",
                    why="a bundle holds one file of each name",
                    remedy="give the targets' artifacts different names",
                )
    document = Manifest(
        **dict(content.facts),
        name=content.name,
        version=content.version,
        edgekit_version=content.edgekit_version,
        model_digest=content.model_digest,
        sources=dict(content.sources),
        calibration_digest=content.calibration_digest,
        recipe_digest=canonical_json.digest(dict(content.recipe)),
        processing=content.processing,
        targets=tuple(
            _entry(each) for each in sorted(content.shipped, key=lambda each: each.artifact.target)
        ),
        candidates=tuple(
            candidate_entry(_entry(each), each.label, folder=_folder_of(each, content))
            for each in sorted(content.candidates, key=lambda each: each.artifact.target)
        ),
        files=_listed(files),
    )
    files[model_card.FILE_NAME] = model_card.card(document).encode("utf-8")
    document = document.model_copy(update={"files": _listed(files)})
    # It is about all the others, and its serial number is derived from them.
    files[bom.FILE_NAME] = bom.to_bytes(document, content.packages)
    return files, manifest_file.sealed(document.model_copy(update={"files": _listed(files)}))


def _listed(files: Mapping[str, Body]) -> tuple[FileEntry, ...]:
    return tuple(_entry_in_bundle(path, files[path]) for path in sorted(files))


def _entry_in_bundle(path: str, body: Body) -> FileEntry:
    if isinstance(body, _Compiled):
        return body.entry.model_copy(update={"path": path})
    return entry_of(path, body)


def _entry(each: Shipped) -> TargetEntry:
    return entry_from_artifact(
        each.artifact,
        tolerance=each.tolerance,
        processing=each.processing,
        provenance=each.provenance,
        layouts=each.layouts,
    )


def beside(content: BundleContent) -> tuple[Shipped, ...]:
    """The candidates that do not ship."""
    return tuple(each for each in content.candidates if _folder_of(each, content))


def _folder_of(each: Shipped, content: BundleContent) -> str:
    """Where its files lie below artifacts/: the folder itself for what ships, else one of the candidate's."""
    if any(each.artifact == one.artifact for one in content.shipped):
        return ""
    return f"candidates/{each.artifact.target}/{each.label}/"


def _artifact_files(artifact: Artifact, *, folder: str) -> dict[str, _Compiled]:
    """An artifact's files by path in the bundle."""
    return {
        f"{manifest_file.ARTIFACTS}/{folder}{safe_path(each.path)}": _Compiled(
            artifact.folder / each.path,
            artifact.target,
            FileEntry(path=each.path, sha256=each.sha256, size_bytes=each.size_bytes),
        )
        for each in artifact.files
    }


def _copy(file: _Compiled, path: Path) -> None:
    """Copy a compiled file into the draft, once its hash is what it was.

    Raises:
        VerificationError: it is gone, or changed.
    """
    sha256 = hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        source = file.source.open("rb")
    except OSError as error:
        raise VerificationError(
            f"artifact file {file.entry.path} of target {file.target} cannot be read: {error.strerror}",
            why="it was compiled, and is gone",
            remedy="compile again with --no-cache",
        ) from error
    with source, path.open("wb") as out:
        while block := source.read(BLOCK_BYTES):
            sha256.update(block)
            out.write(block)
    if sha256.hexdigest() != file.entry.sha256:
        raise VerificationError(
            f"artifact file {file.entry.path} of target {file.target} changed since it was compiled",
            why="what was proved is not what would ship",
            remedy="compile again with --no-cache",
        )


def _evidence(content: BundleContent, described: Manifest) -> tuple[dict[str, bytes], Evidence]:
    """The files that only this machine gives, by path, and the evidence that lists them."""
    reports = {f"{evidence_file.REPORTS}/{safe_path(path)}": body for path, body in content.reports.items()}
    if content.measurements:
        words = content.machine.facts.get("cpu", "")
        measured = model_card.card(described, measured=content.measurements, machine=words)
        reports[f"{evidence_file.REPORTS}/{model_card.MEASURED_NAME}"] = measured.encode("utf-8")
    entries, bodies = _golden(content)
    document = Evidence(
        manifest_digest=described.digest,
        created=content.created,
        machine=content.machine,
        seconds=dict(content.seconds),
        measurements=content.measurements,
        golden=entries,
        reports=tuple(entry_of(path, reports[path]) for path in sorted(reports)),
    )
    return bodies | reports, manifest_file.sealed(document)


def _golden(content: BundleContent) -> tuple[tuple[GoldenOutputs, ...], dict[str, bytes]]:
    """The recorded outputs of what ships and of the candidates, and their files by path."""
    ran = [each for each in (*content.shipped, *beside(content)) if each.golden is not None]
    entries, bodies = [], {}
    for each in sorted(ran, key=lambda each: (each.artifact.target, _label(each, content))):
        target, label = each.artifact.target, _label(each, content)
        path = (
            f"{manifest_file.GOLDEN}/{target}.{label}.npz"
            if label
            else f"{manifest_file.GOLDEN}/{target}.npz"
        )
        bodies[path] = npz.to_bytes(each.golden or {})
        file = entry_of(path, bodies[path])
        entries.append(GoldenOutputs(target=target, file=file, ran=dict(each.ran), label=label))
    return tuple(entries), bodies


def _label(each: Shipped, content: BundleContent) -> str:
    """No label for what ships."""
    return each.label if _folder_of(each, content) else ""


def _foreign_files(folder: Path) -> set[str]:
    """Files in ``folder`` that the bundle there does not list; empty where there is no folder yet.

    Raises:
        OutputError: ``folder`` holds something, but no readable bundle.
    """
    if not folder.exists() and not folder.is_symlink():
        return set()
    there = members(folder) if folder.is_dir() and not folder.is_symlink() else {""}
    if not there:
        return set()
    try:
        earlier = manifest_file.load(folder)
    except (VerificationError, InputError) as error:
        raise OutputError(
            f"{folder} holds something that is not an intact edgekit bundle",
            why=f"edgekit replaces its own outputs only ({error.what})",
            remedy="remove the folder if you do not need it, or choose another output folder (-o)",
        ) from error
    own = SEALS | {manifest_file.FILE_NAME, evidence_file.FILE_NAME, *(entry.path for entry in earlier.files)}
    own |= {f"{manifest_file.GOLDEN}/{entry.name}.npz" for entry in earlier.targets}
    own |= {f"{evidence_file.REPORTS}/{model_card.MEASURED_NAME}"}
    # Where the evidence is gone or damaged, what it listed cannot be told from foreign files and is kept.
    with suppress(VerificationError):
        body = manifest_file.read_member(folder, evidence_file.FILE_NAME)
        witness = manifest_file.parse(Evidence, body, name=evidence_file.FILE_NAME)
        own |= {entry.path for entry in witness.files}
    return there - own
