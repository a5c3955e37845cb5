"""The choice that waits for a device: which candidates ship, and what a device's evidence says of them.

C1  where a target's speed cannot be measured here, every artifact inside the budgets ships beside the one
that the rule of ``search`` would take; the choice is open
C2  evidence of the device decides among them by the same rule: its ratios and latencies stand in for
those that were not measured here
C3  evidence counts only for the very files that it names; for other bytes it is none (exit 8)
C4  a candidate that did not run there, gave other numbers there, or ran on something else, may not ship
C5  times of an emulated processor choose nothing, and a measurement that broke off decides nothing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.bundle import device_evidence
from edgekit.bundle.device_evidence import DeviceEvidence, DeviceMeasurement, DeviceTarget
from edgekit.bundle.sign import Origin
from edgekit.errors import EdgekitError, ExitCode, InputError, VerificationError
from edgekit.pipeline import search
from edgekit.pipeline.judge import Judged
from edgekit.pipeline.latency import Timed, row_of_facts
from edgekit.pipeline.lock import LockedScheme
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.result import RatioRow
from edgekit.spec import Artifact, Precision

_MORE = "docs/devices.md"


class UndecidedEvidenceError(EdgekitError):
    """Evidence that is whole, and does not decide."""

    exit_code = ExitCode.INCONCLUSIVE


@dataclass(frozen=True)
class Measured:
    """What a device measured of one target's candidates.

    Attributes:
        by: the device and its processor, in words.
        digest: of the evidence.
        rows: by label.
        baseline: label of the float variant.
    """

    by: str
    digest: str
    baseline: str
    rows: Mapping[str, DeviceMeasurement] = field(default_factory=dict)


def read(paths: Sequence[Path], *, origin: Origin | None) -> dict[str, Measured]:
    """What the files say, by target.

    Raises:
        InputError: a file is not there, two of them are about one target, or its processor is emulated.
        VerificationError: one is damaged, or not signed by ``origin``.
        UndecidedEvidenceError: a measurement broke off.
    """
    found: dict[str, Measured] = {}
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(
                f"evidence {path} cannot be read",
                why=str(error.strerror or error),
                remedy="edgekit bench BUNDLE --device DEVICE --evidence FILE writes it",
                more=_MORE,
            ) from error
        evidence = device_evidence.read(content, name=path.name, origin=origin)
        _check(evidence, path)
        for target in evidence.targets:
            if target.name in found:
                raise InputError(
                    f"two files of evidence are about {target.name}",
                    why="they may disagree, and a target has one choice",
                    remedy="give one of them; for two kinds of device release two bundles",
                    more=_MORE,
                )
            found[target.name] = _measured(evidence, target)
    return found


def of_files(paths: Sequence[Path], *, plan: Plan, origin: Origin | None) -> dict[str, Measured]:
    """``read``, for the targets of ``plan``.

    Raises:
        InputError: as ``read``, or a target that the plan has not.
    """
    found = read(paths, origin=origin)
    known = [each.target.name for each in plan.targets]
    for name in found:
        if name not in known:
            raise InputError(
                f"the evidence is about {name}, which this release does not have",
                why=f"its targets are {', '.join(known)}",
                remedy="release that target too, or leave the file out",
                more=_MORE,
            )
    return found


def _check(evidence: DeviceEvidence, path: Path) -> None:
    """C5."""
    if evidence.emulated:
        raise InputError(
            f"{path.name} is from an emulated processor ({evidence.emulated})",
            why="its times say how fast the emulator is: they are no measurement of the device",
            remedy="measure on the device itself",
            more=_MORE,
        )
    if evidence.incomplete:
        raise UndecidedEvidenceError(
            f"{path.name} is from a measurement that broke off",
            why=evidence.incomplete,
            remedy="measure again",
            more=_MORE,
        )


def _measured(evidence: DeviceEvidence, target: DeviceTarget) -> Measured:
    cpu = evidence.machine.facts.get("cpu", "")
    return Measured(
        by=f"{evidence.device} ({cpu})" if cpu else evidence.device,
        digest=evidence.digest,
        baseline=target.baseline,
        rows={each.label: each for each in target.measured},
    )


def timed(measured: Measured, made: Mapping[str, Artifact], *, target: str) -> dict[str, Timed]:
    """C2 and C3: the device's figures of the candidates that were made, by label.

    Raises:
        VerificationError: it measured other files under one of their names.
    """
    found = {}
    for label, artifact in made.items():
        row = measured.rows.get(label)
        if row is None:
            continue
        here = {entry.path: entry.sha256 for entry in artifact.files}
        there = {entry.path.rpartition("/")[2]: entry.sha256 for entry in row.files}
        if here != there:
            raise VerificationError(
                f"the evidence is about another {label} of {target}",
                why=f"it names {_short(there)}, and this release makes {_short(here)}",
                remedy="measure the bundle of this release, or go back to the lock of the measured one",
                more=_MORE,
            )
        if row.latency is not None:
            found[label] = _timed(row, baseline=measured.baseline)
    return found


def decide(
    measured: Measured, judged: Sequence[Judged], *, target: str
) -> tuple[tuple[Judged, ...], tuple[str, ...]]:
    """C4: the candidates that may ship, the float variant first, and why the others may not.

    Raises:
        VerificationError: the evidence does not know one that is inside the budgets.
        UndecidedEvidenceError: the float variant did not run on the device: nothing to compare with.
    """
    base = measured.rows.get(measured.baseline)
    if measured.baseline != judged[0].scheme.label or base is None or base.latency is None:
        raise UndecidedEvidenceError(
            f"the evidence has no latency of {judged[0].scheme.label} on {target}",
            why=(base.failure if base and base.failure else "the others are held against it"),
            remedy="measure again, with all candidates of the bundle",
            more=_MORE,
        )
    kept, refused = [judged[0]], []
    for each in judged[1:]:
        row = measured.rows.get(each.scheme.label)
        if row is None and may_ship(each):
            raise VerificationError(
                f"the evidence does not know {each.scheme.label} of {target}",
                why="it is from a bundle without that candidate",
                remedy="measure the bundle of this release",
                more=_MORE,
            )
        wrong = row and (row.failure or row.golden or row.placement)
        if wrong:
            refused.append(f"{each.scheme.label} is no candidate: on {measured.by}: {wrong}")
        else:
            kept.append(each)
    return tuple(kept), tuple(refused)


def may_ship(judged: Judged) -> bool:
    """Inside every budget, as far as could be measured."""
    return all(
        gate.status in {"pass", "not_measured", "waived"} or gate.name == search.SPEED_GATE
        for gate in judged.verdict.gates
    ) and not any(
        gate.status in {"fail", "inconclusive"} and not gate.measured for gate in judged.verdict.gates
    )


def waiting(judged: Sequence[Judged], *, chosen: Judged | None, wanted: Precision) -> tuple[Judged, ...]:
    """C1: all that may ship; empty where there is nothing to choose."""
    if chosen is None or (wanted is Precision.FP32 and not any(each.scheme.pruned for each in judged)):
        return ()
    found = tuple(each for each in judged if may_ship(each) or each is chosen)
    return found if len(found) > 1 else ()


def said(candidates: Sequence[Judged]) -> str:
    """What a report says of an open choice."""
    names = ", ".join(each.scheme.label for each in candidates)
    return (
        f"the choice waits for the device: {names} ship as candidates (edgekit bench BUNDLE --device DEVICE "
        "--evidence FILE, then edgekit release --evidence FILE)"
    )


def locked_scheme(judged: Judged) -> LockedScheme:
    """What the lock holds of a candidate."""
    scheme = judged.scheme
    return LockedScheme(
        precision=judged.artifact.precision,
        variant=scheme.variant,
        weights=scheme.weights,
        corrected=scheme.corrected,
        keep_float={name: (why.rule, why.reason) for name, why in scheme.keep_float.items()},
        placement=scheme.placement,
        between=scheme.between,
        pruned=scheme.pruned,
        said=scheme.said,
        plan=judged.artifact.plan_digest,
        files={entry.path: entry.sha256 for entry in judged.artifact.files},
    )


def _short(files: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(files.items()))


def _timed(row: DeviceMeasurement, *, baseline: str) -> Timed:
    latency, ratio = row.latency, row.ratio
    assert latency is not None  # noqa: S101  the caller has looked
    return Timed(
        latency=row_of_facts(latency),
        ratio=RatioRow(baseline, ratio.value, ratio.low, ratio.high) if ratio else None,
        memory_bytes=row.memory_bytes,
    )
