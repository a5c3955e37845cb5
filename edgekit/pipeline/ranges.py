"""Canonical model x calibration data -> Ranges with their provenance, out of the cache where possible."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.backends.onnxruntime import open_model
from edgekit.calibration.collect import collect
from edgekit.calibration.samples import overlap, sample_hashes
from edgekit.dataset import Dataset
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.versions import tools
from edgekit.spec import Progress, Ranges, from_json, to_json


@dataclass(frozen=True)
class Calibrated:
    """Ranges and what calibration noticed about the data."""

    ranges: Ranges
    findings: tuple[str, ...]


def obtain(
    canonical: Canonical, data: Dataset, *, method: str, cache: Cache, progress: Progress
) -> Calibrated:
    """Stream the data through the float model and keep one range per tensor.

    Raises:
        DataError: no samples, NaN in the data, or NaN in an activation.
    """
    progress.stage("calibrate", total=data.count)
    key = {
        "model": canonical.digest,
        "data": data.digest,
        "method": method,
        "seed": data.seed,
        "tools": tools(),
    }

    def make() -> dict[str, object]:
        found = collect(
            canonical.model,
            open_model=open_model,
            batches=data.batches,
            count=data.count,
            method=method,
            progress=progress,
            seed=data.seed,
        )
        ranges = Ranges(
            tensors=dict(found.tensors),
            method=method,
            model_digest=canonical.digest,
            data_digest=data.digest,
            preprocess_id=data.preprocess_id,
            samples=found.samples,
            seed=data.seed,
            tools=tools(),
            methods=dict(found.methods),
            histograms=dict(found.histograms),
        )
        return {"ranges": to_json(ranges), "findings": [str(each) for each in found.findings]}

    value = cache.value("calibrate", key, make)
    return Calibrated(from_json(Ranges, value["ranges"]), tuple(value["findings"]))


def shared_samples(learning: Dataset, judging: Dataset, *, cache: Cache) -> tuple[str, ...]:
    """The finding that calibration and evaluation data share samples, as text; empty where they do not.

    Samples are compared after pre-processing: one pass over each set, remembered by the cache.
    """
    key = {"learning": learning.digest, "judging": judging.digest}

    def make() -> list[str]:
        found = overlap(sample_hashes(learning.samples()), sample_hashes(judging.samples()))
        return [] if found is None else [str(found)]

    return tuple(cache.value("overlap", key, make))
