"""Scheme of fp16 x calibration data -> the same scheme with what float16 adds up too coarsely in float32.

Only for targets whose kernels add up in float16 (``Target.float16_sums``), and only where there are data:
ranges in a file tell what overflows, and nothing of sums. What was decided is data in the scheme, so that the
lock holds it and a release that follows the lock estimates nothing.
"""

from __future__ import annotations

from dataclasses import replace

from edgekit.backends.onnxruntime import open_model
from edgekit.dataset import Dataset
from edgekit.ir.digest import digest
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.prepare import Prepared
from edgekit.pipeline.scheme import Scheme
from edgekit.pipeline.versions import tools
from edgekit.quantization.float16_error import estimated
from edgekit.spec import Precision, Progress, Rejection, from_json, to_json
from edgekit.target import Target


def needs_estimate(scheme: Scheme, target: Target) -> bool:
    """Whether sums of ``scheme`` are added up in float16 on ``target``."""
    return scheme.precision is Precision.FP16 and target.float16_sums == "float16"


def with_estimate(
    scheme: Scheme, prepared: Prepared, data: Dataset, *, cache: Cache, progress: Progress
) -> Scheme:
    """``scheme`` with ``keep_float`` and ``said`` of the estimate (``quantization.float16_error``).

    Args:
        scheme: of fp16.
        prepared: what its file is made from.
        data: that of calibration; labels are not read.
        cache: where estimates are kept.
        progress: told of the stage.

    Raises:
        DataError: no samples.
    """
    progress.stage("estimate the error of float16")
    ranges = prepared.ranges
    key = {
        "model": digest(prepared.model),
        "data": data.digest,
        "ranges": to_json(dict(ranges.tensors)),
        "tools": tools(),
    }

    def make() -> dict[str, object]:
        found = estimated(
            prepared.model,
            ranges=ranges.tensors,
            open_model=open_model,
            batches=data.batches,
            progress=progress,
        )
        return {"kept": [to_json(each) for each in found.kept.values()], "said": found.said}

    value = cache.value("float16", key, make)
    kept = [from_json(Rejection, each) for each in value["kept"]]
    return replace(scheme, keep_float={each.node: each for each in kept}, said=value["said"])
