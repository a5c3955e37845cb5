"""Constant operand -> the numbers that its integers stand for: dequantize(quantize(w)).

Where the artifact then computes what is expected, rounding the weights is all that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edgekit.ir.graph import constant
from edgekit.spec import Array, QuantParams
from edgekit.validation.diagnose.changes.change import Change, Segment, number

KIND = "weights"


def changes(segment: Segment) -> Iterator[Change]:
    """One change, where the weight's scales are known."""
    weight = segment.weight
    if weight is None or weight.params is None:
        return
    source = segment.model.graph.initializers.get(weight.name)
    array = constant(source)
    if array is None or len(weight.params.scale) not in {1, array.shape[weight.axis]}:
        return
    clone = segment.model.clone()
    same = clone.graph.initializers[weight.name]
    new = number(clone.graph, f"{weight.name}_stored", rounded(array, weight.params, axis=weight.axis))
    for node, index in tuple(same.uses()):
        node.replace_input_with(index, new)
    yield Change(KIND, "weights as they are stored", "", clone)


def rounded(array: Array, params: QuantParams, *, axis: int) -> npt.NDArray[np.float32]:
    """What the integers of ``array`` stand for; ``axis`` is that of several scales."""
    integers, scale, zero = stored(array, params, axis=axis)
    return np.asarray((integers - zero) * scale, np.float32)


def stored(
    array: Array, params: QuantParams, *, axis: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Integers (as float64), and scales and zero points in a shape that broadcasts."""
    shape = [1] * array.ndim
    if len(params.scale) > 1:
        shape[axis] = -1
    scale = np.asarray(params.scale, np.float64).reshape(shape)
    zero = np.asarray(params.zero_point, np.float64).reshape(shape)
    kind = np.iinfo(params.dtype)
    integers = np.clip(np.rint(array.astype(np.float64) / scale) + zero, int(kind.min), int(kind.max))
    return integers, scale, zero
