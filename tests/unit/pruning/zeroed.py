"""Dependencies -> channels drawn from every group, and the model with zeros in their place."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import constant
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


def float_parameters(model: ir.Model) -> int:
    """Numbers in all floating-point initializers."""
    return sum(
        math.prod(value.const_value.shape.numpy())
        for value in model.graph.initializers.values()
        if value.const_value is not None and value.dtype is not None and value.dtype.is_floating_point()
    )
