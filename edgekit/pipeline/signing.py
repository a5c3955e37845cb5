"""What a user says about signatures -> who signs a release, and who must have signed a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edgekit import settings
from edgekit.bundle import sign
from edgekit.bundle.sign import KeyOrigin, Origin, Signer, SigstoreOrigin
from edgekit.errors import InputError

Method = Literal["sigstore"]
_MORE = "docs/bundle.md"


def signer(key: Path | None = None, method: Method | None = None) -> Signer | None:
    """Who signs: a key file, sigstore, the key file of the environment, or nobody.

    Raises:
        InputError: two of them, or the key is none that signs.
        MissingBackendError: the extra is not installed.
    """
    if key is not None and method is not None:
        raise InputError(
            "a key and sigstore were both asked to sign",
            why="a bundle has one signature",
            remedy="give --sign-key or --sign sigstore",
            more=_MORE,
        )
    if method is not None:
        return sign.with_sigstore()
    key = key or settings.sign_key()
    return sign.with_key(key) if key is not None else None


def origin(key: Path | None = None, identity: str = "", identity_provider: str = "") -> Origin | None:
    """Who must have signed: the holder of a key, an identity, or nobody in particular.

    Raises:
        InputError: two of them, or half of an identity.
    """
    if key is not None and (identity or identity_provider):
        raise InputError(
            "a key and an identity were both given",
            why="a bundle has one signature, of one kind",
            remedy="give --key, or --identity with --identity-provider",
            more=_MORE,
        )
    if bool(identity) != bool(identity_provider):
        raise InputError(
            "an identity and its provider belong together",
            why="who somebody is means nothing without who says so",
            remedy="give --identity NAME@EXAMPLE.COM --identity-provider https://accounts.example.com",
            more=_MORE,
        )
    if key is not None:
        return KeyOrigin(key)
    return SigstoreOrigin(identity, identity_provider) if identity else None
