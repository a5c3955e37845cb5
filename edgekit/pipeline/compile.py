"""`compile`: ONNX (float or QDQ) x targets -> artifacts with sidecars, flat in one folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from edgekit import settings
from edgekit import target as targets_
from edgekit.backends.base import IoForm, ModelInfo
from edgekit.errors import (
    BackendCrashError,
    EdgekitError,
    ExitCode,
    InputError,
    MissingBackendError,
    TargetRefusalError,
)
from edgekit.pipeline import artifact as artifacts
from edgekit.pipeline.allow_fallback import check_targets
from edgekit.pipeline.blame_model import blames_model
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.came import Variant, as_it_came
from edgekit.pipeline.compile_result import CompileResult, FailedTarget
from edgekit.pipeline.gravest import gravest
from edgekit.pipeline.model import Canonical, canonical_file
from edgekit.pipeline.readiness_row import ReadinessRow
from edgekit.spec import Artifact, Precision, Progress
from edgekit.target import Target


@blames_model
def compile(
    model: Path,
    *,
    targets: tuple[str, ...],
    out: Path,
    name: str,
    version: str,
    threads: int | None,
    progress: Progress,
    cache_dir: Path | None = None,
    io: IoForm | None = None,
    sizes: Mapping[str, int] | None = None,
    allow_fallback: bool = False,
) -> CompileResult:
    """Compile ``model`` for each target into ``out``; of several, one that cannot have it is a row.

    Args:
        model: ONNX, float or QDQ.
        targets: names or files.
        out: folder for the artifacts.
        name: first part of the file names; the model's own name where empty.
        version: second part.
        threads: inside an operator; the target's own where None.
        progress: told about each stage.
        cache_dir: in place of the usual one.
        io: element type and layout of the artifacts' own inputs and outputs; float32, as the compiler likes.
        sizes: open size -> number, in every artifact.
        allow_fallback: operators may run on the CPU beside a GPU, or outside of a delegate.

    Raises:
        InputError: no input has an open size of such a name, or nothing that could fall back.
        TargetRefusalError, MissingBackendError, BackendCrashError: of a single target.
    """
    wanted = [targets_.load(each) for each in targets]
    if allow_fallback:
        check_targets(wanted)
    cache = Cache(cache_dir or settings.cache_dir())
    canonical = canonical_file(model, cache=cache, progress=progress)
    stem = f"{name or model.stem}-{version or '0'}"
    info = ModelInfo(name=name or model.stem, version=version)
    made, checked, failed = list[Artifact](), list[ReadinessRow](), list[FailedTarget]()
    for target in wanted:
        progress.stage(f"compile for {target.name}")
        variant = as_it_came(canonical, target) if canonical.quantized else _as_float(canonical, target)
        variant = variant.with_sizes(sizes or {})
        if target.readiness is not None:
            row = _checked(variant, target)
            written = target.readiness.writes and row.verdict != "nothing"
            checked.append(replace(row, file=_file_of(stem, target, variant)) if written else row)
            if not written:
                continue
        try:
            made.append(
                artifacts.obtain(
                    variant,
                    target,
                    target.run.options(
                        threads=threads, allow_fallback=allow_fallback and target.may_fall_back
                    ),
                    stem=stem,
                    cache=cache,
                    io=io,
                    info=info,
                )
            )
        except (TargetRefusalError, MissingBackendError, BackendCrashError) as error:
            if len(wanted) == 1:
                raise
            failed.append(_failed(target, error))
            checked = [replace(row, file="") if row.target == target.name else row for row in checked]
    nothing = any(row.verdict == "nothing" for row in checked)
    return CompileResult(
        tuple(artifacts.place_into(each, out) for each in made),
        readiness=tuple(checked),
        failed=tuple(failed),
        exit_code=gravest(
            (ExitCode.TARGET_REFUSES if nothing else ExitCode.OK, *(each.exit_code for each in failed))
        ),
    )


def only_artifact(result: CompileResult) -> Artifact:
    """That of a single target.

    Raises:
        TargetRefusalError: it is a check target, and would take nothing.
        InputError: it is one that would take the model, and writes no file.
    """
    if result.artifacts:
        return result.artifacts[0]
    (row,) = result.readiness
    remedy = f"`edgekit compile MODEL.onnx --target {row.target}` lists what stays outside, node by node"
    if row.verdict == "nothing":
        raise TargetRefusalError(
            f"{row.target}: {row.sentence}", why=row.marked, remedy=remedy, rejections=row.blocked
        )
    raise InputError(
        f"{row.target} is a check, and writes no file: {row.sentence}",
        why=row.marked,
        remedy=f"{remedy}; compile for a target that has files (`edgekit targets`)",
        more="docs/npu.md",
    )


def _failed(target: Target, error: EdgekitError) -> FailedTarget:
    rejections = error.rejections if isinstance(error, TargetRefusalError) else ()
    said = f"{error.what}: {error.why}" if error.why and not rejections else error.what
    return FailedTarget(
        target.name, error.exit_code, said, "" if rejections else error.remedy, tuple(rejections)
    )


def _checked(variant: Variant, target: Target) -> ReadinessRow:
    from edgekit.pipeline.readiness import check

    return check(variant, target)


def _file_of(stem: str, target: Target, variant: Variant) -> str:
    return f"{stem}-{target.name}-{variant.precision}.{target.extension}"


def _as_float(canonical: Canonical, target: targets_.Target) -> Variant:
    """The float form, by what its weights are stored in; on a target of bfloat16 alone they are float32."""
    weights = canonical.model.graph.initializers.values()
    if any(value.dtype == ir.DataType.FLOAT16 for value in weights):
        precision = Precision.FP16
    else:
        bfloat16 = Precision.BF16 in target.ladder and Precision.FP32 not in target.ladder
        precision = Precision.BF16 if bfloat16 else Precision.FP32
    return Variant(canonical.model, precision, origin=canonical.origin)
