"""Operator and the types of its tensors -> operator version in the file.

An old runtime looks a kernel up by (operator, version); too low a number makes it run a kernel that lacks
the feature, too high a number makes it refuse a file that it could run. Source: google-ai-edge/LiteRT
tflite/tools/versioning/op_version.cc, ``GetBuiltinOperatorVersion`` (rows for the operators written here).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgekit.backends.litert.tensors import Operator, Tensor

Tensors = Sequence[Tensor | None]
Rule = Callable[[Operator, Tensors, Tensors], int]


def operator_version(op: Operator, tensors: Sequence[Tensor]) -> int:
    """The lowest version of ``op.code`` that has what this operator uses."""
    inputs = [tensors[i] if i >= 0 else None for i in op.inputs]
    outputs = [tensors[i] for i in op.outputs]
    return RULES.get(op.code, _one)(op, inputs, outputs)


def _dtype(tensors: Tensors, index: int = 0) -> str:
    tensor = tensors[index] if index < len(tensors) else None
    return tensor.dtype if tensor is not None else ""


def _rank(tensors: Tensors, index: int = 0) -> int:
    tensor = tensors[index] if index < len(tensors) else None
    return len(tensor.shape) if tensor is not None else 0


def _broadcasts_above_rank_4(inputs: Tensors) -> bool:
    shapes = [tensor.shape for tensor in inputs if tensor is not None]
    return len(set(shapes)) > 1 and max(map(len, shapes)) > 4


def _one(_op: Operator, _inputs: Tensors, _outputs: Tensors) -> int:
    return 1


def _two_if_int8(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return 2 if _dtype(inputs) == "int8" else 1


def _two_or_three(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return {"int8": 2, "int16": 3}.get(_dtype(inputs), 1)


def _conv(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    x, w = inputs[0], inputs[1]
    if x is not None and w is not None and x.shape[3] != w.shape[3]:
        return 6  # grouped convolution
    if w is not None and w.dtype == "int8" and _dtype(inputs) == "float32":
        return 5 if w.quant is not None and len(w.quant.scale) > 1 else 2  # float activations
    return {"int8": 3, "int16": 4}.get(_dtype(inputs), 1)


def _depthwise(op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    if _dtype(inputs) in {"int8", "int16"}:
        return 3 if _dtype(inputs) == "int8" else 5
    dilated = op.options.get("dilationWFactor", 1) != 1 or op.options.get("dilationHFactor", 1) != 1
    return 2 if dilated else 1


def _fully_connected(op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    hybrid = _dtype(inputs) == "float32" and _dtype(inputs, 1) in {"int8", "int4"}
    weight = inputs[1] if len(inputs) > 1 else None
    if hybrid and weight is not None and weight.blocks is not None:
        return 12  # the table has no row for it; so is int4 per channel written by the AI Edge Quantizer
    if hybrid and weight is not None and weight.quant is not None and len(weight.quant.scale) > 1:
        return 12  # float activations, int8 weights per channel
    if _dtype(inputs) == "int16":
        return 7
    if len(inputs) == 2:
        return 6
    if op.options.get("keepNumDims"):
        return 5
    if hybrid:
        return 9 if op.options.get("asymmetricQuantizeInputs") else 3
    return 4 if _dtype(inputs) == "int8" else 1


def _transpose_conv(op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    if op.options.get("fusedActivationFunction", "NONE") != "NONE":
        return 4
    if len(inputs) == 4:
        return 3
    return 2 if _dtype(inputs, 1) == "int8" else 1


def _mul(_op: Operator, inputs: Tensors, outputs: Tensors) -> int:
    if _dtype(inputs) in {"int64", "int16"}:
        return 5 if _dtype(inputs) == "int64" else 4
    quants = [tensor.quant for tensor in (*inputs, *outputs) if tensor is not None and tensor.quant]
    if len(quants) == 3 and quants[0].scale[0] * quants[1].scale[0] / quants[2].scale[0] >= 1.0:
        return 3
    return 2 if _dtype(inputs) == "int8" else 1


def _add(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return {"int8": 2, "int16": 3, "int64": 4}.get(_dtype(inputs), 1)


def _sub(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    if _dtype(inputs) in {"int64", "int16"}:
        return 4 if _dtype(inputs) == "int64" else 5
    if _broadcasts_above_rank_4(inputs):
        return 3
    return 2 if _dtype(inputs) == "int8" else 1


def _div(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return 2 if _broadcasts_above_rank_4(inputs) else 1


def _maximum(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    if _dtype(inputs) == "int16":
        return 4
    if _broadcasts_above_rank_4(inputs):
        return 3
    return 2 if _dtype(inputs) == "int8" else 1


def _transpose(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    if _rank(inputs) > 5:
        return 6
    if _dtype(inputs) == "int16":
        return 5
    if _rank(inputs) > 4:
        return 4
    return {"bool": 3, "int8": 2}.get(_dtype(inputs), 1)


def _pad(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    if _dtype(inputs) == "bool":
        return 5
    if _rank(inputs) > 4:
        return 4
    return {"int8": 2, "int16": 3}.get(_dtype(inputs), 1)


def _slice(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    if _rank(inputs) > 4:
        return 5
    return {"int8": 2, "int16": 4}.get(_dtype(inputs), 1)


def _strided_slice(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    if _rank(inputs) > 4:
        return 4
    return {"bool": 3, "int8": 2}.get(_dtype(inputs), 1)


def _gather(op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    if op.options.get("batchDims", 0):
        return 5
    return {"bool": 3, "int8": 2, "int16": 4}.get(_dtype(inputs), 1)


def _quantize(_op: Operator, _inputs: Tensors, outputs: Tensors) -> int:
    return 2 if _dtype(outputs) == "int16" else 1


def _dequantize(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return {"int8": 2, "int16": 3, "float16": 3}.get(_dtype(inputs), 1)


def _split_v(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return 2 if _dtype(inputs) == "int8" else 1


def _resize(op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    if op.options.get("halfPixelCenters"):
        return 3
    if op.code == "RESIZE_NEAREST_NEIGHBOR" and op.options.get("alignCorners"):
        return 3
    return 2 if _dtype(inputs) == "int8" else 1


def _broadcast_to(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return 3 if _dtype(inputs) == "int8" else 2


def _cast(_op: Operator, inputs: Tensors, outputs: Tensors) -> int:
    both = {_dtype(inputs), _dtype(outputs)}
    if both & {"float16", "float64"}:
        return 5
    if "int8" in both:
        return 3
    return 2 if "uint32" in both else 1


def _abs(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return {"int32": 5, "int8": 2}.get(_dtype(inputs), 1)


def _tile(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return 3 if _dtype(inputs) == "int8" else 1


def _gather_nd(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return 5 if _dtype(inputs) == "bool" else 1


def _arg(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return {"bool": 3, "int8": 2}.get(_dtype(inputs), 1)


def _sign(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return 2 if _dtype(inputs) == "int32" else 1


def _floor_div(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return {"float32": 2, "int8": 3, "int16": 3}.get(_dtype(inputs), 1)


def _range(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return 2 if _dtype(inputs) == "int64" else 1


def _reverse(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return {"int8": 3, "bool": 2}.get(_dtype(inputs), 1)


def _floor_mod(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return 2 if _dtype(inputs) in {"int8", "int16"} else 1


def _fill(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return {"bool": 2, "int8": 3, "int16": 3}.get(_dtype(inputs, 1), 1)


def _where(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return 1 if _dtype(inputs) == "bool" else 2


def _two_if_bytes(_op: Operator, inputs: Tensors, _outputs: Tensors) -> int:
    return {"int8": 2, "uint8": 2, "int16": 3}.get(_dtype(inputs), 1)


RULES: dict[str, Rule] = {
    "ABS": _abs,
    "ADD": _add,
    "ARG_MAX": _arg,
    "ARG_MIN": _arg,
    "AVERAGE_POOL_2D": _two_or_three,
    "BATCH_MATMUL": _two_if_int8,
    "BROADCAST_TO": _broadcast_to,
    "CAST": _cast,
    "CONCATENATION": _two_or_three,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEPTH_TO_SPACE": _two_if_int8,
    "DEQUANTIZE": _dequantize,
    "DIV": _div,
    "EQUAL": _two_if_int8,
    "EXP": _two_if_int8,
    "FILL": _fill,
    "FLOOR_DIV": _floor_div,
    "FLOOR_MOD": _floor_mod,
    "FULLY_CONNECTED": _fully_connected,
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "GELU": _two_if_bytes,
    "GREATER": _two_if_int8,
    "GREATER_EQUAL": _two_if_int8,
    "LESS": _two_if_int8,
    "LESS_EQUAL": _two_if_int8,
    "LOG": _two_if_int8,
    "LOGISTIC": _two_or_three,
    "LOG_SOFTMAX": _two_if_int8,
    "MAXIMUM": _maximum,
    "MAX_POOL_2D": _two_or_three,
    "MEAN": _two_or_three,
    "MINIMUM": _maximum,
    "MIRROR_PAD": _two_if_int8,
    "MUL": _mul,
    "NOT_EQUAL": _two_if_int8,
    "PAD": _pad,
    "PADV2": _pad,
    "QUANTIZE": _quantize,
    "RANGE": _range,
    "REDUCE_MAX": _two_if_int8,
    "REDUCE_MIN": _two_if_int8,
    "REDUCE_PROD": _two_if_int8,
    "RELU": _two_if_bytes,
    "RELU6": _two_if_int8,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "REVERSE_V2": _reverse,
    "RSQRT": _two_if_int8,
    "SIGN": _sign,
    "SLICE": _slice,
    "SOFTMAX": _two_or_three,
    "SPACE_TO_DEPTH": _two_if_int8,
    "SPLIT_V": _split_v,
    "SQUARED_DIFFERENCE": _two_if_int8,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _sub,
    "SUM": _two_if_int8,
    "TANH": _two_or_three,
    "TILE": _tile,
    "TOPK_V2": _two_if_int8,
    "TRANSPOSE": _transpose,
    "TRANSPOSE_CONV": _transpose_conv,
    "WHERE": _where,
}
