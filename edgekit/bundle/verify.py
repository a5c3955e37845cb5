"""Folder or archive -> Verification: is it what was released, and does it still compute what it computed?

    V1  manifest.json is there, whole, and agrees with its own digest
    V2  evidence.json likewise, and is about this manifest and these artifacts
    V3  every listed file is there with its size and hash; no other file is
    V4 to V7  statement, checksums, signature and root digest hold (``seals``)
    V8  per target: the raw golden inputs, through the target's steps and the artifact, give the recorded
        outputs within the tolerance (``replay``)
    V9  per target: what ran is what the artifact asks for (``placement``)

An archive is unpacked into a temporary folder, with its evidence archive where that lies beside it, once the
root digest does not contradict it; then it is checked like a folder.

A runtime that is not here leaves V8 and V9 of its target "not run" with the reason, unless the target was
asked for by name. Nothing is run from files whose hashes or signatures are wrong. Without a signature this
shows corruption, not origin.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from edgekit import drafts
from edgekit.bundle import archive, checksums, seals
from edgekit.bundle import evidence as evidence_file
from edgekit.bundle import manifest as manifest_file
from edgekit.bundle import sign as signatures
from edgekit.bundle.check import Check
from edgekit.bundle.complete import SEALS
from edgekit.bundle.evidence import Evidence
from edgekit.bundle.manifest import FileEntry, Manifest
from edgekit.bundle.replace_folder import members
from edgekit.bundle.replay import Open, Opening, as_asked, replay
from edgekit.bundle.sign import Origin
from edgekit.errors import (
    ExitCode,
    InputError,
    UnknownNameError,
    VerificationError,
)
from edgekit.spec import Artifact

_NEEDED_TO_RUN = ("archive", "signature", "root")
"""Checks that keep everything from being run where they failed."""


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
    bundle: Path,
    *,
    open_artifact: Open,
    targets: Iterable[str] | None = None,
    origin: Origin | None = None,
    stand_in: Callable[[Artifact], str] = as_asked,
) -> Verification:
    """Check a bundle.

    Args:
        bundle: the folder, or its archive ``<name>-<version>.tar``.
        open_artifact: opens an artifact on its runtime; may raise MissingBackendError.
        targets: names of the targets to replay, which must then be possible; None or none = all that can run.
        origin: who must have signed it; None = hashes are checked, which finds corruption and no forgery.
        stand_in: why an artifact is opened on something else than it asks for; "" = it is not.

    Raises:
        InputError: there is no such bundle, or the key of ``origin`` is none.
        UnknownNameError: a target that the bundle does not hold.
        MissingBackendError: a target asked for by name cannot run here.
    """
    if origin is not None:
        signatures.prepare(origin)
    asked, opening = tuple(dict.fromkeys(targets or ())), Opening(open_artifact, stand_in)
    if bundle.is_dir() or not bundle.exists():
        whole = bundle.resolve()  # "." has no name to look for beside it
        checks = _folder(bundle, asked, opening, origin=origin, roots=(whole.parent, whole.name))
        return Verification(bundle, tuple(checks))
    if not bundle.name.endswith(archive.SUFFIX) or bundle.name.endswith(archive.EVIDENCE_SUFFIX):
        raise InputError(
            f"{bundle} is no bundle",
            why="a bundle is a folder <name>-<version>, or its archive <name>-<version>.tar",
            remedy="give one of the two; the evidence archive is found beside the other one",
        )
    with drafts.temporary("edgekit-verify-") as made:
        return Verification(bundle, tuple(_archive(bundle, made, asked, opening, origin=origin)))


def _archive(
    file: Path, into: Path, asked: tuple[str, ...], opening: Opening, *, origin: Origin | None
) -> list[Check]:
    """An archive, unpacked into ``into`` and checked there."""
    stem = file.name.removesuffix(archive.SUFFIX)
    parent = file.resolve().parent
    root = seals.root(parent, stem)
    if root.status == "fail":
        return [root]
    checks = []
    beside = parent / f"{stem}{archive.EVIDENCE_SUFFIX}"
    names: set[str] = set()
    for each in (file, beside):
        if each is beside and not beside.is_file():
            checks.append(
                Check("archive", beside.name, "not_run", "it is not here: no golden outputs, no evidence")
            )
            continue
        try:
            names.add(archive.unpack(each, into)[0])
        except VerificationError as error:
            return [*checks, Check("archive", each.name, "fail", error.what)]
        except OSError as error:
            raise InputError(
                f"{each.name} cannot be unpacked into {into}: {error.strerror or error}",
                why="an archive is checked in a temporary folder",
                remedy="make room, or set TMPDIR to a place that has it",
            ) from error
        checks.append(Check("archive", each.name, "pass"))
    if len(names) > 1:
        return [*checks, Check("archive", beside.name, "fail", "it is of another bundle")]
    folder = into / names.pop()
    lone = not beside.is_file()
    alone = parent / f"{stem}{signatures.COPY_SUFFIX}"
    if lone and alone.is_file() and not (folder / signatures.FILE_NAME).exists():
        shutil.copyfile(alone, folder / signatures.FILE_NAME)
    return checks + _folder(folder, asked, opening, origin=origin, roots=(parent, stem), lone=lone)


def _folder(
    folder: Path,
    asked: tuple[str, ...],
    opening: Opening,
    *,
    origin: Origin | None,
    roots: tuple[Path, str],
    lone: bool = False,
) -> list[Check]:
    """All checks of a folder.

    Args:
        folder: of the bundle.
        asked: targets that must be replayed.
        opening: how artifacts are opened.
        origin: see ``verify``.
        roots: where its root digest would lie, and for which name.
        lone: unpacked from an archive without its evidence archive.
    """
    try:
        manifest = manifest_file.load(folder)
    except VerificationError as error:
        return [Check("manifest", manifest_file.FILE_NAME, "fail", error.what)]
    held = {entry.name: entry for entry in manifest.targets}
    for name in asked:
        if name not in held:
            raise UnknownNameError("target of the bundle", name, held, listing=f"edgekit inspect {folder}")
    checks = [Check("manifest", manifest_file.FILE_NAME, "pass")]
    evidence, about = _evidence(folder, manifest, without=lone)
    checks.append(about)
    files, known = _files(folder, manifest, evidence)
    checks += files
    checks += seals.check(folder, manifest, known=known, origin=origin)
    checks.append(seals.root(*roots))
    wrong = next((c for c in checks if c.name in _NEEDED_TO_RUN and c.status == "fail"), None)
    order = asked or tuple(held)
    runnable = [each for each in manifest.entries if each.name in order]
    for entry in sorted(runnable, key=lambda each: order.index(each.name)):
        if wrong is not None:
            detail = f"{wrong.subject} is not right, and nothing is run from such a bundle"
            checks.append(Check("golden", entry.subject, "not_run", detail))
            continue
        required = entry.name in asked
        checks += replay(folder, entry, evidence, sound=known, opening=opening, required=required)
    return checks


def _evidence(folder: Path, manifest: Manifest, *, without: bool) -> tuple[Evidence | None, Check]:
    """V2."""
    name = evidence_file.FILE_NAME
    if without and not (folder / name).exists():
        return None, Check("evidence", name, "not_run", "it lies in the evidence archive, which is not here")
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
    labels = {(entry.name, entry.label) for entry in manifest.candidates}
    unknown = [
        f"{entry.target} {entry.label}".strip()
        for entry in found.golden
        if entry.target not in shipped or (entry.label and (entry.target, entry.label) not in labels)
    ]
    if unknown:
        return found, Check(
            "evidence", name, "fail", f"it has golden outputs of {unknown[0]}, which is not here"
        )
    return found, Check("evidence", name, "pass")


def _files(folder: Path, manifest: Manifest, evidence: Evidence | None) -> tuple[list[Check], dict[str, str]]:
    """V3, in the order of the paths; with it the SHA-256 by path of what is right."""
    listed: dict[str, FileEntry] = {entry.path: entry for entry in manifest.files}
    wrong: dict[str, str] = {}
    for entry in evidence.files if evidence else ():
        if listed.setdefault(entry.path, entry) != entry:
            wrong[entry.path] = "manifest and evidence disagree about it"
    for target in manifest.entries:
        for entry in target.artifact.files:
            path = f"{manifest_file.ARTIFACTS}/{entry.path}"
            whole = listed.get(path)
            if whole is None or (whole.sha256, whole.size_bytes) != (entry.sha256, entry.size_bytes):
                wrong[path] = f"target {target.name} and the list of files disagree about it"
    checks = []
    for path in sorted({*listed, *wrong}):
        detail = wrong.get(path) or _file_difference(folder, listed[path])
        checks.append(Check("file", path, "fail" if detail else "pass", detail))
    known = {check.subject: listed[check.subject].sha256 for check in checks if check.status == "pass"}
    own = SEALS | {manifest_file.FILE_NAME, evidence_file.FILE_NAME, *listed}
    # Without evidence nobody can say which golden outputs and reports are meant to be here: all are reported.
    for path in sorted(members(folder) - own):
        checks.append(Check("file", path, "fail", "it is not part of the bundle"))  # noqa: PERF401 - reads better
    return checks, known


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
        found = checksums.sha256_of(file)
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    if found != entry.sha256:
        return f"its content changed: sha256 {found[:12]}… instead of {entry.sha256[:12]}…"
    return ""
