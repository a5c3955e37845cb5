"""Source -> canonical float model, proved against its framework (or, for ONNX, against the file itself)."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgekit.backends.onnxruntime import open_model
from edgekit.backends.worker_process import EngineError
from edgekit.errors import ExportError
from edgekit.frontends import parity
from edgekit.frontends.source import Loaded, SourceRequest, load
from edgekit.ir import digest, io
from edgekit.passes import canonicalize
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.plan import source_digest
from edgekit.pipeline.versions import tools
from edgekit.spec import Progress, Runner, RunOptions, TensorSpec

PARITY_SEED = 0
_MODEL, _FACTS = "model.onnx", "facts.json"


@dataclass(frozen=True)
class Parity:
    """How far the ONNX form is from its framework: ``relative`` is the largest difference / output range."""

    max_abs: float
    relative: float
    tolerance: float
    cases: int


@dataclass(frozen=True)
class Canonical:
    """The canonical float model: the truth that every candidate is made from and held against."""

    model: ir.Model
    digest: str
    framework: str
    parity: Parity
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def obtain(request: SourceRequest, *, tolerance: float, cache: Cache, progress: Progress) -> Canonical:
    """Load, canonicalize and prove a source; out of the cache while nothing it may read has changed.

    Raises:
        ExportError: the source cannot be exported, or computes something else as ONNX.
    """
    progress.stage(f"export {request.source}")
    weights = str(request.weights) if request.weights else None
    files = source_digest(request.source, base=request.base, weights=weights)
    if files is None:
        progress.note("export is not cached: the source's folder is too large to hash")
        model, facts = _make(request, tolerance)
        return _canonical(model, facts)
    key = {
        "source": request.source,
        "files": files,
        "inputs": [str(spec) for spec in request.inputs],
        "dynamic": {name: {str(k): v for k, v in axes.items()} for name, axes in request.dynamic.items()},
        "opset": request.opset,
        "trust": request.trust_source,
        "tolerance": tolerance,
        "tools": tools("torch", "keras"),
    }

    def make(folder: Path) -> None:
        model, facts = _make(request, tolerance)
        io.save(model, folder / _MODEL)
        (folder / _FACTS).write_text(json.dumps(facts))

    entry = cache.folder("export", key, make)
    return _canonical(io.load(entry / _MODEL), json.loads((entry / _FACTS).read_text()))


def _make(request: SourceRequest, tolerance: float) -> tuple[ir.Model, dict[str, Any]]:
    loaded = load(request)
    model = canonicalize(loaded.model)
    try:
        with _reference(loaded) as reference, open_model(model, RunOptions()) as candidate:
            report = parity.check(reference, candidate, tolerance=tolerance, seed=PARITY_SEED)
    except EngineError as error:
        raise ExportError(
            f"{request.source} holds something that ONNX Runtime, the float reference, cannot run",
            why=error.why,
            remedy="remove or replace the operator that the message names",
        ) from error
    if not report.passed:
        raise ExportError(
            f"{request.source} computes something else as ONNX: output {report.worst_output!r} differs by "
            f"{report.relative_to_range:.3g} of its range (tolerance {tolerance:g})",
            why=f"seen on {report.cases} random inputs, {loaded.framework} against ONNX Runtime",
            remedy="look for operators with training behaviour or data-dependent branches; "
            "raise --tolerance only if the difference is understood",
        )
    found = Parity(report.max_abs, report.relative_to_range, tolerance, report.cases)
    return model, {"framework": loaded.framework, "parity": asdict(found)}


def _reference(loaded: Loaded) -> AbstractContextManager[Runner]:
    if loaded.reference is not None:
        return nullcontext(loaded.reference)
    return open_model(loaded.model, RunOptions())


def _canonical(model: ir.Model, facts: dict[str, Any]) -> Canonical:
    inputs, outputs = io.specs(model)
    return Canonical(
        model=model,
        digest=digest.digest(model),
        framework=facts["framework"],
        parity=Parity(**facts["parity"]),
        inputs=inputs,
        outputs=outputs,
    )


OpenModel = Callable[[ir.Model, RunOptions], Any]
