"""Cut models -> which of them are one and the same to a clock: the same operators on the same sizes.

The blocks of a stage are alike, and one as narrow as the other takes as long. Told apart by noise, the block
is cut that came out best, whatever it costs; together they are so many looks at one number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping

import onnx_ir as ir

_PLAIN = frozenset(
    {
        *(ir.AttributeType.INT, ir.AttributeType.INTS, ir.AttributeType.FLOAT, ir.AttributeType.FLOATS),
        *(ir.AttributeType.STRING, ir.AttributeType.STRINGS),
    }
)


def sizes(model: ir.Model) -> dict[str, str]:
    """Value -> its shape, of those whose shape is known."""
    values = (value for node in model.graph for value in node.outputs)
    return {value.name or "": str(value.shape) for value in values if value.shape is not None}


def work(model: ir.Model, original: Mapping[str, str]) -> Hashable:
    """Equal for two models that run the same operators, with the same attributes, on the same sizes.

    Args:
        model: with channels cut out.
        original: ``sizes`` of the model that it was cut from. Channels that are gone show in the weights.
    """
    return frozenset(Counter(_work(node, original) for node in model.graph).items())


def _work(node: ir.Node, original: Mapping[str, str]) -> Hashable:
    weights = tuple(
        tuple(value.const_value.shape.numpy()) if value is not None and value.const_value is not None else ()
        for value in node.inputs
    )
    # what no size is known of, and what holds a graph or a tensor, is like nothing else
    known = all((value.name or "") in original for value in node.outputs)
    plain = all(each.type in _PLAIN for each in node.attributes.values())
    attributes = tuple(sorted((each.name, str(each.value)) for each in node.attributes.values()))
    return (
        (
            node.domain,
            node.op_type,
            weights,
            attributes,
            *(original[value.name or ""] for value in node.outputs),
        )
        if known and plain
        else (node.name, node.op_type, weights)
    )
