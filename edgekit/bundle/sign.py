"""Bundle folder -> model.sig, and model.sig -> who vouches for exactly the reproducible set.

    S1 a signature is there           S3 it covers manifest.json and every file that the manifest lists
    S2 the given key or identity made it, over files as they lie here

OpenSSF model signing (model_signing 1.x, predicate https://model_signing/signature/v1.0) does the signing and
the checking: its own command line verifies what is signed here, and what it signed is verified here.
Evidence, reports and checksums are not signed with it (they differ from machine to machine): the signature
itself says which paths it leaves out, and ``attest`` signs the evidence.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgekit.bundle import dsse, keys
from edgekit.errors import MissingBackendError, OutputError, VerificationError, missing_extra

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

FILE_NAME = "model.sig"
COPY_SUFFIX = ".sig"  # of a copy beside an archive that travels without its evidence archive
_MORE = "docs/bundle.md"


class Signer(Protocol):
    """Who signs a release."""

    def sign_folder(self, folder: Path, *, unsigned: Iterable[str]) -> None:
        """Write ``folder``/model.sig over every file but ``unsigned`` (paths relative to it)."""
        ...

    def sign_statement(self, statement: bytes) -> bytes:
        """A Sigstore bundle with the in-toto statement in a signed envelope."""
        ...


@dataclass(frozen=True, repr=False)
class KeySigner:
    """A private key in a file (``keys``), read when this is made: a wrong one is known before the work."""

    path: Path
    key: ec.EllipticCurvePrivateKey

    def sign_folder(self, folder: Path, *, unsigned: Iterable[str]) -> None:
        """See ``Signer``."""
        from model_signing import hashing, signing

        whole = hashing.Config().set_ignored_paths(paths=[*unsigned, FILE_NAME], ignore_git_paths=False)
        config = signing.Config().use_elliptic_key_signer(private_key=self.path).set_hashing_config(whole)
        config.sign(folder, folder / FILE_NAME)

    def sign_statement(self, statement: bytes) -> bytes:
        """See ``Signer``."""
        return dsse.sign(statement, self.key)


class SigstoreSigner:
    """The identity that runs this: of the CI job where there is one, else asked for once in a browser."""

    def __init__(self) -> None:
        self._token = ""

    def sign_folder(self, folder: Path, *, unsigned: Iterable[str]) -> None:
        """See ``Signer``."""
        from model_signing import hashing, signing

        whole = hashing.Config().set_ignored_paths(paths=[*unsigned, FILE_NAME], ignore_git_paths=False)
        try:
            config = signing.Config().use_sigstore_signer(identity_token=self._identity())
            config.set_hashing_config(whole).sign(folder, folder / FILE_NAME)
        except Exception as error:
            raise _no_sigstore(error) from error

    def sign_statement(self, statement: bytes) -> bytes:
        """See ``Signer``."""
        from sigstore import dsse as sigstore_dsse
        from sigstore import models, oidc
        from sigstore import sign as sigstore_sign

        try:
            context = sigstore_sign.SigningContext.from_trust_config(models.ClientTrustConfig.production())
            with context.signer(oidc.IdentityToken(self._identity())) as signer:
                return signer.sign_dsse(sigstore_dsse.Statement(statement)).to_json().encode()
        except Exception as error:
            raise _no_sigstore(error) from error

    def _identity(self) -> str:
        """The token that says who runs this; secret, and good for some minutes."""
        from sigstore import models, oidc

        if not self._token:
            ambient = oidc.detect_credential()
            issuer = (
                models.ClientTrustConfig.production().signing_config.get_oidc_url() if not ambient else ""
            )
            self._token = ambient or str(oidc.Issuer(issuer).identity_token())
        return self._token


def with_key(path: Path) -> Signer:
    """A signer for the private key at ``path``.

    Raises:
        InputError: it is no key that signs (``keys``).
        MissingBackendError: the extra is not installed.
    """
    return KeySigner(path, keys.private_key(path))


def with_sigstore() -> Signer:
    """A signer for the identity that runs this; needs a network when it signs.

    Raises:
        MissingBackendError: the extra is not installed.
    """
    from importlib.util import find_spec

    if find_spec("model_signing") is None or find_spec("sigstore") is None:
        raise missing_extra("model-signing", keys.EXTRA, needed_for="signing with sigstore")
    return SigstoreSigner()


@dataclass(frozen=True)
class KeyOrigin:
    """Who is expected to have signed: the holder of the key whose public half is in this PEM file."""

    public_key: Path

    def __str__(self) -> str:
        return f"the key {self.public_key.name}"


@dataclass(frozen=True)
class SigstoreOrigin:
    """Who is expected to have signed: this identity, as this OpenID Connect provider knows it."""

    identity: str
    provider: str

    def __str__(self) -> str:
        return f"{self.identity} ({self.provider})"


Origin = KeyOrigin | SigstoreOrigin


def prepare(origin: Origin) -> None:
    """Find out before anything is hashed whether ``origin`` can be checked here.

    Raises:
        InputError: its key is none.
        MissingBackendError: the extra is not installed.
    """
    if isinstance(origin, KeyOrigin):
        keys.public_key(origin.public_key)
    else:
        with_sigstore()


def check_folder(folder: Path, paths: Iterable[str], *, origin: Origin) -> None:
    """S1 to S3 for ``folder``/model.sig.

    Args:
        folder: the bundle.
        paths: of the reproducible set.
        origin: who must have signed.

    Raises:
        VerificationError: one of the three does not hold.
        MissingBackendError: sigstore's keys cannot be fetched.
    """
    file = folder / FILE_NAME
    if file.is_symlink() or not file.is_file():  # S1
        raise VerificationError(
            "it is missing: the bundle is not signed",
            why=f"a signature by {origin} was asked for",
            remedy="release with --sign-key, or verify without --key: that finds corruption, and no forgery",
            more=_MORE,
        )
    from model_signing import verifying

    config = verifying.Config()
    if isinstance(origin, SigstoreOrigin):
        with _sigstore_roots():
            config.use_sigstore_verifier(identity=origin.identity, oidc_issuer=origin.provider)
    try:
        if isinstance(origin, KeyOrigin):
            config.use_elliptic_key_verifier(public_key=origin.public_key)
        with redirect_stdout(
            sys.stderr
        ):  # model_signing 1.1 prints a warning about signatures from before 1.0
            config.verify(folder, file)  # S2
    except Exception as error:  # a damaged signature may break any part of three libraries
        raise VerificationError(
            f"it is no signature of {origin} over this bundle: {_words(error)}",
            why="the bundle was changed after it was signed, or somebody else signed it",
            remedy="give the public key of who released it, or get the bundle again",
            more=_MORE,
        ) from error
    covered = dsse.resources(file.read_bytes(), name=FILE_NAME)
    if missing := sorted(set(paths) - set(covered)):  # S3
        raise VerificationError(
            f"it is signed by {origin}, and does not cover {missing[0]}",
            why="what is not signed could be anybody's",
            remedy="sign the whole bundle again",
            more=_MORE,
        )


def check_statement(content: bytes, *, name: str, origin: Origin) -> bytes:
    """The in-toto statement in a Sigstore bundle that ``origin`` signed.

    Raises:
        VerificationError: it is no such bundle, or somebody else's.
        MissingBackendError: sigstore's keys cannot be fetched.
    """
    if isinstance(origin, KeyOrigin):
        return dsse.check(content, keys.public_key(origin.public_key), name=name)
    from sigstore import models, verify

    with _sigstore_roots():
        verifier = verify.Verifier.production()
    try:
        policy = verify.policy.Identity(identity=origin.identity, issuer=origin.provider)
        kind, payload = verifier.verify_dsse(models.Bundle.from_json(content), policy)
    except Exception as error:  # damaged input may break any part of the library
        raise VerificationError(
            f"{name} is no signature of {origin}: {_words(error)}",
            why="it was changed, or somebody else signed it",
            remedy="give the identity of who released it, or get the bundle again",
            more=_MORE,
        ) from error
    if kind != dsse.PAYLOAD_TYPE:
        raise VerificationError(
            f"{name} holds {kind}, and no in-toto statement", why="its type is signed too"
        )
    return payload


@contextmanager
def _sigstore_roots() -> Iterator[None]:
    """What sigstore's own keys are fetched in: that they cannot be says nothing of the bundle.

    Raises:
        MissingBackendError: they cannot be had here.
    """
    from sigstore import errors

    try:
        yield
    except (errors.TUFError, errors.RootError, errors.NetworkError) as error:
        raise MissingBackendError(
            f"who signed cannot be checked here: {_words(error)}",
            why="sigstore's own keys are fetched first; the bundle was neither confirmed nor refuted",
            remedy="try again with a network; without --identity, verify checks for corruption",
            more=_MORE,
        ) from error


def _no_sigstore(error: Exception) -> OutputError:
    return OutputError(
        f"sigstore did not sign: {_words(error)}",
        why="it needs a network, and an identity: a CI job's (id-token: write) or a person's in a browser",
        remedy="try again (what was measured is cached), or sign offline with --sign-key key.pem",
        more=_MORE,
    )


def _words(error: Exception) -> str:
    """The first line of an error, or its type where it has none (cryptography's InvalidSignature)."""
    line = str(error).strip().partition("\n")[0]
    return line or type(error).__name__
