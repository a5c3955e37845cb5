"""Float input x -> uint8 input x: the app feeds bytes, channels first or last.

    x float -> model   becomes   x uint8 -> [Transpose] -> Cast -> model

U1: ``channels_last`` takes (batch, height, width, channels) for a model of (batch, channels, height, width).
U2: a float32 input may be channels-last as well: the same without the Cast.

The Cast is exact. In a quantized form it goes, where the bytes are the integers that the first operator reads
(``absorb_quantized_input``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from edgekit.passes.base import Pass
from edgekit.passes.embed_boundary import Front, input_named

_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


@dataclass(frozen=True)
class EmbedRawInput(Pass):
    """Take raw samples.

    Attributes:
        input: name of a float32 input.
        dtype: "uint8", or "float32" (U2).
        channels_last: U1.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"canonical"})

    input: str
    dtype: str = "uint8"
    channels_last: bool = False

    def apply(self, model: ir.Model) -> ir.Model:
        """Insert Transpose and Cast."""
        graph = model.graph
        shape = input_named(graph, self.input).shape or ir.Shape([])
        outside = ir.Shape([shape[axis] for axis in _TO_NHWC]) if self.channels_last else shape
        dtype = ir.DataType[{"uint8": "UINT8", "float32": "FLOAT"}[self.dtype]]
        if not self.channels_last and dtype == ir.DataType.FLOAT:
            return model
        front = Front(graph, self.input, dtype=dtype, shape=outside)
        if self.channels_last:
            front.add("Transpose", attributes={"perm": list(_TO_NCHW)}, as_type=dtype)
            front.value.shape = shape
        if dtype == ir.DataType.UINT8:
            front.add("Cast", attributes={"to": int(ir.DataType.FLOAT)}, as_type=ir.DataType.FLOAT)
        front.close()
        return model
