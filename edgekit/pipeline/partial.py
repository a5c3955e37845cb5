"""Static plan that is no faster than float -> plans of which less is integer, to be measured.

    heavy       weighted kernels with at least SHARE of all multiply-accumulates, and what stands between them
    products    those kernels alone

An integer kernel pays where its products are many: it saves in proportion to them, and its conversions cost
in proportion to its tensors. Depthwise convolutions and squeeze-and-excite blocks have few products for their
tensors, so a plan that has all of them can lose what its pointwise convolutions win (MobileNetV3 on every CPU
runtime). Which side wins is a fact of the runtime and the machine: both plans are only proposals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from edgekit.ir.cost import with_open_sizes
from edgekit.ir.graph import int_attribute
from edgekit.ir.macs import macs
from edgekit.pipeline.prepare import Prepared
from edgekit.pipeline.scheme import Scheme
from edgekit.pipeline.variant import plan_of
from edgekit.quantization.overrides import Override
from edgekit.quantization.plan import QuantOperator
from edgekit.spec import Rejection
from edgekit.target import Target

VARIANTS = ("partial-heavy", "partial-products")
SHARE = 0.01  # of all products: in a hundred kernels of equal size each is just heavy
RULE = "latency"


def partial_schemes(
    prepared: Prepared, target: Target, scheme: Scheme, *, overrides: Sequence[Override]
) -> tuple[Scheme, ...]:
    """The proposals that differ from ``scheme`` and from each other; empty where nothing is heavy."""
    plan = plan_of(prepared, target, scheme, overrides=overrides)
    nodes = {node.name or "": node for node in with_open_sizes(prepared.model).graph}
    products = {each.name: macs(nodes[each.name]) or 0 for each in plan.operators if each.weight is not None}
    least = SHARE * sum(products.values())
    heavy = {name for name, count in products.items() if count >= least and not _is_grouped(nodes[name])}
    light = [each for each in plan.operators if each.weight is not None and each.name not in heavy]
    between = [each for each in plan.operators if each.weight is None]
    if not heavy or not (light or between):
        return ()
    proposals = [_without(scheme, VARIANTS[0], light, nodes)] if light else []
    if between:
        proposals.append(_without(scheme, VARIANTS[1], [*light, *between], nodes))
    return tuple(proposals)


def _is_grouped(node: ir.Node) -> bool:
    return int_attribute(node, "group", 1) > 1


def _without(
    scheme: Scheme, variant: str, operators: Sequence[QuantOperator], nodes: dict[str, ir.Node]
) -> Scheme:
    kept = {
        name: Rejection(
            name,
            RULE,
            f"{nodes[operator.name].op_type} has few products for the size of its tensors, and the plan with "
            "all of them was not faster than float",
            "nothing to do: it runs in float",
        )
        for operator in operators
        for name in operator.nodes[:1]
    }
    named = f"{scheme.variant}-{variant}" if scheme.variant else variant
    return replace(scheme, variant=named, keep_float={**kept, **scheme.keep_float})
