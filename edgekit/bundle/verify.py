"""Folder -> Verification: is this bundle what was released, and does it still compute what it computed?

    V1  manifest.json is there, whole, and agrees with its own digest
    V2  evidence.json likewise, and is about this manifest and these artifacts
    V3  every listed file is there with its size and hash; no other file is
    V4  per target: the raw golden inputs, through the target's steps and the artifact, give the recorded
        outputs within the tolerance

A runtime that is not here leaves V4 of its target "not run" with the reason, unless the target was asked for
by name. Nothing is run from files whose hashes are wrong. Without a signature this shows corruption, not
origin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt

from edgekit.bundle import evidence as evidence_file
from edgekit.bundle import golden, npz
from edgekit.bundle import manifest as manifest_file
from edgekit.bundle.evidence import Evidence
from edgekit.bundle.manifest import FileEntry, Manifest, TargetEntry
from edgekit.bundle.replace_folder import members
from edgekit.errors import EdgekitError, ExitCode, MissingBackendError, UnknownNameError, VerificationError
from edgekit.spec import Artifact, Session

CheckStatus = Literal["pass", "fail", "not_run"]
BLOCK_BYTES = 1 << 20  # files are hashed in pieces, so that memory does not grow with the model


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: "manifest", "evidence", "file" or "golden".
        subject: path of the file, or name of the target.
        status: outcome.
        detail: the difference, or why it was not run; "" where it passed.
    """

    name: str
    subject: str
    status: CheckStatus
    detail: str = ""


@dataclass(frozen=True)
class Verification:
    """All checks of one bundle, in the order in which they were made."""

    folder: Path
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed; checks that could not run do not count as failed."""
        return not any(check.status == "fail" for check in self.checks)

    @property
    def first_difference(self) -> str:
        """Subject and detail of the first failed check; "" where nothing failed."""
        return next((f"{c.subject}: {c.detail}" for c in self.checks if c.status == "fail"), "")

    @property
    def exit_code(self) -> ExitCode:
        """0, or 8 where something failed."""
        return ExitCode.OK if self.ok else ExitCode.VERIFICATION_FAILED


def verify(
    folder: Path, *, open_artifact: Callable[[Artifact], Session], targets: Iterable[str] | None = None
) -> Verification:
    """Check a bundle.

    Args:
        folder: the bundle.
        open_artifact: opens an artifact on its runtime; may raise MissingBackendError.
        targets: names of the targets to replay, which must then be possible; None or none = all that can run.

    Raises:
        InputError: there is no such folder.
        UnknownNameError: a target that the bundle does not hold.
        MissingBackendError: a target asked for by name cannot run here.
    """
    try:
        manifest = manifest_file.load(folder)
    except VerificationError as error:
        failed = Check("manifest", manifest_file.FILE_NAME, "fail", error.what)
        return Verification(folder, (failed,))
    asked = tuple(dict.fromkeys(targets or ()))
    held = {entry.name: entry for entry in manifest.targets}
    for name in asked:
        if name not in held:
            raise UnknownNameError("target of the bundle", name, held, listing=f"edgekit inspect {folder}")
    checks = [Check("manifest", manifest_file.FILE_NAME, "pass")]
    evidence, about = _evidence(folder, manifest)
    checks.append(about)
    checks += _files(folder, manifest, evidence)
    sound = {check.subject for check in checks if check.name == "file" and check.status == "pass"}
    for name in asked or held:
        checks.append(
            _replay(
                folder,
                held[name],
                evidence,
                sound=sound,
                open_artifact=open_artifact,
                required=name in asked,
            )
        )
    return Verification(folder, tuple(checks))


def _evidence(folder: Path, manifest: Manifest) -> tuple[Evidence | None, Check]:
    """V2."""
    name = evidence_file.FILE_NAME
    try:
        found = manifest_file.parse(Evidence, manifest_file.read_member(folder, name), name=name)
    except VerificationError as error:
        return None, Check("evidence", name, "fail", error.what)
    if found.manifest_digest != manifest.digest:
        return found, Check("evidence", name, "fail", "it belongs to another manifest")
    shipped = {entry.name: entry.artifact.files[0].sha256 for entry in manifest.targets}
    for row in found.measurements:
        if shipped.get(row.target) != row.artifact_sha256:
            detail = f"its measurement of {row.target} is of another artifact"
            return found, Check("evidence", name, "fail", detail)
    unknown = [entry.target for entry in found.golden if entry.target not in shipped]
    if unknown:
        return found, Check(
            "evidence", name, "fail", f"it has golden outputs of {unknown[0]}, which is not here"
        )
    return found, Check("evidence", name, "pass")


def _files(folder: Path, manifest: Manifest, evidence: Evidence | None) -> list[Check]:
    """V3, in the order of the paths."""
    listed: dict[str, FileEntry] = {entry.path: entry for entry in manifest.files}
    wrong: dict[str, str] = {}
    for entry in evidence.files if evidence else ():
        if listed.setdefault(entry.path, entry) != entry:
            wrong[entry.path] = "manifest and evidence disagree about it"
    for target in manifest.targets:
        for entry in target.artifact.files:
            path = f"{manifest_file.ARTIFACTS}/{entry.path}"
            whole = listed.get(path)
            if whole is None or (whole.sha256, whole.size_bytes) != (entry.sha256, entry.size_bytes):
                wrong[path] = f"target {target.name} and the list of files disagree about it"
    checks = []
    for path in sorted({*listed, *wrong}):
        detail = wrong.get(path) or _file_difference(folder, listed[path])
        checks.append(Check("file", path, "fail" if detail else "pass", detail))
    own = {manifest_file.FILE_NAME, evidence_file.FILE_NAME, *listed}
    # Without evidence nobody can say which golden outputs and reports are meant to be here: all are reported.
    for path in sorted(members(folder) - own):
        checks.append(Check("file", path, "fail", "it is not part of the bundle"))  # noqa: PERF401 - reads better
    return checks


def _file_difference(folder: Path, entry: FileEntry) -> str:
    file = folder / entry.path
    inside = [folder / parent for parent in Path(entry.path).parents]
    try:
        if file.is_symlink() or any(parent.is_symlink() for parent in inside[:-1]):
            return "it is a link, not a plain file"
        if not file.is_file():
            return "it is missing"
        size = file.stat().st_size
        if size != entry.size_bytes:
            return f"it has {size} bytes instead of {entry.size_bytes}"
        hasher = hashlib.sha256()
        with file.open("rb") as handle:
            while block := handle.read(BLOCK_BYTES):
                hasher.update(block)
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    if hasher.hexdigest() != entry.sha256:
        return f"its content changed: sha256 {hasher.hexdigest()[:12]}… instead of {entry.sha256[:12]}…"
    return ""


def _replay(
    folder: Path,
    entry: TargetEntry,
    evidence: Evidence | None,
    *,
    sound: set[str],
    open_artifact: Callable[[Artifact], Session],
    required: bool,
) -> Check:
    """V4 of one target."""

    def check(status: CheckStatus, detail: str = "") -> Check:
        return Check("golden", entry.name, status, detail)

    if evidence is None:
        return check("not_run", "the golden outputs are listed in evidence.json, which is damaged")
    recorded = {each.target: each.file.path for each in evidence.golden}
    if entry.name not in recorded:
        status: CheckStatus = "fail" if required else "not_run"
        return check(status, "the bundle has no golden outputs of it: it did not run where it was released")
    needed = [f"{manifest_file.ARTIFACTS}/{file.path}" for file in entry.artifact.files]
    needed += [manifest_file.GOLDEN_INPUTS, recorded[entry.name]]
    damaged = [path for path in needed if path not in sound]
    if damaged:
        return check("not_run", f"{damaged[0]} is damaged, and nothing is run from damaged files")
    try:
        inputs = _arrays(folder, manifest_file.GOLDEN_INPUTS)
        outputs = _arrays(folder, recorded[entry.name])
        artifact = manifest_file.artifact_from_entry(entry, folder / manifest_file.ARTIFACTS)
        with open_artifact(artifact) as session:
            found = golden.record(session, golden.prepared(inputs, entry.processing))
    except MissingBackendError as error:
        if required:
            raise
        return check("not_run", f"not run here: {error.what}")
    except EdgekitError as error:
        return check("fail", error.what)
    difference = golden.compare(found, outputs, steps=entry.artifact.output_steps, tolerance=entry.tolerance)
    return check("fail" if difference else "pass", difference)


def _arrays(folder: Path, path: str) -> Mapping[str, npt.NDArray[Any]]:
    return npz.from_bytes(manifest_file.read_member(folder, path), name=path)
