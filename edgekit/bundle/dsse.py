"""in-toto statement <-> Sigstore bundle that holds it in a signed envelope.

    signed = ECDSA(key, "DSSEv1 28 application/vnd.in-toto+json <length> <statement>")

Envelope: DSSE 1.0 (secure-systems-lab/dsse, protocol.md). Bundle: media type v0.3, the form in which OpenSSF
model signing writes too, so that one key and one kind of file serve both. A bundle that a key signed has no
log entry and no certificate: whoever verifies brings the public key.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from edgekit.bundle import canonical_json
from edgekit.bundle.keys import algorithm, fingerprint
from edgekit.errors import VerificationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def pre_authentication(payload: bytes) -> bytes:
    """What is really signed (PAE of the DSSE protocol)."""
    return f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} ".encode() + payload


def sign(payload: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The bundle, as canonical JSON."""
    public = key.public_key()
    signature = key.sign(pre_authentication(payload), algorithm(public))
    return canonical_json.render(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": fingerprint(public)}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
            },
        }
    )


def is_bundle(content: bytes) -> bool:
    """Whether this is a bundle with an envelope in it, and no bare statement."""
    try:
        return "dsseEnvelope" in canonical_json.parse(content)
    except ValueError:
        return False


def payload_of(content: bytes, *, name: str) -> bytes:
    """The statement in a bundle; nothing is checked but the form.

    Raises:
        VerificationError: no bundle, or an envelope of something else; ``name`` is how the message calls it.
    """
    envelope = _envelope(content, name)
    return _decoded(envelope["payload"], name)


def check(content: bytes, key: ec.EllipticCurvePublicKey, *, name: str) -> bytes:
    """The statement in a bundle that ``key`` signed.

    Raises:
        VerificationError: no bundle, or not signed by it.
    """
    from cryptography.exceptions import InvalidSignature

    envelope = _envelope(content, name)
    payload = _decoded(envelope["payload"], name)
    for signature in envelope["signatures"]:
        try:
            key.verify(_decoded(signature.get("sig"), name), pre_authentication(payload), algorithm(key))
        except InvalidSignature:
            continue
        return payload
    raise VerificationError(
        f"{name} is not signed by the given key",
        why="no signature in it is one of that key over these bytes",
        remedy="give the public key of who released it, or get the bundle again",
        more="docs/bundle.md",
    )


def _envelope(content: bytes, name: str) -> dict[str, Any]:
    try:
        bundle = canonical_json.parse(content)
    except ValueError as error:
        raise _no_bundle(name, str(error)) from error
    envelope = bundle.get("dsseEnvelope")
    if bundle.get("mediaType") != MEDIA_TYPE or not isinstance(envelope, dict):
        raise _no_bundle(name, f"it is no Sigstore bundle {MEDIA_TYPE} with an envelope in it")
    signatures = envelope.get("signatures")
    if envelope.get("payloadType") != PAYLOAD_TYPE:
        raise _no_bundle(name, f"what it holds is not of type {PAYLOAD_TYPE}")
    if not isinstance(signatures, list) or not all(isinstance(each, dict) for each in signatures):
        raise _no_bundle(name, "its signatures are no list of objects")
    return {"payload": envelope.get("payload"), "signatures": signatures}


def _decoded(text: object, name: str) -> bytes:
    """One text stands for some bytes: the unused bits of base64's last letter are zero."""
    try:
        raw = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError as error:  # binascii.Error is one
        raise _no_bundle(name, f"its envelope is no base64: {error}") from error
    if base64.b64encode(raw).decode() != text:
        raise _no_bundle(name, "its envelope is not in base64's one form")
    return raw


def _no_bundle(name: str, why: str) -> VerificationError:
    return VerificationError(
        f"{name} is damaged: {why}",
        why="a signature is a Sigstore bundle",
        remedy="get the bundle again, or release it again",
    )


def left_out(content: bytes, *, name: str) -> set[str]:
    """Paths that a model signature says it leaves out: signed as the rest of it is.

    Raises:
        VerificationError: it is no such signature.
    """
    try:
        said = json.loads(payload_of(content, name=name))["predicate"]["serialization"]
        return set(said.get("ignore_paths", ()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_bundle(name, f"it does not say what it is over ({type(error).__name__})") from error


def resources(content: bytes, *, name: str) -> dict[str, str]:
    """File -> hash of everything that a model signature names (predicate of model_signing/signature/v1.0).

    A shard's name is ``file:start:end``; its file is what counts here.

    Raises:
        VerificationError: it is no such signature.
    """
    try:
        listed = json.loads(payload_of(content, name=name))["predicate"]["resources"]
        return {each["name"].partition(":")[0]: each["digest"] for each in listed}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_bundle(name, f"it lists no signed files ({type(error).__name__})") from error
