"""PEM file -> elliptic key that model signing takes, or an error that says how to make one.

    K1 the file is there and readable       K2 PEM of the right half: private to sign, public to verify
    K3 not encrypted                        K4 an elliptic curve: P-256, P-384 or P-521

The hash that goes with a curve is the one of the Sigstore key details: SHA-256, SHA-384, SHA-512. No message
holds a byte of the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import InputError, missing_extra

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

EXTRA = "sign"
CURVES = ("secp256r1", "secp384r1", "secp521r1")
MAKE = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem"
MAKE_PUBLIC = "openssl pkey -in key.pem -pubout -out public.pem"
_MORE = "docs/bundle.md"
_LARGEST_BYTES = 1 << 16  # a PEM key has some hundred bytes; a model given by mistake is not read whole


def private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key at ``path``.

    Raises:
        InputError: K1 to K4.
        MissingBackendError: the extra is not installed.
    """
    _installed()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    content = _read(path, MAKE)
    if b"PRIVATE KEY" not in content:  # K2
        raise _refused(path, "holds no private key", "a signature is made with the private half", MAKE)
    try:
        key = serialization.load_pem_private_key(content, None)
    except TypeError:  # K3: "Password was not given but private key is encrypted"
        raise _refused(
            path,
            "is encrypted",
            "edgekit asks for no password, so that it runs in CI",
            f"openssl pkey -in {path.name} -out plain.pem, keep that file for the time of the release only",
        ) from None
    except ValueError:
        raise _refused(path, "holds no readable private key", "its PEM is damaged", MAKE) from None
    except _unsupported() as error:
        raise _refused(path, "is of an unknown type", type(error).__name__, MAKE) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in CURVES:  # K4
        raise _refused(
            path, f"is {_kind(key)}", "model signing takes elliptic keys: P-256, P-384, P-521", MAKE
        )
    return key


def public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """The key at ``path``.

    Raises:
        InputError: K1, K2, K4.
        MissingBackendError: the extra is not installed.
    """
    _installed()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    content = _read(path, MAKE_PUBLIC)
    if b"PRIVATE KEY" in content:  # K2
        raise _refused(
            path,
            "holds a private key",
            "who verifies needs the public half, and must not have this one",
            MAKE_PUBLIC,
        )
    try:
        key = serialization.load_pem_public_key(content)
    except ValueError:
        raise _refused(
            path, "holds no readable public key", "it is no PEM, or damaged", MAKE_PUBLIC
        ) from None
    except _unsupported() as error:
        raise _refused(path, "is of an unknown type", type(error).__name__, MAKE_PUBLIC) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:  # K4
        raise _refused(
            path, f"is {_kind(key)}", "model signing takes elliptic keys: P-256, P-384, P-521", MAKE
        )
    return key


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of the public key's PEM text: the hint by which model signing names a key."""
    import hashlib

    from cryptography.hazmat.primitives import serialization

    text = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(text).hexdigest()


def algorithm(key: ec.EllipticCurvePublicKey) -> ec.ECDSA:
    """ECDSA with the hash that belongs to the curve."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    by_bits = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
    return ec.ECDSA(by_bits[key.curve.key_size])


def _installed() -> None:
    from importlib.util import find_spec

    if find_spec("model_signing") is None or find_spec("cryptography") is None:
        raise missing_extra("model-signing", EXTRA, needed_for="signing and checking signatures")


def _unsupported() -> type[Exception]:
    from cryptography.exceptions import UnsupportedAlgorithm

    return UnsupportedAlgorithm


def _kind(key: object) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec

    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return f"on the curve {key.curve.name}"
    return (
        f"a key of type {type(key).__name__.lstrip('_').removesuffix('PrivateKey').removesuffix('PublicKey')}"
    )


def _read(path: Path, make: str) -> bytes:
    """K1."""
    if "-----BEGIN" in str(path):
        raise InputError(
            "a key itself was given where the path of a key file is expected",
            why="the command line and the environment of a process can be read by others",
            remedy="write it to a file that only you can read, and give its path",
            more=_MORE,
        )
    try:
        with path.open("rb") as handle:
            content = handle.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"key file {path} cannot be read: {error.strerror or error}",
            why="a key is a PEM file",
            remedy=f"correct the path, or make a key: {make}",
            more=_MORE,
        ) from None
    if len(content) > _LARGEST_BYTES:
        raise _refused(path, "is too long for a key", f"it has more than {_LARGEST_BYTES} bytes", make)
    return content


def _refused(path: Path, what: str, why: str, remedy: str) -> InputError:
    return InputError(f"key file {path} {what}", why=why, remedy=remedy, more=_MORE)
