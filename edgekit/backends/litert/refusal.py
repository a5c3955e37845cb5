"""Why one operator cannot be written: raised where it is found, collected by the walk in ``lower``."""

from __future__ import annotations

from edgekit.spec import Rejection


class RefusedError(Exception):
    """One operator cannot be lowered; ``lower`` turns it into a ``Rejection`` with the node's name.

    Attributes:
        rule: short id of the rule, stable enough to test for.
        reason: what the rule met, with names and numbers.
        remedy: what the user can change.
    """

    def __init__(self, rule: str, reason: str, remedy: str) -> None:
        self.rule = rule
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{rule}: {reason}")


class BodyRefusedError(Exception):
    """Operators inside of a body cannot be lowered: one rejection for each."""

    def __init__(self, rejections: tuple[Rejection, ...]) -> None:
        self.rejections = rejections
        super().__init__(f"{len(rejections)} operators of a body")


class FloatOnlyError(Exception):
    """A unit has no exact int8 lowering; ``lower`` puts it between DEQUANTIZE and QUANTIZE instead."""
