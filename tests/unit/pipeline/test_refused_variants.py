"""What a refusal ends: the target where it is the precision that was asked for, else one candidate."""

from __future__ import annotations

from typing import cast

import pytest

from edgekit import target as targets
from edgekit.backends.refusal import refuse
from edgekit.errors import TargetRefusalError
from edgekit.pipeline import candidates
from edgekit.pipeline.candidates import Trial
from edgekit.pipeline.plan import TargetPlan
from edgekit.pipeline.proof import Place
from edgekit.pipeline.scheme import Scheme
from edgekit.pipeline.workbench import Workbench
from edgekit.spec import Precision, Rejection, RunOptions

W8A8 = Precision.W8A8
TARGET = targets.load("onnxruntime-cpu")
NO_BENCH = cast("Workbench", None)  # nothing gets as far as to ask for it


@pytest.fixture(autouse=True)
def nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise refuse(TARGET, (Rejection("node", "rule", "no kernel", "none"),))

    monkeypatch.setattr(candidates, "_make", refuses)


def _trial(asked: Precision) -> Trial:
    plan = TargetPlan(TARGET, "", asked, RunOptions())
    return Trial(plan, NO_BENCH, Place(RunOptions(), "", timed=False))


@pytest.mark.parametrize(
    ("asked", "scheme"),
    [(W8A8, Scheme(W8A8)), (Precision.AUTO, Scheme(Precision.FP32))],
    ids=["the precision that was asked for", "float"],
)
def test_the_target_ends(asked: Precision, scheme: Scheme) -> None:
    with pytest.raises(TargetRefusalError):
        _trial(asked).add([scheme])


@pytest.mark.parametrize(
    ("asked", "scheme"),
    [(W8A8, Scheme(W8A8, "partial-heavy")), (Precision.AUTO, Scheme(W8A8))],
    ids=["a variant of it", "a rung of an open choice"],
)
def test_one_candidate_ends(asked: Precision, scheme: Scheme) -> None:
    trial = _trial(asked)
    trial.add([scheme])
    assert not trial.made
    assert trial.refused[0].startswith(f"{scheme.label} is refused")


def test_a_mix_that_is_refused_is_a_failed_measurement() -> None:
    found = _trial(W8A8)._trial_of(Scheme(W8A8, "mixed"))
    assert not found.passes
