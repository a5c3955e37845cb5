"""Images out of a model x the images they should be -> PSNR.

    psnr of one sample = min(60, -10 log10(mean squared error))        in dB, pixel values in 0..1

The value is the mean over samples. The cap makes equal images comparable: 60 dB is a root mean square error
of 1/1000, a quarter of the step of an 8-bit picture, and no screen shows more.

PSNR = 10 log10(peak^2 / mean squared error) with the peak 1, as scikit-image.metrics has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError

Numbers = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

CAP_DB = 60.0


def sufficient(outputs: Mapping[str, Numbers], labels: Numbers) -> dict[str, Numbers]:
    """Output (N, ...) and labels of the same shape -> ``psnr``: (N,) in dB.

    Raises:
        DataError: the shapes differ, or the labels are no pictures with values in 0..1.
    """
    images = outputs["output"]
    if images.shape != labels.shape or images.ndim < 2:
        raise DataError(
            f"psnr got an output of shape {images.shape} and labels of shape {labels.shape}",
            why="it compares pixel by pixel",
            remedy="name the output that is scored, choose another metric, or check the labels",
        )
    wanted = labels.astype(np.float64)
    if not np.isfinite(wanted).all() or wanted.min() < 0.0 or wanted.max() > 1.0:
        raise DataError(
            f"psnr got labels from {wanted.min():g} to {wanted.max():g}",
            why="the peak value is 1, so pixels lie in 0..1",
            remedy="divide 8-bit pixels by 255, in the labels and in the model's output",
        )
    error = ((images.astype(np.float64) - wanted) ** 2).reshape(len(images), -1).mean(axis=1)
    return {"psnr": -10.0 * np.log10(np.maximum(error, 10.0 ** (-CAP_DB / 10.0)))}


def aggregate(statistics: Mapping[str, Numbers], weights: Floats) -> Floats:
    """Mean over samples; weights (R, N) -> (R,), NaN without samples."""
    whole = weights.sum(axis=1)
    mean: Floats = np.divide(
        weights @ statistics["psnr"], whole, out=np.full(whole.shape, np.nan), where=whole > 0
    )
    return mean
