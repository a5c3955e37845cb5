"""Model -> whether onnxscript's constant folder would change it, without importing onnxscript.

    foldable(model) = any node is one of F1 to F5

onnxscript and the reference implementation that it evaluates with take 0.1 s to import; a canonical model
has nothing to fold. A node counts if the folder *may* do something about it, so the answer errs towards yes.

F1: an operator that it rewrites whatever its inputs are: Shape, Size, Identity, Dropout, If, sequences.
    Sizes as values begin with Shape or with constants (F2), so nothing else follows them without one.
F2: all inputs are constants. Quantization stays as it is; ConstantOfShape is folded (``FoldConstants``).
F3: a Cast to the type that the input has already, or one whose result's type is not known yet.
F4: a Reshape whose shape is computed, or is the input's own; an Expand to the input's own shape.
F5: a Concat of one input, or of one with no elements.

Source: the table of partial evaluators in onnxscript/optimizer/_constant_folding.py (0.7); a test holds
``EVALUATED`` against it.
"""

from __future__ import annotations

import onnx_ir as ir

from edgekit.ir.graph import constant, walk

ALWAYS = frozenset(
    {"Constant", "Shape", "Size", "CastLike", "Identity", "Dropout", "If"}
    | {"SequenceConstruct", "ConcatFromSequence", "SplitToSequence", "SequenceAt"}
)
SIZES = frozenset({"Add", "Abs", "Gather", "Squeeze"})  # they hand sizes on: nothing without F1 or F2
EVALUATED = ALWAYS | SIZES | {"Cast", "Reshape", "Expand", "Concat"}
_KEPT = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})


def foldable(model: ir.Model) -> bool:
    """Whether the folder may find something; False means that it certainly does not."""
    return any(_may_change(node) for node in walk(model))


def _may_change(node: ir.Node) -> bool:
    operator = node.op_type
    if operator in ALWAYS:
        return True
    if operator not in _KEPT and all(_is_constant(value) for value in node.inputs if value is not None):
        return True  # F2
    match operator:
        case "Cast":
            return _type_is_news(node)
        case "Reshape" | "Expand":
            target = constant(node.inputs[1]) if len(node.inputs) > 1 else None
            computed = target is None and operator == "Reshape"
            return computed or (target is not None and target.tolist() == _sizes(node.inputs[0]))
        case "Concat":
            empty = any(0 in _sizes(value) for value in node.inputs)
            return len(node.inputs) == 1 or empty
    return False


def _is_constant(value: ir.Value) -> bool:
    return value.const_value is not None and not value.is_graph_input()


def _type_is_news(node: ir.Node) -> bool:
    source, result, wanted = node.inputs[0], node.outputs[0], node.attributes["to"].as_int()
    return source is None or source.dtype == wanted or result.dtype != wanted


def _sizes(value: ir.Value | None) -> list[int | str | None]:
    """Every size of the shape; nothing where the rank is unknown."""
    if value is None or value.shape is None:
        return []
    return [dim if isinstance(dim, int) else dim.value for dim in value.shape]
