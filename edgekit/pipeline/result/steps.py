"""What the steps towards an artifact found: `export`, `calibrate`, `quantize`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import ExitCode
from edgekit.pipeline.result.rows import AccuracyRow, GateRow
from edgekit.spec import Precision, Rejection, TensorSpec


@dataclass(frozen=True)
class ParityRow:
    """How far one output of an export is from its framework's.

    Attributes:
        max_abs: largest absolute difference, in the output's own unit.
        relative: the same as a part of the output's range.
        ulps: the same in units in the last place at the output's largest magnitude; None for integers.
        label_agreement: share of rows with the same most likely class; None where there are no classes.
        steps_95: 95th percentile in quantization steps; None for a float model.
        steps_999: 99.9th percentile.
    """

    output: str
    max_abs: float
    relative: float
    ulps: float | None = None
    label_agreement: float | None = None
    steps_95: float | None = None
    steps_999: float | None = None


@dataclass(frozen=True)
class ExportResult:
    """An exported model and how it compares with its framework.

    Attributes:
        parity: one row for each output.
        parity_tolerance: largest ``relative`` that passes.
        parity_cases: how many inputs were compared.
        parity_from_data: how many of them are batches of the calibration data.
        quantized: whether the source came quantized.
        notes: what the front end wants the user to know.
    """

    path: Path
    source: str
    framework: str
    opset: int
    nodes: int
    size_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parity: tuple[ParityRow, ...]
    parity_tolerance: float
    parity_cases: int
    parity_from_data: int = 0
    quantized: bool = False
    notes: tuple[str, ...] = ()
    schema: str = "edgekit/export-result/1"


@dataclass(frozen=True)
class CalibrateResult:
    """Ranges on disk; ``counted`` tensors have a histogram behind their range."""

    path: Path
    method: str
    samples: int
    tensors: int
    findings: tuple[str, ...] = ()
    counted: int = 0
    schema: str = "edgekit/calibrate-result/1"


@dataclass(frozen=True)
class QuantizeResult:
    """A quantized ONNX file; ``accuracy`` only where evaluation data was given."""

    path: Path
    target: str
    precision: Precision
    plan_digest: str
    quantized: int
    left_float: tuple[Rejection, ...]
    size_bytes: int
    float_size_bytes: int
    gates: tuple[GateRow, ...] = ()
    accuracy: AccuracyRow | None = None
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    exit_code: ExitCode = ExitCode.OK
    schema: str = "edgekit/quantize-result/1"
