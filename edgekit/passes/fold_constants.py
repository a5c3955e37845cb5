"""Nodes whose inputs are constants -> constants; shape arithmetic on dynamic sizes -> fixed shapes.

    Reshape(x, Concat(Slice(Shape(x)), 784))  ->  Reshape(x, [-1, 784])

onnxscript's folder evaluates with the ONNX reference implementation and follows Shape, Gather, Concat and
the like symbolically, with the dynamic batch as a symbol. Random operators and quantization stay. It is not
imported where it would find nothing (``find_foldable``).

GatherElements is evaluated here: the reference of onnx 1.23 takes the first index of each row alone where an
axis is longer than 32 (``np.choose``), and fails or gives wrong values.

Source: onnxscript.optimizer, onnxscript/rewriter/rules/common/_materialize_reshape_shape.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.ir.graph import add_initializer, constant, int_attribute, is_onnx, replace_value, walk
from edgekit.passes.base import Pass
from edgekit.passes.find_foldable import foldable
from edgekit.spec import Array


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
        folded = False
        while self._take_elements(model) or not folded:  # what is folded may be what GatherElements reads
            model, folded = self._fold(model), True
        ir_passes.RemoveUnusedNodesPass()(model)
        return model

    def _fold(self, model: ir.Model) -> ir.Model:
        if not foldable(model):
            return model
        from onnxscript.optimizer import fold_constants
        from onnxscript.rewriter.rules.common import materialize_reshape_shape_rule

        fold_constants(
            model,
            input_size_limit=self.largest_input,
            output_size_limit=self.largest_output,
            should_fold=_is_folded,
        )
        materialize_reshape_shape_rule.apply_to_model(model)
        return model.clone()  # without the branches of an If that is gone: they still use its values

    def _take_elements(self, model: ir.Model) -> bool:
        """Evaluate each GatherElements of constants; whether there was one."""
        nodes = [node for node in walk(model) if is_onnx(node, "GatherElements")]
        return sum(map(self._gather_elements, nodes)) > 0

    def _gather_elements(self, node: ir.Node) -> bool:
        data, indices = constant(node.inputs[0]), constant(node.inputs[1])
        if data is None or indices is None or node.graph is None or node.outputs[0].is_graph_output():
            return False
        if data.size > self.largest_input or indices.size > self.largest_output or not indices.size:
            return False
        taken = take_elements(data, indices, int_attribute(node, "axis", 0))
        replace_value(node.outputs[0], add_initializer(node.graph, f"{node.outputs[0].name}_taken", taken))
        node.graph.remove(node, safe=True)
        return True


def take_elements(data: Array, indices: Array, axis: int) -> Array:
    """``out[i][j][k] = data[i][indices[i][j][k]][k]`` (axis 1); other axes of ``indices`` may be shorter."""
    axis %= data.ndim
    part = data[tuple(slice(None if at == axis else size) for at, size in enumerate(indices.shape))]
    return np.take_along_axis(part, indices.astype(np.int64), axis)


def _is_folded(node: ir.Node) -> bool | None:
    """True for a ConstantOfShape of known shape, which onnxscript keeps; None: as its own rules say."""
    if node.op_type == "GatherElements":
        return False
    source = node.inputs[0] if node.op_type == "ConstantOfShape" else None
    return True if source is not None and source.const_value is not None else None
