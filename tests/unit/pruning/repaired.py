"""Dependencies and channels -> the model without them, as it is cut out and with its weights solved anew."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from edgekit.ir import io
from edgekit.pruning.dependency import Dependencies
from edgekit.pruning.reconstruct import Repair, reconstruct
from edgekit.pruning.remove import remove
from tests.unit.pruning.in_process import InProcess, stream

COUNT = 256


def cut_and_repaired(
    found: Dependencies, gone: Collection[int]
) -> tuple[ir.Model, ir.Model, tuple[Repair, ...]]:
    """(as cut out, repaired, repairs), from COUNT seeded samples of the one input."""
    cut = remove(found, gone)
    repaired, repairs = reconstruct(
        found,
        cut,
        gone,
        open_model=InProcess,
        batches=stream(io.specs(found.model)[0][0], count=COUNT),
        count=COUNT,
        seed=0,
    )
    return cut, repaired, repairs
