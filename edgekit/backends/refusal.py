"""Model x target -> Rejections that need no runtime, and Rejections -> one error.

R1 opset: the model's operator set is newer than the target's.
R2 domain: an operator set that ONNX does not define and the target does not name.
R3 operator: the target lists its operators and this one is not among them.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from edgekit.errors import TargetRefusalError
from edgekit.spec import Rejection
from edgekit.target import Target

_SHOWN = 8  # rejections in one message; the rest is counted


def structural_rejections(model: ir.Model, target: Target) -> tuple[Rejection, ...]:
    """R1 to R3 for ``model`` on ``target``, in the graph's order."""
    found = []
    opset = model.opset_imports.get("", 0)
    if opset > target.opset:  # R1
        found.append(
            Rejection(
                node="",
                rule="opset",
                reason=f"the model is in opset {opset}, {target.name} takes {target.opset} at most",
                remedy=f"export it with --opset {target.opset}",
            )
        )
    for node in model.graph.all_nodes():
        found.extend(_of_node(node, target))
    return tuple(found)


def _of_node(node: ir.Node, target: Target) -> Iterable[Rejection]:
    operator = node.op_type if node.domain in {"", "ai.onnx"} else f"{node.domain}.{node.op_type}"
    name = node.name or operator
    if target.operators and operator not in target.operators:  # R3
        yield Rejection(
            node=name,
            rule="operator",
            reason=f"{target.name} has no {operator}",
            remedy=f"replace {operator} in the model, or choose another target (`edgekit targets`)",
        )
    elif operator != node.op_type and not target.operators:  # R2
        yield Rejection(
            node=name,
            rule="domain",
            reason=f"{operator} is not a standard ONNX operator",
            remedy="export the model with standard operators only",
        )


def refuse(target: Target, rejections: tuple[Rejection, ...]) -> TargetRefusalError:
    """The error for a model that ``target`` cannot take; ``rejections`` holds one at least."""
    lines = [f"{r.node or 'the model'}: {r.reason} [{r.rule}]" for r in rejections[:_SHOWN]]
    if len(rejections) > _SHOWN:
        lines.append(f"and {len(rejections) - _SHOWN} more")
    remedies = dict.fromkeys(r.remedy for r in rejections)
    return TargetRefusalError(
        f"target {target.name} refuses the model: {lines[0]}",
        why="\n        ".join(lines),
        remedy="; ".join(list(remedies)[:3]),
        more=f"edgekit targets show {target.name}",
        rejections=rejections,
    )
