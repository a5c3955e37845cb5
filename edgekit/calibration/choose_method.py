"""What was seen of one tensor -> the method whose range loses least, and that range (`auto`).

    error(low, high) = sum (x - clip(x))^2 + (count inside) * step^2 / 12,   step = (high - low) / 255

over the histogram, zero inside [low, high]: the expected squared error of an 8-bit image, as in ``clipping``.
Candidates are minmax, percentile, entropy and mse, in this order. mse minimizes that very error: the choice
is which of the gentler cuts comes close: the first one whose error is within TOLERANCE of the least wins.

A1: What decides a label stays uncut: outputs of the model and what Softmax, ArgMax or TopK reads. There the
    largest values carry the answer, and the mean square says nothing about their order.
A2: So do the model's inputs: their range is that of the data's format, and not of the samples.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.calibration.evidence import Seen
from edgekit.calibration.histogram import Histogram
from edgekit.calibration.observers import Entropy, Method, MinMax, Percentile, SquaredError
from edgekit.calibration.watched import with_heirs
from edgekit.ir.graph import is_onnx
from edgekit.spec import Range

TOLERANCE = 0.1  # of the least error: half a decibel, which no task notices, against values that are cut
LEVELS = 256  # of an 8-bit integer
DECIDING = ("Softmax", "LogSoftmax", "ArgMax", "TopK", "Hardmax")
CANDIDATES: tuple[tuple[str, Method], ...] = (
    ("minmax", MinMax()),
    ("percentile", Percentile()),
    ("entropy", Entropy()),
    ("mse", SquaredError()),
)


def choose(seen: Seen) -> tuple[str, Range]:
    """The gentlest method whose error is as small as the least, and its range."""
    if seen.histogram is None:
        return "minmax", Range(seen.low, seen.high)
    found = [(name, method.range_of(seen)) for name, method in CANDIDATES]
    errors = [expected_error(seen.histogram, each) for _, each in found]
    enough = min(errors) * (1 + TOLERANCE)
    return next(one for one, error in zip(found, errors, strict=True) if error <= enough)


def expected_error(histogram: Histogram, extent: Range) -> float:
    """Sum of squared errors of an 8-bit image of the counted values on ``extent`` with zero inside."""
    low, high = min(extent.low, 0.0), max(extent.high, 0.0)
    used = np.flatnonzero(histogram.counts)
    mass = histogram.counts[used].astype(np.float64)
    values = (used + histogram.first + 0.5) * histogram.width
    outside = values - np.clip(values, low, high)
    rounded = mass[(outside == 0) & (used + histogram.first != 0)].sum()
    step = (high - low) / (LEVELS - 1)
    return float((mass * outside**2).sum() + rounded * step**2 / 12)


def uncut(model: ir.Model, measured: tuple[str, ...]) -> frozenset[str]:
    """Names among ``measured`` that keep their extrema (A1, A2)."""
    resolved = with_heirs(model, dict.fromkeys(measured))
    names = [value.name or "" for value in (*model.graph.inputs, *model.graph.outputs)]
    read = [node.inputs[0] for node in model.graph if is_onnx(node, *DECIDING) and node.inputs]
    names.extend(value.name or "" for value in read if value is not None)
    return frozenset(resolved[name] for name in names if name in resolved)
