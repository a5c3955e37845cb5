"""In place of a stop watch: a machine whose latency is the number of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir
import pytest

from edgekit.pipeline.prune.speedometer import Speedometer
from edgekit.pipeline.result import LatencyRow, RatioRow
from edgekit.pipeline.result.prune import PruneSpeedRow
from edgekit.spec import Progress
from tests.unit.pruning.zeroed import float_parameters


def speed_row(factor: float) -> PruneSpeedRow:
    """So many times faster on one target."""
    slow, fast = (LatencyRow(ms, ms, ms, ms, ms, ms, 10, True, raw_ms=(ms,) * 10) for ms in (1.0, 1 / factor))
    return PruneSpeedRow("onnxruntime-cpu", slow, fast, RatioRow("float", 1 / factor, 1 / factor, 1 / factor))


def install(monkeypatch: pytest.MonkeyPatch, *, gains: Sequence[float] = (1.0,)) -> None:
    """Every ``Speedometer`` is such a machine; the whole gains ``gains[0]`` of what its parts promise."""

    def savings(
        self: Speedometer, models: Mapping[str, ir.Model], progress: Progress, *, stage: str = ""
    ) -> dict[str, tuple[float, ...]]:
        del progress, stage
        whole = float_parameters(self.reference)
        return {name: (1 - float_parameters(each) / whole,) for name, each in models.items()}

    def times_faster(self: Speedometer, each: ir.Model, progress: Progress) -> float:
        del progress
        faster = float_parameters(self.reference) / float_parameters(each) - 1
        return float(1 + faster * gains[0])

    def speeds(self: Speedometer, each: ir.Model, progress: Progress) -> tuple[PruneSpeedRow, ...]:
        return (speed_row(times_faster(self, each, progress)),)

    monkeypatch.setattr(Speedometer, "savings", savings)
    monkeypatch.setattr(Speedometer, "times_faster", times_faster)
    monkeypatch.setattr(Speedometer, "speeds", speeds)
