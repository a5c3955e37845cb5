"""Gather -> GATHER (tflite/kernels/gather.cc).

ONNX counts negative indices from the end; GATHER does not. Constant indices are normalised here, computed
ones by FLOOR_MOD with the axis' size.
"""

from __future__ import annotations

import numpy as np

from edgekit.backends.litert.parameters import axis_of
from edgekit.backends.litert.step import Step


def lower_gather(step: Step) -> None:
    """Gather along one axis."""
    data, indices = step.operand(0), step.operand(1)
    axis = axis_of(step.unit, data.rank, default=0)
    size = data.shape[axis]
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
        if not isinstance(size, int):
            raise step.refusal(
                "dynamic-gather", "computed indices into a dynamic axis", "fix the size of that axis"
            )
        positions = step.x(1)
        modulus = step.constant("size", np.asarray([size] if indices.rank else size, indices.dtype))
        positions = step.emit("FLOOR_MOD", [positions, modulus], step.shape(positions))
    tensor = step.x(0)
    layout = step.ports.inputs[0]
    options = {"axis": layout.axis(axis) if layout is not None else axis}
    step.result("GATHER", [tensor, positions], options=options, scale_of=tensor)


LOWERINGS = {"Gather": lower_gather}
