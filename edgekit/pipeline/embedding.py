"""``embed = [...]`` x recipe x model x data -> Embedded: which steps go inside, and what is left to the app.

    raw --steps before--> | uint8-input, normalize: layout, scale, normalize | model | softmax, nms |

The artifact begins behind the last step that cannot be inside (resize, bytes, a cast to integers), and takes
all that follows: there is no third place where a step could stay.

E1 a step twice; softmax and sigmoid; softmax where the recipe says sigmoid; nms without [model] nms
E2 normalize, and no scale or normalize step is there to go inside
E3 its steps are no (x - mean) / std of channels
E4 uint8-input alone, and a scale or normalize step would stay between the bytes and the model
E5 uint8-input, and what is there at that place is no byte: a resized picture has fractions, which
   { op = "bytes" } rounds, in the data that accuracy is measured on as well as in the app
E6 there is no float32 input, or an activation's output is no float32
E7 softmax or sigmoid, and it is open which output, or the model ends in one already
E8 nms, and the candidates are not boxes (batch, count, 4), scores and classes (batch, count) of a fixed count
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekit.backends.base import Normalization
from edgekit.bundle.processing import Processing
from edgekit.dataset import Dataset
from edgekit.errors import DataError, RecipeError
from edgekit.passes.base import Pass
from edgekit.passes.embed_activation import EmbedActivation
from edgekit.passes.embed_boundary import PREFIX, inside
from edgekit.passes.embed_nms import EmbedNms
from edgekit.passes.embed_normalize import EmbedNormalize
from edgekit.passes.embed_raw_input import EmbedRawInput
from edgekit.pipeline.info import normalization
from edgekit.pipeline.model import Canonical
from edgekit.preprocess import Cast, Layout, Normalize, Scale, Step, apply
from edgekit.recipe import Recipe
from edgekit.spec import Artifact, Embedding, Range, Rejection, TensorSpec

_MORE = "docs/embed.md"
_IMAGE_RANK = 4
_BYTES = (0.0, 255.0)


@dataclass(frozen=True)
class Embedded:
    """What one choice of ``embed`` makes of a model.

    Attributes:
        asked: the choice, in a fixed order.
        steps: what the app does, before the artifact.
        passes: what makes the embedded form of the model, and of its restored form.
        names: what a value of the model was called -> what it is called inside.
        ranges: of values that are new, by name.
        processing: what is left to the app, for the manifest.
    """

    asked: tuple[Embedding, ...]
    steps: tuple[Step, ...]
    passes: tuple[Pass, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    processing: Processing = field(default_factory=Processing)


def check(recipe: Recipe, asked: Sequence[Embedding]) -> None:
    """E1: what the recipe alone shows.

    Raises:
        RecipeError: E1.
    """
    twice = next((each for each in asked if list(asked).count(each) > 1), None)
    activations = [each for each in asked if each in {"softmax", "sigmoid"}]
    said = recipe.model.activation
    if twice is not None:
        raise _refused(f"names {twice!r} twice", "a step is inside once", "write it once")
    if len(activations) > 1:
        raise _refused("names softmax and sigmoid", "an output has one activation", "write one of them")
    if activations and said not in {"none", activations[0]}:
        raise _refused(
            f"names {activations[0]}, and [model] activation is {said!r}",
            "the app would be told another activation than the one inside",
            "write the same in both, or leave activation out",
        )
    if "nms" in asked and recipe.model.nms is None:
        raise _refused(
            "names nms, and there is no [model] nms",
            "the thresholds are yours to choose",
            "add nms = { iou_threshold = 0.5, score_threshold = 0.05 } under [model]",
        )


def decide(
    asked: Sequence[Embedding], recipe: Recipe, canonical: Canonical, *, whole: Processing, data: Dataset
) -> Embedded:
    """What goes inside.

    Args:
        asked: the recipe's choice for some target.
        recipe: whose steps they are.
        canonical: the model.
        whole: everything around it.
        data: the evaluation set, for its first raw sample.

    Raises:
        RecipeError: E1 to E8.
    """
    check(recipe, asked)
    front = _front(asked, recipe, canonical, data)
    back, ranges = _back(asked, recipe, canonical, whole)
    names = {each.input: inside(each.input) for each in front.passes if isinstance(each, _FRONT)}
    names |= {each.output: inside(each.output) for each in back if isinstance(each, EmbedActivation)}
    if "nms" in asked and whole.nms is not None:
        names |= {each: inside(each) for each in (whole.nms.boxes, whole.nms.scores, whole.nms.classes)}
    return Embedded(
        asked=tuple(asked),
        steps=front.steps,
        passes=(*front.passes, *back),
        names=names,
        ranges={**front.ranges, **ranges},
        processing=_left(asked, whole, front.steps),
    )


_FRONT = (EmbedNormalize, EmbedRawInput)


@dataclass(frozen=True)
class _Front:
    steps: tuple[Step, ...]
    passes: tuple[EmbedNormalize | EmbedRawInput, ...] = ()
    ranges: Mapping[str, Range] = field(default_factory=dict)


def _front(asked: Sequence[Embedding], recipe: Recipe, canonical: Canonical, data: Dataset) -> _Front:
    steps = recipe.data.preprocess
    if not {"uint8-input", "normalize"} & set(asked):
        return _Front(steps)
    before, behind = split(steps)
    arithmetic = [step for step in behind if isinstance(step, Scale | Normalize)]
    if "normalize" not in asked and arithmetic:  # E4
        raise _refused(
            f"names uint8-input without normalize, and a {arithmetic[0].op} step follows the bytes",
            "between bytes and the model it has no place but inside",
            'write embed = ["uint8-input", "normalize"]',
        )
    if "normalize" in asked and not arithmetic:  # E2
        raise _refused(
            "names normalize, and the recipe has no scale or normalize step that could go inside",
            "a resize, bytes or integer cast step stays in the app, and all in front of it",
            "leave normalize out, or state the steps under [data] preprocess",
        )
    found = normalization(behind) if arithmetic else Normalization((0.0,), (1.0,))
    turns = sum(isinstance(step, Layout) and step.to == "NCHW" for step in behind)
    if found is None or turns > 1:  # E3
        raise _refused(
            "names normalize, and the steps are no (x - mean) / std of channels",
            "values of channels belong to the last axis, which is the channels' in front of the layout step",
            "put the layout step behind normalize",
        )
    floats = [spec for spec in canonical.inputs if spec.dtype == "float32"]
    if not floats:  # E6
        raise _refused(
            "names uint8-input or normalize, and the model has no float32 input",
            "there is nothing to convert or to normalize",
            "leave them out",
        )
    dtype: Literal["uint8", "float32"] = "uint8" if "uint8-input" in asked else "float32"
    before = _app_steps(before, behind, floats[0], data, dtype=dtype)
    passes = [each for spec in floats for each in _of_input(spec, found, turned=turns == 1, dtype=dtype)]
    known = dtype == "uint8"
    ranges = {inside(spec.name): _range(found) for spec in floats} if known else {}
    return _Front(before, tuple(passes), ranges)


def split(steps: Sequence[Step]) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """The steps that stay in the app, and those that can go inside: all behind the last that cannot."""
    first = len(steps)
    while first and _can_be_inside(steps[first - 1]):
        first -= 1
    return tuple(steps[:first]), tuple(steps[first:])


def _can_be_inside(step: Step) -> bool:
    return isinstance(step, Scale | Normalize | Layout) or (
        isinstance(step, Cast) and step.dtype == "float32"
    )


def _app_steps(
    before: tuple[Step, ...],
    behind: Sequence[Step],
    spec: TensorSpec,
    data: Dataset,
    *,
    dtype: Literal["uint8", "float32"],
) -> tuple[Step, ...]:
    """``before``, ended so that it gives what the artifact takes (E5)."""
    raw = next(iter(data.raw() if data.raw is not None else data.samples()))
    found: npt.NDArray[Any] = apply(np.asarray(raw[spec.name]), before)
    if dtype == "uint8" and found.dtype != np.uint8:
        raise _refused(
            f"names uint8-input, and what is there to begin with is {found.dtype}, not uint8",
            "a resized picture has fractions, which an app would round and the data of the proof would not",
            'put { op = "bytes" } where the app has bytes: behind resize, in front of scale',
        )
    return _ended(before, behind, found, dtype=dtype)


def steps_for(recipe: Recipe, artifact: Artifact, sample: Mapping[str, npt.NDArray[Any]]) -> tuple[Step, ...]:
    """What the app does in front of ``artifact``: all steps, or those in front of the ones that are inside.

    Args:
        recipe: whose steps they are.
        artifact: of which only the inputs are looked at.
        sample: raw.
    """
    steps = recipe.data.preprocess
    if _fit(steps, artifact, sample):
        return steps
    before, behind = split(steps)
    first = artifact.inputs[0].reference
    found = apply(np.asarray(sample.get(first.name, next(iter(sample.values())))), before)
    dtype: Literal["uint8", "float32"] = "uint8" if first.dtype == "uint8" else "float32"
    ended = _ended(before, behind, found, dtype=dtype)
    return ended if _fit(ended, artifact, sample) else steps


def _fit(steps: Sequence[Step], artifact: Artifact, sample: Mapping[str, npt.NDArray[Any]]) -> bool:
    for spec in (each.reference for each in artifact.inputs):
        if spec.name not in sample:
            return False
        try:
            found = apply(np.asarray(sample[spec.name]), steps)
        except DataError:
            return False
        sizes = zip(spec.shape[1:], found.shape, strict=False)
        fits = len(spec.shape) == found.ndim + 1 and all(not isinstance(a, int) or a == b for a, b in sizes)
        if not fits or found.dtype.name != spec.dtype:
            return False
    return True


def _ended(
    before: tuple[Step, ...],
    behind: Sequence[Step],
    found: npt.NDArray[Any],
    *,
    dtype: Literal["uint8", "float32"],
) -> tuple[Step, ...]:
    """``before``, which gives ``found``, with what makes the shape and the type of it."""
    ended = before
    if found.ndim == _IMAGE_RANK - 2 and any(isinstance(step, Layout) for step in behind):
        ended = (
            *ended,
            Layout(op="layout", to="NHWC"),
        )  # (H, W) -> (H, W, 1), as the layout step inside takes it
    return (*ended, Cast(op="cast", dtype="float32")) if found.dtype.name != dtype else ended


def _of_input(
    spec: TensorSpec, found: Normalization, *, turned: bool, dtype: str
) -> list[EmbedNormalize | EmbedRawInput]:
    passes: list[EmbedNormalize | EmbedRawInput] = []
    if any(found.mean) or any(each != 1.0 for each in found.std):
        axis = 1 if turned else len(spec.shape) - 1
        passes.append(EmbedNormalize(spec.name, found.mean, found.std, axis=axis))
    if turned and len(spec.shape) != _IMAGE_RANK:
        raise _refused(
            f"has a layout step, and input {spec.name!r} has rank {len(spec.shape)}",
            "a layout is one of pictures",
            "leave the layout step out",
        )
    if turned or dtype == "uint8":
        passes.append(EmbedRawInput(spec.name, dtype, channels_last=turned))
    return passes


def _range(found: Normalization) -> Range:
    """What bytes become."""
    ends = [(byte - m) / s for byte in _BYTES for m, s in zip(found.mean, found.std, strict=True)]
    return Range(min(ends), max(ends))


# --- behind the model ----------------------------------------------------------------------------------


def _back(
    asked: Sequence[Embedding], recipe: Recipe, canonical: Canonical, whole: Processing
) -> tuple[tuple[Pass, ...], dict[str, Range]]:
    passes: list[Pass] = []
    ranges: dict[str, Range] = {}
    for activation in ("softmax", "sigmoid"):
        if activation in asked:
            name, axis = _activated(activation, canonical, whole)
            passes.append(EmbedActivation(name, "softmax" if activation == "softmax" else "sigmoid", axis))
            ranges[name] = Range(0.0, 1.0)
    if "nms" in asked:
        passes.append(_nms(recipe, canonical))
    return tuple(passes), ranges


def _activated(activation: str, canonical: Canonical, whole: Processing) -> tuple[str, int]:
    """E6 and E7."""
    found = [each for each in whole.outputs if each.activation != "none"]
    if len(found) != 1:
        raise _refused(
            f"names {activation}, and it is open for which of {len(whole.outputs)} outputs",
            "an activation belongs to the scored output",
            "name it: output under [data] evaluation",
        )
    name = found[0].name
    spec = next(each for each in canonical.outputs if each.name == name)
    value = next(each for each in canonical.model.graph.outputs if each.name == name)
    producer = value.producer()
    if spec.dtype != "float32":
        raise _refused(
            f"names {activation}, and output {name!r} is {spec.dtype}",
            "probabilities are made of float32 scores",
            f"leave {activation} out",
        )
    if producer is not None and producer.op_type in {"Softmax", "Sigmoid"}:
        raise _refused(
            f"names {activation}, and output {name!r} comes from a {producer.op_type} already",
            "probabilities of probabilities are nearly equal, and mean nothing",
            f"leave {activation} out",
        )
    return name, found[0].axis


def _nms(recipe: Recipe, canonical: Canonical) -> EmbedNms:
    """E8."""
    table = recipe.model.nms
    assert table is not None  # noqa: S101  ``check`` has looked
    shapes = {each.name: each for each in canonical.outputs}
    boxes, scores, classes = (shapes[name] for name in (table.boxes, table.scores, table.classes))
    count = scores.shape[1] if len(scores.shape) == 2 else None
    fits = (
        isinstance(count, int)
        and boxes.shape[1:] == (count, 4)
        and classes.shape[1:] == (count,)
        and boxes.dtype == scores.dtype == "float32"
    )
    if not fits:
        raise _refused(
            f"names nms, and the candidates are {boxes}, {scores}, {classes}",
            "boxes (batch, count, 4), scores and classes (batch, count) of one fixed count are suppressed",
            "give the model such outputs, or leave nms to the app",
        )
    return EmbedNms(
        table.boxes,
        table.scores,
        table.classes,
        iou_threshold=table.iou_threshold,
        score_threshold=table.score_threshold,
        max_detections=table.max_detections,
    )


# --- what is left --------------------------------------------------------------------------------------


def _left(asked: Sequence[Embedding], whole: Processing, steps: tuple[Step, ...]) -> Processing:
    activated = bool({"softmax", "sigmoid"} & set(asked))
    return whole.model_copy(
        update={
            "inputs": tuple(each.model_copy(update={"steps": steps}) for each in whole.inputs),
            "outputs": tuple(
                each.model_copy(update={"activation": "none"}) if activated else each
                for each in whole.outputs
            ),
            "nms": None if "nms" in asked else whole.nms,
            "embedded": tuple(asked),
        }
    )


def with_remedy(rejection: Rejection) -> Rejection:
    """A target's refusal of a node that was embedded says which step to leave out there."""
    if not rejection.node.startswith(PREFIX):
        return rejection
    last = rejection.node.rpartition("/")[2]
    step = "nms" if rejection.node.startswith(f"{PREFIX}nms/") else _STEPS.get(last, "it")
    remedy = f"leave {step!r} out of embed in the [[target]] table of this target: the app does it there"
    return replace(rejection, remedy=remedy)


_STEPS = {
    "softmax": "softmax",
    "sigmoid": "sigmoid",
    "sub": "normalize",
    "mul": "normalize",
    "cast": "uint8-input",
    "transpose": "uint8-input",
}


def _refused(what: str, why: str, remedy: str) -> RecipeError:
    return RecipeError(f"embed {what}", why=why, remedy=remedy, more=_MORE)
