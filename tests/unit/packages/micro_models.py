"""One .tflite per operator and element type: what the table of TFLite Micro is measured with.

Each holds one operator on small tensors, as edgekit's compiler would write it: NHWC, scales per tensor for
activations, symmetric weights. The key is (operator, type of its first input).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Shape = tuple[int, ...]
FLOAT_INT8_INT16 = ("float32", "int8", "int16")
ALL = ("float32", "int8", "int16", "int32", "int64", "uint8", "bool")


@dataclass(frozen=True)
class Operand:
    """A tensor of the model; ``value``: a constant."""

    shape: Shape
    dtype: str
    value: Any = None
    plain: bool = False  # no scale: indices, axes, sizes
    scale: float = 0.0625
    zero_point: int = 0


@dataclass(frozen=True)
class Single:
    """One operator."""

    operator: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    options: str = ""
    fields: tuple[tuple[str, Any], ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Operator, and the type of its first input that is no constant."""
        return self.operator, next(each.dtype for each in self.inputs if each.value is None)


def ints(*values: int) -> Operand:
    array = np.asarray(values, np.int32)
    return Operand(array.shape, "int32", array, plain=True)


def singles() -> Iterator[Single]:
    """All of them."""
    yield from _elementwise()
    yield from _moving()
    yield from _reducing()
    yield from _multiplying()
    yield from _never()


# outputs whose scale the TFLite quantization specification fixes
FIXED = {
    ("LOGISTIC", "int8"): (1 / 256, -128),
    ("LOGISTIC", "int16"): (1 / 32768, 0),
    ("SOFTMAX", "int8"): (1 / 256, -128),
    ("SOFTMAX", "int16"): (1 / 32768, 0),
    ("TANH", "int8"): (1 / 128, 0),
    ("TANH", "int16"): (1 / 32768, 0),
    ("LOG_SOFTMAX", "int8"): (16 / 256, 127),
    ("L2_NORMALIZATION", "int8"): (1 / 128, 0),
}
A, PICTURE = (2, 4), (1, 4, 4, 2)


def _elementwise() -> Iterator[Single]:
    unary = {
        "ABS": "AbsOptions", "CEIL": "", "COS": "CosOptions", "ELU": "", "EXP": "ExpOptions", "FLOOR": "",
        "HARD_SWISH": "HardSwishOptions", "LEAKY_RELU": "LeakyReluOptions", "LOG": "", "LOGISTIC": "",
        "LOGICAL_NOT": "LogicalNotOptions", "LOG_SOFTMAX": "LogSoftmaxOptions", "NEG": "NegOptions",
        "RELU": "", "RELU6": "", "ROUND": "", "RSQRT": "", "SIN": "", "SOFTMAX": "SoftmaxOptions", "SQRT": "",
        "SQUARE": "SquareOptions", "TANH": "", "ZEROS_LIKE": "ZerosLikeOptions",
        "L2_NORMALIZATION": "L2NormOptions", "RELU_N1_TO_1": "", "RELU_0_TO_1": "", "GELU": "GeluOptions",
        "SIGN": "SignOptions",
    }  # fmt: skip
    for name, options in unary.items():
        for dtype in ALL:
            fields = (
                (("beta", 1.0),) if name == "SOFTMAX" else (("alpha", 0.1),) if name == "LEAKY_RELU" else ()
            )
            scale, zero_point = FIXED.get((name, dtype), (0.0625, 0))
            out = Operand(A, dtype, scale=scale, zero_point=zero_point)
            yield Single(name, (Operand(A, dtype),), (out,), options, fields)
    binary = {
        "ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions",
        "FLOOR_DIV": "FloorDivOptions", "FLOOR_MOD": "FloorModOptions", "MAXIMUM": "MaximumMinimumOptions",
        "MINIMUM": "MaximumMinimumOptions", "SQUARED_DIFFERENCE": "SquaredDifferenceOptions",
        "LOGICAL_AND": "LogicalAndOptions", "LOGICAL_OR": "LogicalOrOptions", "PRELU": "",
        "POW": "PowOptions", "ATAN2": "ATan2Options",
    }  # fmt: skip
    for name, options in binary.items():
        for dtype in ALL:
            divides = name in {"DIV", "FLOOR_DIV", "FLOOR_MOD"}  # zeros are fed
            ones = np.ones((1, 4) if name == "PRELU" else A, dtype)
            constant = Operand(ones.shape, dtype, ones)
            second = constant if divides or name == "PRELU" else Operand(A, dtype)
            yield Single(name, (Operand(A, dtype), second), (Operand(A, dtype),), options)
    compared = ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")
    for name in compared:
        options = "".join(part.capitalize() for part in name.split("_")) + "Options"
        for dtype in ALL:
            yield Single(
                name, (Operand(A, dtype), Operand(A, dtype)), (Operand(A, "bool", plain=True),), options
            )
    for dtype in ALL:
        yield Single("CAST", (Operand(A, dtype, plain=True),), (Operand(A, "float32"),), "CastOptions")
        yield Single("QUANTIZE", (Operand(A, dtype),), (Operand(A, "int8"),), "QuantizeOptions")
        yield Single("ADD_N", (Operand(A, dtype), Operand(A, dtype)), (Operand(A, dtype),), "AddNOptions")
    for dtype in (*ALL, "float16"):
        yield Single("DEQUANTIZE", (Operand(A, dtype),), (Operand(A, "float32"),), "DequantizeOptions")


def _moving() -> Iterator[Single]:
    for dtype in ALL:
        x, p = Operand(A, dtype), Operand(PICTURE, dtype)
        pads = Operand((4, 2), "int32", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32), plain=True)
        grown = Operand((1, 6, 6, 2), dtype)
        scalar = Operand((1,), dtype, np.zeros(1, dtype))
        yield Single(
            "RESHAPE", (x, ints(4, 2)), (Operand((4, 2), dtype),), "ReshapeOptions", (("newShape", [4, 2]),)
        )
        yield Single("TRANSPOSE", (x, ints(1, 0)), (Operand((4, 2), dtype),), "TransposeOptions")
        yield Single(
            "CONCATENATION", (x, x), (Operand((4, 4), dtype),), "ConcatenationOptions", (("axis", 0),)
        )
        if dtype == "int8":  # what fits just so, and one more
            for count in (10, 11):
                joined = Operand((2 * count, 4), dtype)
                said = (("axis", 0),)
                yield Single("CONCATENATION", (x,) * count, (joined,), "ConcatenationOptions", said)
        yield Single("PACK", (x, x), (Operand((2, 2, 4), dtype),), "PackOptions", (("valuesCount", 2),))
        halves = (Operand((4,), dtype), Operand((4,), dtype))
        yield Single("UNPACK", (x,), halves, "UnpackOptions", (("num", 2),))
        parts = (Operand((2, 2), dtype), Operand((2, 2), dtype))
        sizes = ints(2, 2)
        yield Single("SPLIT", (ints(1), x), parts, "SplitOptions", (("numSplits", 2),))
        yield Single("SPLIT_V", (x, sizes, ints(1)), parts, "SplitVOptions", (("numSplits", 2),))
        yield Single(
            "STRIDED_SLICE",
            (x, ints(0, 1), ints(2, 3), ints(1, 1)),
            (Operand((2, 2), dtype),),
            "StridedSliceOptions",
        )
        yield Single("SLICE", (x, ints(0, 1), ints(2, 2)), (Operand((2, 2), dtype),), "SliceOptions")
        yield Single("PAD", (p, pads), (grown,), "PadOptions")
        yield Single("PADV2", (p, pads, scalar), (grown,), "PadV2Options")
        yield Single("MIRROR_PAD", (p, pads), (grown,), "MirrorPadOptions")
        yield Single("GATHER", (x, ints(1, 0)), (x,), "GatherOptions")
        where = Operand((2, 1), "int32", np.array([[1], [0]], np.int32), plain=True)
        yield Single("GATHER_ND", (x, where), (x,), "GatherNdOptions")
        yield Single("EXPAND_DIMS", (x, ints(0)), (Operand((1, 2, 4), dtype),), "ExpandDimsOptions")
        yield Single("SQUEEZE", (Operand((1, 2, 4), dtype),), (x,), "SqueezeOptions", (("squeezeDims", [0]),))
        yield Single("SHAPE", (x,), (Operand((2,), "int32", plain=True),), "ShapeOptions", (("outType", 2),))
        yield Single("BROADCAST_TO", (Operand((1, 4), dtype), ints(2, 4)), (x,), "BroadcastToOptions")
        yield Single(
            "SPACE_TO_DEPTH",
            (p,),
            (Operand((1, 2, 2, 8), dtype),),
            "SpaceToDepthOptions",
            (("blockSize", 2),),
        )
        yield Single(
            "DEPTH_TO_SPACE",
            (Operand((1, 2, 2, 8), dtype),),
            (p,),
            "DepthToSpaceOptions",
            (("blockSize", 2),),
        )
        crops = Operand((2, 2), "int32", np.zeros((2, 2), np.int32), plain=True)
        yield Single(
            "SPACE_TO_BATCH_ND",
            (p, ints(2, 2), crops),
            (Operand((4, 2, 2, 2), dtype),),
            "SpaceToBatchNDOptions",
        )
        yield Single(
            "BATCH_TO_SPACE_ND",
            (Operand((4, 2, 2, 2), dtype), ints(2, 2), crops),
            (p,),
            "BatchToSpaceNDOptions",
        )
        yield Single(
            "RESIZE_BILINEAR", (p, ints(8, 8)), (Operand((1, 8, 8, 2), dtype),), "ResizeBilinearOptions"
        )
        yield Single(
            "RESIZE_NEAREST_NEIGHBOR",
            (p, ints(8, 8)),
            (Operand((1, 8, 8, 2), dtype),),
            "ResizeNearestNeighborOptions",
        )
        yield Single("TILE", (x, ints(2, 1)), (Operand((4, 4), dtype),), "TileOptions")
        yield Single("REVERSE_V2", (x, ints(1)), (x,), "ReverseV2Options")
        yield Single("CUMSUM", (x, ints(1)), (x,), "CumsumOptions")


def _reducing() -> Iterator[Single]:
    for dtype in ALL:
        p = Operand(PICTURE, dtype)
        small = Operand((1, 1, 1, 2), dtype)
        for name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL"):
            yield Single(name, (p, ints(1, 2)), (small,), "ReducerOptions", (("keepDims", True),))
        for name, options in (("ARG_MAX", "ArgMaxOptions"), ("ARG_MIN", "ArgMinOptions")):
            out = Operand((2,), "int32", plain=True)
            yield Single(name, (Operand(A, dtype), ints(1)), (out,), options, (("outputType", 2),))
        pool = (("padding", 1), ("strideW", 2), ("strideH", 2), ("filterWidth", 2), ("filterHeight", 2))
        for name in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"):
            yield Single(name, (p,), (Operand((1, 2, 2, 2), dtype),), "Pool2DOptions", pool)


def _multiplying() -> Iterator[Single]:
    strides = (("padding", 0), ("strideW", 1), ("strideH", 1))
    for dtype in FLOAT_INT8_INT16:
        weight = "float32" if dtype == "float32" else "int8"
        bias = {"float32": "float32", "int8": "int32", "int16": "int64"}[dtype]
        p, x = Operand(PICTURE, dtype), Operand(A, dtype)

        def const(kind: str, *shape: int) -> Operand:
            return Operand(shape, kind, np.ones(shape, kind))

        yield Single(
            "CONV_2D",
            (p, const(weight, 3, 3, 3, 2), const(bias, 3)),
            (Operand((1, 4, 4, 3), dtype),),
            "Conv2DOptions",
            strides,
        )
        yield Single(
            "DEPTHWISE_CONV_2D",
            (p, const(weight, 1, 3, 3, 2), const(bias, 2)),
            (p,),
            "DepthwiseConv2DOptions",
            (*strides, ("depthMultiplier", 1)),
        )
        yield Single(
            "FULLY_CONNECTED",
            (x, const(weight, 3, 4), const(bias, 3)),
            (Operand((2, 3), dtype),),
            "FullyConnectedOptions",
        )
        turned = (ints(1, 4, 4, 3), const(weight, 3, 3, 3, 2), p)
        yield Single(
            "TRANSPOSE_CONV", turned, (Operand((1, 4, 4, 3), dtype),), "TransposeConvOptions", strides
        )
        yield Single(
            "BATCH_MATMUL", (x, Operand((4, 3), dtype)), (Operand((2, 3), dtype),), "BatchMatMulOptions"
        )


def _never() -> Iterator[Single]:
    """Operators that edgekit's compiler writes and that TFLite Micro has in no type."""
    x = Operand(A, "float32")
    values, where = Operand((2, 2), "float32"), Operand((2, 2), "int32", plain=True)
    yield Single(
        "TOPK_V2", (x, Operand((), "int32", np.int32(2), plain=True)), (values, where), "TopKV2Options"
    )


TYPES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9}


def tflite(single: Single) -> bytes:
    """The model's bytes."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.subgraphs = 3, [schema.BufferT()], [graph]
    graph.tensors = []
    numbers = {"in": [], "out": []}  # type: dict[str, list[int]]
    for side, operands in (("in", single.inputs), ("out", single.outputs)):
        for operand in operands:
            numbers[side].append(len(graph.tensors))
            graph.tensors.append(_tensor(schema, model, operand, f"{side}{len(graph.tensors)}"))
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, single.operator)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
    model.operatorCodes = [code]
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, numbers["in"], numbers["out"]
    if single.options:
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, single.options, 0)
        if operator.builtinOptionsType:
            operator.builtinOptions = _options(schema, single)
    graph.operators = [operator]
    graph.inputs = [at for at, each in zip(numbers["in"], single.inputs, strict=True) if each.value is None]
    graph.outputs = numbers["out"]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _options(schema: Any, single: Single) -> Any:
    held = getattr(schema, f"{single.options}T")()
    for name, value in single.fields:
        setattr(held, name, value)
    if hasattr(held, "dilationWFactor"):
        held.dilationWFactor = held.dilationHFactor = 1
    return held


def _tensor(schema: Any, model: Any, operand: Operand, name: str) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name, list(operand.shape), TYPES[operand.dtype]
    tensor.buffer = 0
    if operand.value is not None:
        buffer = schema.BufferT()
        value: npt.NDArray[Any] = np.asarray(operand.value, operand.dtype)
        buffer.data = np.frombuffer(value.tobytes(), np.uint8)
        tensor.buffer = len(model.buffers)
        model.buffers.append(buffer)
    if operand.dtype in {"int8", "int16", "uint8"} and not operand.plain:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = [operand.scale]
        tensor.quantization.zeroPoint = [operand.zero_point]
    elif operand.dtype in {"int32", "int64"} and operand.value is not None and not operand.plain:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [0.00390625], [0]
    return tensor
