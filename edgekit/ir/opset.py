"""Model of one opset -> the same computation in another.

O1: upwards from 18, onnxscript's converter; it keeps tensors and names.
O2: upwards from 7 to 18, ``ir.lift``; older ones are refused: operators broadcast by attributes then, and
    ONNX Runtime does not read them either.
O3: downwards, a new label, where the operators in use are the same in both versions: equal inputs, no
    attribute in use that the older version lacks, and element types that it takes (onnx.checker and type
    inference have the last word). Newer versions mostly added element types.
O4: an opset that the installed onnx does not know yet: refused.

Source: onnx docs/Versioning.md; onnxscript.version_converter.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from edgekit.errors import ModelFileError
from edgekit.ir.graph import is_onnx, walk
from edgekit.ir.lift import NEWEST, OLDEST, lift
from edgekit.ir.lift.change import CannotLiftError
from edgekit.ir.light import without_large_weights
from edgekit.ir.quiet import quiet


def convert_opset(model: ir.Model, version: int) -> ir.Model:
    """``model`` in opset ``version`` (18 or later), changed in place.

    Raises:
        ModelFileError: an operator has no counterpart in that version.
    """
    import onnx

    current, newest = model.opset_imports[""], onnx.defs.onnx_opset_version()
    if current > newest:
        raise ModelFileError(
            f"the model is of opset {current}, and onnx {onnx.__version__} knows up to {newest}",
            why="what its operators mean is not known here",
            remedy=f"install a newer onnx, or export the model again with opset {version}",
        )
    if current < OLDEST:
        raise _refusal(current, version, f"edgekit reads opset {OLDEST} and later")
    if current > version:
        return _relabelled(model, version)
    if current < NEWEST:
        try:
            lift(model)
        except CannotLiftError as error:
            raise _refusal(current, version, str(error)) from error
    if model.opset_imports[""] < version:
        from onnxscript.version_converter import convert_version

        with quiet():
            convert_version(model, target_version=version)
    return model


def _relabelled(model: ir.Model, version: int) -> ir.Model:
    import onnx

    current = model.opset_imports[""]
    changed = sorted({node.op_type for node in walk(model) if _differs(node, current, version)})
    if changed:
        raise _refusal(current, version, f"{', '.join(changed)} changed in between")
    model.opset_imports[""] = version
    try:
        proto: Any = ir.to_proto(without_large_weights(model))
        onnx.checker.check_model(proto, full_check=True)
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
