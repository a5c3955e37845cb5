"""Bytes of a ``.tflite`` file -> TfliteFile: tensors, operators and constants, every index and size checked.

The file comes from somewhere else: a flatbuffer is offsets into itself, so a damaged one can point anywhere.
The generated reader looks wherever it is told; what that provokes is caught, and what it found is held
against the rest of the file (D1 to D5) before anything computes with it.

D1 identifier "TFL3" · D2 tables that lie inside the file · D3 indices of buffers, tensors and operator codes
· D4 as many bytes of data as type and shape say · D5 scales that are finite, not negative, one per channel.

Source: tflite/schema/schema.fbs of LiteRT; verification as in tflite/core/tools/verifier.cc.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit import settings
from edgekit.errors import ExportError, ModelFileError, missing_extra
from edgekit.spec import Array

IDENTIFIER = b"TFL3"
ABSENT = -1  # an optional input that is not there
_LARGEST_RANK = 8  # RuntimeShape of LiteRT
_OTHER_BUFFER = 1  # Buffer.offset of 0 and 1 mean: the data is inside the flatbuffer

DTYPES: dict[str, np.dtype[Any]] = {
    "FLOAT32": np.dtype(np.float32),
    "FLOAT16": np.dtype(np.float16),
    "FLOAT64": np.dtype(np.float64),
    "INT8": np.dtype(np.int8),
    "UINT8": np.dtype(np.uint8),
    "INT16": np.dtype(np.int16),
    "UINT16": np.dtype(np.uint16),
    "INT32": np.dtype(np.int32),
    "UINT32": np.dtype(np.uint32),
    "INT64": np.dtype(np.int64),
    "UINT64": np.dtype(np.uint64),
    "BOOL": np.dtype(np.bool_),
}
"""TensorType -> NumPy. INT4 is read too: two values to a byte, as int8."""

_EXPORT_AGAIN = "convert the model again, or copy the file again and compare its size"


@dataclass(frozen=True)
class Quant:
    """real = scale * (integer - zero_point), for the whole tensor or along one axis.

    Attributes:
        scale: (1,) or (channels,) float32.
        zero_point: as many int64.
        axis: the axis of the channels; None where there is one scale.
    """

    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int64]
    axis: int | None


@dataclass(frozen=True)
class Tensor:
    """One tensor of the file.

    Attributes:
        index: its place in the subgraph.
        name: may be empty, or that of another tensor.
        dtype: NumPy name.
        shape: sizes; 1 usually stands for a dynamic one.
        signature: sizes with -1 where they are dynamic.
        data: the constant, or None.
        quant: None where an integer is just an integer.
        is_variable: whether it keeps its value from one inference to the next.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    data: Array | None = None
    quant: Quant | None = None
    is_variable: bool = False


@dataclass(frozen=True)
class Operator:
    """One operator: ``code`` is its builtin name, ``options`` the fields of its options table."""

    index: int
    code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"operator {self.index} ({self.code})"


@dataclass(frozen=True)
class TfliteFile:
    """The main subgraph of a file; ``inputs`` and ``outputs`` are indices of tensors."""

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def schema() -> Any:
    """The generated schema module.

    Raises:
        MissingBackendError: the extra "litert" is not installed.
    """
    settings.silence_native_libraries()
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise missing_extra("ai-edge-litert", "litert", needed_for="reading .tflite files") from error
    return schema_py_generated


def parse(content: bytes, *, name: str) -> Any:
    """The file as the schema's own ``ModelT`` (D1, D2).

    Raises:
        ModelFileError: it is empty, cut off, or no TFLite file.
    """
    if len(content) < 8 or content[4:8] != IDENTIFIER:
        raise ModelFileError(
            f"{name} is not a TFLite file ({len(content)} bytes)",
            why='bytes 4 to 8 of one are "TFL3"',
            remedy=_EXPORT_AGAIN,
        )
    tables = schema()
    try:
        return tables.ModelT.InitFromPackedBuf(content, 0)
    except Exception as error:  # whatever a wild offset provokes: struct.error, IndexError, TypeError ...
        raise _damaged(name, f"{type(error).__name__}: {error}") from error


def read(content: bytes, *, name: str) -> TfliteFile:
    """Read and check the main subgraph of a file.

    Args:
        content: the whole file.
        name: for messages.

    Raises:
        ModelFileError: the file is damaged.
        ExportError: it holds a type or a quantization that edgekit does not read.
        MissingBackendError: the extra "litert" is not installed.
    """
    model = parse(content, name=name)
    try:
        return _file(model, content, name)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error) as error:
        raise _damaged(name, f"{type(error).__name__}: {error}") from error


def _damaged(name: str, why: str) -> ModelFileError:
    return ModelFileError(
        f"{name} cannot be read as a TFLite file: a part of it contradicts another",
        why=why.splitlines()[0][:200],
        remedy=_EXPORT_AGAIN,
    )


def _file(model: Any, content: bytes, name: str) -> TfliteFile:
    if not model.subgraphs:
        raise _damaged(name, "it holds no subgraph")
    graph = model.subgraphs[0]
    type_names = _names(schema().TensorType)
    tensors = tuple(
        _tensor(each, index, model, content, name=name, types=type_names)
        for index, each in enumerate(graph.tensors or ())
    )
    inputs, outputs = _indices(graph.inputs), _indices(graph.outputs)
    every = [_operator(each, index, model, name) for index, each in enumerate(graph.operators or ())]
    operators = tuple(each for each in every if not _clears_a_variable(each, tensors))
    _require_indices(tensors, operators, inputs, outputs, name)
    return TfliteFile(name, tensors, operators, inputs, outputs)


def _clears_a_variable(operator: Operator, tensors: tuple[Tensor, ...]) -> bool:
    """Whether it says what holds of variables anyway: an inference begins with zeros (``reference``, R2).

    edgekit's own compiler writes it before sequence kernels.
    """
    outputs = [tensors[index] for index in operator.outputs if 0 <= index < len(tensors)]
    return operator.code == "ZEROS_LIKE" and bool(outputs) and all(each.is_variable for each in outputs)


def _require_indices(
    tensors: tuple[Tensor, ...],
    operators: tuple[Operator, ...],
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    name: str,
) -> None:
    """D3, and every tensor is made once, before it is read."""
    if not inputs or not outputs:
        raise _damaged(name, f"it has {len(inputs)} inputs and {len(outputs)} outputs")
    known = {tensor.index for tensor in tensors if tensor.data is not None or tensor.is_variable}
    everything = range(len(tensors))
    for index in inputs:
        if index not in everything or index in known:
            raise _damaged(name, f"input tensor {index} does not exist, is a constant, or is named twice")
        known.add(index)
    for operator in operators:
        for index in operator.inputs:
            if index != ABSENT and index not in known:
                raise _damaged(name, f"{operator} reads tensor {index}, which nothing has computed")
        for index in operator.outputs:
            if index not in everything or index in known:
                raise _damaged(name, f"{operator} computes tensor {index}, which is not its own")
            known.add(index)
    for index in outputs:
        if index not in known:
            raise _damaged(name, f"output tensor {index} is not computed by anything")


def _operator(table: Any, index: int, model: Any, name: str) -> Operator:
    codes = model.operatorCodes or ()
    if not 0 <= table.opcodeIndex < len(codes):
        raise _damaged(name, f"operator {index} has operator code {table.opcodeIndex} of {len(codes)}")
    code = codes[table.opcodeIndex]
    # builtin_code grew out of one byte: older files only have the deprecated field.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    label = _names(schema().BuiltinOperator).get(number, f"code {number}")
    if label == "CUSTOM":
        label = f"CUSTOM {_text(code.customCode)}"
    options: dict[str, Any] = {}
    for part in (table.builtinOptions, table.builtinOptions2):
        options |= vars(part) if part is not None else {}
    return Operator(index, label, _indices(table.inputs), _indices(table.outputs), options)


def _tensor(
    table: Any, index: int, model: Any, content: bytes, *, name: str, types: Mapping[int, str]
) -> Tensor:
    shape = _indices(table.shape)
    signature = _indices(table.shapeSignature) if table.shapeSignature is not None else shape
    label = types.get(table.type, f"type {table.type}")
    if len(shape) > _LARGEST_RANK or min(shape, default=0) < 0:
        raise _damaged(name, f"tensor {index} has shape {shape}")
    if len(signature) != len(shape):
        raise _damaged(name, f"tensor {index} has shape {shape} and shape signature {signature}")
    if label not in DTYPES and label != "INT4":
        raise ExportError(
            f"tensor {index} ({_text(table.name)!r}) of {name} is of type {label}",
            why=f"edgekit reads {', '.join(sorted(DTYPES))} and INT4",
            remedy="export the model from its framework instead: edgekit export model.py:build",
        )
    if table.sparsity is not None:
        raise ExportError(
            f"tensor {index} ({_text(table.name)!r}) of {name} is sparse",
            why="edgekit reads dense weights; the zeros would have to be written out",
            remedy="convert the model again without sparsity",
        )
    data = _data(table, index, model, content, name=name, label=label, shape=shape)
    quant = _quant(table, index, shape, name)
    if quant is not None and not quant.scale.all():
        data, quant = _real_zeros(data, quant)
    return Tensor(
        index=index,
        name=_text(table.name),
        dtype="int8" if label == "INT4" else DTYPES[label].name,
        shape=shape,
        signature=signature,
        data=data,
        quant=quant,
        is_variable=bool(table.isVariable),
    )


def _data(
    table: Any, index: int, model: Any, content: bytes, *, name: str, label: str, shape: tuple[int, ...]
) -> Array | None:
    """The constant of a tensor, read-only, without a copy where the type allows (D4)."""
    buffers = model.buffers or ()
    if not 0 <= table.buffer < len(buffers):
        raise _damaged(name, f"tensor {index} has buffer {table.buffer} of {len(buffers)}")
    if table.externalBuffer:
        raise ExportError(
            f"tensor {index} ({_text(table.name)!r}) of {name} keeps its data in another file",
            why="edgekit reads a .tflite file that is complete",
            remedy="convert the model again with its weights inside",
        )
    buffer = buffers[table.buffer]
    raw = buffer.data
    if buffer.offset > _OTHER_BUFFER:  # files over 2 GB keep the data behind the flatbuffer
        if buffer.offset + buffer.size > len(content):
            raise _damaged(name, f"tensor {index} has its data behind the end of the file")
        raw = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
    elements = math.prod(shape)
    if elements == 0:
        return np.empty(shape, np.int8 if label == "INT4" else DTYPES[label])
    if not isinstance(raw, np.ndarray) or raw.size == 0:
        return None
    wanted = (elements + 1) // 2 if label == "INT4" else elements * DTYPES[label].itemsize
    if raw.size != wanted:
        raise _damaged(name, f"tensor {index} ({label}, {shape}) has {raw.size} bytes of data, not {wanted}")
    if label == "INT4":
        pairs = np.stack([raw & 0xF, raw >> 4], axis=-1).reshape(-1)[:elements].astype(np.int8)
        return np.where(pairs > 7, pairs - 16, pairs).astype(np.int8).reshape(shape)
    array: Array = np.frombuffer(raw.tobytes(), DTYPES[label]).reshape(shape)
    return array


def _real_zeros(data: Array | None, quant: Quant) -> tuple[Array | None, Quant]:
    """Converters give what is always 0 the scale 0: integer 0 of scale 1 says the same, and divides."""
    empty = quant.scale == 0
    scale = np.where(empty, np.float32(1), quant.scale).astype(np.float32)
    zeros = np.where(empty, 0, quant.zero_point).astype(np.int64)
    if data is not None:
        shape = [1] * data.ndim
        if quant.axis is not None:
            shape[quant.axis] = -1
        where = empty.reshape(shape if data.ndim else ())
        data = np.where(where, 0, data).astype(data.dtype)
    return data, Quant(scale, zeros, quant.axis)


def _quant(table: Any, index: int, shape: tuple[int, ...], name: str) -> Quant | None:
    """Scale and zero point (D5); None where there is no scale."""
    given = table.quantization
    if given is not None and given.detailsType:
        raise ExportError(
            f"tensor {index} ({_text(table.name)!r}) of {name} has a quantization of its own kind",
            why="edgekit reads one scale per tensor or per channel, not blocks",
            remedy="convert the model again with per-channel weights",
        )
    if given is None or given.scale is None or len(given.scale) == 0:
        return None
    scale = np.asarray(given.scale, np.float32)
    zeros = np.zeros(scale.size, np.int64)
    if given.zeroPoint is not None and len(given.zeroPoint) > 0:
        zeros = np.array(np.broadcast_to(np.asarray(given.zeroPoint, np.int64), scale.shape))
    if not (np.isfinite(scale).all() and (scale >= 0).all()):
        raise _damaged(name, f"tensor {index} has a scale that is not finite, or negative")
    if scale.size == 1:
        return Quant(scale, zeros, None)
    axis = int(given.quantizedDimension)
    if not 0 <= axis < len(shape) or shape[axis] != scale.size:
        raise _damaged(name, f"tensor {index} has {scale.size} scales along axis {axis} of {shape}")
    return Quant(scale, zeros, axis)


def _indices(vector: Any) -> tuple[int, ...]:
    return () if vector is None else tuple(int(each) for each in vector)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _names(enumeration: type) -> dict[int, str]:
    return {value: key for key, value in vars(enumeration).items() if not key.startswith("_")}
