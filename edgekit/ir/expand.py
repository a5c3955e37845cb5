"""Operators that a version of ONNX does not have -> the bodies that ONNX itself defines for them.

    RMSNormalization (opset 23), in opset 21 -> Mul, ReduceMean, Add, Sqrt, Div, Mul

An operator without such a body stays; ``ir.opset`` refuses it by name.

Source: onnx docs/IR.md, "Functions"; the bodies are those of ``onnx.defs``.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.ir.graph import is_onnx, walk
from edgekit.ir.infer import infer_shapes

DOMAIN = "edgekit.expanded"  # of the functions while they are being put in; none is left


def expand_newer(model: ir.Model, version: int) -> ir.Model:
    """``model`` itself where every operator exists in opset ``version``, else a clone with the bodies."""
    current = model.opset_imports.get("", version)
    if not any(_body_opset(node, current, version) for node in walk(model)):
        return model
    result = infer_shapes(model)
    for number, node in enumerate(list(walk(result))):
        opset = _body_opset(node, current, version)
        if opset:
            _make_call(result, node, opset, name=f"{node.op_type}_{number}")
    result.opset_imports[DOMAIN] = 1
    ir_passes.InlinePass()(result)
    result.functions.clear()
    del result.opset_imports[DOMAIN]
    return result


def _body_opset(node: ir.Node, current: int, version: int) -> int:
    """Opset of the body for ``node``; 0 if it needs none or has none."""
    import onnx

    if current <= version or not is_onnx(node, node.op_type):
        return 0
    try:
        new = onnx.defs.get_schema(node.op_type, current, "")
    except onnx.defs.SchemaError:
        return 0
    try:
        onnx.defs.get_schema(node.op_type, version, "")
    except onnx.defs.SchemaError:
        versions = (*new.function_opset_versions, *new.context_dependent_function_opset_versions)
        return max((v for v in versions if v <= current), default=0)
    return 0


def _make_call(model: ir.Model, node: ir.Node, opset: int, *, name: str) -> None:
    """Turn ``node`` into a call of a function that holds its body."""
    import onnx

    schema = onnx.defs.get_schema(node.op_type, model.opset_imports[""], "")
    for attribute, said in schema.attributes.items():
        if attribute not in node.attributes and said.default_value.type:
            node.attributes[attribute] = ir.from_proto(said.default_value)
    proto: Any = onnx.FunctionProto()
    if schema.has_function:
        proto.ParseFromString(schema.get_function_with_opset_version(opset))
    else:
        message: Any = ir.to_proto(node)
        types = [_type_of(value) for value in node.inputs]
        content = schema.get_context_dependent_function_with_opset_version(
            opset, message.SerializeToString(), types
        )
        proto.ParseFromString(content)
    del proto.output[len(node.outputs) :]
    for index, output in enumerate(node.outputs):
        output.name = output.name or f"{name}_unread_{index}"
    made = {value for inner in proto.node for value in inner.output}
    for absent in [value for value in proto.output if value not in made]:
        # an optional output that nobody asked for: the body leaves it out, a function may not
        proto.node.append(onnx.helper.make_node("Identity", [proto.output[0]], [absent]))
    proto.domain, proto.name = DOMAIN, name
    function: ir.Function = ir.from_proto(proto)
    model.functions[function.identifier()] = function
    node.domain, node.op_type = DOMAIN, name


def _type_of(value: ir.Value | None) -> bytes:
    """A serialized TypeProto; empty where the input is absent or its type is unknown."""
    import onnx

    if value is None or value.dtype is None:
        return b""
    proto: Any = onnx.TypeProto()
    proto.tensor_type.elem_type = value.dtype.value
    if value.shape is not None:
        proto.tensor_type.shape.SetInParent()
        for dim in value.shape:
            size = proto.tensor_type.shape.dim.add()
            if isinstance(dim, int):
                size.dim_value = dim
            elif dim.value is not None:
                size.dim_param = dim.value
    content: bytes = proto.SerializeToString()
    return content
