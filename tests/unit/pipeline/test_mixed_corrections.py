"""A mix, measured without and with corrected biases -> which of the two is taken."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from edgekit.pipeline.mixed import VARIANT, better
from edgekit.pipeline.scheme import Scheme
from edgekit.quantization.mixed import Kept, Mixed, Trial, Tried
from edgekit.spec import Precision

MIXTURE = Scheme(Precision.W8A8, VARIANT, corrected=False)
RESULT = Mixed(
    True,
    (Kept("a", ("a",), 1.0, 10, ""),),
    (Tried((), Trial(False, 4.0)), Tried(("a", "b"), Trial(True, 0.2)), Tried(("a",), Trial(True, 0.8))),
    "1 of 3 operators stay float: without them the drop is 4, with them 0.8",
)


@dataclass(frozen=True)
class Case:
    id: str
    trial: Trial
    corrected: bool


CASES = (
    Case("loses less", Trial(True, 0.5), corrected=True),
    Case("loses as much", Trial(True, 0.8), corrected=True),
    Case("loses more than this mix, not than the whole", Trial(True, 0.9), corrected=False),
    Case("breaks the budget", Trial(False, 0.5), corrected=False),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_corrections_stay_unless_they_cost(case: Case) -> None:
    scheme, result = better(MIXTURE, RESULT, case.trial)
    assert (scheme.corrected, scheme.label) == (case.corrected, "w8a8-mixed")
    assert ("with corrected biases" in result.said) is case.corrected
    assert result.kept == RESULT.kept
