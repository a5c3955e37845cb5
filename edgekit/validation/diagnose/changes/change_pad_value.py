"""Convolution, Pad -> the same with another number in the padding.

Who pads integers must pad the zero point, because that is what stands for 0.0. The usual mistakes pad the
integer 0 or the least integer. As real numbers, of n integers from ``least``:

    scale * (q - zero_point)        q = least, least + n / 2, least + n - 1

for u8 the first is the integer 0, for s8 the second: both forms of one tensor give the same three numbers.

V1 Conv: its zeros become that number
V2 Pad: its constant becomes that number, and 0 where it is not
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import constant, ints_attribute, is_onnx
from edgekit.spec import QuantParams
from edgekit.validation.diagnose.changes.change import Change, Segment, number, same_node
from edgekit.validation.diagnose.changes.change_padding import padded_in_front

KIND = "pad-value"


def changes(segment: Segment) -> Iterator[Change]:
    """V1 and V2."""
    for node in segment.model.graph:
        source = node.inputs[0] if node.inputs else None
        params = segment.params.get(source.name or "") if source is not None else None
        if is_onnx(node, "Conv") and any(ints_attribute(node, "pads", ())):
            for value in _values(params):
                clone = segment.model.clone()
                padded_in_front(same_node(clone, node), mode="constant", value=value)
                yield Change(KIND, f"{value:.4g} padded instead of 0", f"{value:.6g}", clone)
        if is_onnx(node, "Pad"):
            yield from _other_constant(segment.model, node, params)


def _values(params: QuantParams | None) -> list[float]:
    if params is None or len(params.scale) != 1:
        return []
    kind, scale, zero = np.iinfo(params.dtype), params.scale[0], params.zero_point[0]
    integers = (int(kind.min), (int(kind.min) + int(kind.max) + 1) // 2, int(kind.max))
    return sorted({scale * (integer - zero) for integer in integers} - {0.0})


def _other_constant(model: ir.Model, node: ir.Node, params: QuantParams | None) -> Iterator[Change]:
    attribute = node.attributes.get("mode")
    if attribute is not None and attribute.as_string() != "constant":
        return
    given = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    now = 0.0 if given is None else float(given.reshape(-1)[0])
    for value in sorted({0.0, *_values(params)} - {now}):
        clone = model.clone()
        same = same_node(clone, node)
        if len(same.inputs) < 3:
            same.resize_inputs(3)
        same.replace_input_with(2, number(clone.graph, f"{node.name}_fill", np.array(value, np.float32)))
        yield Change(KIND, f"{value:.4g} padded instead of {now:.4g}", f"{value:.6g}", clone)
