"""`quantize`: float ONNX x ranges x target -> quantized ONNX; held against a budget where data is given."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import onnx_ir as ir

from edgekit import dataset, settings
from edgekit import target as targets
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.onnxruntime_lowering import lowered, options_for
from edgekit.dataset import Dataset
from edgekit.errors import ExitCode, InputError
from edgekit.ir.external_data import is_large, room, size_bytes
from edgekit.pipeline import calibrate, in_turn, judge, known_outputs, steps, variant, workbench
from edgekit.pipeline.blame_model import blames_model
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.came import Variant
from edgekit.pipeline.candidates import try_target
from edgekit.pipeline.evaluation import Evaluated, evaluate_pair, load_labelled
from edgekit.pipeline.float16 import needs_estimate, with_estimate
from edgekit.pipeline.mixed import mix, trial_of
from edgekit.pipeline.model import PRECISION_KEY, Canonical, canonical_file
from edgekit.pipeline.plan import TargetPlan
from edgekit.pipeline.prepare import Prepared, Restore, prepare
from edgekit.pipeline.ranges import shared_samples
from edgekit.pipeline.result import AccuracyRow, GateRow, QuantizeResult
from edgekit.pipeline.scheme import Scheme
from edgekit.pipeline.write import write_model
from edgekit.preprocess import Step
from edgekit.quantization.mixed import Trial
from edgekit.quantization.restore.restoration import Restoration
from edgekit.spec import Precision, Progress, Ranges, RunOptions
from edgekit.target import Target
from edgekit.validation.budget import Budget, Verdict
from edgekit.validation.budget import judge as hold


@blames_model
def quantize(
    model: Path,
    *,
    calibration_data: object,
    ranges: Path | None,
    out: Path,
    target: str,
    precision: Precision,
    method: str,
    restore: Restore = "auto",
    eval_data: str,
    metric: str,
    max_drop_pp: float | None,
    progress: Progress,
    preprocess: Path | None = None,
    cache_dir: Path | None = None,
    expected: float | None = None,
) -> QuantizeResult:
    """Write the quantized form of ``model`` for ``target`` to ``out``.

    ``preprocess`` is a file of steps (``steps.read``) from a sample of either data to the model's inputs;
    ``expected`` is what the float model should score on ``eval_data``.

    A failed budget is in the result's exit code, and then nothing is written.

    Raises:
        InputError: the model is quantized already; neither data nor ranges where they are needed; or a
            precision that the target lacks.
    """
    cache = Cache(cache_dir or settings.cache_dir())
    wanted = targets.load(target)
    done_first = steps.read(preprocess) if preprocess is not None else ()
    canonical = canonical_file(model, cache=cache, progress=progress)
    calibrate.require_float(canonical)
    job = _Job(
        canonical=canonical,
        target=wanted,
        learning=calibrate.load(canonical, calibration_data, samples=None, seed=0, preprocess=done_first)
        if _is_given(calibration_data)
        else None,
        ranges=calibrate.read(ranges, canonical=canonical) if ranges is not None else None,
        method=method,
        restore=restore,
        eval_data=eval_data,
        metric=metric,
        expected=expected,
        preprocess=done_first,
        max_drop_pp=max_drop_pp,
        cache=cache,
        progress=progress,
    )
    if precision is Precision.AUTO and eval_data and len(wanted.ladder) > 1 and not wanted.is_check:
        found = job.measured()
    else:
        found = job.named(_precision(precision, wanted))
    if found.exit_code is ExitCode.OK:
        write_model(_written(found.made, wanted), out)
    return QuantizeResult(
        path=out,
        target=wanted.name,
        precision=found.made.precision,
        plan_digest=found.made.plan_digest,
        quantized=found.made.quantized,
        left_float=found.made.left_float,
        size_bytes=size_bytes(_written(found.made, wanted)),
        float_size_bytes=size_bytes(canonical.model),
        gates=found.gates,
        accuracy=found.accuracy,
        findings=job.findings,
        notes=(*found.notes, *found.made.notes),
        exit_code=found.exit_code,
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """What is written, and how it was judged."""

    made: Variant
    gates: tuple[GateRow, ...] = ()
    accuracy: AccuracyRow | None = None
    exit_code: ExitCode = ExitCode.OK
    notes: tuple[str, ...] = ()


@dataclass(eq=False)
class _Job:
    """One model for one target: prepared once, made as often as the budget asks for."""

    canonical: Canonical
    target: Target
    learning: Dataset | None
    ranges: Ranges | None
    method: str
    restore: Restore
    eval_data: str
    metric: str
    expected: float | None
    preprocess: tuple[Step, ...]
    max_drop_pp: float | None
    cache: Cache
    progress: Progress
    _prepared: Prepared | None = None

    @property
    def findings(self) -> tuple[str, ...]:
        """What calibration noticed about the data, and whether it is that of the judging."""
        found = self._prepared.findings if self._prepared else ()
        if self.learning is None or not self.eval_data:
            return found
        return (*found, *shared_samples(self.learning, self._judging, cache=self.cache))

    def prepared(self) -> Prepared | None:
        """The float graph for plans and its ranges, out of the file or the data; None without either."""
        if self._prepared is None and self.ranges is not None:
            self._prepared = Prepared(self.canonical.model, self.ranges, Restoration())
        elif self._prepared is None and self.learning is not None:
            self._prepared = prepare(
                self.canonical,
                self.learning,
                method=self.method,
                restore=self.restore,
                cache=self.cache,
                progress=self.progress,
            )
        return self._prepared

    def named(self, precision: Precision) -> _Found:
        """The precision that was asked for; mixed where its accuracy is over budget and static."""
        self.progress.stage(f"quantize for {self.target.name} ({precision})")
        scheme = self._estimated(Scheme(precision))
        made = self._make(scheme)
        if not self.eval_data:
            return _Found(made)
        found = self._judged(made)
        if found.exit_code is ExitCode.OK or self.max_drop_pp is None or not precision.is_static:
            return found
        prepared = self.prepared()
        assert prepared is not None  # noqa: S101  _make has refused a static precision without ranges
        mixture, result = mix(
            prepared,
            self.target,
            scheme,
            overrides=(),
            data=self.learning or self._judging,
            evaluate=self._trial,
            limit=self.max_drop_pp,
            progress=self.progress,
        )
        if mixture is None:
            return replace(found, notes=(result.said,))
        return replace(self._judged(self._make(mixture)), notes=(result.said,))

    def measured(self) -> _Found:
        """auto: every rung of the target's ladder on the real runtime; the rule of ``search`` chooses."""
        bench = workbench.make(
            self.canonical,
            judging=self._judging,
            learning=self.learning,
            metric=workbench.metric_of(self.metric, base=Path.cwd()),
            output="",
            expected=self.expected,
            prepared=self._needed,
            stem="model-0",
            info=None,
            cache=self.cache,
            progress=self.progress,
        )
        budget = Budget(max_drop_pp=self.max_drop_pp, never_slower=True)
        plan = TargetPlan(self.target, "", Precision.AUTO, self.target.run.options(), budget=budget)
        outcome = try_target(plan, bench, locked=None)
        chosen = outcome.choice.judged or outcome.judged[-1]
        return _Found(
            made=self._make(chosen.scheme),
            gates=chosen.row.gates,
            accuracy=chosen.row.accuracy,
            exit_code=outcome.choice.exit_code,
            notes=(f"{chosen.scheme.label}: {outcome.choice.reason}",),
        )

    def _needed(self) -> Prepared:
        found = self.prepared()
        if found is None:
            raise InputError(
                f"the ladder of {self.target.name} has rungs that need calibration data",
                why="static quantization takes the ranges of activations from data",
                remedy="give --calibration-data, or --ranges from `edgekit calibrate`",
            )
        return found

    def _estimated(self, scheme: Scheme) -> Scheme:
        """fp16 with what float16 adds up too coarsely in float32, where there are data to tell."""
        if self.learning is None or self.canonical.quantized or not needs_estimate(scheme, self.target):
            return scheme
        return with_estimate(scheme, self._needed(), self.learning, cache=self.cache, progress=self.progress)

    def _make(self, scheme: Scheme) -> Variant:
        # float16 needs ranges too: what leaves binary16 stays in float32
        needed = scheme.precision.is_static or scheme.precision is Precision.FP16
        prepared = self.prepared() if needed else None
        return variant.make(self.canonical, self.target, scheme, prepared)

    @functools.cached_property
    def _judging(self) -> Dataset:
        return load_labelled(
            self.eval_data,
            self.canonical.inputs,
            preprocess=self.preprocess,
            held_bytes=room(self.canonical.model, most=dataset.HELD_BYTES),  # each trial is judged on it
        )

    def _evaluated(self, made: Variant) -> tuple[Evaluated, Verdict]:
        model = self.canonical.model
        known = known_outputs.of_model(model, self._judging, cache=self.cache)
        options = options_for(made.precision, RunOptions())
        with ExitStack() as stack:
            reference = known.runner() or stack.enter_context(
                in_turn.running(
                    partial(open_model, model, RunOptions()),
                    self._judging,
                    alone=is_large(model),
                    name="float reference",
                    progress=self.progress,
                )
            )
            found = evaluate_pair(
                reference,
                stack.enter_context(open_model(lowered(made.model, made.precision), options)),
                self._judging,
                metric=self.metric,
                output_steps=made.output_steps,
                progress=self.progress,
                expected=self.expected,
                known=known,
            )
        return found, hold(Budget(max_drop_pp=self.max_drop_pp), drop=found.drop)

    def _judged(self, made: Variant) -> _Found:
        found, verdict = self._evaluated(made)
        return _Found(made, judge.gate_rows(verdict), found.accuracy, verdict.exit_code)

    def _trial(self, scheme: Scheme) -> Trial:
        found, verdict = self._evaluated(self._make(scheme))
        return trial_of(found.drop, passes=verdict.exit_code is ExitCode.OK)


def _is_given(data: object) -> bool:
    """The flag's default is the empty string; the truth of an array is nobody's business."""
    return not isinstance(data, str) or bool(data)


def _precision(asked: Precision, target: Target) -> Precision:
    """The precision to make: for auto the ladder's last rung, where no evaluation data can decide."""
    if asked is Precision.AUTO:
        return target.ladder[-1]
    if asked not in target.precisions:
        raise InputError(
            f"target {target.name} has no {asked} (it has {', '.join(target.precisions)})",
            why=target.why_not(asked),
            remedy=f"use --precision {target.ladder[-1]}, or another target",
            more=f"edgekit targets show {target.name}",
        )
    return asked


def _written(made: Variant, target: Target) -> ir.Model:
    """What the file holds: ONNX Runtime has its own form of ``dynamic``, and of weights that stay float.

    Other targets' compilers make ``dynamic`` out of the weights alone. Its form is that of ``w8``: the file
    says in its metadata which of the two it is.
    """
    is_dynamic = made.precision is Precision.DYNAMIC
    if target.backend in {"onnxruntime", "onnxruntime-web"} and (is_dynamic or made.precision.is_static):
        return lowered(made.model, made.precision)
    if not is_dynamic:
        return made.model
    said = made.model.clone()
    said.metadata_props[PRECISION_KEY] = made.precision
    return said
