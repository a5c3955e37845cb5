"""Evidence -> the few questions that every rule asks of it.

    severity    1 at 0 dB of signal to noise, 0 at ``QUIET_DB``
    WRONG_DB    below, a kernel's own error is more than rounding to 8 bits makes it

8 bits round a full range to 30 dB and more: over 17 reference models the worst kernel of a healthy
candidate has 29.8 dB, and what does damage in benchmarks/debug_faults.py is below 25.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from edgekit.spec import QuantParams
from edgekit.validation.diagnose.evidence import Evidence, Trial
from edgekit.validation.layers import KernelEvidence, limits

QUIET_DB = 30.0
WRONG_DB = 26.0
BETTER_DB = 6.0  # by which a change must bring the reference nearer to the artifact: the noise is a quarter


def severity(sqnr_db: float) -> float:
    """0 (no harm) to 1 (nothing of the signal is left)."""
    return min(1.0, max(0.0, (QUIET_DB - sqnr_db) / QUIET_DB))


def db(noise: float) -> float:
    """Noise over signal as signal to noise in dB."""
    if noise <= 0.0:
        return math.inf
    return -10.0 * math.log10(noise) if math.isfinite(noise) else -math.inf


def harmed(evidence: Evidence) -> bool:
    """Whether any output lost more than rounding costs; without outputs in float, yes."""
    return not evidence.outputs or min(row.sqnr_db for row in evidence.outputs) < QUIET_DB


def step_of(kernel: KernelEvidence) -> float | None:
    """One quantization step of the tensor at the kernel's end."""
    params = kernel.params
    return params.scale[0] if params is not None and len(params.scale) == 1 else None


def held(params: QuantParams) -> float:
    """Width of what the integers can hold."""
    low, high = limits(params)
    return high - low


def signal(kernel: KernelEvidence) -> float:
    """Mean square of the reference."""
    rows = kernel.channels.signal
    return sum(rows) / len(rows) if rows else 0.0


def rounding_db(kernel: KernelEvidence, *, step: float | None = None, power: float | None = None) -> float:
    """Signal to noise that rounding to ``step`` leaves of the reference: step^2 / 12 over its mean square."""
    size = step_of(kernel) if step is None else step
    truth = signal(kernel) if power is None else power
    if size is None:
        return math.inf
    return -math.inf if truth == 0.0 else db(min(1.0, size * size / 12.0 / truth))


def by_name(evidence: Evidence) -> dict[str, KernelEvidence]:
    """Kernels by the name of their end."""
    return {kernel.name: kernel for kernel in evidence.kernels}


def readers(evidence: Evidence, name: str) -> tuple[KernelEvidence, ...]:
    """Kernels whose segment starts at ``name``."""
    return tuple(kernel for kernel in evidence.kernels if name in kernel.inputs)


def first_operator(kernel: KernelEvidence, source: str) -> str:
    """The operator of the segment that reads ``source``; "" = none."""
    return next((node.op_type for node in kernel.segment if source in node.inputs), "")


def untouched(evidence: Evidence, kernel: KernelEvidence) -> float:
    """Own signal to noise of the kernel, saturation set aside where that was tried."""
    tried = [t.own.sqnr_db for t in evidence.trials if t.kernel == kernel.name and t.change == "none"]
    return tried[0] if tried else kernel.own.sqnr_db


@dataclass(frozen=True)
class Explained:
    """A change that makes the reference compute what the artifact does.

    Attributes:
        before: own signal to noise without it, in dB.
    """

    kernel: KernelEvidence
    trial: Trial
    before: float

    @property
    def share(self) -> float:
        """Of the noise power that the change explains."""
        return float(1.0 - 10.0 ** ((self.before - self.trial.own.sqnr_db) / 10.0))

    @property
    def score(self) -> float:
        """Severity of what is explained."""
        return severity(self.before) * self.share


def explained(evidence: Evidence, changes: Iterable[str]) -> tuple[Explained, ...]:
    """Of every wrong kernel the best change, where it is one of ``changes`` and clearly better than none.

    Changes of weights and fitted gains are no rivals: rounded weights go along with every other fault, and
    a fit
    is always a little better than what it fits. Saturating products are made of rounded weights, so they
    have to be better than those.
    """
    wanted = frozenset(changes)
    rounded = {t.kernel: t.own.sqnr_db for t in evidence.trials if t.change == "weights"}
    rivals = [t for t in evidence.trials if t.change not in {"none", "weights", "gain"} or t.change in wanted]
    found = []
    for kernel in evidence.kernels:
        before = untouched(evidence, kernel)
        if not before < WRONG_DB:
            continue
        least = {"products": max(before, rounded.get(kernel.name, before)) + BETTER_DB}
        mine = [
            trial
            for trial in rivals
            if trial.kernel == kernel.name
            and trial.own.sqnr_db >= least.get(trial.change, before + BETTER_DB)
        ]
        best = max(mine, key=lambda trial: trial.own.sqnr_db, default=None)
        if best is not None and best.change in wanted:
            found.append(Explained(kernel, best, before))
    return tuple(found)
