"""Damages x measurements -> the fewest operators that must stay float for a budget.

    order        damages -> steps: which operators next, by noise taken away for each operator kept
    keep_fewest  the shortest prefix of the steps that a measurement finds inside the budget, then without
                 the members that it does not need

M1: nothing has to stay float: one measurement says so.
M2: the first guess is where the noise left is that of the budget: a drop goes with the amplitude of the
    noise, so the power that may stay is (limit / drop)^2 of the whole. From there in steps that double,
    then in halves.
M3: members are given back in halves, those that bring least noise back first, of equal ones the one with
    more multiply-accumulates; at most ``GIVE_BACK`` times. What brings back clearly more noise
    (``CLEARLY``) than a mix that already failed is not measured.
M4: of steps that take away as much (within ``EQUAL_DB``), the one that keeps fewest multiply-accumulates in
    float comes first; of equal ones, the first in the order of the plan. The same input gives the same mix.
M5: not even the last step but one is inside the budget: nothing is kept, and the result says so. All float
    is not measured, because that is the float model.
M6: of many counts on few samples some are lucky, and a search that stops at the first that fits finds those.
    Where a measurement says how uncertain it is, its drop is weighed against what the noise left lets expect,
    at the drop for each amplitude that all trials share; that mean has to fit too.

Measuring is handed down: names of nodes -> a trial.

Source: Dong et al., "HAWQ" (2019), for keeping what hurts most, here by measured noise instead of curvature;
Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input" (2002), for giving back in halves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edgekit.quantization.plan import QuantPlan
from edgekit.quantization.sensitivity import Damage
from edgekit.spec import Rejection

EVALUATIONS = 16  # 1 without anything kept, 2 to 9 to find a prefix of a hundred, the rest to give back
GIVE_BACK = 5  # the order is good: what is needless is found early or not at all
CLEARLY = 2.0  # 3 dB: how far sums of measured damages are from the noise of a mix, and more
EQUAL_DB = 1.0  # damages are measured on few samples: finer differences are chance
EXPECTED_ERROR = 0.25  # of an expected drop: 0.1 of the relation and of summing damages, 0.2 of the slope
RULE = "accuracy"


@dataclass(frozen=True)
class Step:
    """Operators that are kept in float together, after those of the steps before.

    Attributes:
        operators: heads of their kernels.
        cause: the largest damage that this step ends.
        noise_left: what the roundings that remain do to the outputs: the sum of their damages.
    """

    operators: tuple[str, ...]
    cause: Damage
    noise_left: float


@dataclass(frozen=True)
class Order:
    """All steps, and what the search has to know of the plan.

    Attributes:
        steps: the one that takes away most for each operator first.
        damages: those that the steps were made of.
        nodes: head of a kernel -> names of its nodes, in the order of the plan.
        macs: head of a kernel -> its multiply-accumulates; 0 where unknown.
    """

    steps: tuple[Step, ...]
    damages: tuple[Damage, ...]
    nodes: Mapping[str, tuple[str, ...]]
    macs: Mapping[str, int]

    @property
    def noise(self) -> float:
        """What all roundings together do to the outputs."""
        return sum(each.noise for each in self.damages)

    def noise_with(self, kept: frozenset[str]) -> float:
        """What remains with these kernels in float."""
        return sum(each.noise for each in self.damages if not kept.issuperset(each.operators))

    def nodes_of(self, kept: frozenset[str]) -> frozenset[str]:
        """Names of the nodes of these kernels."""
        return frozenset(name for head in kept for name in self.nodes[head])


@dataclass(frozen=True)
class Trial:
    """One measurement.

    Attributes:
        passes: whether the budget's gate passes.
        drop: what was lost, in the budget's unit; may be infinite.
        error: standard error of ``drop`` for the number of samples; 0 = there is no doubt.
    """

    passes: bool
    drop: float
    error: float = 0.0


@dataclass(frozen=True)
class Tried:
    """A trial, and what was kept in float for it."""

    kept: tuple[str, ...]
    trial: Trial


@dataclass(frozen=True)
class Kept:
    """One operator that stays float for the budget's sake.

    Attributes:
        operator: head of the kernel.
        nodes: all of them.
        noise: power of the error over power of the output that its roundings cause alone.
        macs: multiply-accumulates that now run in float.
        reason: for people.
    """

    operator: str
    nodes: tuple[str, ...]
    noise: float
    macs: int
    reason: str


@dataclass(frozen=True)
class Mixed:
    """What the search found.

    Attributes:
        reached: whether the mix is inside the budget.
        kept: operators in float, in the order of the plan; empty where nothing has to be, or M5.
        trials: all measurements, in their order.
        said: the outcome in one line.
    """

    reached: bool
    kept: tuple[Kept, ...]
    trials: tuple[Tried, ...]
    said: str

    @property
    def keep_float(self) -> dict[str, Rejection]:
        """As ``place`` takes it: node name -> why it stays float."""
        remedy = "widen the budget (max_drop_pp) and it runs in integers"
        return {name: Rejection(name, RULE, each.reason, remedy) for each in self.kept for name in each.nodes}


# --- order ---------------------------------------------------------------------------------------------


def order(plan: QuantPlan, damages: Sequence[Damage], *, macs: Mapping[str, int] | None = None) -> Order:
    """Which operators to keep in float first.

    Args:
        plan: that the damages were measured on.
        damages: of ``sensitivity.rank``.
        macs: node name -> multiply-accumulates; a node that is absent costs none.
    """
    cost = dict(macs or {})
    nodes = {operator.name: operator.nodes for operator in plan.operators}
    weights = {head: sum(cost.get(name, 0) for name in names) for head, names in nodes.items()}
    rank = {head: index for index, head in enumerate(nodes)}
    kept: set[str] = set()
    left = [each for each in damages if each.noise > 0]
    steps = []
    while left:
        groups = {tuple(head for head in each.operators if head not in kept) for each in left}
        best = min(groups, key=lambda heads: _preference(heads, left, kept, weights=weights, rank=rank))
        kept.update(best)
        ended = [each for each in left if kept.issuperset(each.operators)]
        left = [each for each in left if not kept.issuperset(each.operators)]
        cause = max(ended, key=lambda each: each.noise)
        steps.append(Step(best, cause, sum(each.noise for each in left)))
    return Order(tuple(steps), tuple(damages), nodes, weights)


def _preference(
    heads: tuple[str, ...],
    left: Sequence[Damage],
    kept: set[str],
    *,
    weights: Mapping[str, int],
    rank: Mapping[str, int],
) -> tuple[float, int, tuple[int, ...]]:
    """M4: small is good."""
    wider = kept.union(heads)
    gain = sum(each.noise for each in left if wider.issuperset(each.operators)) / len(heads)
    decibels = math.inf if math.isinf(gain) else math.floor(10 * math.log10(gain) / EQUAL_DB)
    return -decibels, sum(weights[head] for head in heads), tuple(rank[head] for head in heads)


# --- search --------------------------------------------------------------------------------------------


def keep_fewest(
    found: Order,
    *,
    evaluate: Callable[[frozenset[str]], Trial],
    limit: float,
    evaluations: int = EVALUATIONS,
) -> Mixed:
    """The fewest operators in float with which a measurement passes.

    Args:
        found: of ``order``.
        evaluate: names of the nodes that stay float -> what is measured then.
        limit: the budget, in the unit of ``Trial.drop``: it decides where the search begins, ``evaluate``
            decides what passes.
        evaluations: how many times ``evaluate`` is called at most, 1 or more.
    """
    search = _Search(found, evaluate, evaluations, limit)
    start = search.measure(frozenset())
    if start.passes:  # M1
        return Mixed(True, (), tuple(search.tried), "the budget holds with every operator in integers")
    prefix = search.shortest_prefix(_first_guess(found, drop=start.drop, limit=limit))
    if prefix is None:  # M5
        return Mixed(False, (), tuple(search.tried), search.why_not())
    kept = search.without_needless(prefix)
    operators = tuple(_kept(found, head) for head in found.nodes if head in kept)
    many = f"{len(operators)} of {len(found.nodes)} operators stay float"
    said = f"{many}: without them the drop is {start.drop:.3g}, with them {search.drop_of(kept):.3g}"
    return Mixed(True, operators, tuple(search.tried), said)


def _first_guess(found: Order, *, drop: float, limit: float) -> int:
    """M2: how many steps until the noise left is that of the budget."""
    share = (max(limit, 0.0) / drop) ** 2 if math.isfinite(drop) and drop > 0 else 0.0
    allowed = share * found.noise if math.isfinite(found.noise) else 0.0
    needed = [index for index, step in enumerate(found.steps, 1) if step.noise_left <= allowed]
    return needed[0] if needed and allowed > 0 else 1


@dataclass
class _Search:
    """Remembers what was measured."""

    found: Order
    evaluate: Callable[[frozenset[str]], Trial]
    evaluations: int
    limit: float
    tried: list[Tried] = field(default_factory=list)
    known: dict[frozenset[str], Trial] = field(default_factory=dict)
    refused: list[frozenset[str]] = field(default_factory=list)

    @property
    def is_spent(self) -> bool:
        return len(self.tried) >= self.evaluations

    def measure(self, kept: frozenset[str]) -> Trial:
        if kept not in self.known:
            self.known[kept] = self.evaluate(self.found.nodes_of(kept))
            in_order = tuple(head for head in self.found.nodes if head in kept)
            self.tried.append(Tried(in_order, self.known[kept]))
        return self.known[kept]

    def accepts(self, kept: frozenset[str]) -> bool:
        """Whether this mix is inside the budget, measured and by M6."""
        trial = self.measure(kept)
        fits = trial.passes and self._believed(kept, trial) <= max(self.limit, trial.drop)
        if not fits:
            self.refused.append(kept)
        return fits

    def _believed(self, kept: frozenset[str], trial: Trial) -> float:
        """M6: mean of what was measured and what is expected, each weighed by its uncertainty."""
        expected = self._expected(kept)
        doubt = EXPECTED_ERROR * expected
        if trial.error <= 0 or doubt <= 0:
            return trial.drop
        weight = trial.error**2 / (trial.error**2 + doubt**2)
        return trial.drop + weight * (expected - trial.drop)

    def _expected(self, kept: frozenset[str]) -> float:
        """The drop that the noise left lets expect."""
        seen = [(each.drop, self._amplitude(mix)) for mix, each in self.known.items()]
        finite = [(drop, loud) for drop, loud in seen if math.isfinite(drop) and math.isfinite(loud)]
        total = sum(loud for _, loud in finite)
        return max(sum(drop for drop, _ in finite) / total, 0.0) * self._amplitude(kept) if total > 0 else 0.0

    def _amplitude(self, kept: frozenset[str]) -> float:
        return math.sqrt(self.found.noise_with(kept))

    def drop_of(self, kept: frozenset[str]) -> float:
        return self.known[kept].drop

    def shortest_prefix(self, guess: int) -> frozenset[str] | None:
        """M2. The last step is never measured: with it everything that rounds is float."""
        last = len(self.found.steps)
        bad, good, probe, stride = 0, last, guess, 1
        while good - bad > 1 and not self.is_spent:
            probe = min(max(probe, bad + 1), good - 1)
            if self.accepts(self._prefix(probe)):
                good = probe
            else:
                bad = probe
            if good == last:
                probe = bad + stride
            elif bad == 0:
                probe = good - stride
            else:
                probe = (bad + good) // 2
            stride *= 2
        return None if good == last else self._prefix(good)

    def _prefix(self, many: int) -> frozenset[str]:
        return frozenset(head for step in self.found.steps[:many] for head in step.operators)

    def without_needless(self, kept: frozenset[str]) -> frozenset[str]:
        """M3."""
        size, end = max(len(kept) // 2, 1), len(self.tried) + GIVE_BACK
        while kept:
            candidates = self._by_harm(kept)
            parts = [candidates[start : start + size] for start in range(0, len(candidates), size)]
            for part in parts:
                smaller = kept.difference(part)
                if self.is_spent or len(self.tried) >= end:
                    return kept
                if smaller and not self._is_hopeless(smaller) and self.accepts(smaller):
                    kept = smaller
            if size == 1:
                return kept
            size //= 2
        return kept

    def _by_harm(self, kept: frozenset[str]) -> list[str]:
        noise = {head: self.found.noise_with(kept - {head}) for head in kept}
        ranked = [head for head in self.found.nodes if head in kept]
        return sorted(ranked, key=lambda head: (noise[head], -self.found.macs[head]))

    def _is_hopeless(self, kept: frozenset[str]) -> bool:
        failed = [self.found.noise_with(each) for each in (frozenset(), *self.refused)]  # M1 failed too
        return self.found.noise_with(kept) >= CLEARLY * min(failed)

    def why_not(self) -> str:
        best = min(self.tried, key=lambda each: (each.trial.drop, len(each.kept)))
        kept = f"{len(best.kept)} of {len(self.found.nodes)} operators in float"
        least = f"least drop {best.trial.drop:.3g} with {kept}"
        least += ", which the noise left does not bear out" if best.trial.passes else ""
        if self.is_spent:
            return f"no mix inside the budget was found in {len(self.tried)} measurements: {least}"
        return f"only float holds the budget: {least}"


def _kept(found: Order, head: str) -> Kept:
    """The report's row: which roundings end with this operator, the largest first."""
    own = sorted(
        (each for each in found.damages if head in each.operators), key=lambda each: (-each.noise, each.value)
    )
    return Kept(
        operator=head,
        nodes=found.nodes[head],
        noise=sum(each.noise for each in own),
        macs=found.macs[head],
        reason=_reason(head, own[0]) if own else "it stays float with its neighbours",
    )


def _reason(head: str, worst: Damage) -> str:
    others = [name for name in worst.operators if name != head]
    what = f"its {'weight' if worst.is_weight else 'activation'} {worst.value!r}"
    shared = f" (with {', '.join(others)})" if others else ""
    labels = f" and changes {worst.flips:.2%} of the labels" if worst.flips else ""
    return (
        f"8 bits of {what}{shared} alone leave the outputs {worst.sqnr_db:.1f} dB of signal to noise{labels}"
    )
