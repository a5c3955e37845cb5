"""What one candidate of a target is: a precision, and where it departs from the target's rules.

    w8a8                    every kernel that the target's rows take
    w8a8-mixed              the same, but for operators that cost accuracy
    w8a8-partial            the same, but for operators that cost time
    w8a8-uint8              the same, with all eight bits of the weights and yet equal integers on every CPU
    w8a8-lean               a placement of the target beside its rows: integers only where a kernel reads them
    w8a8-lean-bf16          the same file, opened so that what stays float computes in 16 bits
    w8a8-pruned-lean        made of the pruned model; fp32-pruned is its float form
    fp16                    what float16 cannot hold, or adds up too coarsely, in float32

A scheme is data that the lock stores: with model, ranges and target it gives the same bytes again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgekit.spec import Precision, Rejection

Weights = Literal["exact", "uint8", "int8"]
"""What is done where sums of two products could saturate on x86 CPUs without VNNI: coarser scales, storage as
uint8, or nothing (docs/cross-cpu.md)."""


@dataclass(frozen=True)
class Scheme:
    """One candidate.

    Attributes:
        precision: of what is quantized.
        variant: "" for the rules as they are, else one word that tells it from its siblings.
        weights: their form where sums of two products could saturate.
        corrected: whether biases are corrected. Corrections are learned from the whole plan: with the
            operator that broke it in float they may be wrong: a mix has them unless it then loses more.
        keep_float: node name -> why it stays float beyond what the rules say.
        placement: name of the target's placement ("" = its rows as they are).
        between: what operators that stay float beside integer ones compute in.
        pruned: whether it is made of the pruned model.
        said: what was estimated of its numbers, in one sentence; "" = nothing.
    """

    precision: Precision
    variant: str = ""
    weights: Weights = "exact"
    corrected: bool = True
    keep_float: Mapping[str, Rejection] = field(default_factory=dict)
    placement: str = ""
    between: Precision = Precision.FP32
    pruned: bool = False
    said: str = ""

    @property
    def label(self) -> str:
        """What reports call it: "w8a8", "w8a8-mixed"."""
        return "-".join(filter(None, (str(self.precision), "pruned" if self.pruned else "", self.variant)))
