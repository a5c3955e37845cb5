"""Gather -> GATHER (tflite/kernels/gather.cc).

ONNX counts negative indices from the end; GATHER does not. Constant indices are normalised here, computed
ones by FLOOR_MOD with the axis' size, which SHAPE gives where it is dynamic.
"""

from __future__ import annotations

import numpy as np

from edgekit.backends.litert.operands import Operand
from edgekit.backends.litert.ops.terms import Terms
from edgekit.backends.litert.parameters import axis_of
from edgekit.backends.litert.step import Step


def lower_gather(step: Step) -> None:
    """Gather along one axis."""
    data, indices = step.operand(0), step.operand(1)
    axis = axis_of(step.unit, data.rank, default=0)
    size = data.shape[axis]
    tensor = step.x(0)
    layout = step.ports.inputs[0]
    stored = layout.axis(axis) if layout is not None else axis
    if indices.const is not None:
        values = indices.const.astype(np.int64)
        if isinstance(size, int):
            values = np.where(values < 0, values + size, values)
            if values.size and (values.min() < 0 or values.max() >= size):
                raise step.refusal("index-range", f"an index outside of 0..{size - 1}", "correct the indices")
        elif values.size and values.min() < 0:
            raise step.refusal(
                "dynamic-gather", "a negative index into a dynamic axis", "fix the size of that axis"
            )
        positions = step.constant(indices.key, values.astype(np.int32))
    else:
        positions = step.x(1)
        if isinstance(size, int):
            modulus = step.constant("size", np.asarray([size] if indices.rank else size, indices.dtype))
        else:
            modulus = _size(step, tensor, stored, indices)
        positions = step.emit("FLOOR_MOD", [positions, modulus], step.shape(positions))
    step.result("GATHER", [tensor, positions], options={"axis": stored}, scale_of=tensor)


def _size(step: Step, tensor: int, axis: int, indices: Operand) -> int:
    """The size of ``tensor`` along ``axis``, of the type and rank (0 or 1) that a modulus has."""
    t = Terms(step)
    sizes = step.emit("SHAPE", [tensor], (t.rank(tensor),), dtype="int32", options={"outType": "int32"})
    place = t.const([axis] if indices.rank else axis, "int32")
    return t.cast(t.gather(sizes, place, 0), indices.dtype)


LOWERINGS = {"Gather": lower_gather}
