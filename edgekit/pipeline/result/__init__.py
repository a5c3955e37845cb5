"""What each verb found, as frozen rows of plain values: what ``report`` renders and ``--format json`` prints.

Rows hold numbers and words, never sessions, arrays or models, so that a result can be stored, compared and
rendered without any runtime. Latencies are milliseconds, sizes bytes, drops percentage points (positive =
worse than the float reference).
"""

from __future__ import annotations

from edgekit.pipeline.compile_result import CompileResult
from edgekit.pipeline.readiness_row import ReadinessRow
from edgekit.pipeline.result.bench import BenchResult, BenchRow, DeviceRow, EffectRow, FailedRow
from edgekit.pipeline.result.conditions import ConditionRow, DisturbanceRow, EnvironmentRow
from edgekit.pipeline.result.debug import CauseRow, DebugResult, DebugRow, LayerRow
from edgekit.pipeline.result.diff import ChangeRow, DiffResult, DiffRow, SideRow
from edgekit.pipeline.result.doctor import DoctorResult, DoctorRow
from edgekit.pipeline.result.energy import EnergyRow
from edgekit.pipeline.result.history import HistoryResult, LevelChangeRow, RunRow, SeriesRow
from edgekit.pipeline.result.inspect import BundledRow, InspectResult, TargetFit, TransformationRow
from edgekit.pipeline.result.package import PackagedRow, PackageResult, PackageRow
from edgekit.pipeline.result.phases import EndToEndRow, MemoryRow, PhasesRow, SizeRow, StepRow, StreamsRow
from edgekit.pipeline.result.profile import KernelRow, ProfileRow, RoofRow
from edgekit.pipeline.result.prune import PruneResult
from edgekit.pipeline.result.release import (
    AgreementRow,
    CalibrationRow,
    CandidateRow,
    OptimizedRow,
    ReleaseResult,
    TargetRow,
)
from edgekit.pipeline.result.rows import (
    AccuracyRow,
    CoverageRow,
    DriftRow,
    ElsewhereRow,
    FlipPairRow,
    FlipRow,
    FlipsRow,
    GateRow,
    GateStatus,
    GroupRow,
    LatencyRow,
    MachineRow,
    PairRow,
    RatioRow,
    Status,
)
from edgekit.pipeline.result.steps import CalibrateResult, ExportResult, ParityRow, QuantizeResult
from edgekit.pipeline.result.sustained import FactorRow, MinuteRow, SustainedResult, SustainedRow
from edgekit.pipeline.result.sweep import SweepResult, SweepRow
from edgekit.pipeline.result.validate import ValidatedRow, ValidateResult
from edgekit.pipeline.result.verify import VerifyResult, VerifyRow

__all__ = [
    "RESULTS",
    "AccuracyRow",
    "AgreementRow",
    "BenchResult",
    "BenchRow",
    "BundledRow",
    "CalibrateResult",
    "CalibrationRow",
    "CandidateRow",
    "CauseRow",
    "ChangeRow",
    "CompileResult",
    "ConditionRow",
    "CoverageRow",
    "DebugResult",
    "DebugRow",
    "DeviceRow",
    "DiffResult",
    "DiffRow",
    "DisturbanceRow",
    "DoctorResult",
    "DoctorRow",
    "DriftRow",
    "EffectRow",
    "ElsewhereRow",
    "EndToEndRow",
    "EnergyRow",
    "EnvironmentRow",
    "ExportResult",
    "FactorRow",
    "FailedRow",
    "FlipPairRow",
    "FlipRow",
    "FlipsRow",
    "GateRow",
    "GateStatus",
    "GroupRow",
    "HistoryResult",
    "InspectResult",
    "KernelRow",
    "LatencyRow",
    "LayerRow",
    "LevelChangeRow",
    "MachineRow",
    "MemoryRow",
    "MinuteRow",
    "OptimizedRow",
    "PackageResult",
    "PackageRow",
    "PackagedRow",
    "PairRow",
    "ParityRow",
    "PhasesRow",
    "ProfileRow",
    "PruneResult",
    "QuantizeResult",
    "RatioRow",
    "ReadinessRow",
    "ReleaseResult",
    "RoofRow",
    "RunRow",
    "SeriesRow",
    "SideRow",
    "SizeRow",
    "Status",
    "StepRow",
    "StreamsRow",
    "SustainedResult",
    "SustainedRow",
    "SweepResult",
    "SweepRow",
    "TargetFit",
    "TargetRow",
    "TransformationRow",
    "ValidateResult",
    "ValidatedRow",
    "VerifyResult",
    "VerifyRow",
]

RESULTS: dict[str, type] = {
    "release": ReleaseResult,
    "export": ExportResult,
    "prune": PruneResult,
    "calibrate": CalibrateResult,
    "quantize": QuantizeResult,
    "compile": CompileResult,
    "validate": ValidateResult,
    "debug": DebugResult,
    "bench": BenchResult,
    "bench-history": HistoryResult,
    "bench-sustained": SustainedResult,
    "verify": VerifyResult,
    "package": PackageResult,
    "sweep": SweepResult,
    "inspect": InspectResult,
    "diff": DiffResult,
    "doctor": DoctorResult,
}
