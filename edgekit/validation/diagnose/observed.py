"""What a trial is computed from: arrays at the two ends of one kernel, and a runtime for floats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from edgekit.spec import Array, Feeds, RunOptions, Session

OpenModel = Callable[[ir.Model, RunOptions], Session]


@dataclass(frozen=True, eq=False)
class Observed:
    """One batch at a kernel's end.

    Attributes:
        inputs: of the segment, as the artifact holds them, in real numbers and in the reference's layout.
        output: likewise what it computes.
    """

    inputs: Feeds
    output: Array
