"""Model -> the tensors whose ranges are measured, and those that take another one's range.

W1: a float32 value between nodes that somebody reads, or that is an output, is measured.
W2: a value that only re-arranges another one (Reshape, Transpose, ...) has the range of its source.
W3: a value that goes into one Relu or Clip with constant bounds, and nowhere else, has the range of what
    comes out: quantized to that range it saturates exactly where the activation would clamp. Looking at it
    would also keep the runtime from fusing the activation into the kernel before.
W4: an initializer has no range: its values are known.

Source: onnxruntime quantization/operators/activation.py removes such an activation for the same reason (W3).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import is_float32, is_onnx, sole_reader
from edgekit.passes.fuse_activation import clip_bounds

REARRANGING = ("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity")
CLAMPED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul")  # what kernels fuse an activation into


def watched(model: ir.Model) -> tuple[ir.Value, ...]:
    """Values to be measured, in the order of the graph; inputs of the model not among them (W1)."""
    found: list[ir.Value] = []
    for node in model.graph:
        if is_onnx(node, *REARRANGING):
            continue
        found.extend(
            value
            for value in node.outputs
            if _is_measurable(value) and (value.uses() or value.is_graph_output()) and _clamp(value) is None
        )
    return tuple(found)


def heirs(model: ir.Model) -> dict[str, str]:
    """Name of a value -> name of the value whose range it has (W2, W3)."""
    found = {}
    for node in model.graph:
        result = node.outputs[0]
        source = node.inputs[0] if node.inputs else None
        if is_onnx(node, *REARRANGING) and source is not None and result.name and source.name:
            found[result.name] = source.name
        elif result.name:
            clamped = _clamp(result)
            if clamped is not None and clamped.name:
                found[result.name] = clamped.name
    return found


def with_heirs(model: ir.Model, known: Mapping[str, object]) -> dict[str, str]:
    """Every name that has a range -> the name in ``known`` that it comes from."""
    resolved = {name: name for name in known}
    inherited = heirs(model)
    for name in inherited:
        source = name
        while source in inherited:
            source = inherited[source]
        if source in known:
            resolved[name] = source
    return resolved


def floor_of(value: ir.Value) -> float | None:
    """The least value that a Relu or a Clip can give, or None where nothing is known."""
    node = value.producer()
    if node is None:
        return None
    if is_onnx(node, "Relu"):
        return 0.0
    if is_onnx(node, "Clip"):
        low = clip_bounds(node)[0]
        return float(low) if low is not None and np.isfinite(low) else None
    return None


def _is_measurable(value: ir.Value) -> bool:
    return bool(value.name) and is_float32(value) and value.shape is not None and 0 not in tuple(value.shape)


def _clamp(value: ir.Value) -> ir.Value | None:
    """What comes out of the one activation that ``value`` goes into, if it is such a value (W3)."""
    node, reader = value.producer(), sole_reader(value)
    if node is None or reader is None or not is_onnx(node, *CLAMPED) or reader.inputs[0] is not value:
        return None
    is_clamp = is_onnx(reader, "Relu") or (is_onnx(reader, "Clip") and None not in clip_bounds(reader))
    return reader.outputs[0] if is_clamp and _is_measurable(reader.outputs[0]) else None
