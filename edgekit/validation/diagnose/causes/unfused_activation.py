"""C: the activation is not in the kernel where the reference has it.

U1 trial "activation": it is missing (``changes.change_activation``)
U2 the sum in front of it is rounded too, over a range of which the activation throws most away:

       step^2 / 12  against the power of what the activation lets pass
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.validation.diagnose.causes.by_trial import by_trial
from edgekit.validation.diagnose.evidence import Cause, Evidence
from edgekit.validation.diagnose.look import (
    WRONG_DB,
    first_operator,
    harmed,
    held,
    readers,
    rounding_db,
    severity,
    signal,
    step_of,
)

NAME = "unfused-activation"
MISSING = (
    "convert again; the artifact leaves out an operator of the reference, and no recipe can repair the file"
)
APART = (
    "let the activation follow the product directly, so that the runtime computes both in one kernel: "
    "quantize "
    "again from the float model with `edgekit quantize`"
)
CLAMPS = ("Relu", "Clip")  # what they let pass, they let pass unchanged: both sides have one unit
KEPT = 0.5  # of the range: above, the activation throws away less than one bit
SURE = 0.97  # behind a missing activation, which explains more


def unfused_activation(evidence: Evidence) -> Iterator[Cause]:
    """U1 and U2."""
    yield from by_trial(evidence, ("activation",), name=NAME, remedy=MISSING)
    if not harmed(evidence):
        return
    for kernel in evidence.kernels:
        step, after = step_of(kernel), readers(evidence, kernel.name)
        if step is None or kernel.params is None or len(after) != 1:
            continue
        behind = after[0]
        operator = first_operator(behind, kernel.name)
        if operator not in CLAMPS or len(behind.segment) != 1:
            continue
        share = (behind.figures.high - behind.figures.low) / held(kernel.params)
        loss = rounding_db(behind, step=step, power=signal(behind))
        if share < KEPT and loss < WRONG_DB:
            says = (
                f"{kernel.name!r} is rounded in steps of {step:.3g} before its {operator}, which keeps "
                f"{100 * share:.3g} % of that range: {loss:.1f} dB are left of what passes it"
            )
            yield Cause(NAME, kernel.name, says, APART, SURE * severity(loss))
