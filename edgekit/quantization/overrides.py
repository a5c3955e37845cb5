"""What the user says of single operators x the model -> the precision of each node that is named.

    nodes = "head/*"        a glob over node names, as `edgekit inspect` prints them
    operators = "Softmax"   an operator type, exactly

O1 both given: a node must match both.
O2 two overrides match one node: the later one counts, as in a list of exceptions.
O3 an override that matches no node is an error: it would be a wish that nobody fulfils.

Source: the conventions of ONNX Runtime's nodes_to_exclude and op_types_to_exclude, NNCF's IgnoredScope.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import onnx_ir as ir

from edgekit.errors import RecipeError, closest
from edgekit.spec import Precision, Rejection


@dataclass(frozen=True)
class Override:
    """One exception: ``precision`` for the nodes that match; fp32 keeps them float."""

    precision: Precision
    nodes: str = ""
    operators: str = ""

    @property
    def said(self) -> str:
        """How the recipe says it."""
        parts = [f"nodes = {self.nodes!r}"] if self.nodes else []
        return ", ".join([*parts, f"operators = {self.operators!r}"] if self.operators else parts)

    def matches(self, node: ir.Node) -> bool:
        """O1."""
        named = not self.nodes or fnmatchcase(node.name or "", self.nodes)
        return named and (not self.operators or node.op_type == self.operators)


def resolve(model: ir.Model, overrides: Sequence[Override]) -> Mapping[str, Override]:
    """The override of each node that one matches, by node name (O2).

    Raises:
        RecipeError: an override matches nothing (O3).
    """
    found: dict[str, Override] = {}
    nodes = list(model.graph)
    for override in overrides:
        matched = [node.name for node in nodes if node.name and override.matches(node)]
        if not matched:
            raise RecipeError(
                f"the override {override.said} matches no operator of the model",
                why="it would change nothing, and nobody would notice",
                remedy=_nearest(override, nodes),
                more="docs/recipe.md",
            )
        found.update(dict.fromkeys(matched, override))
    return found


def kept_float(model: ir.Model, overrides: Sequence[Override]) -> dict[str, Rejection]:
    """Nodes that an override keeps in float, each with the reason, as ``place`` takes it."""
    return {
        name: override_rejection(name, each)
        for name, each in resolve(model, overrides).items()
        if each.precision is Precision.FP32
    }


def override_rejection(name: str, override: Override) -> Rejection:
    """Why the node ``name`` is float, as reports list it."""
    reason = f"an override keeps it so ({override.said})"
    return Rejection(name, "override", reason, "nothing to do: it runs in float")


def _nearest(override: Override, nodes: Sequence[ir.Node]) -> str:
    if override.operators:
        near = closest(override.operators, sorted({node.op_type for node in nodes}))
    else:
        near = closest(override.nodes, [node.name or "" for node in nodes])
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"{hint}`edgekit inspect MODEL.onnx` lists every operator with its name"
