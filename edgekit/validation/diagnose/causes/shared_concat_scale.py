"""C: tensors of very different size are joined by one Concat, with one scale for all.

A branch has the parameters of a Concat that reads it, fills little of them, and rounding with them leaves
little of it, while the Concat's result fills them: another branch does.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.validation.diagnose.evidence import Cause, Evidence, RecipeEdit
from edgekit.validation.diagnose.look import WRONG_DB, harmed, readers, rounding_db, severity
from edgekit.validation.layers import KernelEvidence

NAME = "shared-concat-scale"
USED = 1 / 4
FILLED = 1 / 2
SURE = 0.96
REMEDY = (
    "keep the Concat in float, so that each branch has a scale of its own, or let "
    '`restore = "auto"` bring the branches to like size'
)


def shared_concat_scale(evidence: Evidence) -> Iterator[Cause]:
    """Where a branch is lost in the scale of another."""
    if not harmed(evidence):
        return
    for kernel in evidence.kernels:
        larger = joined_with_larger(evidence, kernel)
        if larger is None:
            continue
        loss = rounding_db(kernel)
        says = (
            f"{kernel.name!r} ({kernel.figures.low:.4g} to {kernel.figures.high:.4g}) shares its scale with "
            f"{larger.name!r} ({larger.figures.low:.4g} to {larger.figures.high:.4g}), which joins it "
            "with something "
            f"larger: rounding leaves {loss:.1f} dB of it"
        )
        edit = RecipeEdit(("optimize", "override"), {"nodes": larger.node, "precision": "fp32"})
        yield Cause(NAME, larger.name, says, REMEDY, SURE * severity(loss), edit)


def joined_with_larger(evidence: Evidence, kernel: KernelEvidence) -> KernelEvidence | None:
    """The Concat whose scale ``kernel`` has and does not fill; None where there is none."""
    if kernel.params is None or not kernel.figures.used < USED or not rounding_db(kernel) < WRONG_DB:
        return None
    for after in readers(evidence, kernel.name):
        concat = any(node.op_type == "Concat" and kernel.name in node.inputs for node in after.segment)
        if concat and after.params == kernel.params and after.figures.used > FILLED:
            return after
    return None
