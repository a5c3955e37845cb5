"""Float reference x candidate x samples -> what `edgekit debug` finds, on a real runtime."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

import edgekit
from benchmarks.faults.in_process import in_process
from edgekit.dataset import Dataset
from edgekit.ir import io
from edgekit.pipeline.debug.gather import gathered
from edgekit.pipeline.debug.looking import Looking
from edgekit.pipeline.debug.trials import tried
from edgekit.spec import Array, Artifact, Silent
from edgekit.validation.diagnose import diagnose
from edgekit.validation.diagnose.evidence import Cause, Evidence

RUNTIMES = ("onnxruntime-cpu", "litert-cpu", "openvino-cpu")


def evidence(
    reference: ir.Model, candidate: ir.Model, feeds: Sequence[Mapping[str, Array]], *, target: str
) -> Evidence:
    """Compile ``candidate`` for ``target`` and look into it.

    Raises:
        EdgekitError: the target does not take it.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "candidate.onnx"
        io.save(candidate, source)
        artifact = edgekit.compile(source, target=target, out=Path(folder) / "compiled")
        return of_artifact(reference, artifact, feeds, folder=Path(folder))


def of_artifact(
    reference: ir.Model, artifact: Artifact, feeds: Sequence[Mapping[str, Array]], *, folder: Path
) -> Evidence:
    """The same of an artifact."""
    place = folder / "looking"
    place.mkdir()
    with in_process(), Looking(artifact, reference, data=_dataset(feeds), folder=place) as looking:
        return tried(looking, gathered(looking, progress=Silent()))


def causes(found: Evidence) -> tuple[Cause, ...]:
    """The likeliest first."""
    return diagnose(found)


def _dataset(feeds: Sequence[Mapping[str, Array]]) -> Dataset:
    samples = [
        {name: array[index] for name, array in batch.items()}
        for batch in feeds
        for index in range(len(next(iter(batch.values()))))
    ]
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for s in samples for a in s.values()))
    return Dataset("samples", digest.hexdigest(), "", len(samples), 0, lambda: samples)
