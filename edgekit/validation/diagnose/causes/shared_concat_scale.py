"""C: tensors of very different size are joined by one Concat, with one scale for all.

A branch has the parameters of the Concat's result, or of another branch, fills little of them, and rounding
leaves little of it, while the other fills them.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.validation.diagnose.evidence import Cause, Evidence, RecipeEdit
from edgekit.validation.diagnose.look import (
    WRONG_DB,
    by_name,
    harmed,
    readers,
    rounding_db,
    severity,
)
from edgekit.validation.layers import KernelEvidence, NodeFact

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
        found = joined_with_larger(evidence, kernel)
        if found is None:
            continue
        concat, larger = found
        loss = rounding_db(kernel)
        says = (
            f"{kernel.name!r} ({kernel.figures.low:.4g} to {kernel.figures.high:.4g}) shares its scale with "
            f"{larger.name!r} ({larger.figures.low:.4g} to {larger.figures.high:.4g}) because "
            f"{concat.name!r} "
            f"joins them: rounding leaves {loss:.1f} dB of it"
        )
        edit = RecipeEdit(("optimize", "override"), {"nodes": concat.name, "precision": "fp32"})
        yield Cause(NAME, larger.name, says, REMEDY, SURE * severity(loss), edit)


def joined_with_larger(evidence: Evidence, kernel: KernelEvidence) -> tuple[NodeFact, KernelEvidence] | None:
    """The Concat whose scale ``kernel`` does not fill, and who fills it: its result or another branch."""
    if kernel.params is None or not kernel.figures.used < USED or not rounding_db(kernel) < WRONG_DB:
        return None
    ends = by_name(evidence)
    for after in readers(evidence, kernel.name):
        for node in after.segment:
            if node.op_type != "Concat" or kernel.name not in node.inputs:
                continue
            others = [ends[name] for name in (*node.outputs, *node.inputs) if name in ends]
            for other in others:
                if other.params == kernel.params and other.figures.used > FILLED:
                    return node, other
    return None
