"""What an app does around the model, as data: raw sample -> steps -> artifact -> activation, nms, labels.

    raw sample --steps--> reference input --IoBinding--> artifact --IoBinding--> reference output --> answer

The manifest holds it twice: ``Manifest.processing`` for the model itself (everything is the app's), and
``TargetEntry.processing`` for each artifact, where what stands in ``embedded`` is done inside the file and is
no longer listed. An app (or the code that `edgekit package` writes) reads the target's.

One sample at a time, without the batch axis. Steps are those of ``edgekit.preprocess``, in order, with their
parameters; arithmetic is float32. ``verify`` runs exactly these steps on golden/inputs.npz, which holds raw
samples, before it replays an artifact.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from edgekit.preprocess import Step
from edgekit.spec import Activation, Embedding

LabelsPath = Annotated[str, StringConstraints(pattern=r"^(files/[^/\\\x00:]+)?$")]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RawTensor(_Closed):
    """One raw sample of one input, as the app has it before any step.

    Attributes:
        dtype: NumPy name; "uint8" for camera bytes.
        shape: without the batch axis; None = any size (a resize step follows).
        layout: "HWC", "HW" or "CHW" for an image, "" for anything else.
        color: order of the channels of an image: "RGB", "BGR", "gray", or "" where nobody says.
        low: smallest value that can occur; None where nobody says.
        high: largest; likewise.
    """

    dtype: str
    shape: tuple[int | None, ...]
    layout: Literal["HWC", "HW", "CHW", ""] = ""
    color: Literal["RGB", "BGR", "gray", ""] = ""
    low: float | None = None
    high: float | None = None


class InputProcessing(_Closed):
    """What leads to one input.

    Attributes:
        name: of the input (``IoBinding.reference``).
        raw: what the app starts from.
        steps: what the app does to it, in order; the result has dtype and shape of ``IoBinding.reference``
            without its batch axis.
    """

    name: str
    raw: RawTensor
    steps: tuple[Step, ...] = ()


class OutputProcessing(_Closed):
    """What one output means, and what the app does to it first.

    Attributes:
        name: of the output (``IoBinding.reference``).
        role: "boxes", "scores" or "classes" of a detector; "" otherwise.
        activation: what the app applies along ``axis`` to get probabilities; "none" = nothing (any more).
        axis: the axis of the classes, the batch axis being 0.
        labels: path of the file in the bundle that names the classes, one in each line, in order; "" = none.
    """

    name: str
    role: Literal["", "boxes", "scores", "classes"] = ""
    activation: Activation = "none"
    axis: int = -1
    labels: LabelsPath = ""


class NmsProcessing(_Closed):
    """Greedy non-maximum suppression of candidates (ONNX NonMaxSuppression-11, one list of all classes).

    A candidate is dropped where its score is not above ``score_threshold``, or where it overlaps a better one
    of its own class by more than ``iou_threshold``; at most ``max_detections`` remain, best first. Inside an
    artifact the outputs keep their names and have exactly that many rows: what is missing has score 0,
    class -1 and a box of zeros.

    Attributes:
        boxes: name of the output of corners (batch, count, 4).
        scores: name of the output of scores (batch, count).
        classes: name of the output of classes (batch, count).
        box_format: "xyxy" (x1, y1, x2, y2) or "yxyx".
        iou_threshold: intersection over union.
        score_threshold: in the unit of the scores.
        max_detections: rows that remain.
    """

    boxes: str
    scores: str
    classes: str
    box_format: Literal["xyxy", "yxyx"] = "xyxy"
    iou_threshold: float = Field(default=0.5, gt=0, lt=1)
    score_threshold: float = Field(default=0.0, ge=0)
    max_detections: int = Field(default=100, ge=1)


class Processing(_Closed):
    """Everything around one model, or around one artifact.

    Attributes:
        inputs: one for each input, in the model's order.
        outputs: one for each output, likewise.
        nms: what the app does to candidates; None = nothing (any more).
        embedded: what the artifact does itself and the rest of this value therefore leaves out.
    """

    inputs: tuple[InputProcessing, ...] = ()
    outputs: tuple[OutputProcessing, ...] = ()
    nms: NmsProcessing | None = None
    embedded: tuple[Embedding, ...] = ()
