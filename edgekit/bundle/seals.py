"""Folder and what lies beside it -> checks of statement, checksums, signature and root digest.

    V4  evidence.intoto.json is the statement of this manifest and this evidence
    V5  SHA256SUMS names the files that are here
    V6  model.sig and evidence.sigstore.json are signed by the origin that was asked for
    V7  <stem>.sha256 names the archives, the manifest and SHA256SUMS that lie beside it

Every file of a bundle is named by another one, up to the root digest, and each list has one form only: that
is how any flipped byte is found. Whoever rewrites all files can rewrite all lists; only a signature shows
origin.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from edgekit.bundle import attest, checksums, dsse
from edgekit.bundle import evidence as evidence_file
from edgekit.bundle import manifest as manifest_file
from edgekit.bundle import sign as signatures
from edgekit.bundle.check import Check
from edgekit.bundle.complete import reproducible, root_names
from edgekit.bundle.manifest import Manifest, read_member
from edgekit.bundle.sign import Origin
from edgekit.errors import VerificationError

UNSIGNED = "the bundle is not signed: corruption was checked, not origin"
UNASKED = "signed, and no --key or --identity was given: corruption was checked, not origin"
EARLIER = "it is not here: an earlier edgekit wrote the bundle, or it was removed"


def check(
    folder: Path, manifest: Manifest, *, known: Mapping[str, str], origin: Origin | None
) -> list[Check]:
    """V4 to V6.

    Args:
        folder: the bundle.
        manifest: its manifest, sound.
        known: SHA-256 by path of the files that were hashed already and are right.
        origin: who must have signed; None = nobody is expected.
    """
    return [
        _statement(folder),
        _checksums(folder, known),
        *_signatures(folder, manifest, origin),
    ]


def _statement(folder: Path) -> Check:
    """V4."""
    name = attest.STATEMENT_NAME
    if not _there(folder, name):
        return Check("attestation", name, "not_run", EARLIER)
    try:
        same = read_member(folder, name) == _expected_statement(folder)
    except VerificationError as error:
        return Check("attestation", name, "fail", error.what)
    detail = "" if same else "it is not the statement of this manifest and this evidence"
    return Check("attestation", name, "pass" if same else "fail", detail)


def _expected_statement(folder: Path) -> bytes:
    body, witness = read_member(folder, manifest_file.FILE_NAME), read_member(folder, evidence_file.FILE_NAME)
    try:
        return attest.statement(body, witness)
    except ValueError as error:
        raise VerificationError(f"{evidence_file.FILE_NAME} is damaged: {error}") from error


def _checksums(folder: Path, known: Mapping[str, str]) -> Check:
    """V5; a signature that was added later is not in the list."""
    name = checksums.FILE_NAME
    if not _there(folder, name):
        return Check("checksums", name, "not_run", EARLIER)
    own = {*known, manifest_file.FILE_NAME, evidence_file.FILE_NAME, attest.STATEMENT_NAME}
    own |= {each for each in (attest.SIGNED_NAME, signatures.FILE_NAME) if _there(folder, each)}
    try:
        listed = checksums.parse(read_member(folder, name), name=name)
        for path, sha256 in listed.items():
            if path not in own:
                return Check(
                    "checksums", name, "fail", f"{path} is damaged, missing, or no part of the bundle"
                )
            if (known.get(path) or checksums.sha256_of_member(folder, path)) != sha256:
                return Check("checksums", name, "fail", f"{path} is not the file that it names")
    except VerificationError as error:
        return Check("checksums", name, "fail", error.what)
    if missing := sorted(own - set(listed) - {signatures.FILE_NAME}):
        return Check("checksums", name, "fail", f"it does not name {missing[0]}")
    return Check("checksums", name, "pass")


def _signatures(folder: Path, manifest: Manifest, origin: Origin | None) -> list[Check]:
    """V6."""
    name, signed = signatures.FILE_NAME, attest.SIGNED_NAME
    here = _there(folder, name)
    if origin is None and not here and not _there(folder, signed):
        return [Check("signature", name, "not_run", UNSIGNED)]
    checks = [_of_model(folder, manifest, origin)] if here or origin else []
    if _there(folder, signed):
        checks.append(_of_evidence(folder, origin))
    elif origin is not None and checks[0].status == "pass" and _was_signed(folder):
        detail = "it is missing: model.sig says that the evidence was signed, too"
        checks.append(Check("signature", signed, "fail", detail))
    elif origin is not None and here:
        detail = "the evidence is not signed: what was measured may be anybody's claim"
        checks.append(Check("signature", signed, "not_run", detail))
    return checks


def _was_signed(folder: Path) -> bool:
    """Whether the evidence here lost its signature: edgekit signs both or none, and model.sig names it."""
    if not _there(folder, evidence_file.FILE_NAME):
        return False
    content = read_member(folder, signatures.FILE_NAME)
    return attest.SIGNED_NAME in dsse.left_out(content, name=signatures.FILE_NAME)


def _of_model(folder: Path, manifest: Manifest, origin: Origin | None) -> Check:
    name = signatures.FILE_NAME
    try:
        if origin is None:
            covered = dsse.resources(read_member(folder, name), name=name)
            missing = sorted(reproducible(manifest) - set(covered))
            detail = f"it does not cover {missing[0]}" if missing else UNASKED
            return Check("signature", name, "fail" if missing else "not_run", detail)
        signatures.check_folder(folder, reproducible(manifest), origin=origin)
    except VerificationError as error:
        return Check("signature", name, "fail", error.what)
    return Check("signature", name, "pass", f"by {origin}")


def _of_evidence(folder: Path, origin: Origin | None) -> Check:
    name = attest.SIGNED_NAME
    try:
        content = read_member(folder, name)
        payload = (
            dsse.payload_of(content, name=name)
            if origin is None
            else signatures.check_statement(content, name=name, origin=origin)
        )
        if payload != _expected_statement(folder):
            return Check("signature", name, "fail", "what is signed is not the evidence that is here")
    except VerificationError as error:
        return Check("signature", name, "fail", error.what)
    return Check("signature", name, "pass" if origin else "not_run", f"by {origin}" if origin else UNASKED)


def root(parent: Path, stem: str) -> Check:
    """V7, for ``parent``/<stem>.sha256: what it names and what of it is here."""
    name = f"{stem}{checksums.ROOT_SUFFIX}"
    if not _there(parent, name):
        return Check("root", name, "not_run", "no root digest lies beside it")
    try:
        listed = checksums.parse(read_member(parent, name), name=name)
        if set(listed) != set(root_names(stem)):
            odd = sorted(set(listed) ^ set(root_names(stem)))
            return Check("root", name, "fail", f"it should name {', '.join(root_names(stem))}: {odd[0]}")
        here = [path for path in listed if _there(parent, path) or (_there(parent, stem) and "/" in path)]
        for path in here:
            if checksums.sha256_of_member(parent, path) != listed[path]:
                return Check("root", name, "fail", f"{path} is not the file that it names")
    except VerificationError as error:
        return Check("root", name, "fail", error.what)
    absent = sorted(set(listed) - set(here))
    return Check("root", name, "pass", f"not here: {', '.join(absent)}" if absent else "")


def _there(folder: Path, path: str) -> bool:
    return os.path.lexists(folder / path)  # a broken link is there, too
