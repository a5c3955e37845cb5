"""Latencies of a bundle's candidates on a device <-> an in-toto statement that names the artifacts measured.

    {_type: Statement/v1, subject: [every measured file with its sha256],
     predicateType: https://edgekit/device-evidence/v1, predicate: DeviceEvidence}

    D1 it is canonical JSON with the two type names          D2 its predicate agrees with its own digest
    D3 its subjects are the files of its predicate           D4 where an origin is asked for: signed by it

Plain or signed as the evidence of a release is (``attest``). It is made where the device is, and `edgekit
release --evidence` chooses by it anywhere: so it holds what the choice needs, and of which machine it is.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgekit.bundle import attest, canonical_json
from edgekit.bundle import manifest as manifest_file
from edgekit.bundle.evidence import LatencyFacts, MachineFacts, RatioFacts
from edgekit.bundle.facts import Closed, Sha256
from edgekit.bundle.manifest import FileEntry, Name
from edgekit.bundle.sign import Origin, Signer
from edgekit.errors import VerificationError

PREDICATE_TYPE = "https://edgekit/device-evidence/v1"  # a name, not an address


class DeviceMeasurement(Closed):
    """One candidate on the device.

    Attributes:
        files: of the artifact, by their names in it.
        ran: what the session said of itself there; empty where it did not run.
        failure: why it did not run to its end there; "" where it did.
        golden: the first difference of its outputs there from the recorded ones; "" = within the tolerance.
        placement: why what ran is not what it asks for; "" = it is.
        ratio: to the float variant; None of the float variant itself, and where one of the two did not run.
        verdict: of ``bench`` against the float variant: "faster", "not slower", "slower", "undecided" or "".
        memory_bytes: peak, less what was held before; None where the system does not say.
    """

    label: Name
    files: tuple[FileEntry, ...] = Field(min_length=1)
    ran: dict[str, str] = Field(default_factory=dict)
    failure: str = ""
    golden: str = ""
    placement: str = ""
    latency: LatencyFacts | None = None
    ratio: RatioFacts | None = None
    verdict: str = ""
    memory_bytes: int | None = None


class DeviceTarget(Closed):
    """The candidates of one target; ``baseline`` is the label of the float variant."""

    name: Name
    baseline: Name
    measured: tuple[DeviceMeasurement, ...]


class DeviceEvidence(Closed):
    """What one device measured of one bundle.

    Attributes:
        bundle: ``<name>-<version>``.
        manifest_digest: of the bundle that was measured.
        edgekit_version: that measured.
        created: ISO 8601 time.
        device: as the command line named it.
        machine: its key and facts in words.
        emulated: by what its processor is emulated; then its times are no measurement. "" = it is not.
        incomplete: why the measurement broke off; "" = it did not.
        digest: SHA-256 of this document's canonical text without this field.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    bundle: str
    manifest_digest: Sha256
    edgekit_version: str
    created: str
    device: str
    machine: MachineFacts
    emulated: str = ""
    incomplete: str = ""
    targets: tuple[DeviceTarget, ...]
    digest: str = ""


def attested(evidence: DeviceEvidence, signer: Signer | None) -> bytes:
    """What to write to a file: the sealed evidence as a statement, signed where somebody signs."""
    sealed = manifest_file.sealed(evidence)
    plain = canonical_json.render(
        {
            "_type": attest.STATEMENT_TYPE,
            "subject": _subjects(sealed),
            "predicateType": PREDICATE_TYPE,
            "predicate": manifest_file.to_value(sealed),
        }
    )
    return attest.attested(plain, signer)


def read(content: bytes, *, name: str, origin: Origin | None = None) -> DeviceEvidence:
    """The evidence in a plain or signed statement (D1 to D4).

    Raises:
        VerificationError: it is damaged, no such statement, or not signed by ``origin``.
    """
    plain = attest.unsealed(content, name=name, origin=origin)  # D4
    try:
        value = canonical_json.parse(plain)
        same = canonical_json.render(value) == plain
    except ValueError as error:
        raise _damaged(name, str(error)) from error
    kinds = (value.get("_type"), value.get("predicateType"))
    if kinds != (attest.STATEMENT_TYPE, PREDICATE_TYPE) or not isinstance(value.get("predicate"), dict):  # D1
        raise _damaged(name, f"it is no {attest.STATEMENT_TYPE} with a predicate {PREDICATE_TYPE}")
    if not same:
        raise _damaged(name, "it is not in the form in which edgekit writes it")
    found = manifest_file.parse(DeviceEvidence, canonical_json.render(value["predicate"]), name=name)  # D2
    if value.get("subject") != _subjects(found):  # D3
        raise _damaged(name, "its subjects are not the files that it says were measured")
    return found


def _subjects(evidence: DeviceEvidence) -> list[dict[str, Any]]:
    found = {
        f"{target.name} {each.label} {file.path}": file.sha256
        for target in evidence.targets
        for each in target.measured
        for file in each.files
    }
    return [{"name": name, "digest": {"sha256": found[name]}} for name in sorted(found)]


def _damaged(name: str, why: str) -> VerificationError:
    return VerificationError(
        f"{name} is damaged: {why}",
        why="evidence of a device is an in-toto statement that `edgekit bench BUNDLE --evidence` writes",
        remedy="get it again, or measure again",
        more="docs/devices.md",
    )
