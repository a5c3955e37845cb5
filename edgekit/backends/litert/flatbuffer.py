"""Graph -> the bytes of a .tflite file (schema.fbs of TFLite, file identifier TFL3).

The object API of the generated schema packs everything but the buffers: it ignores their ``force_align: 16``,
so these are packed here. Buffers of equal bytes are written once. Equal graphs give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from edgekit.backends.litert.tensors import Graph, Operator, Tensor, signature, written_shape
from edgekit.backends.litert.versions import operator_version
from edgekit.errors import TargetRefusalError, missing_extra
from edgekit.spec import QuantParams

BUFFER_ALIGNMENT = 16  # schema.fbs: Buffer.data (force_align: 16)
LARGEST_FILE_BYTES = 2**31 - 1  # flatbuffers address with signed 32-bit offsets
ROOM_FOR_TABLES = 2**24  # of the largest file: everything that is no weight
FILE_IDENTIFIER = b"TFL3"  # schema.fbs: file_identifier
SCHEMA_VERSION = 3  # schema.fbs: version 3 is the one that all runtimes read
PLACEHOLDER_CODE = 127  # schema.fbs: deprecated_builtin_code is an int8; larger codes are in builtin_code

# Operator -> options table, where that is not "<CamelCase name>Options" (schema.fbs, union BuiltinOptions).
OPTIONS_OF: dict[str, str] = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "REDUCE_PROD": "ReducerOptions",
    "REDUCE_ANY": "ReducerOptions",
    "REDUCE_ALL": "ReducerOptions",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "SequenceRNNOptions",
    "CONV_3D": "Conv3DOptions",
    "CONV_3D_TRANSPOSE": "Conv3DOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "NON_MAX_SUPPRESSION_V4": "NonMaxSuppressionV4Options",
    "NON_MAX_SUPPRESSION_V5": "NonMaxSuppressionV5Options",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "PADV2": "PadV2Options",
    "SELECT_V2": "SelectV2Options",
    "TOPK_V2": "TopKV2Options",
}
# Operators whose options table does not exist in the schema: they carry none.
NO_OPTIONS = frozenset(
    {
        "LOGISTIC",
        "TANH",
        "RELU",
        "RELU6",
        "RELU_N1_TO_1",
        "RELU_0_TO_1",
        "ELU",
        "PRELU",
        "FLOOR",
        "CEIL",
        "ROUND",
    }
    | {"SQRT", "RSQRT", "SIN", "LOG", "ATAN2"}
)


def pack(graph: Graph, *, metadata: Mapping[str, bytes] | None = None) -> bytes:
    """``graph`` as a TFLite file.

    Args:
        graph: the main subgraph.
        metadata: content of each metadata entry, by name; each gets a buffer of its own.

    Raises:
        MissingBackendError: ai-edge-litert (which holds the schema) or flatbuffers is not installed.
        TargetRefusalError: the file would be larger than 2 GB.
    """
    schema, flatbuffers = _libraries()
    weights = weight_bytes(graph)
    if weights > LARGEST_FILE_BYTES - ROOM_FOR_TABLES:
        raise TargetRefusalError(
            f"the TFLite file would hold {weights} bytes of weights",
            why="a flatbuffer addresses at most 2 GB",
            remedy="quantize the weights (--precision w8a8) or split the model",
        )
    model = _model(graph, metadata or {}, schema)
    builder = flatbuffers.Builder(1024 + weights)
    builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


def weight_bytes(graph: Graph) -> int:
    """Size of all constants; an array that several tensors hold counts once, as its buffer does."""
    arrays = {id(tensor.data): tensor.data for tensor in graph.tensors if tensor.data is not None}
    return sum(array.nbytes for array in arrays.values())


def _libraries() -> tuple[ModuleType, ModuleType]:
    try:
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise missing_extra("ai-edge-litert", "litert", needed_for="writing .tflite files") from error
    return schema, flatbuffers


@dataclass(frozen=True)
class _AlignedBuffer:
    """A ``Buffer`` table whose bytes start at a multiple of 16; packs like the generated ``BufferT``."""

    data: bytes
    schema: ModuleType

    def Pack(self, builder: Any) -> int:  # noqa: N802  (the generated object API calls it so)
        """Write the bytes, then the table; empty data = a buffer without bytes."""
        vector = None
        if self.data:
            builder.StartVector(1, len(self.data), BUFFER_ALIGNMENT)
            builder.head = builder.head - len(self.data)
            builder.Bytes[builder.head : builder.head + len(self.data)] = self.data
            vector = builder.EndVector()
        self.schema.BufferStart(builder)
        if vector is not None:
            self.schema.BufferAddData(builder, vector)
        offset: int = self.schema.BufferEnd(builder)
        return offset


def _model(graph: Graph, metadata: Mapping[str, bytes], schema: ModuleType) -> Any:
    buffers: dict[bytes, int] = {b"": 0}  # buffer 0 is empty by convention: tensors without data name it
    codes: dict[tuple[str, int], int] = {}
    subgraph = schema.SubGraphT()
    subgraph.name = "main"
    subgraph.tensors = [_tensor(tensor, buffers, schema) for tensor in graph.tensors]
    subgraph.operators = [_operator(op, graph, codes, schema) for op in graph.operators]
    subgraph.inputs = np.asarray(graph.inputs, np.int32)
    subgraph.outputs = np.asarray(graph.outputs, np.int32)
    model = schema.ModelT()
    model.version = SCHEMA_VERSION
    model.description = "edgekit"
    model.subgraphs = [subgraph]
    model.operatorCodes = [_operator_code(name, version, schema) for name, version in codes]
    model.buffers = [_AlignedBuffer(data, schema) for data in (*buffers, *metadata.values())]
    model.metadata = [_metadata(name, len(buffers) + index, schema) for index, name in enumerate(metadata)]
    model.signatureDefs = [_signature(graph, schema)]
    return model


def _metadata(name: str, buffer: int, schema: ModuleType) -> Any:
    out = schema.MetadataT()
    out.name, out.buffer = name, buffer
    return out


def _tensor(tensor: Tensor, buffers: dict[bytes, int], schema: ModuleType) -> Any:
    out = schema.TensorT()
    out.name = tensor.name
    out.type = getattr(schema.TensorType, tensor.dtype.upper())
    out.shape = np.asarray(written_shape(tensor.shape), np.int32)
    out.hasRank = True
    if any(not isinstance(dim, int) for dim in tensor.shape):
        out.shapeSignature = np.asarray(signature(tensor.shape), np.int32)
    if tensor.data is not None:
        data = np.ascontiguousarray(tensor.data).tobytes()
        out.buffer = buffers.setdefault(data, len(buffers))
    if tensor.quant is not None:
        out.quantization = _quantization(tensor.quant, schema)
    return out


def _quantization(quant: QuantParams, schema: ModuleType) -> Any:
    out = schema.QuantizationParametersT()
    out.scale = np.asarray(quant.scale, np.float32)
    out.zeroPoint = np.asarray(quant.zero_point, np.int64)
    out.quantizedDimension = quant.axis or 0
    return out


def _operator(op: Operator, graph: Graph, codes: dict[tuple[str, int], int], schema: ModuleType) -> Any:
    out = schema.OperatorT()
    key = (op.code, operator_version(op, graph.tensors))
    out.opcodeIndex = codes.setdefault(key, len(codes))
    out.inputs = np.asarray(op.inputs, np.int32)
    out.outputs = np.asarray(op.outputs, np.int32)
    if op.code not in NO_OPTIONS:
        name = OPTIONS_OF.get(op.code) or "".join(part.title() for part in op.code.split("_")) + "Options"
        out.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        out.builtinOptions = _options(getattr(schema, f"{name}T")(), op.options, schema)
    return out


def _options(table: Any, options: Mapping[str, Any], schema: ModuleType) -> Any:
    for name, value in options.items():
        if not hasattr(table, name):
            raise AttributeError(f"{type(table).__name__} has no field {name!r}")
        if name == "padding":
            setattr(table, name, getattr(schema.Padding, value))
        elif name == "fusedActivationFunction":
            setattr(table, name, getattr(schema.ActivationFunctionType, value))
        elif name == "mode":
            setattr(table, name, getattr(schema.MirrorPadMode, value))
        elif name in {"inDataType", "outDataType", "outputType", "outType"}:
            setattr(table, name, getattr(schema.TensorType, value.upper()))
        elif isinstance(value, tuple):
            setattr(table, name, np.asarray(value, np.int32))
        else:
            setattr(table, name, value)
    return table


def _operator_code(name: str, version: int, schema: ModuleType) -> Any:
    out = schema.OperatorCodeT()
    out.builtinCode = getattr(schema.BuiltinOperator, name)
    out.deprecatedBuiltinCode = min(out.builtinCode, PLACEHOLDER_CODE)
    out.version = version
    return out


def _signature(graph: Graph, schema: ModuleType) -> Any:
    def entries(names: tuple[str, ...], indices: tuple[int, ...]) -> list[Any]:
        out = []
        for name, index in zip(names, indices, strict=True):
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name, index
            out.append(entry)
        return out

    out = schema.SignatureDefT()
    out.signatureKey = "serving_default"
    out.inputs = entries(graph.input_names, graph.inputs)
    out.outputs = entries(graph.output_names, graph.outputs)
    out.subgraphIndex = 0
    return out
