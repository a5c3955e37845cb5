"""Resize -> the same with another method, or another rule of which pixel an output pixel looks at.

Source: onnx Resize-19; the pairs are those that PyTorch (half_pixel, asymmetric, align_corners), TensorFlow 1
(asymmetric, align_corners), TensorFlow 2 and TFLite's flags half_pixel_centers and align_corners give.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgekit.ir.graph import is_onnx
from edgekit.validation.diagnose.changes.change import Change, Segment, same_node

KIND = "resize"
_ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
_PLACES = ("half_pixel", "asymmetric", "align_corners")
FORMS = (
    *(("linear", place, "") for place in (*_PLACES, "pytorch_half_pixel")),
    *(("nearest", place, rounding) for place in _PLACES for rounding in _ROUNDINGS),
    *(("cubic", place, "") for place in _PLACES),
)


def changes(segment: Segment) -> Iterator[Change]:
    """Every other form of every Resize."""
    for node in segment.model.graph:
        if not is_onnx(node, "Resize"):
            continue
        now = form_of(node)
        for form in FORMS:
            if form != now:
                clone = segment.model.clone()
                write(same_node(clone, node), form)
                yield Change(KIND, f"Resize {words(form)} instead of {words(now)}", words(form), clone)


def form_of(node: ir.Node) -> tuple[str, str, str]:
    """(mode, coordinate_transformation_mode, nearest_mode); the last is "" where the mode is not nearest."""

    def word(name: str, default: str) -> str:
        attribute = node.attributes.get(name)
        return default if attribute is None else attribute.as_string()

    mode = word("mode", "nearest")
    rounding = word("nearest_mode", "round_prefer_floor") if mode == "nearest" else ""
    return mode, word("coordinate_transformation_mode", "half_pixel"), rounding


def write(node: ir.Node, form: tuple[str, str, str]) -> None:
    """Give a Resize this form."""
    mode, place, rounding = form
    node.attributes["mode"] = ir.AttrString("mode", mode)
    node.attributes["coordinate_transformation_mode"] = ir.AttrString("coordinate_transformation_mode", place)
    if rounding:
        node.attributes["nearest_mode"] = ir.AttrString("nearest_mode", rounding)


def words(form: tuple[str, str, str]) -> str:
    """For people: "nearest, asymmetric, floor"."""
    return ", ".join(word for word in form if word)
