"""The contract of a pass, and the runner: clone, check facts, apply, verify, next.

    run(model, (A, B, C), rules=CANONICAL) = verify(C(B(A(clone(model)))))

A pass is a frozen dataclass; its fields are its options. ``requires`` and ``establishes`` are named facts;
the whole table is checked before the first pass runs, so a wrong order is found without a model.

Source: the pass infrastructure of onnx-ir (PassBase pre- and post-conditions) and of xDSL (options as
dataclass fields).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from edgekit.errors import EdgekitError, ModelFileError
from edgekit.ir.quiet import quiet
from edgekit.ir.verify import FLOAT, RuleTable, verify


class PassOrderError(EdgekitError):
    """A table of passes runs one before what it needs."""


@dataclass(frozen=True)
class Pass(ABC):
    """One rewrite of a model.

    Attributes:
        requires: facts that must hold before it runs.
        establishes: facts that hold after it ran.
        breaks: facts that no longer hold after it ran.
    """

    requires: ClassVar[frozenset[str]] = frozenset()
    establishes: ClassVar[frozenset[str]] = frozenset()
    breaks: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def apply(self, model: ir.Model) -> ir.Model:
        """Rewrite ``model``, which this call owns; arrays are shared with others and never written into."""

    @property
    def name(self) -> str:
        """The class name, which messages use."""
        return type(self).__name__


def check_order(passes: Sequence[Pass], *, known: frozenset[str] = frozenset()) -> frozenset[str]:
    """The facts that hold after ``passes``, starting from ``known``.

    Raises:
        PassOrderError: a pass runs before a fact that it requires is established.
    """
    facts = known
    for item in passes:
        missing = item.requires - facts
        if missing:
            raise PassOrderError(
                f"pass {item.name} runs before {', '.join(sorted(missing))} is established",
                why=f"established so far: {', '.join(sorted(facts)) or 'nothing'}",
                remedy="put a pass that establishes it earlier in the table",
            )
        facts = (facts - item.breaks) | item.establishes
    return facts


def run(
    model: ir.Model,
    passes: Sequence[Pass],
    *,
    rules: RuleTable,
    known: frozenset[str] = frozenset(),
) -> ir.Model:
    """Apply ``passes`` in order to a clone of ``model``; FLOAT holds after each, ``rules`` at the end.

    Raises:
        PassOrderError: the table is in a wrong order.
        ModelFileError: ``model`` itself is not well-formed.
        BrokenRuleError: a pass left a model that breaks a rule.
    """
    check_order(passes, known=known)
    verify(model, FLOAT, after="reading", error=ModelFileError)
    current = model.clone()
    for item in passes:
        with quiet():
            current = item.apply(current)
        verify(current, FLOAT, after=item.name)
    verify(current, rules, after="the last pass")
    return current
