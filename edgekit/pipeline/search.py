"""Candidates of one target -> the one that ships, with the reason: the candidate ladder.

The rule, in order:

    S1  a candidate is eligible when all gates pass; one that needs a waiver only where none passes without
    S2  with ``never_slower`` it must also be proved not slower than the target's float variant; where
        latency cannot be measured here, the gate is reported and does not decide
    S3  of the eligible ones the fastest (smallest ratio) ships; ties and unmeasured: the ladder's last
    S4  none eligible because they are slower, or the recipe left the choice open: float ships, and says so
    S5  none eligible because the precision that the recipe names breaks a gate: nothing ships (exit 3, 4, 7)
    S6  with [optimize] prune the pruned float form is a candidate of an open choice, and ships in float's
        place (S4) where it is eligible; where it breaks a gate and nothing else ships, nothing does (S5):
        the recipe names pruning
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgekit.errors import ExitCode
from edgekit.pipeline.judge import Judged
from edgekit.spec import Precision
from edgekit.validation.budget import Gate

SPEED_GATE = "never_slower"
FLOAT_SHIPS = "float ships: "
PRUNED_FLOAT = None  # in place of a precision: what the recipe names is the pruned float form (S6)


@dataclass(frozen=True, eq=False)
class Choice:
    """What ships for one target: ``judged`` is None where nothing does."""

    judged: Judged | None
    reason: str
    exit_code: ExitCode


def choose(float_variant: Judged, candidates: Sequence[Judged], *, wanted: Precision, locked: bool) -> Choice:
    """Apply the rule of this module.

    Args:
        float_variant: the target's float artifact.
        candidates: the others, in the ladder's order.
        wanted: the precision that the recipe names for this target, or auto.
        locked: whether the lock prescribes the candidate; then it ships unless it is proved worse or slower.
    """
    pruned = next((each for each in candidates if is_pruned_float(each)), None)
    if pruned is not None:
        return _choose_pruned(float_variant, pruned, candidates, wanted=wanted, locked=locked)
    return _choose(float_variant, candidates, wanted=wanted, locked=locked)


def _choose_pruned(
    float_variant: Judged, pruned: Judged, candidates: Sequence[Judged], *, wanted: Precision, locked: bool
) -> Choice:
    """S6."""
    others = [each for each in candidates if each is not pruned]
    if wanted is Precision.FP32 or not others:
        return _choose(float_variant, [pruned], wanted=PRUNED_FLOAT, locked=locked)
    if wanted is Precision.AUTO and _passes(pruned, locked=locked):
        return _choose(float_variant, candidates, wanted=wanted, locked=locked)
    found = _choose(float_variant, others, wanted=wanted, locked=locked)
    if found.judged is not float_variant:
        return found
    instead = _choose(float_variant, [pruned], wanted=PRUNED_FLOAT, locked=locked)
    return replace(instead, reason=f"{instead.reason}; {found.reason.removeprefix(FLOAT_SHIPS)}")


def is_pruned_float(judged: Judged) -> bool:
    """Whether it is the pruned model in float."""
    return judged.scheme.pruned and judged.scheme.precision is Precision.FP32


def _choose(
    float_variant: Judged, candidates: Sequence[Judged], *, wanted: Precision | None, locked: bool
) -> Choice:
    if wanted is Precision.FP32 or not candidates:
        return _float(
            float_variant,
            "the recipe asks for float" if wanted is Precision.FP32 else "there is no other candidate",
        )
    eligible = [each for each in candidates if _passes(each, locked=locked)]
    if eligible:
        clean = [each for each in eligible if not waived_gates(each)]
        best = min(reversed(clean or eligible), key=_ratio)
        return Choice(best, _why(best, locked=locked), ExitCode.OK)
    broken = [each for each in candidates if _broken_gates(each)]
    if broken and wanted is not Precision.AUTO:
        worst = broken[0]
        gate = _broken_gates(worst)[0]
        return Choice(
            None,
            f"{worst.row.name} {_fault(gate)}: {gate.measured}; {gate.reason}",
            worst.verdict.exit_code,
        )
    if locked:
        gate = _speed_gates(candidates[0])[0]
        return Choice(
            None,
            f"the lock prescribes {candidates[0].row.name}, and it is slower than float here: "
            f"{gate.measured}; search again with --update",
            ExitCode.LATENCY_OR_SIZE_GATE,
        )
    reasons = "; ".join(_why_not(each) for each in candidates)
    return _float(float_variant, reasons)


def _float(variant: Judged, reason: str) -> Choice:
    """S4, unless float itself breaks a gate."""
    broken = _broken_gates(variant)
    if broken:
        gate = broken[0]
        return Choice(
            None,
            f"float {_fault(gate)}: {gate.measured}; {gate.reason} ({reason})",
            variant.verdict.exit_code,
        )
    return Choice(variant, f"{FLOAT_SHIPS}{reason}", ExitCode.OK)


def _passes(judged: Judged, *, locked: bool) -> bool:
    return not _broken_gates(judged) and all(
        gate.status in {"pass", "not_measured", "waived"} or (locked and gate.status == "inconclusive")
        for gate in _speed_gates(judged)
    )


def _broken_gates(judged: Judged) -> list[Gate]:
    """Gates that fail or are open (S1), and a speed that had to be measured and was not.

    A speed that was measured is no broken gate: float can ship in its place (S4).
    """
    return [
        gate
        for gate in judged.verdict.gates
        if gate.status in {"fail", "inconclusive"} and not (gate.name == SPEED_GATE and gate.measured)
    ]


def _speed_gates(judged: Judged) -> list[Gate]:
    return [gate for gate in judged.verdict.gates if gate.name == SPEED_GATE]


def _ratio(judged: Judged) -> float:
    return judged.row.ratio.value if judged.row.ratio else 1.0


def waived_gates(judged: Judged) -> list[Gate]:
    """Gates that are missed and may be."""
    return [gate for gate in judged.verdict.gates if gate.status == "waived"]


def _why(judged: Judged, *, locked: bool) -> str:
    ratio = judged.row.ratio
    head = "the lock prescribes it; " if locked else ""
    waived = ", ".join(gate.name for gate in waived_gates(judged))
    if waived:
        head = f"{head}{waived} waived; otherwise "
    if ratio is None:
        return f"{head}inside the budget; {judged.row.caveat or 'latency not measured'}"
    interval = f"[{ratio.low:.2f}, {ratio.high:.2f}]"
    return f"{head}inside the budget at {ratio.value:.2f} times float's latency {interval}"


def _why_not(judged: Judged) -> str:
    broken = _broken_gates(judged) or [g for g in _speed_gates(judged) if g.status != "pass"]
    gate = broken[0]
    if gate.name == SPEED_GATE:
        word = "slower than" if gate.status == "fail" else "not proved as fast as"
        return f"{judged.row.name} is {word} float here ({gate.measured})"
    return f"{judged.row.name} {_fault(gate)} ({gate.measured})"


def _fault(gate: Gate) -> str:
    """What a gate that does not pass says of a candidate."""
    if gate.status == "inconclusive":
        return f"is not decided by the {gate.name} gate"
    return f"breaks the {gate.name} gate"


def mark_shipped(judged: Judged) -> Judged:
    """The same with its row marked as what is in the bundle."""
    return replace(judged, row=replace(judged.row, shipped=True))
