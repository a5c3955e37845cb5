"""What a check target found; apart from ``result``, whose forty rows `compile` would import for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.spec import Precision, Rejection

_TAKEN = {
    "whole": "all of it would be taken",
    "part": "a part would be taken",
    "nothing": "nothing would be taken",
}


@dataclass(frozen=True)
class ReadinessRow:
    """What a device that is not here would take of one form of the model.

    Attributes:
        verdict: "whole", "part" or "nothing".
        device: in words.
        marked: "not run here", and why: in every report.
        nodes: of the main graph; ``placed`` of them on the device.
        macs: multiply-accumulates of one inference; None where a size is unknown.
        placed_macs: of these there; likewise.
        partitions: parts of the graph on the device; between them the CPU computes.
        floats: what operators that stay float compute in there.
        blocked: every reason why a node stays outside, with what to do.
        unchecked: conditions of the device that nobody looked at.
        file: what was written for it; "" = nothing.
    """

    target: str
    precision: Precision
    verdict: Literal["whole", "part", "nothing"]
    device: str
    marked: str
    nodes: int
    placed: int
    macs: int | None
    placed_macs: int | None
    partitions: int
    floats: str
    blocked: tuple[Rejection, ...] = ()
    unchecked: tuple[str, ...] = ()
    file: str = ""

    @property
    def sentence(self) -> str:
        """The verdict with its figures."""
        parts = "1 part" if self.partitions == 1 else f"{self.partitions} parts"
        share = ""
        if self.macs and self.placed_macs is not None:
            share = f", {100 * self.placed_macs / self.macs:.4g} % of the MACs"
        return f"{_TAKEN[self.verdict]}: {self.placed} of {self.nodes} nodes{share}, in {parts}"
