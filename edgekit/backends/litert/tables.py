"""Bytes of a .tflite file -> its tensors and operators, with every index held against its table.

R1 not a TFLite file, cut off, or a table that points outside the file
R2 a constant whose bytes do not fill its shape
R3 no graph with an output

The generated schema checks nothing while it reads. What a damaged file provokes in it becomes one error here;
nothing is handed to native code. Source: schema.fbs of TFLite (version 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod
from types import ModuleType
from typing import Any

from edgekit.backends.litert.flatbuffer import FILE_IDENTIFIER
from edgekit.errors import ModelFileError, missing_extra
from edgekit.ir.contents import FLOAT, scheme

COPY_AGAIN = "copy the file again and compare its size, or convert the model again"
_BITS: Mapping[str, int] = {
    **dict.fromkeys(("float64", "int64", "uint64", "complex64"), 64),
    **dict.fromkeys(("float32", "int32", "uint32"), 32),
    **dict.fromkeys(("float16", "int16", "uint16", "bfloat16"), 16),
    **dict.fromkeys(("int8", "uint8", "bool"), 8),
    "complex128": 128,
    "int4": 4,
    "int2": 2,
}
_MIN_RUNTIME = "min_runtime_version"
_MODEL_METADATA = "TFLITE_METADATA"  # names, labels and preprocessing in words (TFLite Metadata)


class _DamagedError(Exception):
    """The file contradicts itself."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a subgraph.

    Attributes:
        shape: with every open size as the file writes it (1, mostly).
        open_axes: axes whose size is open.
        stored_bytes: size of its constant data; 0 for an activation.
    """

    key: tuple[int, int]
    name: str
    dtype: str
    shape: tuple[int, ...]
    open_axes: tuple[int, ...]
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int
    stored_bytes: int

    @property
    def is_integer(self) -> bool:
        """Whether it stands for real numbers by a scale."""
        return bool(self.scale) and self.dtype.lstrip("u").startswith("int")

    @property
    def scheme(self) -> str:
        """``s8:channel:sym`` where it is quantized, "float" where it is not."""
        if not self.is_integer:
            return FLOAT
        return scheme(self.dtype, zero_points=self.zero_point, channels=len(self.scale) > 1)

    @property
    def size_bytes(self) -> int | None:
        """Room that it takes as an activation."""
        bits = _BITS.get(self.dtype)
        return None if bits is None else ceil(prod(self.shape) * bits / 8)


@dataclass(frozen=True)
class Operator:
    """One operator with its tensors; an optional input that is absent is None."""

    name: str
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Graph:
    """One subgraph."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    tensors: tuple[Tensor, ...]


def parse(content: bytes, *, name: str) -> tuple[tuple[Graph, ...], dict[str, str]]:
    """The graphs of the file, the main one first, and what it says about itself in words.

    Args:
        content: the whole file.
        name: the file's, for messages.

    Raises:
        ModelFileError: R1 to R3.
        MissingBackendError: ai-edge-litert, which holds the schema, is not installed.
    """
    if content[4:8] != FILE_IDENTIFIER:
        raise ModelFileError(
            f"{name} is not a TFLite file ({len(content)} bytes)",
            why="its bytes 4 to 7 are not TFL3" if content else "it is empty",
            remedy=COPY_AGAIN,
        )
    schema = tflite_schema()
    try:
        model = schema.Model.GetRootAs(content, 0)
        return _graphs(model, schema, size=len(content)), _facts(model, size=len(content))
    except Exception as error:  # the generated code raises whatever wrong offsets provoke
        said = str(error) if isinstance(error, _DamagedError) else f"{type(error).__name__}: {error}"
        raise ModelFileError(
            f"{name} is damaged, or cut off ({len(content)} bytes)",
            why=f"its tables do not fit together: {said}",
            remedy=COPY_AGAIN,
        ) from error


def tflite_schema() -> ModuleType:
    """The generated code of schema.fbs.

    Raises:
        MissingBackendError: ai-edge-litert, which holds it, is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise missing_extra("ai-edge-litert", "litert", needed_for="reading .tflite files") from error
    found: ModuleType = schema
    return found


def _graphs(model: Any, schema: ModuleType, *, size: int) -> tuple[Graph, ...]:
    operators = _names(schema.BuiltinOperator)
    codes = []
    for index in range(_counted(model.OperatorCodesLength(), size, "operator codes")):
        code = model.OperatorCodes(index)
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if number not in operators:
            raise _DamagedError(f"operator code {number} does not exist")
        custom = _text(code.CustomCode())
        codes.append((f"CUSTOM {custom}" if custom else operators[number], int(code.Version())))
    types = _names(schema.TensorType)
    count = _counted(model.SubgraphsLength(), size, "subgraphs")
    found = tuple(_graph(model, index, codes, types, size=size) for index in range(count))
    if not found or not found[0].outputs:  # R3
        raise _DamagedError("there is no graph with an output")
    return found


def _graph(
    model: Any, number: int, codes: list[tuple[str, int]], types: Mapping[int, str], *, size: int
) -> Graph:
    graph = model.Subgraphs(number)
    tensors = tuple(
        _tensor(model, graph.Tensors(index), (number, index), types, size=size)
        for index in range(_counted(graph.TensorsLength(), size, "tensors"))
    )

    def those(length: int, item: Any, *, what: str) -> tuple[Tensor | None, ...]:
        indices = [int(item(position)) for position in range(_counted(length, size, what))]
        if any(not -1 <= index < len(tensors) for index in indices):
            raise _DamagedError(f"{what} name a tensor that does not exist")
        return tuple(None if index == -1 else tensors[index] for index in indices)

    operators = []
    for index in range(_counted(graph.OperatorsLength(), size, "operators")):
        operator = graph.Operators(index)
        code = int(operator.OpcodeIndex())
        if not 0 <= code < len(codes):
            raise _DamagedError(f"operator {index} has code {code} of {len(codes)}")
        outputs = those(operator.OutputsLength(), operator.Outputs, what="an operator's outputs")
        operators.append(
            Operator(
                *codes[code],
                inputs=those(operator.InputsLength(), operator.Inputs, what="an operator's inputs"),
                outputs=tuple(tensor for tensor in outputs if tensor is not None),
            )
        )
    given = those(graph.InputsLength(), graph.Inputs, what="the graph's inputs")
    kept = those(graph.OutputsLength(), graph.Outputs, what="the graph's outputs")
    return Graph(
        tuple(tensor for tensor in given if tensor is not None),
        tuple(tensor for tensor in kept if tensor is not None),
        tuple(operators),
        tensors,
    )


def _tensor(model: Any, tensor: Any, key: tuple[int, int], types: Mapping[int, str], *, size: int) -> Tensor:
    if tensor.Type() not in types:
        raise _DamagedError(f"tensor {key[1]} has the unknown type {tensor.Type()}")
    shape = tuple(int(tensor.Shape(i)) for i in range(_counted(tensor.ShapeLength(), size, "sizes")))
    signature = [
        int(tensor.ShapeSignature(i)) for i in range(_counted(tensor.ShapeSignatureLength(), size, "sizes"))
    ]
    if any(dim < 0 for dim in shape):
        raise _DamagedError(f"tensor {key[1]} has a negative size: {shape}")
    quantization = tensor.Quantization()
    scale: tuple[float, ...] = ()
    zero: tuple[int, ...] = ()
    if quantization is not None:
        count = _counted(quantization.ScaleLength(), size, "scales")
        scale = tuple(float(quantization.Scale(i)) for i in range(count))
        given = _counted(quantization.ZeroPointLength(), size, "zero points")
        # older converters write no zero points where all are 0
        zero = tuple(int(quantization.ZeroPoint(i)) for i in range(given)) or (0,) * count
    found = Tensor(
        key=key,
        name=_text(tensor.Name()),
        dtype=types[tensor.Type()].lower(),
        shape=shape,
        open_axes=tuple(axis for axis, dim in enumerate(signature[: len(shape)]) if dim < 0),
        scale=scale,
        zero_point=zero,
        axis=int(quantization.QuantizedDimension()) if quantization is not None else 0,
        stored_bytes=_stored(model, int(tensor.Buffer())),
    )
    dense = tensor.Sparsity() is None
    if dense and found.stored_bytes and found.size_bytes not in (None, found.stored_bytes):  # R2
        raise _DamagedError(f"{found.name} has {found.stored_bytes} bytes for {found.dtype} {found.shape}")
    return found


def _stored(model: Any, index: int) -> int:
    if not 0 <= index < model.BuffersLength():
        raise _DamagedError(f"buffer {index} of {model.BuffersLength()} does not exist")
    buffer = model.Buffers(index)
    # behind the flatbuffer, in files above 2 GB
    return int(buffer.DataLength()) or (int(buffer.Size()) if int(buffer.Offset()) > 1 else 0)


def _facts(model: Any, *, size: int) -> dict[str, str]:
    names, least = [], ""
    for index in range(_counted(model.MetadataLength(), size, "metadata")):
        entry = model.Metadata(index)
        name = _text(entry.Name())
        names.append(name)
        if name == _MIN_RUNTIME and _stored(model, int(entry.Buffer())):
            data = bytes(model.Buffers(int(entry.Buffer())).DataAsNumpy())
            least = data.rstrip(b"\0").decode("ascii", "replace")
    keys = [
        _text(model.SignatureDefs(index).SignatureKey())
        for index in range(_counted(model.SignatureDefsLength(), size, "signatures"))
    ]
    facts = {
        "made by": _text(model.Description()),
        "least runtime": f"TFLite {least}" if least else "",
        "signatures": ", ".join(keys),
        "metadata": ", ".join(sorted(set(names) - {_MIN_RUNTIME})) or "none",
        "labels and preprocessing": "in the file" if _MODEL_METADATA in names else "",
    }
    return {key: value for key, value in facts.items() if value}


def _counted(length: int, size: int, what: str) -> int:
    """``length`` of a vector, unless that many elements do not fit into the file."""
    if not 0 <= length <= size:
        raise _DamagedError(f"there are {length} {what} in a file of {size} bytes")
    return length


def _names(enumeration: type) -> dict[int, str]:
    return {value: key for key, value in vars(enumeration).items() if isinstance(value, int)}


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")
