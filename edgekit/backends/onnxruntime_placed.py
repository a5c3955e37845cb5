"""A session's account of which provider has which node -> counts, or the refusal of those left to the CPU.

Needs the session option session.record_ep_graph_assignment_info. Nodes are the session's own, after its
rewrites: where it made one itself (a Cast, a Transpose) no node of the model has its name.

Source: onnxruntime_session_options_config_keys.h; the Python class's get_provider_graph_assignment_info.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from edgekit.errors import TargetRefusalError
from edgekit.spec import Rejection

RECORD = "session.record_ep_graph_assignment_info"
REFUSED = "fallback to CPU EP has been explicitly disabled"
"""Part of ONNX Runtime's message where session.disable_cpu_ep_fallback stops a session."""
NO_GRAPH = "cannot use the graph capture feature"
"""Likewise where a CUDA graph is wanted, which it asks first."""

_SHORT = "ExecutionProvider"
_TOKEN = re.compile(r"_token_\d+$")  # what the session appends to the name of a node that it rewrote
_NAMED = 4  # in the first line; all are in the reasons


def placed(session: Any) -> str:
    """How many nodes each provider has got: "CUDA 53"; "" where this ONNX Runtime cannot say."""
    counts: Counter[str] = Counter()
    for name, _, _ in _nodes(session):
        counts[name] += 1
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def unplaced(session: Any, *, provider: str) -> TargetRefusalError:
    """The error for the nodes that ``session``, which was allowed to, has left to the CPU."""
    name = provider.removesuffix(_SHORT)
    found = [(node, operator) for where, node, operator in _nodes(session) if where == "CPU"]
    rejections = tuple(
        Rejection(
            node=node,
            rule="kernel",
            reason=f"no kernel of ONNX Runtime's {name} provider takes this {operator}",
            remedy="replace the operator in the model, or let it run on the CPU: --allow-fallback, or "
            "allow_fallback = true in the target's table of the recipe",
        )
        for node, operator in found
    )
    named = ", ".join(f"{node} ({operator})" for node, operator in found[:_NAMED])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    count = f"{len(found)} operators" if len(found) != 1 else "1 operator"
    return TargetRefusalError(
        f"{count} would run on the CPU in place of {name}: {named}{more}",
        why="\n        ".join(f"{each.node}: {each.reason}" for each in rejections),
        remedy=rejections[0].remedy if rejections else "",
        more="docs/gpu.md",
        rejections=rejections,
    )


def _nodes(session: Any) -> Iterator[tuple[str, str, str]]:
    """Provider, name and operator of every node; nothing where this ONNX Runtime cannot say."""
    ask = getattr(session, "get_provider_graph_assignment_info", None)
    for part in ask() if ask else ():
        for node in part.get_nodes():
            name = _TOKEN.sub("", node.name) or node.op_type
            yield part.ep_name.removesuffix(_SHORT), name, node.op_type
