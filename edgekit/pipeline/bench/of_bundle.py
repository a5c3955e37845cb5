"""`bench BUNDLE --device`: the candidates of open choices -> latencies on the device, and evidence of them.

    manifest.open_choices --for each target--> replay of the golden vectors (numbers, placement)
                          --those that ran-->  interleaved latencies against the float variant
                          -->  BenchResult, DeviceEvidence -> `edgekit release --evidence`

B1 a target that is for another processor, or has no runtime there, is left out, with the reason · B2 none is
left: an error · B3 a candidate that does not run, gives other numbers or runs on something else is in the
evidence with what was wrong, and is not timed · B4 the float variant is such a one: there is nothing to hold
the others against, and the target is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from edgekit._version import __version__
from edgekit.bundle import manifest as manifests
from edgekit.bundle import verify as bundles
from edgekit.bundle.check import Check
from edgekit.bundle.device_evidence import DeviceEvidence, DeviceMeasurement, DeviceTarget, attested
from edgekit.bundle.evidence import MachineFacts, RatioFacts
from edgekit.bundle.manifest import CandidateEntry, Manifest
from edgekit.bundle.sign import Signer
from edgekit.errors import ExitCode, InputError, MissingBackendError, VerificationError
from edgekit.measure.device_list import NamedDevice
from edgekit.pipeline.bench import on_devices as bench_devices
from edgekit.pipeline.bench.failures import exit_code_of
from edgekit.pipeline.bench.sweep import Sweep
from edgekit.pipeline.device_session import DeviceSession
from edgekit.pipeline.latency import latency_facts
from edgekit.pipeline.result import BenchResult, BenchRow
from edgekit.pipeline.write import write_text
from edgekit.spec import Artifact, Precision, Progress, Session

_MORE = "docs/devices.md"
_STATE = " at the end"  # facts that change while one measures say nothing of a machine


@dataclass
class _Looked:
    """What the replay said of one target's candidates.

    Attributes:
        checks: of the target, by candidate.
        sessions: that ran, by label.
    """

    entries: tuple[CandidateEntry, ...]
    checks: dict[str, dict[str, Check]] = field(default_factory=dict)
    sessions: dict[str, DeviceSession] = field(default_factory=dict)

    def missing(self) -> str:
        """Why none could run there; "" where one did."""
        states = [each["golden"] for each in self.checks.values() if "golden" in each]
        return "" if any(each.status != "not_run" for each in states) else states[0].detail if states else "?"


def bench_bundle(
    bundle: Path,
    device: NamedDevice,
    *,
    sweep: Sweep,
    seed: int,
    progress: Progress,
    evidence: Path | None = None,
    signer: Signer | None = None,
) -> BenchResult:
    """Measure the candidates of every open choice of ``bundle`` on ``device``, and write ``evidence``.

    Raises:
        InputError: the bundle has no open choice.
        VerificationError: it is damaged.
        MissingBackendError: B2, or the device is not there.
        LostDeviceError: the device went away before anything had arrived.
        OutputError: ``evidence`` cannot be written.
    """
    manifest = manifests.load(bundle)
    choices = manifest.open_choices()
    if not choices:
        raise InputError(
            f"no choice of {bundle.name} is open",
            why="every target was measured where it was released, or evidence has chosen",
            remedy="edgekit bench ARTIFACT --device DEVICE measures files",
            more=_MORE,
        )
    looked = _replayed(bundle, choices, device, progress)
    able = {name: each for name, each in looked.items() if not each.missing()}
    if not able:
        name, first = next(iter(looked.items()))
        raise MissingBackendError(
            f"nothing could be measured on {device.name}: {name}: {first.missing()}",
            why="no candidate of the bundle ran there",
            remedy="name the Python there that has the runtime: --python PATH",
            more=_MORE,
        )
    results, targets = [], []
    for name, each in able.items():
        result, target = _target(bundle, name, each, device=device, sweep=sweep, seed=seed, progress=progress)
        results.append(result)
        targets.append(target)
    whole = _joined(results)
    if evidence is not None:
        document = _evidence(manifest, bundle, whole, targets, device=device.name)
        write_text(evidence, attested(document, signer).decode())
        progress.note(f"evidence written: {evidence}")
    return whole


def waits(paths: Sequence[Path], *, baseline: Path | None) -> bool:
    """Whether what is to be measured is one bundle with an open choice."""
    whole = len(paths) == 1 and baseline is None and (paths[0] / manifests.FILE_NAME).is_file()
    return whole and bool(manifests.load(paths[0]).open_choices())


def alone(
    paths: Sequence[Path], devices: Sequence[NamedDevice], *, baseline: Path | None
) -> tuple[Path, NamedDevice]:
    """The one bundle and the one device that evidence is of.

    Raises:
        InputError: another number of them, or a baseline.
    """
    if len(paths) != 1 or len(devices) != 1 or baseline is not None:
        raise InputError(
            "--evidence needs one bundle and one --device",
            why="evidence is of one device; the float variant of each target is the baseline",
            remedy="edgekit bench BUNDLE --device DEVICE --evidence FILE, once for each device",
            more=_MORE,
        )
    return paths[0], devices[0]


def _replayed(
    bundle: Path, choices: dict[str, tuple[CandidateEntry, ...]], device: NamedDevice, progress: Progress
) -> dict[str, _Looked]:
    """The bundle verified on the device, candidates included."""
    looked = {name: _Looked(entries) for name, entries in choices.items()}
    files = {
        (entry.name, entry.artifact.files[0].path): entry.label
        for entries in choices.values()
        for entry in entries
    }

    def opened(artifact: Artifact) -> Session:
        if artifact.target not in looked:
            raise MissingBackendError(f"{artifact.target} has no open choice")
        label = files.get((artifact.target, artifact.files[0].path))
        session = DeviceSession(artifact, device)
        if label is not None:
            progress.note(f"replaying golden vectors of {artifact.target} {label} on {device.name}")
            looked[artifact.target].sessions[label] = session
        return session

    found = bundles.verify(bundle, open_artifact=opened)
    damaged = [each for each in found.checks if each.status == "fail" and each.name not in _ON_DEVICE]
    if damaged:
        raise VerificationError(
            f"{damaged[0].subject}: {damaged[0].detail}",
            why="evidence is about a bundle that is whole",
            remedy="get it again, or release it again",
        )
    shipped = {entry.name: entry.artifact.files for entry in manifests.load(bundle).targets}
    for check in found.checks:
        target, _, label = check.subject.partition(" ")
        if check.name in _ON_DEVICE and target in looked:
            label = label or files[target, shipped[target][0].path]
            looked[target].checks.setdefault(label, {})[check.name] = check
    return looked


_ON_DEVICE = ("golden", "placement")


def _target(
    bundle: Path,
    name: str,
    looked: _Looked,
    *,
    device: NamedDevice,
    sweep: Sweep,
    seed: int,
    progress: Progress,
) -> tuple[BenchResult, DeviceTarget]:
    """One target's candidates that ran as they should, interleaved."""
    wrong = {entry.label: _wrong(looked.checks.get(entry.label, {})) for entry in looked.entries}
    baseline = next((e.label for e in looked.entries if e.precision is Precision.FP32), "")
    if not baseline or any(wrong[baseline]):  # B4
        reason = " ".join(filter(None, wrong[baseline])) if baseline else "it is not among the candidates"
        raise VerificationError(
            f"the float variant of {name} cannot be the measure on {device.name}: {reason}",
            why="the others are held against it",
            remedy=f"edgekit verify {bundle} --device {device.name} says more",
            more=_MORE,
        )
    folder = bundle / manifests.ARTIFACTS
    held = {
        f"{name} {entry.label}": manifests.artifact_from_entry(entry, folder)
        for entry in looked.entries
        if not any(wrong[entry.label])
    }
    result = bench_devices.measure(
        held, devices=[device], against=f"{name} {baseline}", sweep=sweep, seed=seed, progress=progress
    )
    rows = {row.artifact.partition(" ")[2]: row for row in result.rows}
    failed = {row.artifact.partition(" ")[2]: row.reason for row in result.failures}
    measured = tuple(
        _measurement(entry, rows.get(entry.label), failed.get(entry.label, ""), looked, wrong[entry.label])
        for entry in looked.entries
    )
    return result, DeviceTarget(name=name, baseline=baseline, measured=measured)


def _wrong(checks: dict[str, Check]) -> tuple[str, str, str]:
    """B3: why it did not run, what it gave otherwise, what it ran on instead."""
    golden, placement = checks.get("golden"), checks.get("placement")
    if golden is None or golden.status == "not_run":
        return (golden.detail if golden else "it was not replayed", "", "")
    differs = golden.detail if golden.status == "fail" else ""
    elsewhere = placement.detail if placement is not None and placement.status == "fail" else ""
    return ("", differs, elsewhere)


def _measurement(
    entry: CandidateEntry,
    row: BenchRow | None,
    failure: str,
    looked: _Looked,
    wrong: tuple[str, str, str],
) -> DeviceMeasurement:
    session = looked.sessions.get(entry.label)
    not_run, golden, placement = wrong
    if row is None and not any(wrong):
        not_run = failure or "it gave no samples"
    latency, ratio = (row.latency, row.ratio) if row else (None, None)
    return DeviceMeasurement(
        label=entry.label,
        files=entry.artifact.files,
        ran=dict(row.facts) if row else dict(session.facts) if session else {},
        failure=not_run,
        golden=golden,
        placement=placement,
        latency=latency_facts(latency) if latency else None,
        ratio=RatioFacts(value=ratio.value, low=ratio.low, high=ratio.high) if ratio else None,
        verdict=row.verdict if row else "",
        memory_bytes=row.memory_bytes if row else None,
    )


def _joined(results: Sequence[BenchResult]) -> BenchResult:
    """All targets in one; that a candidate is slower or undecided is what was to be found out: no failure."""
    first = results[0]
    rows = tuple(row for each in results for row in each.rows)
    failures = tuple(row for each in results for row in each.failures)
    environments = tuple(row for each in results for row in each.environments)
    worst = min(results, key=lambda each: each.devices[0].status == "complete")
    code = exit_code_of([], worst.devices, failures)
    found = replace(first, rows=rows, failures=failures, environments=environments, devices=worst.devices)
    return replace(found, exit_code=code if code is not ExitCode.LATENCY_OR_SIZE_GATE else ExitCode.OK)


def _evidence(
    manifest: Manifest, bundle: Path, result: BenchResult, targets: Sequence[DeviceTarget], *, device: str
) -> DeviceEvidence:
    said = result.devices[0]
    facts = {name: value for name, value in said.facts.items() if not name.endswith(_STATE)}
    return DeviceEvidence(
        bundle=bundle.resolve().name,
        manifest_digest=manifest.digest,
        edgekit_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        device=device,
        machine=MachineFacts(key=said.key, facts=facts),
        emulated=said.facts.get("emulated", ""),
        incomplete=said.reason if said.status != "complete" else "",
        targets=tuple(targets),
    )
