"""`export`: SOURCE -> canonical model.onnx, proved against its framework."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgekit import settings
from edgekit.dataset import DataSource
from edgekit.frontends.source import SourceRequest
from edgekit.pipeline import model as models
from edgekit.pipeline.blame_model import blames_model
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.prove import ParityData
from edgekit.pipeline.result import ExportResult, ParityRow
from edgekit.pipeline.write import write_model
from edgekit.spec import Progress, TensorSpec

CANONICAL_OPSET = 21


@blames_model
def export(
    source: str,
    *,
    out: Path,
    inputs: tuple[TensorSpec, ...],
    weights: Path | None,
    dynamic: Mapping[str, Mapping[int, str]],
    opset: int | None,
    tolerance: float,
    trust_source: bool,
    calibration_data: str = "",
    progress: Progress,
    cache_dir: Path | None = None,
) -> ExportResult:
    """Write the canonical ONNX form of ``source`` to ``out``; ``calibration_data`` helps to prove it.

    Raises:
        ExportError: the source cannot be exported.
        ParityError: its ONNX form computes something else; nothing is written.
        OutputError: ``out`` cannot be written.
    """
    request = SourceRequest(
        source=source,
        base=Path.cwd(),
        weights=weights,
        inputs=inputs,
        dynamic=dynamic,
        opset=opset or CANONICAL_OPSET,
        trust_source=trust_source,
    )
    cache = Cache(cache_dir or settings.cache_dir())
    data = ParityData(DataSource(calibration_data), Path.cwd()) if calibration_data else None
    found = models.obtain(request, tolerance=tolerance, cache=cache, progress=progress, data=data)
    written = write_model(found.model, out)
    return ExportResult(
        path=out,
        source=source,
        framework=found.framework,
        opset=found.model.opset_imports.get("", CANONICAL_OPSET),
        nodes=sum(1 for _ in found.model.graph.all_nodes()),
        size_bytes=sum(path.stat().st_size for path in written),
        inputs=found.inputs,
        outputs=found.outputs,
        parity=tuple(
            ParityRow(
                output=each.name,
                max_abs=each.max_abs,
                relative=each.relative,
                ulps=each.ulps,
                label_agreement=each.label_agreement,
                steps_95=each.steps_95,
                steps_999=each.steps_999,
            )
            for each in found.parity.outputs
        ),
        parity_tolerance=tolerance,
        parity_cases=found.parity.cases,
        parity_from_data=found.parity.from_data,
        quantized=found.quantized,
        notes=found.notes,
    )
