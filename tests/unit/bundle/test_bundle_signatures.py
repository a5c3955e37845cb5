"""Who released this: keys, model.sig, signed evidence; here and with OpenSSF's own command line."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgekit.bundle import attest, checksums, dsse, keys, sign
from edgekit.bundle.seals import UNASKED, UNSIGNED
from edgekit.bundle.sign import KeyOrigin, Signer, SigstoreOrigin
from edgekit.bundle.verify import Verification, verify
from edgekit.bundle.write import write
from edgekit.errors import InputError, MissingBackendError, VerificationError
from edgekit.pipeline import signing
from edgekit.spec import Artifact, Session
from tests.sabotage.test_bundle_damage import Product, content_in
from tests.unit.bundle.signing_keys import make_key, needs_signing, openssl

pytestmark = needs_signing


@dataclass(frozen=True)
class Signed:
    folder: Path
    private: Path
    public: Path

    def verified(self, public: Path | None = None) -> Verification:
        return verify(self.folder, open_artifact=Product, origin=KeyOrigin(public or self.public))


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    private, public = make_key(tmp_path / "keys")
    folder = tmp_path / "dist" / "digits-1.0.0"
    write(content_in(tmp_path / "work"), folder, signer=sign.with_key(private))
    return Signed(folder, private, public)


def model_signing(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """OpenSSF's own command line."""
    command = [sys.executable, "-m", "model_signing", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True)


def status(found: Verification, subject: str) -> tuple[str, str]:
    (check,) = [check for check in found.checks if check.subject == subject]
    return check.status, check.detail


def test_a_signed_bundle_verifies(signed: Signed) -> None:
    found = signed.verified()
    assert [check for check in found.checks if check.status != "pass"] == []
    assert status(found, "model.sig") == ("pass", "by the key key-public.pem")
    assert status(found, "evidence.sigstore.json") == ("pass", "by the key key-public.pem")


def test_its_archive_verifies_alone_and_elsewhere(signed: Signed, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    for suffix in (".tar", ".evidence.tar"):
        file = signed.folder.with_name(f"digits-1.0.0{suffix}")
        (away / file.name).write_bytes(file.read_bytes())
    found = verify(away / "digits-1.0.0.tar", open_artifact=Product, origin=KeyOrigin(signed.public))
    assert found.ok
    assert status(found, "model.sig")[0] == "pass"
    assert {c.subject for c in found.checks if c.name == "golden" and c.status == "pass"} == {
        "small-cpu",
        "large-cpu",
    }


def test_an_archive_without_its_evidence_says_what_it_cannot(signed: Signed, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    archive = away / "digits-1.0.0.tar"
    archive.write_bytes(signed.folder.with_name(archive.name).read_bytes())
    found = verify(archive, open_artifact=Product)
    assert found.ok
    assert status(found, "digits-1.0.0.evidence.tar")[0] == "not_run"
    assert status(found, "evidence.json")[0] == "not_run"
    assert {c.status for c in found.checks if c.name == "golden"} == {"not_run"}
    asked = verify(archive, open_artifact=Product, origin=KeyOrigin(signed.public))
    assert asked.exit_code == 8
    assert "model.sig: it is missing" in asked.first_difference
    archive.with_name("digits-1.0.0.sig").write_bytes((signed.folder / "model.sig").read_bytes())
    beside = verify(archive, open_artifact=Product, origin=KeyOrigin(signed.public))
    assert beside.ok, beside.first_difference
    assert status(beside, "model.sig")[0] == "pass"
    archive.with_name("digits-1.0.0.sig").write_bytes(b"{}")
    assert verify(archive, open_artifact=Product, origin=KeyOrigin(signed.public)).exit_code == 8


def test_an_unsigned_bundle_says_that_it_checked_corruption_only(tmp_path: Path) -> None:
    folder = write(content_in(tmp_path / "work"), tmp_path / "digits-1.0.0")
    found = verify(folder, open_artifact=Product)
    assert found.ok
    assert status(found, "model.sig") == ("not_run", UNSIGNED)
    assert "corruption was checked, not origin" in UNSIGNED


def test_a_signature_nobody_asked_for_is_not_called_checked(signed: Signed) -> None:
    found = verify(signed.folder, open_artifact=Product)
    assert found.ok
    assert status(found, "model.sig") == ("not_run", UNASKED)
    assert status(found, "evidence.sigstore.json") == ("not_run", UNASKED)


def test_a_key_was_given_and_nobody_signed(tmp_path: Path) -> None:
    _, public = make_key(tmp_path)
    folder = write(content_in(tmp_path / "work"), tmp_path / "digits-1.0.0")
    found = verify(folder, open_artifact=Product, origin=KeyOrigin(public))
    assert found.exit_code == 8
    assert found.first_difference == "model.sig: it is missing: the bundle is not signed"


def test_somebody_elses_key(signed: Signed, tmp_path: Path) -> None:
    _, other = make_key(tmp_path, "other")
    found = signed.verified(other)
    assert found.exit_code == 8
    assert "it is no signature of the key other-public.pem" in found.first_difference
    assert status(found, "evidence.sigstore.json")[0] == "fail"


def never(artifact: Artifact) -> Session:
    raise AssertionError("it was run")


def test_nothing_is_run_from_a_bundle_of_somebody_else(signed: Signed, tmp_path: Path) -> None:
    _, other = make_key(tmp_path, "other")
    found = verify(signed.folder, open_artifact=never, origin=KeyOrigin(other))
    details = {check.detail for check in found.checks if check.name == "golden"}
    assert details == {"model.sig is not right, and nothing is run from such a bundle"}


def test_a_forger_who_rewrites_every_hash_is_found_by_the_key_alone(signed: Signed, tmp_path: Path) -> None:
    """Another bundle, whole and consistent, under the old signature."""
    old = (signed.folder / "model.sig").read_bytes()
    content = content_in(tmp_path / "work")
    forged = write(
        replace(content, ranges={"x": {"low": -9.0, "high": 9.0}}), tmp_path / "f" / "digits-1.0.0"
    )
    (forged / "model.sig").write_bytes(old)
    (forged / "SHA256SUMS").write_bytes(
        checksums.of_folder(
            forged, [p.relative_to(forged).as_posix() for p in forged.rglob("*") if p.is_file()]
        )
    )
    forged.with_name("digits-1.0.0.sha256").unlink()
    assert verify(forged, open_artifact=Product).ok
    found = verify(forged, open_artifact=Product, origin=KeyOrigin(signed.public))
    assert found.exit_code == 8
    assert "model.sig" in found.first_difference
    assert "Hash mismatch" in found.first_difference


def test_openssf_verifies_what_edgekit_signed(signed: Signed, tmp_path: Path) -> None:
    args = (signed.folder, "--signature", signed.folder / "model.sig", "--public_key")
    done = model_signing("verify", "key", *args, signed.public)
    assert (done.returncode, done.stderr) == (0, "")
    _, other = make_key(tmp_path, "other")
    assert model_signing("verify", "key", *args, other).returncode == 1
    (signed.folder / "ranges.json").write_text("{}\n")
    changed = model_signing("verify", "key", *args, signed.public)
    assert changed.returncode == 1
    assert "ranges.json" in changed.stderr + changed.stdout


def test_openssf_finds_a_file_that_is_not_signed(signed: Signed) -> None:
    args = ("verify", "key", signed.folder, "--signature", signed.folder / "model.sig")
    (signed.folder / "extra.py").write_text("import os\n")
    done = model_signing(*args, "--public_key", signed.public)
    assert done.returncode == 1
    assert "extra.py" in done.stderr + done.stdout
    assert "extra.py: it is not part of the bundle" in signed.verified().first_difference


def test_edgekit_verifies_what_openssf_signed(tmp_path: Path) -> None:
    private, public = make_key(tmp_path)
    folder = write(content_in(tmp_path / "work"), tmp_path / "dist" / "digits-1.0.0")
    args = ("sign", "key", folder, "--signature", folder / "model.sig", "--private_key", private)
    assert model_signing(*args).returncode == 0
    found = verify(folder, open_artifact=Product, origin=KeyOrigin(public))
    assert found.ok, found.first_difference
    assert status(found, "model.sig")[0] == "pass"
    assert "the evidence is not signed" in status(found, "evidence.sigstore.json")[1]


def test_the_signature_is_over_exactly_the_reproducible_set(signed: Signed) -> None:
    bundle = json.loads((signed.folder / "model.sig").read_text())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    names = {each["name"] for each in statement["predicate"]["resources"]}
    manifest = json.loads((signed.folder / "manifest.json").read_text())
    assert names == {"manifest.json", *(entry["path"] for entry in manifest["files"])}
    assert statement["subject"][0]["name"] == "digits-1.0.0"


def test_a_signature_that_leaves_an_artifact_out(tmp_path: Path) -> None:
    """Valid, by the right key, and over half of the bundle."""
    private, public = make_key(tmp_path)
    folder = write(content_in(tmp_path / "work"), tmp_path / "dist" / "digits-1.0.0")
    args = ("sign", "key", folder, "--signature", folder / "model.sig", "--private_key", private)
    assert model_signing(*args, "--ignore-paths", folder / "artifacts").returncode == 0
    for origin in (KeyOrigin(public), None):
        found = verify(folder, open_artifact=Product, origin=origin)
        assert found.exit_code == 8
        assert "does not cover artifacts/large-cpu.bin" in found.first_difference


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
def test_every_curve_and_openssl_agrees(curve: str, tmp_path: Path) -> None:
    """The evidence's envelope, checked by openssl over the bytes that DSSE says are signed."""
    private, public = make_key(tmp_path / "keys", curve=curve)
    folder = write(content_in(tmp_path / "w"), tmp_path / "d" / "digits-1.0.0", signer=sign.with_key(private))
    assert verify(folder, open_artifact=Product, origin=KeyOrigin(public)).ok
    envelope = json.loads((folder / "evidence.sigstore.json").read_text())["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    (tmp_path / "pae").write_bytes(b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload))
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    digest = {"P-256": "-sha256", "P-384": "-sha384", "P-521": "-sha512"}[curve]
    said = openssl("dgst", digest, "-verify", str(public), "-signature", "sig", "pae", folder=tmp_path)
    assert said.strip() == "Verified OK"
    assert payload == (folder / "evidence.intoto.json").read_bytes()


def test_evidence_that_was_signed_for_another_bundle(signed: Signed, tmp_path: Path) -> None:
    other = write(
        replace(content_in(tmp_path / "work"), version="2.0.0"),
        tmp_path / "o" / "digits-2.0.0",
        signer=sign.with_key(signed.private),
    )
    (signed.folder / "evidence.sigstore.json").write_bytes((other / "evidence.sigstore.json").read_bytes())
    found = signed.verified()
    assert status(found, "evidence.sigstore.json") == (
        "fail",
        "what is signed is not the evidence that is here",
    )


def test_evidence_cannot_lose_its_signature(signed: Signed) -> None:
    """Stripped and listed nowhere, as a forger of figures would leave it: model.sig still knows."""
    (signed.folder / "evidence.sigstore.json").unlink()
    own = [p.relative_to(signed.folder).as_posix() for p in signed.folder.rglob("*") if p.is_file()]
    (signed.folder / "SHA256SUMS").write_bytes(checksums.of_folder(signed.folder, own))
    signed.folder.with_name("digits-1.0.0.sha256").unlink()
    assert verify(signed.folder, open_artifact=Product).ok
    found = signed.verified()
    assert found.exit_code == 8
    assert "model.sig says that the evidence was signed, too" in found.first_difference


def test_a_signature_is_replaced_with_the_bundle(signed: Signed, tmp_path: Path) -> None:
    """Released again without a key: no old signature is left behind, and none is carried over as foreign."""
    write(content_in(tmp_path / "work"), signed.folder)
    assert not (signed.folder / "model.sig").exists()
    assert not (signed.folder / "evidence.sigstore.json").exists()
    assert signed.verified().exit_code == 8
    assert verify(signed.folder, open_artifact=Product).ok


# keys


def rsa(folder: Path) -> Path:
    openssl(
        "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "k.pem", folder=folder
    )
    return folder / "k.pem"


def ed25519(folder: Path) -> Path:
    openssl("genpkey", "-algorithm", "ED25519", "-out", "k.pem", folder=folder)
    return folder / "k.pem"


def other_curve(folder: Path) -> Path:
    openssl("ecparam", "-name", "secp256k1", "-genkey", "-noout", "-out", "k.pem", folder=folder)
    return folder / "k.pem"


def encrypted(folder: Path) -> Path:
    make_key(folder)
    openssl("pkey", "-in", "key.pem", "-aes256", "-passout", "pass:secret", "-out", "k.pem", folder=folder)
    return folder / "k.pem"


def encrypted_old_style(folder: Path) -> Path:
    make_key(folder)
    openssl("ec", "-in", "key.pem", "-aes256", "-passout", "pass:secret", "-out", "k.pem", folder=folder)
    return folder / "k.pem"


def damaged(folder: Path) -> Path:
    private, _ = make_key(folder)
    lines = private.read_text().splitlines()
    (folder / "k.pem").write_text("\n".join([lines[0], lines[1][::-1], *lines[2:]]) + "\n")
    return folder / "k.pem"


def public_half(folder: Path) -> Path:
    return make_key(folder)[1]


def nothing(folder: Path) -> Path:
    return folder / "k.pem"


def large(folder: Path) -> Path:
    (folder / "k.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----" + b"0" * 100_000)
    return folder / "k.pem"


@dataclass(frozen=True)
class WrongKey:
    make: Callable[[Path], Path]
    words: str
    remedy: str

    @property
    def id(self) -> str:
        return self.make.__name__


WRONG = [
    WrongKey(rsa, "is a key of type RSA", "openssl genpkey -algorithm EC"),
    WrongKey(ed25519, "is a key of type Ed25519", "openssl genpkey -algorithm EC"),
    WrongKey(other_curve, "is on the curve secp256k1", "openssl genpkey -algorithm EC"),
    WrongKey(encrypted, "is encrypted", "openssl pkey -in k.pem -out plain.pem"),
    WrongKey(encrypted_old_style, "is encrypted", "openssl pkey -in k.pem -out plain.pem"),
    WrongKey(damaged, "holds no readable private key", "openssl genpkey"),
    WrongKey(public_half, "holds no private key", "openssl genpkey"),
    WrongKey(nothing, "cannot be read: No such file", "openssl genpkey"),
    WrongKey(large, "is too long for a key", "openssl genpkey"),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.id)
def test_a_key_that_does_not_sign(case: WrongKey, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    with pytest.raises(InputError, match=case.words) as caught:
        sign.with_key(path)
    assert case.remedy in caught.value.remedy
    assert caught.value.exit_code == 2
    body = path.read_text().splitlines()[1:-1] if path.is_file() else []
    assert not any(line and line in str(caught.value) for line in body)


def test_keys_that_openssl_writes_in_other_forms(tmp_path: Path) -> None:
    """What must not fire: the parameters before the key, and the older format."""
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-out", "k.pem", folder=tmp_path)
    assert (tmp_path / "k.pem").read_text().count("BEGIN") == 2
    assert isinstance(sign.with_key(tmp_path / "k.pem"), sign.KeySigner)


def test_the_private_half_does_not_verify(tmp_path: Path) -> None:
    private, _ = make_key(tmp_path)
    with pytest.raises(InputError, match="holds a private key") as caught:
        sign.prepare(KeyOrigin(private))
    assert keys.MAKE_PUBLIC in caught.value.remedy


def test_a_key_in_the_place_of_its_path_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, _ = make_key(tmp_path)
    monkeypatch.setenv("EDGEKIT_SIGN_KEY", private.read_text())
    with pytest.raises(InputError, match="a key itself was given") as caught:
        signing.signer()
    assert private.read_text().splitlines()[1] not in str(caught.value)


def test_nothing_of_the_private_key_is_in_the_release(signed: Signed) -> None:
    secret = signed.private.read_text().splitlines()[1:-1]
    raw = base64.b64decode("".join(secret))
    scalar = keys.private_key(signed.private).private_numbers().private_value.to_bytes(32, "big")
    for file in (path for path in signed.folder.parent.rglob("*") if path.is_file()):
        body = file.read_bytes()
        for needle in (*(line.encode() for line in secret), raw, scalar, base64.b64encode(scalar)[:40]):
            assert needle not in body, file
        assert str(signed.private).encode() not in body, file


# who signs


def test_who_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, _ = make_key(tmp_path)
    monkeypatch.delenv("EDGEKIT_SIGN_KEY", raising=False)
    assert signing.signer() is None
    assert isinstance(signing.signer(private), sign.KeySigner)
    assert isinstance(signing.signer(None, "sigstore"), sign.SigstoreSigner)
    monkeypatch.setenv("EDGEKIT_SIGN_KEY", str(private))
    assert isinstance(signing.signer(), sign.KeySigner)
    assert isinstance(signing.signer(None, "sigstore"), sign.SigstoreSigner)
    with pytest.raises(InputError, match="both asked to sign"):
        signing.signer(private, "sigstore")


def test_who_must_have_signed(tmp_path: Path) -> None:
    assert signing.origin() is None
    assert signing.origin(tmp_path) == KeyOrigin(tmp_path)
    found = signing.origin(None, "me@example.com", "https://accounts.example.com")
    assert str(found) == "me@example.com (https://accounts.example.com)"
    with pytest.raises(InputError, match="belong together"):
        signing.origin(None, "me@example.com")
    with pytest.raises(InputError, match="both given"):
        signing.origin(tmp_path, "me@example.com", "https://accounts.example.com")


def test_sigstore_without_a_network_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sigstore import models

    def offline() -> object:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(models.ClientTrustConfig, "production", offline)
    with pytest.raises(InputError, match="sigstore did not sign: no route to host") as caught:
        write(content_in(tmp_path / "work"), tmp_path / "d" / "b-1", signer=sign.with_sigstore())
    assert "--sign-key" in caught.value.remedy
    assert not (tmp_path / "d" / "b-1").exists()
    signer: Signer = sign.SigstoreSigner()
    with pytest.raises(InputError, match="no route to host"):
        signer.sign_statement(b"{}")


# evidence on its own


def statement_of(folder: Path) -> bytes:
    return (folder / attest.STATEMENT_NAME).read_bytes()


def test_evidence_of_another_machine_is_read_wherever_the_bundle_is(signed: Signed) -> None:
    manifest = (signed.folder / "manifest.json").read_bytes()
    witness = (signed.folder / "evidence.json").read_bytes()
    plain = attest.statement(manifest, witness)
    origin = KeyOrigin(signed.public)
    assert attest.read(plain, name="x", manifest_json=manifest).measurements[0].target == "small-cpu"
    both = attest.attested(plain, sign.with_key(signed.private))
    assert attest.read(both, name="x", manifest_json=manifest, origin=origin) == attest.read(
        both, name="x", manifest_json=manifest
    )
    with pytest.raises(VerificationError, match="x is not signed"):
        attest.read(plain, name="x", manifest_json=manifest, origin=origin)


def test_evidence_names_the_artifacts(signed: Signed) -> None:
    value = json.loads(statement_of(signed.folder))
    assert value["_type"] == "https://in-toto.io/Statement/v1"
    names = [each["name"] for each in value["subject"]]
    assert names == ["artifacts/large-cpu.bin", "artifacts/small-cpu.bin", "manifest.json"]
    for each in value["subject"]:
        assert each["digest"] == {"sha256": checksums.sha256_of(signed.folder / each["name"])}


def test_evidence_of_other_files_is_refused(signed: Signed, tmp_path: Path) -> None:
    other = write(replace(content_in(tmp_path / "work"), version="2.0.0"), tmp_path / "o" / "digits-2.0.0")
    manifest = (signed.folder / "manifest.json").read_bytes()
    with pytest.raises(VerificationError, match="is about other files"):
        attest.read(statement_of(other), name="x", manifest_json=manifest)
    mixed = json.loads(statement_of(other)) | {"subject": json.loads(statement_of(signed.folder))["subject"]}
    from edgekit.bundle import canonical_json

    with pytest.raises(VerificationError, match="is about another manifest"):
        attest.read(canonical_json.render(mixed), name="x", manifest_json=manifest)


@pytest.mark.parametrize("seed", range(40))
def test_any_flipped_byte_of_a_statement_is_found(signed: Signed, seed: int) -> None:
    """In an envelope, a flip that no signature covers (a space, the hint) changes nothing that is read."""
    manifest = (signed.folder / "manifest.json").read_bytes()
    rng = np.random.default_rng(seed)
    for name, origin in ((attest.STATEMENT_NAME, None), (attest.SIGNED_NAME, KeyOrigin(signed.public))):
        whole = (signed.folder / name).read_bytes()
        before = attest.read(whole, name=name, manifest_json=manifest, origin=origin)
        body = bytearray(whole)
        body[int(rng.integers(len(body)))] ^= 1 << int(rng.integers(8))
        try:
            after = attest.read(bytes(body), name=name, manifest_json=manifest, origin=origin)
        except VerificationError:
            continue
        assert name == attest.SIGNED_NAME
        assert after == before


def test_without_the_extra_the_install_line_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    private, public = make_key(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for ask in (
        lambda: sign.with_key(private),
        sign.with_sigstore,
        lambda: sign.prepare(KeyOrigin(public)),
    ):
        with pytest.raises(MissingBackendError, match="model-signing is not installed") as caught:
            ask()
        assert caught.value.remedy == 'pip install "edgekit[sign]"'


@dataclass
class FakeSigstore:
    """What this project calls of sigstore, with a key behind it: plumbing, no proof of sigstore."""

    key: Path
    asked: list[str]

    def install(self, monkeypatch: pytest.MonkeyPatch, public: Path) -> None:
        import model_signing
        from sigstore import models, oidc, verify
        from sigstore import sign as sigstore_sign

        signing, verifying = model_signing.signing.Config, model_signing.verifying.Config

        def use_signer(config: Any, *, identity_token: str) -> Any:
            self.asked.append(identity_token)
            return config.use_elliptic_key_signer(private_key=self.key)

        def use_verifier(config: Any, *, identity: str, oidc_issuer: str) -> Any:
            self.asked.append(f"{identity} {oidc_issuer}")
            return config.use_elliptic_key_verifier(public_key=public)

        class Context:
            def signer(self, token: Any) -> Any:
                return self

            def __enter__(self) -> Any:
                return self

            def __exit__(self, *args: object) -> None:
                pass

            def sign_dsse(self, statement: Any) -> Any:
                return SimpleNamespace(to_json=lambda: content(statement).decode())

        def content(statement: Any) -> bytes:
            return sign.with_key(self.key).sign_statement(statement._contents)

        class Verifier:
            def verify_dsse(self, bundle: bytes, policy: Any) -> tuple[str, bytes]:
                return dsse.PAYLOAD_TYPE, dsse.check(bundle, keys.public_key(public), name="x")

        token = SimpleNamespace(issuer="i", identity="me@example.com")
        monkeypatch.setattr(signing, "use_sigstore_signer", use_signer)
        monkeypatch.setattr(verifying, "use_sigstore_verifier", use_verifier)
        monkeypatch.setattr(oidc, "detect_credential", lambda: "a token")
        monkeypatch.setattr(oidc, "IdentityToken", lambda raw: token)
        monkeypatch.setattr(models.ClientTrustConfig, "production", lambda: None)
        monkeypatch.setattr(sigstore_sign.SigningContext, "from_trust_config", lambda trust: Context())
        monkeypatch.setattr(verify.Verifier, "production", Verifier)
        monkeypatch.setattr(models.Bundle, "from_json", lambda raw: raw)


def test_what_sigstore_signs_is_checked_for_the_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = make_key(tmp_path)
    fake = FakeSigstore(private, [])
    fake.install(monkeypatch, public)
    folder = write(content_in(tmp_path / "w"), tmp_path / "d" / "digits-1.0.0", signer=sign.with_sigstore())
    origin = SigstoreOrigin("me@example.com", "https://accounts.example.com")
    found = verify(folder, open_artifact=Product, origin=origin)
    assert found.ok, found.first_difference
    assert status(found, "model.sig") == ("pass", "by me@example.com (https://accounts.example.com)")
    assert status(found, "evidence.sigstore.json")[0] == "pass"
    assert fake.asked == ["a token", "me@example.com https://accounts.example.com"]
    assert not any(b"a token" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    body = (folder / "evidence.sigstore.json").read_bytes()
    (folder / "evidence.sigstore.json").write_bytes(body.replace(b'"payload": "ew', b'"payload": "fw'))
    assert verify(folder, open_artifact=Product, origin=origin).exit_code == 8


def test_keys_that_cannot_be_fetched_say_nothing_of_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No network is no forgery: exit 6, not 8."""
    from sigstore import verify as sigstore_verify
    from sigstore.errors import TUFError

    private, public = make_key(tmp_path)
    FakeSigstore(private, []).install(monkeypatch, public)
    folder = write(content_in(tmp_path / "w"), tmp_path / "d" / "digits-1.0.0", signer=sign.with_sigstore())

    def unreachable(*_: object, **__: object) -> None:
        raise TUFError("Failed to refresh TUF metadata")

    origin = SigstoreOrigin("me@example.com", "https://accounts.example.com")
    monkeypatch.setattr(sigstore_verify.Verifier, "production", unreachable)
    with pytest.raises(MissingBackendError, match="who signed cannot be checked here") as caught:
        sign.check_statement(b"{}", name="evidence.sigstore.json", origin=origin)
    assert "neither confirmed nor refuted" in caught.value.why
    import model_signing

    monkeypatch.setattr(model_signing.verifying.Config, "use_sigstore_verifier", unreachable)
    with pytest.raises(MissingBackendError, match="Failed to refresh TUF metadata"):
        verify(folder, open_artifact=Product, origin=origin)
