"""Model x shipped targets -> would each take it, and if not, why.

    model --canonicalize--> back end's check --> takes it, or rejections

F1 the back end is not here: not asked
F2 the device is not here and another one stands in: asked, and said
F3 the model cannot be brought into canonical form, or the check itself failed: not checked
F4 a check: nothing is needed to ask it, and its answer is never more than its table
Targets of one back end that differ in name only get one answer, found once.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

import onnx_ir as ir

from edgekit import target as targets
from edgekit.backends import registry
from edgekit.errors import EdgekitError
from edgekit.ir.verify import is_quantized
from edgekit.passes import canonicalize
from edgekit.pipeline import readiness
from edgekit.pipeline.came import Variant
from edgekit.pipeline.result import TargetFit
from edgekit.spec import Precision, Progress, Rejection
from edgekit.target import Target

Answer = tuple[Rejection, ...] | EdgekitError


def fits(model: ir.Model, *, progress: Progress) -> tuple[TargetFit, ...]:
    """One row for each shipped target, in alphabetical order; ``model`` is not changed."""
    wanted = [targets.load(name) for name in targets.names()]
    try:
        form = _form(model)
    except EdgekitError as error:  # F3
        return tuple(TargetFit(each.name, "not_checked", error.what, error.remedy) for each in wanted)
    answers: dict[Hashable, Answer] = {}
    found = []
    for target in wanted:
        progress.stage(f"check {target.name}")
        found.append(_fit(form, target, answers))
    return tuple(found)


def _form(model: ir.Model) -> ir.Model:
    """What `compile` would hand to the back end."""
    form = canonicalize(model)
    return model if is_quantized(model) and not is_quantized(form) else form


def _fit(model: ir.Model, target: Target, answers: dict[Hashable, Answer]) -> TargetFit:
    backend = registry.backend(target.backend)
    if target.readiness is not None:  # F4
        found = readiness.check(Variant(model, Precision.FP32), target)
        said = f"{target.marked}; {found.sentence}"
        status: Literal["would_leave", "would_take"] = "would_leave" if found.blocked else "would_take"
        return TargetFit(target.name, status, said, rejections=found.blocked)
    here = registry.availability(target)
    if not here.ok and not (here.version and target.numerics_on):  # F1
        return TargetFit(target.name, "not_installed", here.reason, here.remedy)
    device = target.run.device if here.ok else target.numerics_on
    key = (target.backend, target.opset, target.operators, device, tuple(sorted(target.run.settings.items())))
    if key not in answers:
        try:
            answers[key] = backend.check(model, target)
        except EdgekitError as error:  # F3: a worker that died, for one
            answers[key] = error
    answer = answers[key]
    if isinstance(answer, EdgekitError):
        return TargetFit(target.name, "not_checked", answer.what, answer.remedy)
    reason = "" if here.ok else f"asked on the {device.upper()}: {here.reason}"  # F2
    return TargetFit(
        target.name, "refuses" if answer else "takes", reason, "" if here.ok else here.remedy, answer
    )
