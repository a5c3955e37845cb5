"""Recipe x model x data -> Processing: what an app does around the model (``bundle.processing``).

[data] preprocess, color, value_range + the first raw sample  ->  inputs
[model] activation, labels, nms + [data] evaluation           ->  outputs
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekit.bundle.processing import (
    InputProcessing,
    NmsProcessing,
    OutputProcessing,
    Processing,
    RawTensor,
)
from edgekit.dataset import Dataset
from edgekit.errors import UnknownNameError
from edgekit.pipeline.labels import of_plan as labels_of
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.plan import Plan
from edgekit.preprocess import Layout, Resize, Step
from edgekit.recipe import NmsTable
from edgekit.spec import Activation, TensorSpec

Color = Literal["RGB", "BGR", "gray", ""]
_COLORS = frozenset({1, 3, 4})  # channels of a picture
_IMAGE_RANK = 3


def of_plan(plan: Plan, canonical: Canonical, data: Dataset) -> Processing:
    """Everything around the model, with nothing embedded.

    Raises:
        RecipeError: the labels do not fit the model.
        UnknownNameError: [model] nms names an output that the model does not have.
    """
    steps = plan.recipe.data.preprocess
    first = next(iter(data.raw() if data.raw is not None else data.samples()))
    return Processing(
        inputs=tuple(
            InputProcessing(
                name=spec.name, raw=_raw(np.asarray(first[spec.name]), steps, plan, spec), steps=steps
            )
            for spec in canonical.inputs
        ),
        outputs=tuple(_output(spec, plan, canonical.outputs) for spec in canonical.outputs),
        nms=_nms(plan.recipe.model.nms, canonical.outputs),
    )


def _raw(sample: npt.NDArray[Any], steps: Sequence[Step], plan: Plan, spec: TensorSpec) -> RawTensor:
    shape: tuple[int | None, ...] = sample.shape
    layout = _layout(sample.shape, steps, spec)
    if layout and any(isinstance(step, Resize) for step in steps):
        shape = (None, None, *shape[2:])
    low, high = plan.recipe.data.value_range or ((0.0, 255.0) if sample.dtype == np.uint8 else (None, None))
    return RawTensor(
        dtype=sample.dtype.name,
        shape=shape,
        layout=layout,
        color=_color(sample.shape, layout, plan),
        low=low,
        high=high,
    )


def _layout(
    shape: tuple[int, ...], steps: Sequence[Step], spec: TensorSpec
) -> Literal["HWC", "HW", "CHW", ""]:
    """What the axes of a sample are, by the steps that read it as an image, else by its channels."""
    stepped = any(isinstance(step, Resize | Layout) for step in steps)
    if len(shape) == _IMAGE_RANK - 1:
        return "HW" if stepped else ""
    if len(shape) != _IMAGE_RANK or len(spec.shape) != _IMAGE_RANK + 1:
        return ""
    if stepped or shape[-1] in _COLORS:
        return "HWC"
    return "CHW" if shape[0] in _COLORS else ""


def _color(shape: tuple[int, ...], layout: str, plan: Plan) -> Color:
    if not layout:
        return ""
    channels = 1 if layout == "HW" else shape[0 if layout == "CHW" else -1]
    if channels == 1:
        return "gray"
    folder = (plan.base / plan.recipe.data.evaluation.source).is_dir()  # ``dataset`` reads files as RGB
    return plan.recipe.data.color or ("RGB" if folder else "")


def _output(spec: TensorSpec, plan: Plan, outputs: Sequence[TensorSpec]) -> OutputProcessing:
    model, labels = plan.recipe.model, labels_of(plan, outputs)
    nms = model.nms
    roles: dict[str, Literal["boxes", "scores", "classes"]] = {}
    if nms is not None:
        roles = {nms.boxes: "boxes", nms.scores: "scores", nms.classes: "classes"}
    scored = spec.name in scored_names(plan, outputs)
    return OutputProcessing(
        name=spec.name,
        role=roles.get(spec.name, ""),
        activation=activation_of(plan) if scored else "none",
        axis=labels.axis if labels and labels.output == spec.name else -1,
        labels=f"files/{labels.name}" if labels and labels.output == spec.name else "",
    )


def activation_of(plan: Plan) -> Activation:
    """What the recipe says, or what it embeds anywhere."""
    embedded = {each for target in plan.targets for each in target.embed}
    if plan.recipe.model.activation != "none" or not embedded & {"softmax", "sigmoid"}:
        return plan.recipe.model.activation
    return "softmax" if "softmax" in embedded else "sigmoid"


def scored_names(plan: Plan, outputs: Sequence[TensorSpec]) -> tuple[str, ...]:
    """The output that the metric reads; the only one where the recipe names none."""
    named = plan.recipe.data.evaluation.output
    if named:
        return (named,)
    return (outputs[0].name,) if len(outputs) == 1 else ()


def _nms(table: NmsTable | None, outputs: Sequence[TensorSpec]) -> NmsProcessing | None:
    if table is None:
        return None
    known = [spec.name for spec in outputs]
    for name in (table.boxes, table.scores, table.classes):
        if name not in known:
            raise UnknownNameError("output of [model] nms", name, known, listing="edgekit inspect MODEL")
    return NmsProcessing(**table.model_dump())
