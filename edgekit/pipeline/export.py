"""`export`: SOURCE -> canonical model.onnx, proved against its framework."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgekit import settings
from edgekit.frontends.source import SourceRequest
from edgekit.pipeline import model as models
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.result import ExportResult
from edgekit.pipeline.write import write_model
from edgekit.spec import Progress, TensorSpec

CANONICAL_OPSET = 21


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
    progress: Progress,
    cache_dir: Path | None = None,
) -> ExportResult:
    """Write the canonical ONNX form of ``source`` to ``out``.

    Raises:
        ExportError: the source cannot be exported, or its ONNX form computes something else.
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
    found = models.obtain(request, tolerance=tolerance, cache=cache, progress=progress)
    write_model(found.model, out)
    return ExportResult(
        path=out,
        source=source,
        framework=found.framework,
        opset=found.model.opset_imports.get("", CANONICAL_OPSET),
        nodes=sum(1 for _ in found.model.graph.all_nodes()),
        size_bytes=out.stat().st_size,
        inputs=found.inputs,
        outputs=found.outputs,
        parity_max_abs=found.parity.max_abs,
        parity_relative=found.parity.relative,
        parity_tolerance=tolerance,
    )
