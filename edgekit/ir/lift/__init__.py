"""Model of opset 7 to 17 -> the same computation in opset 18, in place, without protobuf.

    for each operator: every change of its meaning between the two, oldest first

onnx.version_converter does this on messages (which end at 2 GB), leaves subgraphs alone, keeps Resize-10 at
another rounding and calls operators by new names; so the changes are written here. What changed without
touching what old files mean (more element types, new options with the old behaviour as their default,
negative axes) needs nothing. Last, every operator is held against its definition in opset 18: what the table
does not know is refused, not relabelled.

Source: onnx docs/Changelog.md.
"""

from __future__ import annotations

import onnx_ir as ir

from edgekit.ir.graph import is_onnx, walk
from edgekit.ir.infer import infer_shapes
from edgekit.ir.lift import inputs, meaning
from edgekit.ir.lift.change import CannotLiftError, Change, Names

OLDEST, NEWEST = 7, 18  # ONNX Runtime reads 7 and later; from 18 on onnxscript knows the changes

CHANGES: tuple[Change, ...] = tuple(
    sorted((*inputs.CHANGES, *meaning.CHANGES), key=lambda change: change.version)
)


def lift(model: ir.Model) -> None:
    """Rewrite ``model``, which the caller owns.

    Raises:
        CannotLiftError: an operator has no counterpart; the message says which and why.
    """
    current = model.opset_imports[""]
    due = [change for change in CHANGES if change.version > current]
    affected = {operator for change in due for operator in change.operators}
    nodes = [node for node in walk(model) if is_onnx(node, *affected)]
    if nodes:
        _fill_in_types(model)
    names = Names(model)
    for node in nodes:
        for change in due:
            if is_onnx(node, *change.operators):
                change.apply(node, names)
    model.opset_imports[""] = NEWEST
    for node in walk(model):
        _hold_against_definition(node)


def _fill_in_types(model: ir.Model) -> None:
    """Types and shapes that inference finds, in ``model`` itself."""
    for graph, found in zip(model.graphs(), infer_shapes(model).graphs(), strict=True):
        for node, same in zip(graph, found, strict=True):
            for value, known in zip(node.outputs, same.outputs, strict=True):
                value.type, value.shape = value.type or known.type, value.shape or known.shape


def _hold_against_definition(node: ir.Node) -> None:
    import onnx

    if not is_onnx(node, node.op_type):
        return
    try:
        schema = onnx.defs.get_schema(node.op_type, NEWEST, "")
    except onnx.defs.SchemaError as error:
        raise CannotLiftError(node, "is not an operator of ONNX") from error
    given = len(node.inputs)
    unknown = sorted(set(node.attributes) - set(schema.attributes))
    if schema.deprecated:
        raise CannotLiftError(node, "is no longer an operator of ONNX")
    if unknown:
        raise CannotLiftError(node, f"has the attributes {', '.join(unknown)}, which are not those of ONNX")
    if not schema.min_input <= given <= schema.max_input:
        raise CannotLiftError(node, f"has {given} inputs")
