"""Model of one opset -> the same computation in another.

O1: upwards from 18, onnxscript's converter; it keeps tensors and names.
O2: upwards from older ones, onnx.version_converter, through protobuf.
O3: downwards, a new label, where the operators in use are the same in both versions: equal inputs, no
    attribute in use that the older version lacks, and element types that it takes (onnx.checker and type
    inference have the last word). Newer versions mostly added element types.

Source: onnx docs/VersionConverter.md and docs/Versioning.md; onnxscript.version_converter.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from edgekit.errors import ModelFileError
from edgekit.ir import io
from edgekit.ir.graph import is_onnx, walk

NEW_SCAN = 9  # Scan-8 has a batch axis and sequence lengths
OLDEST_FOR_ONNXSCRIPT = 18  # onnxscript.version_converter: SUPPORTED_MIN_ONNX_OPSET


def convert_opset(model: ir.Model, version: int) -> ir.Model:
    """``model`` in opset ``version``: the model itself, changed in place (O1, O3), or a new one (O2).

    Raises:
        ModelFileError: an operator has no counterpart in that version.
    """
    current = model.opset_imports[""]
    if current > version:
        return _relabelled(model, version)
    if current >= OLDEST_FOR_ONNXSCRIPT:
        from onnxscript.version_converter import convert_version

        convert_version(model, target_version=version)
        return model
    if current < NEW_SCAN and any(is_onnx(node, "Scan") for node in walk(model)):
        # onnx 1.23 relabels it, and the result reads its inputs with one axis less.
        raise _refusal(current, version, "Scan had another meaning before opset 9")
    import onnx

    try:
        proto = onnx.version_converter.convert_version(onnx.load_from_string(io.to_bytes(model)), version)
    except RuntimeError as error:  # ConvertError is one
        raise _refusal(current, version, str(error).strip().splitlines()[0]) from error
    converted: ir.Model = ir.from_proto(proto)
    return converted


def _relabelled(model: ir.Model, version: int) -> ir.Model:
    import onnx

    current = model.opset_imports[""]
    changed = sorted({node.op_type for node in walk(model) if _differs(node, current, version)})
    if changed:
        raise _refusal(current, version, f"{', '.join(changed)} changed in between")
    model.opset_imports[""] = version
    try:
        onnx.checker.check_model(onnx.load_from_string(io.to_bytes(model)), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise _refusal(current, version, str(error).strip().splitlines()[0]) from error
    return model


def _differs(node: ir.Node, current: int, version: int) -> bool:
    import onnx

    if not is_onnx(node, node.op_type):
        return False
    try:
        new = onnx.defs.get_schema(node.op_type, current, "")
        old = onnx.defs.get_schema(node.op_type, version, "")
    except onnx.defs.SchemaError:
        return True
    if new.since_version == old.since_version:
        return False
    same_inputs = [i.name for i in new.inputs][: len(node.inputs)] == [i.name for i in old.inputs][
        : len(node.inputs)
    ]
    return not same_inputs or any(_attribute_differs(name, new, old) for name in node.attributes)


def _attribute_differs(name: str, new: Any, old: Any) -> bool:
    return name not in old.attributes or new.attributes[name].type != old.attributes[name].type


def _refusal(current: int, version: int, why: str) -> ModelFileError:
    return ModelFileError(
        f"the model cannot be moved from opset {current} to {version}: {why}",
        why=f"edgekit works on opset {version}, which all its runtimes read",
        remedy=f"export the model again with opset {version}",
    )
