"""`prune`: float ONNX x calibration data -> a smaller file, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from edgekit import settings
from edgekit.bundle.facts import Subject, Transformation
from edgekit.dataset import Dataset
from edgekit.errors import ExitCode
from edgekit.ir.digest import digest
from edgekit.pipeline import calibrate, steps
from edgekit.pipeline.blame_model import blames_model
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.lineage import with_lineage
from edgekit.pipeline.model import Canonical, canonical_file
from edgekit.pipeline.prune.asked import Asked, check
from edgekit.pipeline.prune.job import Job
from edgekit.pipeline.prune.judging import Judging, in_memory
from edgekit.pipeline.prune.outcome import outcome
from edgekit.pipeline.prune.zeros import ZerosAsked, with_zeros
from edgekit.pipeline.result import PruneResult
from edgekit.pipeline.versions import tools
from edgekit.pipeline.write import write_model
from edgekit.preprocess import Step
from edgekit.spec import Progress
from edgekit.user_code import file_digest


@blames_model
def prune(
    model: Path,
    *,
    calibration_data: object,
    out: Path,
    asked: Asked,
    judging: Judging,
    progress: Progress,
    preprocess: Path | None = None,
    cache_dir: Path | None = None,
) -> PruneResult:
    """Write a smaller form of ``model`` to ``out``.

    A missed speed or budget is in the result's exit code, and then nothing is written.

    Raises:
        InputError: the model is quantized, nothing in it may go, or both or neither of keep and speedup.
        DataError: the data does not fit.
        TargetRefusalError: a target cannot take the model.
    """
    check(asked)
    cache = Cache(cache_dir or settings.cache_dir())
    done_first = steps.read(preprocess) if preprocess is not None else ()
    canonical = canonical_file(model, cache=cache, progress=progress)
    data = calibrate.load(
        canonical, calibration_data, samples=asked.samples, seed=asked.seed, preprocess=done_first
    )
    made = pruned(canonical, data, asked=asked, judging=judging, preprocess=done_first, progress=progress)
    if made.result.exit_code is ExitCode.OK:
        file = Subject(name=model.name, digest=f"sha256:{file_digest(model)}")
        step = made.step.model_copy(update={"inputs": (file, *made.step.inputs)})
        write_model(with_lineage(made.model, canonical.lineage, step), out)
    return replace(made.result, path=out)


@dataclass(frozen=True, eq=False)
class Pruned:
    """A pruned model, what was found out about it (its path is of no file), and the step of its making."""

    model: ir.Model
    result: PruneResult
    step: Transformation


def pruned(
    canonical: Canonical,
    data: Dataset,
    *,
    asked: Asked,
    judging: Judging,
    preprocess: tuple[Step, ...],
    progress: Progress,
) -> Pruned:
    """The smaller form of a canonical model; nothing is written.

    Raises:
        InputError: as ``prune``.
        TargetRefusalError: a target cannot take the model.
    """
    check(asked)
    if asked.zeros is not None:
        zeros = ZerosAsked(
            asked.zeros,
            asked.targets,
            asked.threads,
            asked.seed,
            asked.require_speedup,
            asked.threads_of,
            asked.repair == "blocks",
        )
        made, result = with_zeros(
            canonical, data, zeros, judging, preprocess=preprocess, out=Path(), progress=progress
        )
        details = {
            "zeros": str(asked.zeros),
            "weights zeroed": str(sum(row.zeros for row in result.sparse)),
        }
        return Pruned(made, result, _step(canonical, data, made, details))
    job = Job(canonical, in_memory(data, beside=canonical.model), asked, judging, preprocess, progress)
    found = job.by_speed() if asked.speedup is not None else job.by_part()
    step = _step(canonical, data, found.model, _details(asked, len(found.gone)))
    return Pruned(found.model, outcome(job, found, Path()), step)


def _step(canonical: Canonical, data: Dataset, made: ir.Model, details: Mapping[str, str]) -> Transformation:
    """What a pruned file says of itself, for the provenance of a release."""
    return Transformation(
        action="pruned",
        inputs=(Subject(name="canonical graph", digest=f"graph:{canonical.digest}"),),
        outputs=(Subject(name="pruned graph", digest=f"graph:{digest(made)}"),),
        using=(Subject(name="calibration data", digest=f"id:{data.digest}"),),
        tools=tools(),
        details={name: value for name, value in details.items() if value} | {"samples": str(data.count)},
    )


def _details(asked: Asked, gone: int) -> dict[str, str]:
    return {
        "keep": f"{asked.keep:g}" if asked.keep is not None else "",
        "speedup": f"{asked.speedup:g}" if asked.speedup is not None else "",
        "importance": asked.importance,
        "channels removed": str(gone),
        "epochs of recovery": str(asked.recover) if asked.recover else "",
    }
