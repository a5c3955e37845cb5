"""Trials -> causes that a change of the reference explains: the one form that those rules share."""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.validation.diagnose.evidence import Cause, Evidence, RecipeEdit
from edgekit.validation.diagnose.look import Explained, explained


def by_trial(
    evidence: Evidence, changes: tuple[str, ...], *, name: str, remedy: str, edit: RecipeEdit | None = None
) -> Iterator[Cause]:
    """One cause for each kernel that one of ``changes`` explains."""
    for each in explained(evidence, changes):
        yield Cause(name, each.kernel.name, in_words(each), remedy, each.score, edit)


def in_words(each: Explained) -> str:
    """The evidence with its numbers."""
    return (
        f"with {each.trial.says} the reference computes what the artifact does at {each.kernel.name!r}: "
        f"{each.trial.own.sqnr_db:.1f} dB, against {each.before:.1f} dB as it is"
    )
