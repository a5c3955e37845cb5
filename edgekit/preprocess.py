"""Raw sample -> model input: the recipe's ``[data] preprocess`` steps, as data and as arithmetic.

The steps are few and exactly defined, because an app on a phone must be able to repeat them bit for bit
(the most frequent cause of "works in Python, fails on the device" is another resize or another scale).
A sample is (H, W, C) or (H, W) until a ``layout`` step says otherwise; arithmetic is float32.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from edgekit.errors import DataError

FloatArray = npt.NDArray[np.float32]


class _Step(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Resize(_Step):
    """(H, W, C) -> (size[0], size[1], C) with half-pixel centres, edges clamped, no antialiasing.

    The definition is that of ONNX Resize with coordinate_transformation_mode "half_pixel", and of
    torch.nn.functional.interpolate(align_corners=False, antialias=False).
    """

    op: Literal["resize"]
    size: tuple[int, int]
    method: Literal["bilinear", "nearest"] = "bilinear"


class Scale(_Step):
    """x -> x * by."""

    op: Literal["scale"]
    by: float


class Normalize(_Step):
    """x -> (x - mean) / std, one value per channel of the last axis, or one for all."""

    op: Literal["normalize"]
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Layout(_Step):
    """(H, W, C) -> (C, H, W) for "NCHW"; "NHWC" keeps channels last."""

    op: Literal["layout"]
    to: Literal["NCHW", "NHWC"]


class Cast(_Step):
    """x -> x as another element type; the default at the end is float32."""

    op: Literal["cast"]
    dtype: Literal["float32", "uint8", "int64", "int32"]


class Bytes(_Step):
    """x -> uint8: rounded half to even, and clamped to 0..255. What an app has after it resized a picture."""

    op: Literal["bytes"]


Step = Annotated[Resize | Scale | Normalize | Layout | Cast | Bytes, Field(discriminator="op")]


def preprocess_id(steps: Sequence[Step]) -> str:
    """Digest of the steps: two calibrations compare only where it is equal."""
    text = json.dumps([step.model_dump(mode="json") for step in steps], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def apply(sample: npt.NDArray[Any], steps: Sequence[Step]) -> npt.NDArray[Any]:
    """Run ``steps`` over one sample of shape (H, W), (H, W, C) or anything that the steps accept.

    Raises:
        DataError: a step does not fit the sample's rank or channel count.
    """
    for step in steps:
        sample = _one(sample, step)
    return sample


def _one(x: npt.NDArray[Any], step: Step) -> npt.NDArray[Any]:
    match step:
        case Resize():
            return _resize(_image(x, step), step)
        case Scale():
            return np.asarray(x, np.float32) * np.float32(step.by)
        case Normalize():
            return _normalize(np.asarray(x, np.float32), step)
        case Layout():
            image = _image(x, step)
            return np.ascontiguousarray(np.moveaxis(image, -1, 0)) if step.to == "NCHW" else image
        case Cast():
            return x.astype(step.dtype)
        case Bytes():
            return np.asarray(np.clip(np.rint(x), 0, 255), np.uint8)


def _image(x: npt.NDArray[Any], step: Step) -> npt.NDArray[Any]:
    if x.ndim == 2:
        return x[:, :, None]
    if x.ndim != 3:
        raise DataError(
            f"pre-processing step {step.op!r} takes an image, and a sample has shape {x.shape}",
            why="an image is (height, width) or (height, width, channels)",
            remedy="remove the step, or give images as the data",
        )
    return x


def _normalize(x: FloatArray, step: Normalize) -> FloatArray:
    mean, std = np.asarray(step.mean, np.float32), np.asarray(step.std, np.float32)
    for name, values in (("mean", mean), ("std", std)):
        if values.size not in {1, x.shape[-1]}:
            raise DataError(
                f"normalize has {values.size} values of {name}, and a sample has {x.shape[-1]} channels",
                why="there is one value per channel of the last axis, or one for all",
                remedy="correct the list, or put the layout step after normalize",
            )
    return np.asarray((x - mean) / std, np.float32)


def _resize(x: npt.NDArray[Any], step: Resize) -> FloatArray:
    out = np.asarray(x, np.float32)
    for axis, size in enumerate(step.size):
        out = _resize_axis(out, axis, size, step.method)
    return np.ascontiguousarray(out)


def _resize_axis(x: FloatArray, axis: int, size: int, method: str) -> FloatArray:
    """Resize one axis: source coordinate = (i + 0.5) * old / new - 0.5 (half-pixel centres)."""
    old = x.shape[axis]
    centre = (np.arange(size) + 0.5) * (old / size) - 0.5
    if method == "nearest":
        index = np.clip(np.ceil(centre - 0.5), 0, old - 1).astype(np.intp)
        return np.asarray(np.take(x, index, axis=axis), np.float32)
    low = np.floor(centre).astype(np.intp)
    weight = (centre - low).astype(np.float32)
    shape = [1] * x.ndim
    shape[axis] = size
    w = weight.reshape(shape)
    below = np.take(x, np.clip(low, 0, old - 1), axis=axis)
    above = np.take(x, np.clip(low + 1, 0, old - 1), axis=axis)
    return np.asarray(below * (1 - w) + above * w, np.float32)
