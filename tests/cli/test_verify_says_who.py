"""The command line of `edgekit verify` and `release`: what is said about who released a bundle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgekit.bundle import sign
from edgekit.bundle.write import write
from edgekit.cli.main import run
from tests.sabotage.test_bundle_damage import content_in
from tests.unit.bundle.signing_keys import make_key, needs_signing

pytestmark = needs_signing


@dataclass(frozen=True)
class Case:
    id: str
    signed: bool
    args: tuple[str, ...]
    code: int
    words: str


CASES = [
    Case(
        "unsigned-and-a-key", False, ("--key", "key-public.pem"), 8, "model.sig: it is missing: the bundle is"
    ),
    Case("somebody-else", True, ("--key", "other-public.pem"), 8, "no signature of the key other-public.pem"),
    Case("private-half", True, ("--key", "key.pem"), 2, "holds a private key"),
    Case("no-such-key", True, ("--key", "nothing.pem"), 2, "cannot be read"),
    Case("half-an-identity", True, ("--identity", "me@example.com"), 2, "belong together"),
    Case("archive-of-evidence", True, (), 2, "is no bundle"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_verify_says(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    private, _ = make_key(tmp_path)
    make_key(tmp_path, "other")
    signer = sign.with_key(private) if case.signed else None
    bundle = write(content_in(tmp_path / "work"), Path("dist") / "digits-1.0.0", signer=signer)
    given = f"{bundle}.evidence.tar" if case.id == "archive-of-evidence" else str(bundle)
    code = run(["verify", given, *case.args, "-q"])
    said = capsys.readouterr()
    assert code == case.code
    assert case.words in said.out + said.err
    if case.code == 8:
        assert "first difference: model.sig: it is" in said.out
    assert not any(line in said.out + said.err for line in private.read_text().splitlines()[1:-1])


def test_the_first_difference_is_in_the_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _, public = make_key(tmp_path)
    bundle = write(content_in(tmp_path / "work"), Path("dist") / "digits-1.0.0")
    assert run(["verify", f"{bundle}.tar", "--key", str(public), "--format", "json"]) == 8
    said = json.loads(capsys.readouterr().out)
    assert said["first_difference"] == "model.sig: it is missing: the bundle is not signed"
    assert said["origin"] == "it is missing: the bundle is not signed"


@pytest.mark.parametrize(
    ("key", "words"), [("key-public.pem", "holds no private key"), ("no.pem", "cannot be")]
)
def test_release_reads_the_key_before_it_works(
    key: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The recipe does not even exist as one: the key is what is said."""
    monkeypatch.chdir(tmp_path)
    make_key(tmp_path)
    Path("edgekit.toml").write_text("not = a recipe [")
    assert run(["release", "--sign-key", key]) == 2
    assert words in capsys.readouterr().err
