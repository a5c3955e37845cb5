"""Recipe -> ModelInfo: what a compiled file may say about the model besides its numbers.

    Scale and Normalize steps    ->  (x - mean) / std, per channel: the steps in a row, as one
    labels.txt of [model] files  ->  the classes of the scored output

A step sequence is affine if nothing else changes values: Resize commutes with it (its weights sum to 1),
Layout moves values, a Cast to an integer type cuts them off unless nothing came before. Other sequences say
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit import preprocess
from edgekit.backends.base import ModelInfo, Normalization
from edgekit.pipeline.plan import Plan, associated_files
from edgekit.preprocess import Step
from edgekit.spec import TensorSpec

LABELS = "labels.txt"
_CLASS_METRICS = frozenset({"top1", "top5", "accuracy"})


def of_plan(plan: Plan, inputs: Sequence[TensorSpec]) -> ModelInfo:
    """What the recipe of ``plan`` says about a model with these inputs."""
    table, scored = plan.recipe.model, plan.recipe.data.evaluation
    files = {name: path.read_bytes() for name, path in associated_files(plan.recipe, base=plan.base).items()}
    found = normalization(plan.recipe.data.preprocess)
    return ModelInfo(
        name=table.name,
        version=table.version,
        description=table.description,
        author=table.author,
        license=table.license,
        files=files,
        labels=LABELS if LABELS in files and scored.metric in _CLASS_METRICS else "",
        labelled=scored.output,
        normalization={spec.name: found for spec in inputs if found is not None and spec.dtype == "float32"},
    )


def class_names(plan: Plan) -> tuple[str, ...]:
    """The lines of labels.txt; nothing where the recipe has none."""
    path = associated_files(plan.recipe, base=plan.base).get(LABELS)
    if path is None or plan.recipe.data.evaluation.metric not in _CLASS_METRICS:
        return ()
    return tuple(path.read_text("utf-8", errors="replace").splitlines())


def normalization(steps: Sequence[Step]) -> Normalization | None:
    """The steps as one (x - mean) / std; None where they change no value, or not in this form."""
    factor, offset = np.ones(1), np.zeros(1)  # x -> factor * x + offset
    changed, channels_last = False, True
    for step in steps:
        match step:
            case preprocess.Scale():
                factor, offset, changed = factor * step.by, offset * step.by, True
            case preprocess.Normalize():
                mean, std = np.asarray(step.mean), np.asarray(step.std)
                if not channels_last and max(mean.size, std.size) > 1:
                    return None  # its last axis is no channel
                factor, offset, changed = factor / std, (offset - mean) / std, True
            case preprocess.Layout():
                channels_last = channels_last and step.to == "NHWC"
            case preprocess.Cast():
                if changed and step.dtype != "float32":
                    return None
            case preprocess.Resize():
                pass
    if not changed or not np.all(factor):
        return None
    means, stds = np.broadcast_arrays(-offset / factor, 1.0 / factor)
    return Normalization(tuple(float(m) + 0.0 for m in means), tuple(float(s) for s in stds))
