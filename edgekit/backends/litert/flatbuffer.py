"""Graph -> the bytes of a .tflite file (schema.fbs of TFLite, file identifier TFL3).

    file = tables | padding, length, bytes | padding, length, bytes | ...

The object API of the generated schema packs the tables. It would copy the weights into the builder, and it
ignores their ``force_align: 16``; so they follow the tables, straight from their arrays, and the tables point
behind their own end. Buffers of equal bytes are written once. Equal graphs give equal bytes.

B1: up to 2 GB the tables point there as vectors: every reader follows.
B2: above, a flatbuffer's 32-bit offsets end, and each table says where in the file its bytes are
    (Buffer.offset and size, 64 bits; schema version 3c). The runtime maps the file and reads them there.
    TFLite Micro does not (tflite-micro #3196).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from edgekit.backends.litert.tensors import (
    Blocks,
    EqualBytes,
    Graph,
    Operator,
    Rows,
    Tensor,
    every_graph,
    signature,
    written_shape,
)
from edgekit.backends.litert.versions import operator_version
from edgekit.errors import missing_extra
from edgekit.spec import Array, QuantParams

BUFFER_ALIGNMENT = 16  # schema.fbs: Buffer.data (force_align: 16)
LENGTH_BYTES = 4  # of a vector, in front of its elements
LARGEST_FLATBUFFER_BYTES = 2**31 - 1  # flatbuffers address with signed 32-bit offsets
OFFSETS_SINCE = "2.16"  # B2 came to TensorFlow's main branch in the autumn of 2023, after 2.14
ROOM_FOR_TABLES = 2**24  # of the largest flatbuffer: everything that is no weight
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
# Operator -> the fields of its options that name subgraphs, in the order of ``Operator.graphs``.
SUBGRAPHS: dict[str, tuple[str, ...]] = {
    "IF": ("thenSubgraphIndex", "elseSubgraphIndex"),
    "WHILE": ("condSubgraphIndex", "bodySubgraphIndex"),
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


Part = bytes | memoryview
"""A piece of a file."""


def pack(graph: Graph, *, metadata: Mapping[str, bytes] | None = None) -> bytes:
    """``graph`` as a TFLite file: ``parts``, joined."""
    return b"".join(parts(graph, metadata=metadata))


def parts(graph: Graph, *, metadata: Mapping[str, bytes] | None = None) -> list[Part]:
    """``graph`` as a TFLite file, in pieces that follow each other; weights are not copied.

    Args:
        graph: the main subgraph; those that its operators run follow it.
        metadata: content of each metadata entry, by name; each gets a buffer of its own.

    Raises:
        MissingBackendError: ai-edge-litert (which holds the schema) or flatbuffers is not installed.
    """
    schema, flatbuffers = _libraries()
    buffers = _Buffers()
    model = _model(graph, metadata or {}, buffers, schema)

    def tables() -> bytes:
        builder = flatbuffers.Builder(1024)
        builder.Prep(BUFFER_ALIGNMENT, 0)  # so that the tables end where a buffer may begin
        builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
        return bytes(builder.Output())

    if not has_offsets(graph):
        return [tables(), *buffers.behind]
    model.buffers = buffers.at(0, schema)
    model.buffers = buffers.at(len(tables()), schema)  # numbers of a fixed width: the length stays
    return [tables(), *buffers.behind]


def has_offsets(graph: Graph) -> bool:
    """B2: whether the file of ``graph`` is larger than a flatbuffer can be."""
    return weight_bytes(graph) > LARGEST_FLATBUFFER_BYTES - ROOM_FOR_TABLES


def weight_bytes(graph: Graph) -> int:
    """Size of all constants; an array that several tensors hold counts once, as its buffer does."""
    tensors = [tensor for each in every_graph(graph) for tensor in each.tensors]
    arrays = {id(tensor.data): tensor.data for tensor in tensors if tensor.data is not None}
    return sum(array.nbytes for array in arrays.values())


def _libraries() -> tuple[ModuleType, ModuleType]:
    try:
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise missing_extra("ai-edge-litert", "litert", needed_for="writing .tflite files") from error
    return schema, flatbuffers


@dataclass
class _Buffers:
    """The buffers of a file, and what follows its tables.

    Attributes:
        places: of each buffer, bytes from the end of the tables to its vector; None without data.
        behind: what stands there.
    """

    places: list[int | None] = field(default_factory=lambda: [None])  # tensors without data name buffer 0
    behind: list[Part] = field(default_factory=list)
    _length: int = 0
    _known: EqualBytes = field(default_factory=EqualBytes)

    def of(self, array: Array) -> int:
        """The buffer of an array's bytes; one that is there already where they are equal."""
        if not array.size:
            return 0
        found = self._known.find(array)
        if found is not None:
            return found
        index = self.add(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        self._known.add(array, index)
        return index

    def at(self, start: int, schema: ModuleType) -> list[Any]:
        """All buffers as B2, behind tables of ``start`` bytes; metadata in the tables themselves."""
        found: list[Any] = [_PlacedBuffer(None, schema)]
        for index, data in enumerate(self.behind[1::2], start=1):
            place = self.places[index]
            if isinstance(data, bytes) or place is None:
                inside = schema.BufferT()
                inside.data = np.frombuffer(data, np.uint8)
                found.append(inside)
            else:
                found.append(_DistantBuffer(start + place + LENGTH_BYTES, len(data), schema))
        return found

    def add(self, data: Part) -> int:
        """A buffer of its own: padding, the length of the vector, ``data`` at a multiple of 16."""
        aligned = -(-(self._length + LENGTH_BYTES) // BUFFER_ALIGNMENT) * BUFFER_ALIGNMENT
        padding = aligned - LENGTH_BYTES - self._length
        self.behind += [bytes(padding) + (len(data) % 2**32).to_bytes(LENGTH_BYTES, "little"), data]
        self.places.append(aligned - LENGTH_BYTES)
        self._length = aligned + len(data)
        return len(self.places) - 1


@dataclass(frozen=True)
class _PlacedBuffer:
    """A ``Buffer`` table whose vector stands behind the tables; packs like the generated ``BufferT``."""

    place: int | None
    schema: ModuleType

    def Pack(self, builder: Any) -> int:  # noqa: N802  (the generated object API calls it so)
        """Write the table. The builder counts from the end of the tables to the front: behind is negative."""
        self.schema.BufferStart(builder)
        if self.place is not None:
            self.schema.BufferAddData(builder, -self.place)
        offset: int = self.schema.BufferEnd(builder)
        return offset


@dataclass(frozen=True)
class _DistantBuffer:
    """A ``Buffer`` table of B2."""

    offset: int
    size: int
    schema: ModuleType

    def Pack(self, builder: Any) -> int:  # noqa: N802  (as above)
        """Write the table."""
        self.schema.BufferStart(builder)
        self.schema.BufferAddOffset(builder, self.offset)
        self.schema.BufferAddSize(builder, self.size)
        end: int = self.schema.BufferEnd(builder)
        return end


def _model(graph: Graph, metadata: Mapping[str, bytes], buffers: _Buffers, schema: ModuleType) -> Any:
    codes: dict[tuple[str, int], int] = {}
    graphs = every_graph(graph)
    numbers = {id(each): number for number, each in enumerate(graphs)}
    model = schema.ModelT()
    model.version = SCHEMA_VERSION
    model.description = "edgekit"
    model.subgraphs = [_subgraph(each, numbers, codes, buffers, schema) for each in graphs]
    model.operatorCodes = [_operator_code(name, version, schema) for name, version in codes]
    model.metadata = [_metadata(name, buffers.add(data), schema) for name, data in metadata.items()]
    model.buffers = [_PlacedBuffer(place, schema) for place in buffers.places]
    model.signatureDefs = [_signature(graph, schema)]
    return model


def _subgraph(
    graph: Graph,
    numbers: Mapping[int, int],
    codes: dict[tuple[str, int], int],
    buffers: _Buffers,
    schema: ModuleType,
) -> Any:
    number = numbers[id(graph)]
    out = schema.SubGraphT()
    out.name = f"part{number}" if number else "main"
    out.tensors = [_tensor(tensor, buffers, schema) for tensor in graph.tensors]
    out.operators = [_operator(op, graph, codes, schema) for op in graph.operators]
    for made, op in zip(out.operators, graph.operators, strict=True):
        for name, inner in zip(SUBGRAPHS.get(op.code, ()), op.graphs, strict=True):
            setattr(made.builtinOptions, name, numbers[id(inner)])
    out.inputs = np.asarray(graph.inputs, np.int32)
    out.outputs = np.asarray(graph.outputs, np.int32)
    return out


def _metadata(name: str, buffer: int, schema: ModuleType) -> Any:
    out = schema.MetadataT()
    out.name, out.buffer = name, buffer
    return out


def _tensor(tensor: Tensor, buffers: _Buffers, schema: ModuleType) -> Any:
    out = schema.TensorT()
    out.name = tensor.name
    out.type = getattr(schema.TensorType, tensor.dtype.upper())
    out.shape = np.asarray(written_shape(tensor.shape), np.int32)
    out.hasRank = True
    out.isVariable = tensor.variable
    if any(not isinstance(dim, int) for dim in tensor.shape):
        out.shapeSignature = np.asarray(signature(tensor.shape), np.int32)
    if tensor.data is not None:
        out.buffer = buffers.of(tensor.data)
    if tensor.quant is not None:
        out.quantization = _quantization(tensor.quant, schema)
    if tensor.blocks is not None:
        out.quantization = _blocks(tensor.blocks, schema)
    if tensor.rows is not None:
        out.sparsity = _sparsity(tensor.rows, written_shape(tensor.shape), schema)
    return out


def _sparsity(rows: Rows, shape: tuple[int, ...], schema: ModuleType) -> Any:
    """All axes but the last are dense, and the last is compressed; axes lie in their own order."""
    out = schema.SparsityParametersT()
    out.traversalOrder = np.arange(len(shape), dtype=np.int32)
    out.dimMetadata = []
    for axis, size in enumerate(shape):
        each = schema.DimensionMetadataT()
        each.format, each.denseSize = schema.DimensionType.DENSE, size
        if axis == len(shape) - 1:
            each.format, each.denseSize = schema.DimensionType.SPARSE_CSR, 0
            each.arraySegmentsType, each.arraySegments = _indices(rows.ends, schema)
            each.arrayIndicesType, each.arrayIndices = _indices(rows.columns, schema)
        out.dimMetadata.append(each)
    return out


def _indices(values: tuple[int, ...], schema: ModuleType) -> tuple[int, Any]:
    """The narrowest vector that holds them."""
    largest = max(values, default=0)
    kinds = (("Uint8", np.uint8), ("Uint16", np.uint16), ("Int32", np.int32))
    name, kind = next((name, kind) for name, kind in kinds if largest <= np.iinfo(kind).max)
    vector = getattr(schema, f"{name}VectorT")()
    vector.values = np.asarray(values, kind)
    return getattr(schema.SparseIndexVector, f"{name}Vector"), vector


def _quantization(quant: QuantParams, schema: ModuleType) -> Any:
    out = schema.QuantizationParametersT()
    out.scale = np.asarray(quant.scale, np.float32)
    out.zeroPoint = np.asarray(quant.zero_point, np.int64)
    out.quantizedDimension = quant.axis or 0
    return out


def _blocks(blocks: Blocks, schema: ModuleType) -> Any:
    out = schema.QuantizationParametersT()
    out.detailsType = schema.QuantizationDetails.BlockwiseQuantization
    out.details = schema.BlockwiseQuantizationT()
    out.details.scales, out.details.blockSize = blocks.scales, blocks.size
    out.details.zeroPoints = -1  # none: symmetric
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
