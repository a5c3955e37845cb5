"""`quantize`: float ONNX x ranges x target -> quantized ONNX; held against a budget where data is given."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from edgekit import settings
from edgekit import target as targets
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.onnxruntime_lowering import lowered, options_for
from edgekit.errors import ExitCode, InputError
from edgekit.ir.external_data import size_bytes
from edgekit.pipeline import calibrate, judge, steps, variant
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.evaluation import Evaluated, evaluate_pair
from edgekit.pipeline.model import PRECISION_KEY, Canonical
from edgekit.pipeline.result import QuantizeResult
from edgekit.pipeline.scheme import Scheme
from edgekit.pipeline.variant import Variant
from edgekit.pipeline.write import write_model
from edgekit.preprocess import Step
from edgekit.spec import Precision, Progress, Ranges, RunOptions
from edgekit.target import Target
from edgekit.validation.budget import Budget
from edgekit.validation.budget import judge as hold


def quantize(
    model: Path,
    *,
    calibration_data: object,
    ranges: Path | None,
    out: Path,
    target: str,
    precision: Precision,
    method: str,
    eval_data: str,
    metric: str,
    max_drop_pp: float | None,
    progress: Progress,
    preprocess: Path | None = None,
    cache_dir: Path | None = None,
) -> QuantizeResult:
    """Write the quantized form of ``model`` for ``target`` to ``out``.

    ``preprocess`` is a file of steps (``steps.read``) from a sample of either data to the model's inputs.

    A failed budget is in the result's exit code, and then nothing is written.

    Raises:
        InputError: the model is quantized already; neither data nor ranges where they are needed; or a
            precision that the target lacks.
    """
    cache = Cache(cache_dir or settings.cache_dir())
    wanted = targets.load(target)
    chosen, done_first = _precision(precision, wanted), steps.read(preprocess)
    canonical = calibrate.canonical_file(model, cache=cache, progress=progress)
    calibrate.require_float(canonical)
    findings: tuple[str, ...] = ()
    learned: Ranges | None = None
    if chosen.is_static and ranges is not None:
        learned = calibrate.read(ranges, canonical=canonical)
    elif chosen.is_static and _is_given(calibration_data):
        found = calibrate.learn(
            canonical,
            calibration_data,
            method=method,
            samples=None,
            seed=0,
            preprocess=done_first,
            cache=cache,
            progress=progress,
        )
        learned, findings = found.ranges, found.findings
    progress.stage(f"quantize for {wanted.name} ({chosen})")
    made = variant.make(canonical, wanted, Scheme(chosen), learned)
    evaluated = (
        _evaluated(canonical, made, source=eval_data, metric=metric, preprocess=done_first, progress=progress)
        if eval_data
        else None
    )
    verdict = hold(Budget(max_drop_pp=max_drop_pp), drop=evaluated.drop) if evaluated else None
    exit_code = verdict.exit_code if verdict else ExitCode.OK
    written = _written(made, wanted)
    if exit_code is ExitCode.OK:
        write_model(written, out)
    return QuantizeResult(
        path=out,
        target=wanted.name,
        precision=chosen,
        plan_digest=made.plan_digest,
        quantized=made.quantized,
        left_float=made.left_float,
        size_bytes=size_bytes(written),
        float_size_bytes=size_bytes(canonical.model),
        gates=judge.gate_rows(verdict) if verdict else (),
        accuracy=evaluated.accuracy if evaluated else None,
        findings=findings,
        notes=made.notes,
        exit_code=exit_code,
    )


def _is_given(data: object) -> bool:
    """The flag's default is the empty string; the truth of an array is nobody's business."""
    return not isinstance(data, str) or bool(data)


def _precision(asked: Precision, target: Target) -> Precision:
    """The precision to make: for auto the ladder's last rung (the measured ladder is `release`'s)."""
    if asked is Precision.AUTO:
        return target.ladder[-1]
    if asked not in target.precisions:
        raise InputError(
            f"target {target.name} has no {asked} (it has {', '.join(target.precisions)})",
            why="a precision is never replaced in silence",
            remedy=f"use --precision {target.ladder[-1]}, or another target",
            more=f"edgekit targets show {target.name}",
        )
    return asked


def _written(made: Variant, target: Target) -> ir.Model:
    """What the file holds: for ONNX Runtime the operators that quantize activations while they run.

    Other targets' compilers make ``dynamic`` out of the weights alone. Its form is that of ``w8``: the file
    says in its metadata which of the two it is.
    """
    if made.precision is not Precision.DYNAMIC:
        return made.model
    if target.backend == "onnxruntime":
        return lowered(made.model, made.precision)
    said = made.model.clone()
    said.metadata_props[PRECISION_KEY] = made.precision
    return said


def _evaluated(
    canonical: Canonical,
    made: Variant,
    *,
    source: str,
    metric: str,
    progress: Progress,
    preprocess: tuple[Step, ...],
) -> Evaluated:
    with (
        open_model(canonical.model, RunOptions()) as reference,
        open_model(
            lowered(made.model, made.precision), options_for(made.precision, RunOptions())
        ) as candidate,
    ):
        return evaluate_pair(
            reference,
            candidate,
            source=source,
            metric=metric,
            samples=None,
            output_steps=made.output_steps,
            progress=progress,
            preprocess=preprocess,
        )
