"""Sealed documents of another age: older ones are read, newer ones are named as such."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from edgekit.bundle import canonical_json
from edgekit.bundle.evidence import Evidence
from edgekit.bundle.facts import Closed
from edgekit.bundle.manifest import Manifest, parse, to_bytes
from edgekit.bundle.verify import verify
from edgekit.errors import VerificationError
from tests.sabotage.test_bundle_damage import Product

OLD = Path(__file__).parents[2] / "golden" / "bundle" / "digits-of-0.1.0"
"""What edgekit 0.1.0 wrote, before any field was added to its schema 1. Never written again: add folders."""


class LaterFacts(Closed):
    """What a later edgekit may want to say."""

    licence: str = ""


class LaterManifest(Manifest):
    """The manifest of a later edgekit: same schema number, more fields, each with a default."""

    added: LaterFacts | None = None
    more: tuple[str, ...] = Field(default=())


def old(name: str) -> bytes:
    return (OLD / f"{name}.json").read_bytes()


def resealed(name: str, **changes: Any) -> bytes:
    value = json.loads(old(name)) | changes
    value["digest"] = canonical_json.digest(value)
    return canonical_json.render(value)


@pytest.mark.parametrize(("kind", "name"), [(Manifest, "manifest"), (Evidence, "evidence")])
def test_what_an_earlier_release_wrote_is_read(kind: type[Manifest | Evidence], name: str) -> None:
    found = parse(kind, old(name), name=name)
    assert found.digest == json.loads(old(name))["digest"]


def test_a_whole_bundle_of_an_earlier_release_verifies() -> None:
    """It has neither checksums nor a statement, which is said; its golden vectors are replayed."""
    found = verify(OLD, open_artifact=Product)
    assert found.ok, found.first_difference
    assert {check.name for check in found.checks if check.status == "not_run"} == {
        "attestation",
        "checksums",
        "signature",
        "root",
    }
    assert [c.subject for c in found.checks if c.name == "golden"] == ["large-cpu", "small-cpu"]


def test_fields_that_were_added_later_change_no_digest() -> None:
    found = parse(LaterManifest, old("manifest"), name="manifest.json")
    assert found.added is None
    assert to_bytes(found) != old("manifest")  # what the check compared before: every old bundle went red


@pytest.mark.parametrize("place", range(0, 4000, 97))
def test_an_old_document_that_was_changed_is_found(place: int) -> None:
    body = bytearray(old("manifest"))
    body[place % len(body)] ^= 0x04
    with pytest.raises(VerificationError):
        parse(LaterManifest, bytes(body), name="manifest.json")


@pytest.mark.parametrize("name", ["manifest", "evidence"])
def test_a_newer_schema_says_what_to_do(name: str) -> None:
    kind = Manifest if name == "manifest" else Evidence
    with pytest.raises(
        VerificationError, match=r"has schema 7, and edgekit .* reads up to 1: update edgekit"
    ):
        parse(kind, resealed(name, schema=7, surprise={"a": 1}), name=f"{name}.json")


def test_a_field_of_a_newer_edgekit_is_not_called_damage() -> None:
    with pytest.raises(
        VerificationError, match=r"holds surprise, which edgekit .*: update edgekit"
    ) as caught:
        parse(Manifest, resealed("manifest", surprise=1, edgekit_version="9.9"), name="manifest.json")
    assert "edgekit 9.9" in caught.value.why


def test_a_field_of_a_newer_edgekit_deep_in_a_leaf_is_found() -> None:
    """Leaf values of ``edgekit.spec`` ignore what they do not know."""
    targets = json.loads(old("manifest"))["targets"]
    targets[1]["artifact"]["options"]["surprise"] = 1
    with pytest.raises(VerificationError, match=r"targets\.1\.artifact\.options\.surprise"):
        parse(Manifest, resealed("manifest", targets=targets), name="manifest.json")


def test_a_newer_schema_that_is_damaged_is_damaged() -> None:
    body = resealed("manifest", schema=7).replace(b'"version": "1.0.0"', b'"version": "1.0.1"')
    with pytest.raises(VerificationError, match="contradicts its own digest"):
        parse(Manifest, body, name="manifest.json")


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 1}',
        b'{"digest": NaN}',
        b'\xef\xbb\xbf{"a": 1}',
        b'{"digest": "\\ud800"}',
        b"[1]",
        b"9" * 5000,
    ],
    ids=["twice", "nan", "byte-order-mark", "surrogate", "list", "huge-number"],
)
def test_json_that_edgekit_never_writes(body: bytes) -> None:
    with pytest.raises(VerificationError):
        parse(Manifest, body, name="manifest.json")


def test_a_key_twice_is_not_the_canonical_text() -> None:
    body = old("manifest").replace(b'"name": "digits",', b'"name": "evil",\n  "name": "digits",')
    assert body != old("manifest")
    with pytest.raises(VerificationError, match="not in the form"):
        parse(Manifest, body, name="manifest.json")
