"""manifest.json + evidence.json -> in-toto statement: what one machine measured, of which files.

    {_type: Statement/v1, subject: [manifest.json, artifacts/... with their sha256],
     predicateType: https://edgekit/evidence/v1, predicate: evidence.json}

    E1 it is canonical JSON with the two type names
    E2 its subjects are the manifest and the artifacts of this bundle
    E3 its predicate is sealed evidence of this manifest
    E4 where an origin is asked for: it is signed by it

Plain, the statement is JSON (``evidence.intoto.json``); signed, it lies in a Sigstore bundle with a DSSE
envelope (``evidence.sigstore.json``). ``read`` takes both. So a machine that measures a bundle elsewhere
writes ``attested(statement(...), signer)`` to a file of its own, and whoever has the bundle can check and use
it. Both documents go in as the bytes that lie in the folder: rendering them again would add the fields that
an older edgekit did not know. Specification: in-toto attestation framework, spec/v1/statement.md.
"""

from __future__ import annotations

import hashlib
from typing import Any

from edgekit.bundle import canonical_json, dsse
from edgekit.bundle import manifest as manifest_file
from edgekit.bundle import sign as signatures
from edgekit.bundle.evidence import Evidence
from edgekit.bundle.sign import Origin, Signer
from edgekit.errors import VerificationError

STATEMENT_NAME = "evidence.intoto.json"
SIGNED_NAME = "evidence.sigstore.json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://edgekit/evidence/v1"  # a name, not an address, as model_signing's is


def statement(manifest_json: bytes, evidence_json: bytes) -> bytes:
    """The statement, as canonical JSON.

    Args:
        manifest_json: the bundle's manifest.json.
        evidence_json: a sealed evidence document that names that manifest.
    """
    return canonical_json.render(
        {
            "_type": STATEMENT_TYPE,
            "subject": _subjects(manifest_json),
            "predicateType": PREDICATE_TYPE,
            "predicate": canonical_json.parse(evidence_json),
        }
    )


def attested(plain: bytes, signer: Signer | None) -> bytes:
    """What to write to a file: the signed statement, or the plain one where nobody signs."""
    return plain if signer is None else signer.sign_statement(plain)


def read(content: bytes, *, name: str, manifest_json: bytes, origin: Origin | None = None) -> Evidence:
    """Evidence out of a plain or a signed statement about the bundle with this manifest (E1 to E4).

    Args:
        content: of the file.
        name: how messages call it.
        manifest_json: the bundle's manifest.json.
        origin: who must have signed; None = a signature is not looked at, which finds corruption only.

    Raises:
        VerificationError: it is damaged, of another bundle, or not signed by ``origin``.
    """
    value = _checked(unsealed(content, name=name, origin=origin), name=name)
    if value.get("subject") != _subjects(manifest_json):  # E2
        raise VerificationError(
            f"{name} is about other files",
            why="its subjects are not the manifest and the artifacts of this bundle",
            remedy="measure this bundle, or give the evidence that belongs to it",
            more="docs/bundle.md",
        )
    found = manifest_file.parse(Evidence, canonical_json.render(value["predicate"]), name=name)
    if found.manifest_digest != canonical_json.parse(manifest_json).get(canonical_json.DIGEST_FIELD):  # E3
        raise VerificationError(
            f"{name} is about another manifest",
            why="its subjects and its predicate contradict each other",
            remedy="measure the bundle again",
        )
    return found


def unsealed(content: bytes, *, name: str, origin: Origin | None) -> bytes:
    """E4: the statement itself, out of a plain or a signed one.

    Raises:
        VerificationError: ``origin`` was asked for, and did not sign.
    """
    if not dsse.is_bundle(content):
        if origin is not None:
            raise VerificationError(
                f"{name} is not signed",
                why=f"a signature by {origin} was asked for",
                remedy="have it written with --sign-key, or read it without --key",
                more="docs/bundle.md",
            )
        return content
    if origin is None:
        return dsse.payload_of(content, name=name)
    return signatures.check_statement(content, name=name, origin=origin)


def _checked(plain: bytes, *, name: str) -> dict[str, Any]:
    """E1."""
    try:
        value = canonical_json.parse(plain)
        same = canonical_json.render(value) == plain
    except ValueError as error:
        raise _damaged(name, str(error)) from error
    kinds = (value.get("_type"), value.get("predicateType"))
    if kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise _damaged(name, f"it is no {STATEMENT_TYPE} with a predicate {PREDICATE_TYPE}")
    if not same or not isinstance(value.get("predicate"), dict):
        raise _damaged(name, "it is not in the form in which edgekit writes it")
    return value


def _damaged(name: str, why: str) -> VerificationError:
    return VerificationError(
        f"{name} is damaged: {why}",
        why="evidence is an in-toto statement",
        remedy="get it again, or measure again",
        more="docs/bundle.md",
    )


def _subjects(manifest_json: bytes) -> list[dict[str, Any]]:
    """manifest.json and every file below artifacts/, by path."""
    listed = canonical_json.parse(manifest_json)["files"]
    files = {entry["path"]: entry["sha256"] for entry in listed}
    files = {path: sha for path, sha in files.items() if path.startswith(f"{manifest_file.ARTIFACTS}/")}
    files[manifest_file.FILE_NAME] = hashlib.sha256(manifest_json).hexdigest()
    return [{"name": path, "digest": {"sha256": files[path]}} for path in sorted(files)]
