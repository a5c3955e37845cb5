"""Dependencies -> channels drawn from every group, and the model with zeros in their place."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from edgekit.ir.graph import constant, replace_value
from edgekit.pruning.dependency import Dependencies


def some_of_every_group(found: Dependencies, *, seed: int) -> tuple[int, ...]:
    """Of each group that has two or more, so many that every axis keeps one."""
    rng = np.random.default_rng(seed)
    gone: list[int] = []
    for group in found.groups:
        if len(group.channels) > 1:
            count = int(rng.integers(1, len(group.channels)))
            for each in rng.choice(group.channels, count, replace=False):
                if found.emptied((*gone, int(each))) is None:
                    gone.append(int(each))
    return tuple(gone)


def zeroed(found: Dependencies, channels: tuple[int, ...]) -> ir.Model:
    """The same graph; every part of the channels is zero."""
    model = found.model.clone()
    for channel in channels:
        for part in found.parts[channel]:
            value = model.graph.initializers[part.initializer]
            array = constant(value)
            assert array is not None
            new = np.array(array)
            new[(slice(None),) * part.axis + (list(part.indices),)] = 0
            value.const_value = ir.tensor(new, name=part.initializer)
    return model


def masked(found: Dependencies, model: ir.Model, channels: tuple[int, ...]) -> ir.Model:
    """``model`` (zeroed), in which LayerNormalization takes mean and variance of what is not gone alone.

    Written out in operators that know nothing of channels: d = (x - sum(x) / n) * mask, n those that stay.
    """
    result = model.clone()
    for node in tuple(result.graph):
        source = node.inputs[0] if node.op_type == "LayerNormalization" else None
        numbers = found.values[source.name or ""][-1] if source is not None else None
        if source is None or numbers is None or not np.isin(numbers, channels).any():
            continue
        stays = (~np.isin(numbers, channels)).astype(np.float32)
        tape = Tape()

        def constant_of(array: np.ndarray, tape: Tape = tape) -> ir.Value:
            return tape.op("Constant", [], {"value": ir.tensor(array)})

        mask, count = constant_of(stays), constant_of(stays.sum(keepdims=True))
        last, epsilon = constant_of(np.array([-1])), node.attributes["epsilon"].as_float()
        mean = tape.op("Div", [tape.op("ReduceSum", [source, last], {"keepdims": 1}), count])
        off = tape.op("Mul", [tape.op("Sub", [source, mean]), mask])
        square = tape.op("ReduceSum", [tape.op("Mul", [off, off]), last], {"keepdims": 1})
        power = tape.op(
            "Add", [tape.op("Div", [square, count]), constant_of(np.array([epsilon], np.float32))]
        )
        value = tape.op("Mul", [tape.op("Div", [off, tape.op("Sqrt", [power])]), node.inputs[1]])
        if len(node.inputs) > 2:
            value = tape.op("Add", [value, node.inputs[2]])
        result.graph.insert_before(node, tape.nodes)
        replace_value(node.outputs[0], value)
        result.graph.remove(node, safe=True)
    return result


def float_parameters(model: ir.Model) -> int:
    """Numbers in all floating-point initializers."""
    return sum(
        math.prod(value.const_value.shape.numpy())
        for value in model.graph.initializers.values()
        if value.const_value is not None and value.dtype is not None and value.dtype.is_floating_point()
    )
