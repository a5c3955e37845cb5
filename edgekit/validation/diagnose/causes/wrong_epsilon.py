"""C: a normalization has another epsilon than the reference's.

E1 trial "epsilon": the reference has the operator (``changes.change_epsilon``)
E2 trial "gain": it was folded into the weights before; then every channel has a gain of its own, all of them
   at most, or all at least, 1, and most of them not 1 (``fit_gains``)
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.validation.diagnose.causes.by_trial import by_trial, in_words
from edgekit.validation.diagnose.evidence import Cause, Evidence
from edgekit.validation.diagnose.look import explained

NAME = "wrong-epsilon"
REMEDY = (
    "convert again with the epsilon of the reference (PyTorch 1e-5, Keras 1e-3, BERT 1e-12); no recipe "
    "can repair "
    "the file"
)
SLACK = 0.03  # on the other side of 1: rounding of weights and of the fit
DIFFER = 0.05  # between the smallest and the largest gain: one factor for all is no epsilon
FITTED = 0.95  # of the score: a fit has more freedom than a change


def wrong_epsilon(evidence: Evidence) -> Iterator[Cause]:
    """E1 and E2."""
    yield from by_trial(evidence, ("epsilon",), name=NAME, remedy=REMEDY)
    for each in explained(evidence, ("gain",)):
        low, middle, high = (float(word) for word in each.trial.value.split())
        one_side = high <= 1 + SLACK or low >= 1 - SLACK
        if one_side and high - low >= DIFFER * high and abs(middle - 1) > SLACK:
            yield Cause(NAME, each.kernel.name, in_words(each), REMEDY, FITTED * each.score)
