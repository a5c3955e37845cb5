"""Attributes that became inputs.

| operators | attribute | since |
|---|---|---|
| Slice | starts, ends, axes | 10 |
| TopK | k | 10 |
| Clip | min, max | 11 |
| Pad | pads, value | 11 |
| Squeeze, Unsqueeze, ReduceSum | axes | 13 |
| Split | split | 13 |
| the other reductions | axes | 18 |

Source: onnx docs/Changelog.md.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.ir.lift.change import CannotLiftError, Change, Names, constant_before, set_input, take_attribute

_REDUCTIONS = tuple(
    f"Reduce{name}" for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
)


def _integers(node: ir.Node, names: Names, attribute: str, index: int) -> None:
    found = take_attribute(node, attribute)
    if found is not None:
        values = [found.as_int()] if found.type == ir.AttributeType.INT else list(found.as_ints())
        set_input(node, index, constant_before(node, np.array(values, np.int64), names, attribute))


def _scalar(node: ir.Node, names: Names, attribute: str, index: int) -> None:
    """In the element type of the first input: the attribute was float32 whatever that was."""
    found = take_attribute(node, attribute)
    if found is None:
        return
    data = node.inputs[0]
    if data is None or data.dtype is None:
        raise CannotLiftError(node, f"has {attribute}={found.as_float()}, and its element type is unknown")
    array = np.array(found.as_float()).astype(data.dtype.numpy())
    set_input(node, index, constant_before(node, array, names, attribute))


def _slice(node: ir.Node, names: Names) -> None:
    for index, attribute in enumerate(("starts", "ends", "axes"), start=1):
        _integers(node, names, attribute, index)


def _top_k(node: ir.Node, names: Names) -> None:
    _integers(node, names, "k", 1)


def _clip(node: ir.Node, names: Names) -> None:
    _scalar(node, names, "min", 1)
    _scalar(node, names, "max", 2)


def _pad(node: ir.Node, names: Names) -> None:
    _integers(node, names, "pads", 1)
    _scalar(node, names, "value", 2)


def _axes(node: ir.Node, names: Names) -> None:
    _integers(node, names, "axes", 1)


def _split(node: ir.Node, names: Names) -> None:
    _integers(node, names, "split", 1)


CHANGES: tuple[Change, ...] = (
    Change(("Slice",), 10, _slice),
    Change(("TopK",), 10, _top_k),
    Change(("Clip",), 11, _clip),
    Change(("Pad",), 11, _pad),
    Change(("Squeeze", "Unsqueeze", "ReduceSum"), 13, _axes),
    Change(("Split",), 13, _split),
    Change(_REDUCTIONS, 18, _axes),
)
