"""Convolution, pooling, Pad -> the same with the padding at another side, or of another kind.

P1 begin and end swapped: SAME_LOWER for SAME_UPPER
P2 everything at the begin, everything at the end
P3 as even as it goes, the odd one at the end, or at the begin
P4 edge values, or reflected values, where zeros are padded
P5 AveragePool: padding counts, or does not

The sum of begin and end stays, so the output keeps its size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import constant, int_attribute, ints_attribute, is_onnx
from edgekit.validation.diagnose.changes.change import Change, Segment, before, number, same_node

PADDED = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")
KIND = "pads"


def changes(segment: Segment) -> Iterator[Change]:
    """P1 to P5 for every padded node of the segment."""
    for node in segment.model.graph:
        if is_onnx(node, *PADDED):
            yield from _moved(segment.model, node)
        if is_onnx(node, "Conv"):
            yield from _other_mode(segment.model, node)
        if is_onnx(node, "Pad"):
            yield from _pad_mode(segment.model, node)
        if is_onnx(node, "AveragePool") and any(ints_attribute(node, "pads", ())):
            counts = 1 - int_attribute(node, "count_include_pad", 0)
            yield _with(
                segment.model, node, ir.AttrInt64("count_include_pad", counts), f"count_include_pad {counts}"
            )


def _moved(model: ir.Model, node: ir.Node) -> Iterator[Change]:
    pads = ints_attribute(node, "pads", ())
    many = len(pads) // 2
    sums = [pads[axis] + pads[axis + many] for axis in range(many)]
    forms = {
        (*pads[many:], *pads[:many]): "begin and end swapped",
        (*([0] * many), *sums): "all at the end",
        (*sums, *([0] * many)): "all at the begin",
        (*(s // 2 for s in sums), *(s - s // 2 for s in sums)): "SAME_UPPER",
        (*(s - s // 2 for s in sums), *(s // 2 for s in sums)): "SAME_LOWER",
    }
    for form, says in forms.items():
        if form != tuple(pads):
            written = ",".join(map(str, form))
            attribute = ir.AttrInt64s("pads", list(form))
            yield _with(model, node, attribute, f"pads [{written}] instead of {list(pads)} ({says})")


def _with(model: ir.Model, node: ir.Node, attribute: ir.Attr, says: str) -> Change:
    clone = model.clone()
    same_node(clone, node).attributes[attribute.name] = attribute
    return Change(KIND, says, str(attribute.value), clone)


def _other_mode(model: ir.Model, node: ir.Node) -> Iterator[Change]:
    pads = ints_attribute(node, "pads", ())
    if not any(pads):
        return
    for mode in ("edge", "reflect"):
        clone = model.clone()
        same = same_node(clone, node)
        padded_in_front(same, mode=mode, value=0.0)
        yield Change(KIND, f"{mode} values padded instead of zeros", mode, clone)


def padded_in_front(node: ir.Node, *, mode: str, value: float) -> None:
    """The padding of a Conv as a Pad of its own."""
    pads = ints_attribute(node, "pads", ())
    many = len(pads) // 2
    graph = node.graph
    if graph is None:
        raise ValueError(f"{node.name!r} is in no graph")
    whole = np.array([0, 0, *pads[:many], 0, 0, *pads[many:]], np.int64)
    amounts = number(graph, f"{node.name}_pads", whole)
    fill = number(graph, f"{node.name}_fill", np.array(value, np.float32))
    before(node, 0, "Pad", [node.inputs[0], amounts, fill], mode=mode)
    node.attributes["pads"] = ir.AttrInt64s("pads", [0] * len(pads))


def _pad_mode(model: ir.Model, node: ir.Node) -> Iterator[Change]:
    attribute = node.attributes.get("mode")
    now = "constant" if attribute is None else attribute.as_string()
    for mode in ("constant", "edge", "reflect"):
        if mode != now:
            yield _with(model, node, ir.AttrString("mode", mode), f"Pad with mode {mode} instead of {now}")
    amounts = constant(node.inputs[1])
    if amounts is not None and amounts.ndim == 1:
        half = len(amounts) // 2
        swapped = np.concatenate([amounts[half:], amounts[:half]])
        if not np.array_equal(swapped, amounts):
            clone = model.clone()
            same = same_node(clone, node)
            same.replace_input_with(1, number(clone.graph, f"{node.name}_swapped", swapped))
            yield Change(KIND, "Pad with begin and end swapped", "swapped", clone)
