"""Plan that breaks the accuracy budget x data -> the scheme that keeps the fewest operators in float.

    rank every rounding by what it does to the outputs -> keep the fewest in float that a measurement accepts
    -> the same with corrected biases, which cost no time, unless it loses more

The ranking is ``quantization.sensitivity`` on samples without labels; what is accepted is decided by the real
runtime on the evaluation data, through ``evaluate``. The mix is chosen on that data, so its interval is a
little too kind: the fewer operators it keeps, the less.

The search goes without bias corrections: they were learned beside the operators that break the model. Those
of the operators that stay integer may be right all the same, and the mix is measured once more with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import onnx_ir as ir

from edgekit.backends.onnxruntime import open_model
from edgekit.dataset import Dataset
from edgekit.ir.cost import with_open_sizes
from edgekit.ir.macs import macs
from edgekit.pipeline.prepare import Prepared
from edgekit.pipeline.scheme import Scheme
from edgekit.pipeline.variant import plan_of
from edgekit.quantization.alone import NotRankedError
from edgekit.quantization.mixed import EVALUATIONS, RULE, Mixed, Trial, keep_fewest, order
from edgekit.quantization.overrides import Override
from edgekit.quantization.sensitivity import rank
from edgekit.spec import Progress, Rejection, RunOptions
from edgekit.target import Target
from edgekit.validation.statistics import Drop

VARIANT = "mixed"
THREADS = 2  # of the ranking, on every machine: sums in another order could rank equals otherwise
DEVIATIONS = 1.96  # from the middle of a 95 % interval to its ends
Evaluate = Callable[[Scheme], Trial]


def trial_of(drop: Drop, *, passes: bool) -> Trial:
    """One measurement as the search takes it, with the standard error that its interval tells."""
    error = (drop.high_pp - drop.low_pp) / (2 * DEVIATIONS)
    return Trial(passes, drop.value_pp, error if math.isfinite(error) else 0.0)


def mix(
    prepared: Prepared,
    target: Target,
    scheme: Scheme,
    *,
    overrides: Sequence[Override],
    data: Dataset,
    evaluate: Evaluate,
    limit: float,
    progress: Progress,
) -> tuple[Scheme | None, Mixed]:
    """The mixed scheme, or None where none is inside the budget; and what the search saw.

    Args:
        prepared: what the plan is made from.
        target: whose plan.
        scheme: static, and known to break the budget.
        overrides: what the user says of single operators.
        data: samples for the ranking; labels are not read.
        evaluate: runs a scheme on the real runtime and holds it against the budget.
        limit: the budget, in the unit of ``Trial.drop``.
        progress: a stage for the ranking, and one for the measurements.
    """
    plan = plan_of(prepared, target, scheme, overrides=overrides)
    progress.stage(f"{target.name}: rank operators by the damage they do", total=2 * len(plan.operators))
    try:
        found = rank(
            prepared.model,
            plan,
            open_model=open_model,
            batches=data.batches,
            options=RunOptions(threads=THREADS),
            progress=progress,
        )
    except NotRankedError as error:
        return None, Mixed(False, (), (), error.what)
    steps = order(plan, found.damages, macs=_macs(prepared.model))
    progress.stage(f"{target.name}: find the fewest operators to keep in float", total=EVALUATIONS + 1)

    def measured(kept: frozenset[str]) -> Trial:
        progress.advance()
        reason = Rejection("", RULE, "a trial of the search", "")
        return evaluate(_with(scheme, dict.fromkeys(sorted(kept), reason)))

    result = keep_fewest(steps, evaluate=measured, limit=limit)
    if not result.reached or not result.kept:
        return None, result
    mixture = _with(scheme, result.keep_float)
    if not prepared.restoration.corrections or not scheme.corrected:
        return mixture, result
    progress.advance()
    return better(mixture, result, evaluate(replace(mixture, corrected=True)))


def better(mixture: Scheme, result: Mixed, trial: Trial) -> tuple[Scheme, Mixed]:
    """The mix with corrected biases unless ``trial``, its measurement, lost more than the search did.

    Of equal ones the corrected: biases are corrected only where that took noise from the whole.
    """
    kept = tuple(each.operator for each in result.kept)
    plain = next(each.trial for each in reversed(result.trials) if each.kept == kept)
    if not trial.passes or trial.drop > plain.drop:
        return mixture, result
    said = f"{result.said}, and {trial.drop:.3g} with corrected biases"
    return replace(mixture, corrected=True), replace(result, said=said)


def _with(scheme: Scheme, kept: dict[str, Rejection]) -> Scheme:
    named = {name: Rejection(name, why.rule, why.reason, why.remedy) for name, why in kept.items()}
    variant = VARIANT if not scheme.variant else f"{scheme.variant}-{VARIANT}"
    return replace(scheme, variant=variant, corrected=False, keep_float={**scheme.keep_float, **named})


def _macs(model: ir.Model) -> dict[str, int]:
    """Multiply-accumulates by node name, at batch 1."""
    return {node.name or "": macs(node) or 0 for node in with_open_sizes(model).graph}
