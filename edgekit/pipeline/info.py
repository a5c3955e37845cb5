"""Recipe -> ModelInfo: what a compiled file may say about the model besides its numbers.

    Scale and Normalize steps    ->  (x - mean) / std, per channel: the steps in a row, as one
    [model] labels               ->  the classes of the scored output

A step sequence is affine if nothing else changes values: Resize commutes with it (its weights sum to 1),
Layout moves values, a Cast to an integer type cuts them off unless nothing came before. Other sequences say
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit import preprocess
from edgekit.backends.base import ModelInfo, Normalization
from edgekit.pipeline import labels
from edgekit.pipeline.plan import Plan, associated_files
from edgekit.preprocess import Step
from edgekit.spec import TensorSpec


def of_plan(
    plan: Plan,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec] | None = None,
    *,
    steps: Sequence[Step] | None = None,
) -> ModelInfo:
    """What the recipe of ``plan`` says about a model with these inputs and outputs.

    ``steps`` are what the app does where others are embedded; the recipe's by default.
    """
    table, scored = plan.recipe.model, plan.recipe.data.evaluation
    files = {name: path.read_bytes() for name, path in associated_files(plan.recipe, base=plan.base).items()}
    names = labels.of_plan(plan, outputs or ())
    classes = names is not None and scored.metric in labels.CLASS_METRICS
    found = normalization(plan.recipe.data.preprocess if steps is None else steps)
    return ModelInfo(
        name=table.name,
        version=table.version,
        description=table.description,
        author=table.author,
        license=table.license,
        files=files,
        labels=names.name if names is not None and classes else "",
        labelled=scored.output,
        normalization={spec.name: found for spec in inputs if found is not None and spec.dtype == "float32"},
    )


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
            case preprocess.Bytes():
                if changed:
                    return None
            case preprocess.Resize():
                pass
    if not changed or not np.all(factor):
        return None
    means, stds = np.broadcast_arrays(-offset / factor, 1.0 / factor)
    return Normalization(tuple(float(m) + 0.0 for m in means), tuple(float(s) for s in stds))
