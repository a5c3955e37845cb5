"""Folder with manifest and evidence -> the same with everything that lets others check it, and its archives.

    in the folder       evidence.intoto.json  model.sig  evidence.sigstore.json (both: where somebody signs)
                        SHA256SUMS
    beside it           <stem>.tar            the reproducible set: manifest.json and what it lists
                        <stem>.evidence.tar   every other file that edgekit wrote into the folder
                        <stem>.sha256         root digest of the four files that name all others

Unpacking both archives at one place gives the folder. The root digest is put in place last: what an
interruption leaves is an earlier release, or one that contradicts its root digest.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgekit.bundle import archive, attest, checksums
from edgekit.bundle import evidence as evidence_file
from edgekit.bundle import manifest as manifest_file
from edgekit.bundle import sign as signatures
from edgekit.bundle.evidence import Evidence
from edgekit.bundle.manifest import Manifest
from edgekit.bundle.sign import Signer
from edgekit.errors import OutputError

SEALS = frozenset({attest.STATEMENT_NAME, attest.SIGNED_NAME, signatures.FILE_NAME, checksums.FILE_NAME})
"""Files of the folder that neither manifest.json nor evidence.json lists."""
BESIDE = (archive.SUFFIX, archive.EVIDENCE_SUFFIX, checksums.ROOT_SUFFIX)
"""Suffixes of the files beside the folder, in the order in which they are put in place."""


def reproducible(manifest: Manifest) -> set[str]:
    """Paths of the reproducible set."""
    return {manifest_file.FILE_NAME, *(entry.path for entry in manifest.files)}


def root_names(stem: str) -> tuple[str, ...]:
    """What the root digest of a release names, relative to its own place."""
    folder = (f"{stem}/{manifest_file.FILE_NAME}", f"{stem}/{checksums.FILE_NAME}")
    return (f"{stem}{archive.SUFFIX}", f"{stem}{archive.EVIDENCE_SUFFIX}", *folder)


def complete(folder: Path, manifest: Manifest, evidence: Evidence, *, signer: Signer | None) -> set[str]:
    """Write statement, signatures and checksums into ``folder``; gives the paths of all files of the bundle.

    Raises:
        EdgekitError: ``signer`` could not sign.
    """
    body, witness = (folder / name for name in (manifest_file.FILE_NAME, evidence_file.FILE_NAME))
    plain = attest.statement(body.read_bytes(), witness.read_bytes())
    (folder / attest.STATEMENT_NAME).write_bytes(plain)
    own = reproducible(manifest) | {evidence_file.FILE_NAME, *(entry.path for entry in evidence.files)}
    own.add(attest.STATEMENT_NAME)
    if signer is not None:
        signer.sign_folder(folder, unsigned=sorted((own | SEALS) - reproducible(manifest)))
        (folder / attest.SIGNED_NAME).write_bytes(signer.sign_statement(plain))
        own |= {signatures.FILE_NAME, attest.SIGNED_NAME}
    (folder / checksums.FILE_NAME).write_bytes(checksums.of_folder(folder, own))
    return own | {checksums.FILE_NAME}


def pack_beside(folder: Path, manifest: Manifest, own: Iterable[str]) -> None:
    """Write both archives and the root digest of ``folder`` beside it."""
    stem, first = folder.name, reproducible(manifest)
    for suffix, paths in ((archive.SUFFIX, first), (archive.EVIDENCE_SUFFIX, set(own) - first)):
        with (folder.parent / f"{stem}{suffix}").open("wb") as out:
            archive.pack(folder, paths, root=stem, out=out)
    digests = {name: checksums.sha256_of(folder.parent / name) for name in root_names(stem)}
    (folder.parent / f"{stem}{checksums.ROOT_SUFFIX}").write_bytes(checksums.render(digests))


def refuse_taken(folder: Path) -> None:
    """Before anything is replaced: what cannot be.

    Raises:
        OutputError: a folder or a link has the name of an archive or of the root digest.
    """
    for suffix in BESIDE:
        path = folder.with_name(folder.name + suffix)
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise OutputError(
                f"{path} is no plain file and would be overwritten",
                why="edgekit replaces its own outputs and leaves other files alone",
                remedy="move it away, or choose another output folder (-o)",
            )


def put_in_place(draft: Path, folder: Path) -> None:
    """Rename the files beside ``draft`` to their names beside ``folder``, the root digest last."""
    for suffix in BESIDE:
        (draft.parent / f"{folder.name}{suffix}").replace(folder.with_name(folder.name + suffix))
