"""TFLite builtin -> element types and largest rank that its CPU kernel takes; anything else is refused.

For operators with broadcasting the rank only counts where shapes differ: equal shapes are one flat loop.

Source: google-ai-edge/LiteRT tflite/kernels/*.cc (the ``switch`` over types in Prepare and Eval) and
tflite/kernels/register.cc; the type is that of the first data input.
"""

from __future__ import annotations

from dataclasses import dataclass

FLOAT = frozenset({"float32"})
FLOAT_INT8 = frozenset({"float32", "int8", "uint8"})
ARITHMETIC = frozenset({"float32", "int8", "uint8", "int32", "int64"})
COPIES = frozenset({"float32", "int8", "uint8", "int16", "int32", "int64", "bool"})
BOOL = frozenset({"bool"})
ANY_RANK = 8  # RuntimeShape keeps 5 to 8 sizes; no kernel here is known to fail below it


@dataclass(frozen=True, slots=True)
class Kernel:
    """Element types of the first data input, and the largest rank."""

    dtypes: frozenset[str]
    rank: int = ANY_RANK


BROADCASTING = frozenset(
    {
        "ADD",
        "SUB",
        "MUL",
        "DIV",
        "MAXIMUM",
        "MINIMUM",
        "POW",
        "PRELU",
        "FLOOR_MOD",
        "SQUARED_DIFFERENCE",
        "SELECT_V2",
    }
    | {"EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "LOGICAL_AND", "LOGICAL_OR"}
)

MOVING = frozenset(
    {
        "RESHAPE",
        "TRANSPOSE",
        "CONCATENATION",
        "DYNAMIC_UPDATE_SLICE",
        "GATHER",
        "SLICE",
        "STRIDED_SLICE",
        "SPLIT_V",
        "BROADCAST_TO",
    }
    | {
        "SELECT_V2",
        "CAST",
        "PAD",
        "PADV2",
        "TILE",
        "GATHER_ND",
        "REVERSE_V2",
        "MAXIMUM",
        "MINIMUM",
        "TOPK_V2",
    }
    | {"REDUCE_MAX", "REDUCE_MIN", "ARG_MAX", "ARG_MIN", "BITWISE_XOR", "RIGHT_SHIFT", "SHAPE"}
    | {"DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "MIRROR_PAD", "MAX_POOL_2D", "WHERE"}
)
"""Kernels that take int8 and uint8 as plain integers; the others read a scale, and abort if there is none."""

SCALED_INT16 = frozenset(
    {"ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "LOGISTIC", "MEAN", "MUL"}
    | {"QUANTIZE", "RELU", "SOFTMAX", "SUB", "TANH"}
)
"""Kernels that take int16 with a scale (and zero point 0) only."""

KERNELS: dict[str, Kernel] = {
    "ABS": Kernel(frozenset({"float32", "int32"})),
    "ADD": Kernel(ARITHMETIC | {"int16"}, 6),
    "ATAN2": Kernel(FLOAT),
    "BITWISE_XOR": Kernel(frozenset({"int8", "uint8", "int16", "int32"}), 4),
    "CONV_3D": Kernel(FLOAT, 5),
    "CONV_3D_TRANSPOSE": Kernel(frozenset({"int32"}), 5),
    "FLOOR_DIV": Kernel(frozenset({"float32", "int8", "int16", "int32"}), 4),
    "ONE_HOT": Kernel(frozenset({"int32", "int64"})),
    "REDUCE_ALL": Kernel(BOOL),
    "REDUCE_ANY": Kernel(BOOL),
    "REVERSE_V2": Kernel(COPIES),
    "RIGHT_SHIFT": Kernel(frozenset({"int8", "uint8", "int16", "int32"}), 4),
    "SCATTER_ND": Kernel(frozenset({"int32"})),
    "TOPK_V2": Kernel(COPIES - {"bool"}),
    "TRANSPOSE_CONV": Kernel(frozenset({"int32"}), 4),
    "UNSORTED_SEGMENT_MAX": Kernel(frozenset({"float32", "int32"})),
    "UNSORTED_SEGMENT_MIN": Kernel(frozenset({"float32", "int32"})),
    "UNSORTED_SEGMENT_PROD": Kernel(frozenset({"float32", "int32"})),
    "WHERE": Kernel(COPIES - {"int16"}),
    "ARG_MAX": Kernel(frozenset({"float32", "int8", "uint8", "int32", "bool"})),
    "ARG_MIN": Kernel(frozenset({"float32", "int8", "uint8", "int32", "bool"})),
    "AVERAGE_POOL_2D": Kernel(FLOAT_INT8 | {"int16"}, 4),
    "BATCH_MATMUL": Kernel(frozenset({"float32", "int8"}), 5),
    "BROADCAST_TO": Kernel(COPIES),
    "CAST": Kernel(COPIES),
    "CEIL": Kernel(FLOAT),
    "CONCATENATION": Kernel(COPIES),
    "CONV_2D": Kernel(frozenset({"float32", "int8", "int16"}), 4),
    "COS": Kernel(FLOAT),
    "CUMSUM": Kernel(frozenset({"float32", "int32", "int64"})),
    "DEPTHWISE_CONV_2D": Kernel(frozenset({"float32", "int8", "int16"}), 4),
    "DEPTH_TO_SPACE": Kernel(frozenset({"float32", "int8", "uint8", "int32", "int64"}), 4),
    "DEQUANTIZE": Kernel(frozenset({"int8", "uint8", "int16"})),
    "DIV": Kernel(frozenset({"float32", "int32"}), 5),
    "DYNAMIC_UPDATE_SLICE": Kernel(COPIES - {"uint8"}),
    "ELU": Kernel(FLOAT),
    "EQUAL": Kernel(COPIES - {"int16"}, 4),
    "EXP": Kernel(FLOAT),
    "FLOOR": Kernel(FLOAT),
    "FLOOR_MOD": Kernel(frozenset({"float32", "int8", "int16", "int32", "int64"}), 4),
    "FILL": Kernel(frozenset({"int32", "int64"})),
    "FULLY_CONNECTED": Kernel(frozenset({"float32", "int8", "int16"})),
    "GATHER": Kernel(COPIES),
    "GATHER_ND": Kernel(COPIES),
    "GELU": Kernel(FLOAT),
    "GREATER": Kernel(ARITHMETIC, 4),
    "GREATER_EQUAL": Kernel(ARITHMETIC, 4),
    "HARD_SWISH": Kernel(FLOAT_INT8),
    "LEAKY_RELU": Kernel(FLOAT_INT8),
    "LESS": Kernel(ARITHMETIC, 4),
    "LESS_EQUAL": Kernel(ARITHMETIC, 4),
    "LOG": Kernel(FLOAT),
    "LOGICAL_AND": Kernel(BOOL, 4),
    "LOGICAL_NOT": Kernel(BOOL),
    "LOGICAL_OR": Kernel(BOOL, 4),
    "LOGISTIC": Kernel(FLOAT_INT8 | {"int16"}),
    "LOG_SOFTMAX": Kernel(FLOAT),
    "MAXIMUM": Kernel(ARITHMETIC | {"int16"}, 5),
    "MAX_POOL_2D": Kernel(FLOAT_INT8 | {"int16"}, 4),
    "MEAN": Kernel(frozenset({"float32", "int8", "int16"})),
    "MINIMUM": Kernel(ARITHMETIC | {"int16"}, 5),
    "MIRROR_PAD": Kernel(FLOAT_INT8 | {"int32", "int64"}, 5),
    "MUL": Kernel(ARITHMETIC | {"int16"}, 6),
    "NEG": Kernel(frozenset({"float32", "int32", "int64"})),
    "NON_MAX_SUPPRESSION_V4": Kernel(FLOAT),
    "NOT_EQUAL": Kernel(COPIES - {"int16"}, 4),
    "PAD": Kernel(COPIES, 5),
    "PADV2": Kernel(COPIES, 5),
    "POW": Kernel(FLOAT, 4),
    "PRELU": Kernel(FLOAT, 4),
    "QUANTIZE": Kernel(frozenset({"float32", "int8", "uint8", "int16"})),
    "REDUCE_MAX": Kernel(ARITHMETIC),
    "REDUCE_MIN": Kernel(ARITHMETIC),
    "REDUCE_PROD": Kernel(frozenset({"float32", "int32", "int64"})),
    "RANGE": Kernel(frozenset({"float32", "int32", "int64"})),
    "RELU": Kernel(FLOAT_INT8 | {"int16"}),
    "RELU6": Kernel(FLOAT_INT8),
    "RELU_N1_TO_1": Kernel(FLOAT_INT8),
    "RESHAPE": Kernel(COPIES),
    "RESIZE_BILINEAR": Kernel(FLOAT_INT8, 4),
    "RESIZE_NEAREST_NEIGHBOR": Kernel(FLOAT_INT8, 4),
    "ROUND": Kernel(FLOAT),
    "RSQRT": Kernel(FLOAT),
    "SELECT_V2": Kernel(BOOL, 4),
    "SHAPE": Kernel(COPIES),
    "SIGN": Kernel(frozenset({"float32", "int32"})),
    "SIN": Kernel(FLOAT),
    "SLICE": Kernel(COPIES, 5),
    "SOFTMAX": Kernel(FLOAT_INT8 | {"int16"}),
    "SPACE_TO_DEPTH": Kernel(frozenset({"float32", "int8", "uint8", "int32", "int64"}), 4),
    "SPLIT_V": Kernel(frozenset({"float32", "int8", "uint8", "int32", "int64"})),
    "SQRT": Kernel(FLOAT),
    "SQUARE": Kernel(FLOAT),
    "SQUARED_DIFFERENCE": Kernel(frozenset({"float32", "int32"}), 4),
    "STRIDED_SLICE": Kernel(COPIES, 5),
    "SUB": Kernel(ARITHMETIC | {"int16"}, 6),
    "SUM": Kernel(frozenset({"float32", "int32", "int64"})),
    "TANH": Kernel(FLOAT_INT8 | {"int16"}),
    "TILE": Kernel(COPIES),
    "TRANSPOSE": Kernel(COPIES, 6),
}
