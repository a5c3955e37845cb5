"""Operators that compute something else under the same name, or the same under another one.

M1 BatchNormalization-9 has no ``spatial``: with spatial=0 it normalized every position by itself -> refused
M2 BatchNormalization-14 says ``training_mode``: before, further outputs said so, even unused -> refused
M3 Upsample is Resize-11 with asymmetric coordinates, rounded down
M4 Resize-10 is Resize-11 with asymmetric coordinates; nearest rounds down where it enlarges and up where it
   shrinks (ONNX Runtime, upsamplebase.h: NearestMode::SIMPLE); both at once -> refused
M5 coordinates tf_half_pixel_for_nn of Resize-11, gone in 13: floor((x + 0.5) / s) is half_pixel, where
   round_prefer_ceil is floor((x + 0.5) / s - 0.5 + 0.5)
M6 Softmax, LogSoftmax, Hardmax before 13 flatten to (before axis, axis and after), and default to axis 1
M7 RoiAlign-16 moves coordinates by half a pixel unless it is told not to
M8 Split-18 into equal parts says how many
M9 Dropout-12 takes ratio as an input that only training reads; the mask of Dropout-7 was a float -> refused
M10 Scatter is called ScatterElements · M11 Scan-8 has a batch axis -> refused

Source: onnx docs/Changelog.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import constant, int_attribute, rank
from edgekit.ir.lift.change import (
    CannotLiftError,
    Change,
    Names,
    add_before,
    constant_before,
    set_input,
    take_attribute,
)


def _no_spatial(node: ir.Node, _: Names) -> None:
    """M1."""
    spatial = take_attribute(node, "spatial")
    if spatial is not None and spatial.as_int() != 1:
        raise CannotLiftError(node, "has spatial=0, and normalizes every position by itself")


def _one_output(node: ir.Node, _: Names) -> None:
    """M2."""
    for output in node.outputs[1:]:
        if output.name:
            raise CannotLiftError(node, f"is in training mode: it has an output {output.name!r}")
    node.resize_outputs(1)


def _upsample(node: ir.Node, names: Names) -> None:
    """M3; before opset 9 the scales were an attribute."""
    scales = take_attribute(node, "scales")
    value = (
        node.inputs[1]
        if scales is None
        else constant_before(node, np.array(scales.as_floats(), np.float32), names, "scales")
    )
    node.op_type = "Resize"
    _resize_11(node, value, "floor")


def _resize_10(node: ir.Node, _: Names) -> None:
    """M4."""
    scales = node.inputs[1]
    mode = node.attributes.get("mode")
    rounding = "floor"
    if mode is None or mode.as_string() == "nearest":
        known: Any = constant(scales)
        if known is None:
            raise CannotLiftError(node, "has scales that are computed, and its rounding depends on them")
        if (known < 1).any():
            rounding = "ceil"
        if (known < 1).any() and (known > 1).any():
            raise CannotLiftError(node, "enlarges one axis and shrinks another")
    _resize_11(node, scales, rounding)


def _resize_11(node: ir.Node, scales: ir.Value | None, rounding: str) -> None:
    set_input(node, 1, None)  # roi
    set_input(node, 2, scales)
    node.attributes.add(ir.AttrString("coordinate_transformation_mode", "asymmetric"))
    node.attributes.add(ir.AttrString("nearest_mode", rounding))


def _resize_13(node: ir.Node, _: Names) -> None:
    """M5; and empty tensors in the place of inputs that were not optional then become absent ones."""
    for index in (1, 2):
        if len(node.inputs) > index and node.inputs[index] is not None:
            known = constant(node.inputs[index])
            if known is not None and known.size == 0:
                node.replace_input_with(index, None)
    coordinates = node.attributes.get("coordinate_transformation_mode")
    if coordinates is None or coordinates.as_string() != "tf_half_pixel_for_nn":
        return
    rounding = node.attributes.get("nearest_mode")
    if rounding is None or rounding.as_string() != "floor":
        raise CannotLiftError(node, "has coordinates tf_half_pixel_for_nn with a rounding other than floor")
    node.attributes["coordinate_transformation_mode"] = ir.AttrString(
        "coordinate_transformation_mode", "half_pixel"
    )
    node.attributes["nearest_mode"] = ir.AttrString("nearest_mode", "round_prefer_ceil")


def _softmax(node: ir.Node, names: Names) -> None:
    """M6: over the last axis it is the same; else flattened, computed, and given its shape back."""
    axis = int_attribute(node, "axis", 1)
    data = node.inputs[0]
    size = rank(data)
    if axis == -1 or (size is not None and axis in (size - 1, -1)):
        node.attributes["axis"] = ir.AttrInt64("axis", -1)
        return
    shape = add_before(node, ir.node("Shape", [data]), names, "shape")
    flat = add_before(node, ir.node("Flatten", [data], attributes={"axis": axis}), names, "flat")
    inner = ir.node(node.op_type, [flat], attributes={"axis": -1})
    computed = add_before(node, inner, names, "rows")
    computed.type = node.outputs[0].type
    node.op_type = "Reshape"
    node.attributes.clear()
    node.resize_inputs(2)
    node.replace_input_with(0, computed)
    node.replace_input_with(1, shape)


def _roi_align(node: ir.Node, _: Names) -> None:
    """M7."""
    node.attributes.add(ir.AttrString("coordinate_transformation_mode", "output_half_pixel"))


def _split(node: ir.Node, _: Names) -> None:
    """M8."""
    if len(node.inputs) < 2 or node.inputs[1] is None:
        node.attributes.add(ir.AttrInt64("num_outputs", len(node.outputs)))


def _dropout_mask(node: ir.Node, _: Names) -> None:
    """M9."""
    for output in node.outputs[1:]:
        if output.uses() or output.is_graph_output():
            raise CannotLiftError(node, "has a mask that is used")
    node.resize_outputs(1)


def _dropout_ratio(node: ir.Node, _: Names) -> None:
    """M9."""
    take_attribute(node, "ratio")


def _scatter(node: ir.Node, _: Names) -> None:
    """M10."""
    node.op_type = "ScatterElements"


def _scan(node: ir.Node, _: Names) -> None:
    """M11."""
    raise CannotLiftError(node, "is of opset 8: Scan had another meaning before opset 9")


CHANGES: tuple[Change, ...] = (
    Change(("BatchNormalization",), 9, _no_spatial),
    Change(("Scan",), 9, _scan),
    Change(("Dropout",), 10, _dropout_mask),
    Change(("Resize",), 11, _resize_10),
    Change(("Upsample",), 11, _upsample),  # behind Resize, which it becomes
    Change(("Scatter",), 11, _scatter),
    Change(("Dropout",), 12, _dropout_ratio),
    Change(("Resize",), 13, _resize_13),
    Change(("Softmax", "LogSoftmax", "Hardmax"), 13, _softmax),
    Change(("BatchNormalization",), 14, _one_output),
    Change(("RoiAlign",), 16, _roi_align),
    Change(("Split",), 18, _split),
)
