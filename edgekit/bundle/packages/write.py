"""Contents -> folder <name>-<version>-<kind>/ with edgekit-package.json, whole or not at all.

    edgekit-package.json   which bundle, which artifacts, signature status, hash of every file of the package

An earlier package of the same kind and model there is replaced; files in it that it does not list are
somebody else's and are carried over. Anything else is refused. Equal bundles give equal bytes.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgekit import drafts
from edgekit._version import __version__
from edgekit.bundle import manifest as manifest_file
from edgekit.bundle.facts import Closed, Sha256
from edgekit.bundle.manifest import (
    ArtifactEntry,
    FileEntry,
    Name,
    Tolerance,
    entry_of,
    safe_path,
)
from edgekit.bundle.packages.base import Contents, Source
from edgekit.bundle.packages.choose import Chosen
from edgekit.bundle.replace_folder import bring_back, draft_beside, members, put, swap
from edgekit.errors import InputError, OutputError, VerificationError
from edgekit.spec import Precision
from edgekit.write_errors import cannot_write

FILE_NAME = "edgekit-package.json"


class PackagedArtifact(Closed):
    """An artifact that went in, as the bundle's manifest describes it; ``reason``: why this one."""

    target: Name
    precision: Precision
    artifact: ArtifactEntry
    tolerance: Tolerance
    reason: str


class PackageDocument(Closed):
    """edgekit-package.json.

    Attributes:
        manifest_digest: of the bundle it was made from.
        signature: of that bundle, in words.
        facts: what the kind says of itself (arena size, operators).
        files: every file of the package except this one, sorted by path.
        digest: SHA-256 of this document's canonical text without this field.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    kind: str
    name: Name
    version: Name
    edgekit_version: str
    manifest_digest: Sha256
    model_digest: str
    signature: str
    artifacts: tuple[PackagedArtifact, ...]
    facts: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: tuple[FileEntry, ...]
    digest: str = ""


def document(kind: str, source: Source, chosen: tuple[Chosen, ...], contents: Contents) -> PackageDocument:
    """What edgekit-package.json says of a package."""
    manifest = source.manifest
    return manifest_file.sealed(
        PackageDocument(
            kind=kind,
            name=manifest.name,
            version=manifest.version,
            edgekit_version=__version__,
            manifest_digest=manifest.digest,
            model_digest=manifest.model_digest,
            signature=source.signature,
            artifacts=tuple(
                PackagedArtifact(
                    target=each.entry.name,
                    precision=each.entry.precision,
                    artifact=each.entry.artifact,
                    tolerance=each.entry.tolerance,
                    reason=each.reason,
                )
                for each in chosen
            ),
            facts=dict(contents.facts),
            notes=contents.notes,
            files=tuple(entry_of(safe_path(path), contents.files[path]) for path in sorted(contents.files)),
        )
    )


def write(described: PackageDocument, contents: Contents, folder: Path) -> Path:
    """Write the package at ``folder`` and return it.

    Raises:
        OutputError: the folder holds something else, a file of somebody else is in the way, or it cannot be
            written. Nothing is left behind.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with drafts.alone(folder.parent):
            bring_back(folder)
        foreign = _foreign_files(folder, described)
        taken = sorted(foreign & set(contents.files))
        if taken:
            raise OutputError(
                f"{folder / taken[0]} is not part of the package there and would be overwritten",
                why="edgekit replaces its own outputs and leaves other files alone",
                remedy="move that file away, or choose another output folder",
            )
        with draft_beside(folder) as draft:
            for path, body in contents.files.items():
                put(draft / path, body)
            put(draft / FILE_NAME, manifest_file.to_bytes(described))
            for path in sorted(foreign):
                (draft / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(folder / path, draft / path, follow_symlinks=False)
            with drafts.alone(folder.parent):
                swap(draft, folder)
    except OSError as error:
        size = sum(len(body) for body in contents.files.values())
        raise cannot_write(
            folder, error, elsewhere="choose a folder that you may write to (-o)", size_bytes=size
        ) from error
    return folder


def load(folder: Path) -> PackageDocument:
    """The description of the package at ``folder``.

    Raises:
        VerificationError: it is missing or damaged.
    """
    body = manifest_file.read_member(folder, FILE_NAME)
    return manifest_file.parse(PackageDocument, body, name=FILE_NAME)


def _foreign_files(folder: Path, described: PackageDocument) -> set[str]:
    """Files in ``folder`` that the package there does not list; empty where there is no folder yet."""
    if not folder.exists() and not folder.is_symlink():
        return set()
    there = members(folder) if folder.is_dir() and not folder.is_symlink() else {""}
    if not there:
        return set()
    try:
        earlier = load(folder)
    except (VerificationError, InputError) as error:
        raise _somebody_elses(folder, error.what) from error
    if (earlier.kind, earlier.name) != (described.kind, described.name):
        raise _somebody_elses(folder, f"it is a package of {earlier.name} for {earlier.kind}")
    return there - {FILE_NAME, *(entry.path for entry in earlier.files)}


def _somebody_elses(folder: Path, why: str) -> OutputError:
    return OutputError(
        f"{folder} holds something that is not this package",
        why=f"edgekit replaces its own outputs only ({why})",
        remedy="remove the folder if you do not need it, or choose another output folder (-o)",
    )
