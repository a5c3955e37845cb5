"""Input x, pre-processed -> input x, raw: (x - mean) / std inside the model.

    x -> model   becomes   x -> Sub(mean) -> Mul(1 / std) -> model

N1: a mean of zeros, or a std of ones, needs no node.
N2: values of single channels stand along the channel axis of the model's own layout.

What float models save further is ``fold_input_scale``'s, what integer ones save ``absorb_quantized_input``'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgekit.passes.base import Pass
from edgekit.passes.embed_boundary import Front, input_named
from edgekit.spec import Array


@dataclass(frozen=True)
class EmbedNormalize(Pass):
    """Normalize inside.

    Attributes:
        input: name of a float32 input.
        mean: in raw units; one value, or one per channel.
        std: likewise.
        axis: of the channels.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"canonical"})

    input: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    axis: int = 1

    def apply(self, model: ir.Model) -> ir.Model:
        """Insert what N1 leaves."""
        if not any(self.mean) and all(each == 1.0 for each in self.std):
            return model
        graph = model.graph
        old = input_named(graph, self.input)
        shape = old.shape or ir.Shape([])
        front = Front(graph, self.input, dtype=ir.DataType.FLOAT, shape=shape)
        if any(self.mean):
            front.add("Sub", self._along(self.mean, len(shape)), as_type=ir.DataType.FLOAT)
        if any(each != 1.0 for each in self.std):
            scale = tuple(1.0 / each for each in self.std)
            front.add("Mul", self._along(scale, len(shape)), as_type=ir.DataType.FLOAT)
        front.close()
        return model

    def _along(self, values: tuple[float, ...], rank: int) -> Array:
        """N2: (C,) as (1, C, 1, 1); one value as a scalar."""
        array = np.asarray(values, np.float64).astype(np.float32)
        if len(values) == 1:
            return array.reshape(())
        shape = [1] * rank
        shape[self.axis] = len(values)
        return array.reshape(shape)
