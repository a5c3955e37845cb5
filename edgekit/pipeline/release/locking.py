"""Lock on disk x what the release is made of -> whether it is followed, and the lock that is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from edgekit.pipeline import lock as locks
from edgekit.pipeline import open_choice
from edgekit.pipeline.candidates import Outcome
from edgekit.pipeline.lock import Lock, LockedTarget
from edgekit.pipeline.open_choice import Measured
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.prepare import Prepared
from edgekit.pipeline.prune.for_release import PrunedSource


@dataclass(frozen=True)
class Locking:
    """Whether the lock is followed, and in which words.

    Attributes:
        lock: the lock to follow, or None.
        previous: the lock on disk, whose other targets are kept where their inputs are unchanged.
    """

    lock: Lock | None
    previous: Lock | None
    state: Literal["followed", "written", "updated"]
    reason: str


def follow(plan: Plan, inputs: Mapping[str, str], used: Mapping[str, str], *, update: bool) -> Locking:
    """The lock beside the recipe where nothing of it changed and nobody asks for a new search."""
    lock = locks.read(plan.path)
    if lock is None:
        return Locking(None, None, "written", "there was none: every target was searched")
    if update:
        return Locking(None, lock, "updated", "--update was asked for: every target was searched")
    changed = lock.differences(inputs, used)
    if changed:
        return Locking(None, lock, "updated", f"it no longer matches ({', '.join(changed)}): searched again")
    absent = [each.target.name for each in plan.targets if each.target.name not in lock.targets]
    if absent:
        return Locking(None, lock, "updated", f"it does not name {', '.join(absent)}: searched again")
    return Locking(lock, lock, "followed", "its inputs and tools are unchanged")


def with_evidence(locking: Locking, measured: Mapping[str, Measured]) -> Locking:
    """Evidence changes a lock that is followed otherwise: what ships is another one of its candidates."""
    if locking.lock is None or not measured:
        return locking
    said = ", ".join(f"{each.by} chose for {name}" for name, each in measured.items())
    return replace(locking, state="updated", reason=f"{said}; its inputs and tools are unchanged")


def new_lock(
    locking: Locking,
    *,
    inputs: Mapping[str, str],
    used_tools: Mapping[str, str],
    made_of: tuple[Prepared | None, PrunedSource | None],
    outcomes: Mapping[str, Outcome],
) -> Lock:
    """The lock of this release; a followed one is kept to the byte, unless evidence has chosen.

    Its other targets are kept either way.
    """
    prepared, pruned = made_of
    targets = {name: _locked(each) for name, each in outcomes.items() if each.choice.judged is not None}
    if locking.lock is not None:
        chosen = {name: each for name, each in targets.items() if outcomes[name].chosen_by}
        return locking.lock.model_copy(update={"targets": {**locking.lock.targets, **chosen}})
    fresh = locks.make(
        inputs=inputs,
        tools=used_tools,
        ranges=prepared.ranges if prepared else None,
        restoration=prepared.restoration if prepared else None,
        pruned=pruned.locked if pruned else None,
        targets=targets,
    )
    return fresh.with_others_of(locking.previous) if locking.previous else fresh


def _locked(outcome: Outcome) -> LockedTarget:
    shipped = outcome.choice.judged
    assert shipped is not None  # noqa: S101  the caller has looked
    return LockedTarget(
        **dict(open_choice.locked_scheme(shipped)),
        candidates=tuple(open_choice.locked_scheme(each) for each in outcome.candidates),
        chosen_by=outcome.chosen_by,
    )
