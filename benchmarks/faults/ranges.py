"""Ranges that do not fit: too narrow (values are clipped), too wide (steps are coarse).

Only the scale of one activation is changed; its zero point stays, so 0.0 stays exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.faults.case import Case, Rng, shuffled
from benchmarks.faults.subjects import Subject
from edgekit.quantization.apply import apply
from edgekit.quantization.plan import QuantPlan

NARROW = (0.25, 0.125)
WIDE = (16.0, 32.0)


def clipped(subject: Subject, rng: Rng) -> Iterator[Case]:
    """One activation with a quarter or an eighth of its range."""
    yield from _scaled(subject, rng, "range-clipped", NARROW)


def too_wide(subject: Subject, rng: Rng) -> Iterator[Case]:
    """One activation with 16 or 32 times its range: an outlier among the calibration samples."""
    yield from _scaled(subject, rng, "range-too-wide", WIDE)


def _scaled(subject: Subject, rng: Rng, kind: str, factors: tuple[float, ...]) -> Iterator[Case]:
    plan = subject.plan()
    names = [operator.output for operator in plan.operators if operator.weight is not None]
    for name in shuffled(rng, names):
        if not _alone(plan, name):
            continue
        factor = factors[int(rng.integers(len(factors)))]
        changed = with_scale(plan, [name], factor)
        yield Case(
            kind,
            subject.name,
            f"{name}, scale times {factor:g}",
            subject.model,
            apply(subject.model, changed),
            subject.feeds,
        )


def _alone(plan: QuantPlan, name: str) -> bool:
    """Whether no other activation has the very same parameters: shared ones move together."""
    return sum(params == plan.activations[name] for params in plan.activations.values()) == 1


def with_scale(plan: QuantPlan, names: list[str], factor: float) -> QuantPlan:
    """The scales of ``names`` times ``factor``; biases of the operators that read them follow."""
    activations = {
        key: replace(params, scale=tuple(s * factor for s in params.scale)) if key in names else params
        for key, params in plan.activations.items()
    }
    operators = []
    for operator in plan.operators:
        bias = operator.bias
        if bias is not None and operator.inputs[0] in names:
            scales = tuple(s * factor for s in bias.params.scale)
            bias = replace(bias, params=replace(bias.params, scale=scales))
        operators.append(replace(operator, bias=bias))
    return replace(plan, activations=activations, operators=tuple(operators))
