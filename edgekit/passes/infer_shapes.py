"""Model -> the same with the type and shape of every value that can be known.

Dynamic sizes keep their names; what onnx.shape_inference cannot find stays unknown.
Source: onnx docs/ShapeInference.md, with data propagation (shape arithmetic is followed).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from edgekit.ir.infer import all_sizes_are_numbers, fill_in_shapes
from edgekit.passes.base import Pass


@dataclass(frozen=True)
class InferShapes(Pass):
    """Fill in types and shapes.

    Attributes:
        again: inference ran before, and passes keep what they know of their values: nothing runs where every
            value has a type and a shape of numbers.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"opset-canonical"})
    establishes: ClassVar[frozenset[str]] = frozenset({"shapes-known"})

    again: bool = False

    def apply(self, model: ir.Model) -> ir.Model:
        """Infer."""
        return model if self.again and all_sizes_are_numbers(model) else fill_in_shapes(model)
