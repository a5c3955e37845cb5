"""An ML program and its weights -> what it takes and gives, and its constants as arrays.

    const(val = BLOBFILE at offset)  ->  weight.bin: 64 bytes (0xDEADBEEF, type, size, where), then the values

Source: coremltools, mlmodel/format/MIL.proto and mlmodel/src/MILBlob/Blob/StorageFormat.hpp.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from edgekit.spec import Array

_SENTINEL = 0xDEADBEEF
_RECORD = struct.Struct("<IIQQ")  # sentinel, type of the blob, bytes, offset of the values
_FLOAT16, _FLOAT32 = 10, 11  # MIL.proto, enum DataType
_NUMPY = {_FLOAT16: "<f2", _FLOAT32: "<f4"}
_FEATURE_TYPES = {65568: "float32", 65552: "float16", 131104: "int32"}  # FeatureTypes.proto, ArrayDataType


def described(features: Iterable[Any], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Inputs or outputs: name in the model, name in Core ML, shape, element type."""
    back = {feature: name for name, feature in names.items()}
    return [
        {
            "name": back.get(feature.name, feature.name),
            "feature": feature.name,
            "shape": [int(size) for size in feature.type.multiArrayType.shape],
            "dtype": _FEATURE_TYPES.get(feature.type.multiArrayType.dataType, "?"),
        }
        for feature in features
    ]


def operations(spec: Any) -> Iterator[Any]:
    """Operations of the program, in order."""
    for function in spec.mlProgram.functions.values():
        for block in function.block_specializations.values():
            yield from block.operations


def constants(spec: Any, weights: bytes) -> dict[str, Array]:
    """Float constants by name; ``weights``: content of weight.bin.

    Raises:
        ValueError: the file is not of this format.
    """
    found = {}
    for operation in operations(spec):
        if operation.type != "const" or "val" not in operation.attributes:
            continue
        value = operation.attributes["val"]
        kind = value.type.tensorType
        if kind.dataType not in _NUMPY:
            continue
        shape = [dim.constant.size for dim in kind.dimensions]
        if value.WhichOneof("value") == "blobFileValue":
            array = _blob(weights, value.blobFileValue.offset, _NUMPY[kind.dataType])
        elif kind.dataType == _FLOAT16:
            array = np.frombuffer(value.immediateValue.tensor.bytes.values, "<f2")
        else:
            array = np.asarray(value.immediateValue.tensor.floats.values, np.float32)
        found[operation.outputs[0].name] = array.reshape(shape)
    return found


def _blob(weights: bytes, offset: int, dtype: str) -> Array:
    sentinel, _, size, where = _RECORD.unpack_from(weights, offset)
    if sentinel != _SENTINEL or where + size > len(weights):
        raise ValueError(f"weight.bin has no record at {offset}")
    return np.frombuffer(weights, dtype, count=size // np.dtype(dtype).itemsize, offset=where)
