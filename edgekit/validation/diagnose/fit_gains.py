"""Kernel that is wrong x its segment -> the trial in which every channel has its own gain and offset.

    c = f(gain_k * s_k + offset_k)        s: the sum before the activation f of the segment, k: its channel

A BatchNormalization that was folded with another epsilon, or with other statistics, differs in exactly that:

    gain_k = sqrt((variance_k + epsilon) / (variance_k + epsilon'))

so all gains lie on one side of 1, and differ. The trial's value is the least, the middle and the largest.
The line is fitted where f is the identity (c strictly
inside of what the activation and the integers can hold), and judged everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import EdgekitError
from edgekit.ir.graph import is_onnx
from edgekit.passes.fuse_activation import clip_bounds
from edgekit.spec import QuantParams, RunOptions
from edgekit.validation.diagnose.changes.change import Segment
from edgekit.validation.diagnose.evidence import Trial
from edgekit.validation.diagnose.observed import Observed, OpenModel
from edgekit.validation.layers import Error, limits

KIND = "gain"
FEWEST = 32  # values of a channel between the limits: a line through fewer says nothing
_SUMS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_Row = npt.NDArray[Any]


def fit_gains(
    kernel: str,
    segment: Segment,
    observed: Sequence[Observed],
    *,
    params: QuantParams | None,
    open_model: OpenModel,
) -> tuple[Trial, ...]:
    """At most one trial; none where the segment is no weighted sum with at most a clamp behind it."""
    found = _before_the_clamp(segment)
    if found is None or segment.weight is None:
        return ()
    model, low, high = found
    try:
        with open_model(model.model, RunOptions()) as session:
            sums = [next(iter(session.run(batch.inputs).values())) for batch in observed]
    except EdgekitError:
        return ()
    if params is not None and len(params.scale) == 1:
        least, most = limits(params)
        low, high = max(low, least), min(high, most)
    axis = 1 if sums[0].ndim > 2 else sums[0].ndim - 1
    rows = [np.moveaxis(array.astype(np.float64), axis, 0) for array in sums]
    seen = [np.moveaxis(batch.output.astype(np.float64), axis, 0) for batch in observed]
    if any(r.shape != s.shape for r, s in zip(rows, seen, strict=True)):
        return ()
    x = np.concatenate([row.reshape(len(row), -1) for row in rows], axis=1)
    y = np.concatenate([row.reshape(len(row), -1) for row in seen], axis=1)
    step = 0.0 if params is None or len(params.scale) != 1 else params.scale[0]
    gains, offsets, known = _lines(x, y, low + step, high - step)
    if not known.any():
        return ()
    expected = np.clip(gains[:, None] * x + offsets[:, None], low, high)
    error = Error()
    error.add(expected, y, y - expected)
    fitted = gains[known]
    says = f"each channel times {fitted.min():.3g} to {fitted.max():.3g}"
    value = f"{fitted.min():.4g} {np.median(fitted):.4g} {fitted.max():.4g}"
    return (Trial(kernel, KIND, says, error.finish(step or None), value),)


def _before_the_clamp(segment: Segment) -> tuple[Segment, float, float] | None:
    """The segment without the clamp at its end, and the clamp's limits."""
    model = segment.model.clone()
    end = model.graph.outputs[0].producer()
    low, high = -np.inf, np.inf
    if end is not None and is_onnx(end, "Relu", "Clip"):
        bounds = (0.0, np.inf) if end.op_type == "Relu" else clip_bounds(end)
        source = end.inputs[0]
        if None in bounds or source is None:
            return None
        low, high = float(bounds[0] or 0.0), float(bounds[1] or 0.0)
        model.graph.outputs[0] = source
        model.graph.remove(end, safe=True)
        end = source.producer()
    if end is None or not is_onnx(end, *_SUMS):
        return None
    return Segment(model, segment.params, segment.weight, segment.fed), low, high


def _lines(x: _Row, y: _Row, low: float, high: float) -> tuple[_Row, _Row, npt.NDArray[np.bool_]]:
    """Least squares y = gain x + offset for each row, of what lies strictly between the limits."""
    gains, offsets = np.ones(len(x)), np.zeros(len(x))
    known = np.zeros(len(x), np.bool_)
    for row in range(len(x)):
        inside = (y[row] > low) & (y[row] < high)
        if np.count_nonzero(inside) < FEWEST:
            continue
        a, b = x[row][inside], y[row][inside]
        spread = a.var()
        if spread <= 1e-12 * max(float(np.square(a).mean()), 1e-30):
            continue
        gains[row] = ((a - a.mean()) * (b - b.mean())).mean() / spread
        offsets[row] = b.mean() - gains[row] * a.mean()
        known[row] = True
    return gains, offsets, known
