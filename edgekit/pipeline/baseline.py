"""[budget] baseline -> the last release, checked, and the changes of each candidate against it.

T1 it cannot be read, or has another schema: BaselineError (``snapshot``); a damaged bundle: VerificationError
T2 it is of a model with another name
T3 it was judged on other evaluation data: a loss against it would be a loss of the data
T4 it was scored by another metric
T1 to T4 end the release before anything is compiled: what a stale baseline says is worth nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.errors import BaselineError
from edgekit.pipeline import snapshot as snapshots
from edgekit.pipeline.evaluation import BOOTSTRAP_SEED
from edgekit.pipeline.snapshot import Figures, Snapshot
from edgekit.validation.baseline import Changes, baseline_gates
from edgekit.validation.budget import Budget, Gate
from edgekit.validation.regression import growth, loss, slowdown

_REMEDY = "name the last release of this model in [budget] baseline, or release once without one"


@dataclass(frozen=True, eq=False)
class Baseline:
    """The last release, and the machine that measures now."""

    snapshot: Snapshot
    machine: str

    def gates(self, new: Figures, budget: Budget) -> tuple[Gate, ...]:
        """The gates of one candidate against the artifact that the baseline shipped for its target."""
        old, changes = self.snapshot.artifacts.get(new.target), None
        if old is not None:
            changes = changes_of(old, new, same_machine=self.machine == self.snapshot.machine)
        return baseline_gates(budget, changes, source=self.snapshot.source)


def load(path: str, *, base: Path, model: str, data: str, metric: str, machine: str) -> Baseline:
    """The baseline at ``path`` (relative to ``base``).

    Args:
        path: as the recipe names it.
        base: folder of the recipe.
        model: name of the model that is released.
        data: digest of its evaluation set.
        metric: that it is scored by.
        machine: key of this machine.

    Raises:
        BaselineError: T1 to T4.
        VerificationError: a bundle that is damaged.
    """
    found = snapshots.load(base / path)
    if found.model != model:  # T2
        raise BaselineError(
            f"baseline {path} is of model {found.model or '(unknown)'!r}, and {model!r} is released",
            why="what another model did says nothing about this one",
            remedy=_REMEDY,
        )
    if found.data != data:  # T3
        raise BaselineError(
            f"baseline {path} was judged on other evaluation data",
            why=f"its digest is {found.data[:16] or 'not known'}, and that of this recipe's is {data[:16]}",
            remedy=f"release the last version again on this data; or {_REMEDY}",
        )
    metrics = {each.scored.metric for each in found.artifacts.values() if each.scored}
    if metrics - {metric}:  # T4
        raise BaselineError(
            f"baseline {path} was scored by {', '.join(sorted(metrics))}, and this recipe asks for {metric}",
            why="a loss is a difference of one metric",
            remedy=f"release the last version again with this metric; or {_REMEDY}",
        )
    return Baseline(replace(found, source=f"baseline {path}"), machine)


def changes_of(old: Figures, new: Figures, *, same_machine: bool) -> Changes:
    """What changed from one artifact to the other."""
    same = old.main == new.main and old.size_bytes == new.size_bytes
    return Changes(
        accuracy=loss(old.scored, new.scored, same_file=same, seed=BOOTSTRAP_SEED),
        latency=slowdown(old.latency_ms, new.latency_ms, same_machine=same_machine),
        size=growth(old.size_bytes, new.size_bytes),
    )
