"""Nodes whose inputs are constants -> constants; shape arithmetic on dynamic sizes -> fixed shapes.

    Reshape(x, Concat(Slice(Shape(x)), 784))  ->  Reshape(x, [-1, 784])

onnxscript's folder evaluates with the ONNX reference implementation and follows Shape, Gather, Concat and
the like symbolically, with the dynamic batch as a symbol. Random operators and quantization stay.

Source: onnxscript.optimizer, onnxscript/rewriter/rules/common/_materialize_reshape_shape.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.passes.base import Pass


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Evaluate what does not depend on the inputs.

    Attributes:
        largest_input: elements of the largest constant that is looked at (transposed weights count).
        largest_output: elements of the largest constant that is made; keeps Expand from filling the file.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"opset-canonical", "shapes-known"})
    establishes: ClassVar[frozenset[str]] = frozenset({"constants-folded"})
    breaks: ClassVar[frozenset[str]] = frozenset({"constants-lifted"})
    largest_input: int = 2**26
    largest_output: int = 2**24

    def apply(self, model: ir.Model) -> ir.Model:
        """Fold, fix the shape inputs of Reshape, drop what nobody reads any more."""
        from onnxscript.optimizer import fold_constants
        from onnxscript.rewriter.rules.common import materialize_reshape_shape_rule

        fold_constants(
            model,
            input_size_limit=self.largest_input,
            output_size_limit=self.largest_output,
            should_fold=_is_filled_shape,
        )
        materialize_reshape_shape_rule.apply_to_model(model)
        ir_passes.RemoveUnusedNodesPass()(model)
        return model


def _is_filled_shape(node: ir.Node) -> bool | None:
    """True for a ConstantOfShape of known shape, which onnxscript keeps; None: as its own rules say."""
    source = node.inputs[0] if node.op_type == "ConstantOfShape" else None
    return True if source is not None and source.const_value is not None else None
