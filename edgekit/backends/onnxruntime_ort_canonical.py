"""ORT-format bytes -> the same model in one order: equal models give equal bytes.

ONNX Runtime writes several lists in the order of its hash tables, which depends on where the process lies in
memory: the same model saved twice gives two files. The file is read into values, the lists whose order says
nothing are sorted by name, and everything is written again. Node order, indices and weights stay.

Source: onnxruntime/core/flatbuffers/schema/ort.fbs of ONNX Runtime 1.31 (ORT format version 6); FlatBuffers
internals, "vtable". A table with a field that is not in ``TABLES`` is refused: it would be lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Sequence

IDENTIFIER = b"ORTM"
_VTABLE_START = 4  # a vtable begins with its own size and the table's, 2 bytes each
_EDGE_BYTES = 12  # struct EdgeEnd: uint32, int32, int32
_RAW_ALIGNMENT = 16  # weights that ONNX Runtime uses in place

# fields by slot; "-" = deprecated; a name in capitals is a table; "[...]" a vector; "union" takes two slots
TABLES: Mapping[str, str] = {
    "InferenceSession": "str Model - KernelTypeStrResolver",
    "KernelTypeStrResolver": "[OpIdKernelTypeStrArgsEntry]",
    "OpIdKernelTypeStrArgsEntry": "str [KernelTypeStrArgsEntry]",
    "KernelTypeStrArgsEntry": "str [ArgTypeAndIndex]",
    "ArgTypeAndIndex": "i8 u32",
    "Model": "i64 [OperatorSetId] str str str i64 str Graph str [StringStringEntry]",
    "OperatorSetId": "str i64",
    "StringStringEntry": "str str",
    "Graph": "[Tensor] [ValueInfo] [Node] u32 [NodeEdge] [str] [str] [SparseTensor] RuntimeOptimizations",
    "Tensor": "str str [i64] i32 [u8] [str] i64",
    "SparseTensor": "Tensor Tensor [i64]",
    "ValueInfo": "str str TypeInfo",
    "TypeInfo": "str union",
    "TensorTypeAndShape": "i32 Shape",
    "SequenceType": "TypeInfo",
    "MapType": "i32 TypeInfo",
    "Shape": "[Dimension]",
    "Dimension": "DimensionValue str",
    "DimensionValue": "i8 i64 str",
    "Node": "str str str i32 u32 str i32 str [str] [str] [Attribute] [i32] [str]",
    "Attribute": "str str i32 f32 i64 str Tensor Graph [f32] [i64] [str] [Tensor] [Graph]",
    "NodeEdge": "u32 [EdgeEnd] [EdgeEnd]",
    "RuntimeOptimizations": "[RuntimeOptimizationRecordContainerEntry]",
    "RuntimeOptimizationRecordContainerEntry": "str [RuntimeOptimizationRecord]",
    "RuntimeOptimizationRecord": "str NodesToOptimizeIndices - [str]",
    "NodesToOptimizeIndices": "[u32] u32 u32 bool bool u32 u32",
}
UNION = ("", "TensorTypeAndShape", "SequenceType", "MapType")
# vectors of these tables are maps or sets: sorted by their first field, as flatbuffers sorts keys
SORTED = frozenset(
    {
        *("OpIdKernelTypeStrArgsEntry", "KernelTypeStrArgsEntry", "OperatorSetId", "StringStringEntry"),
        *("Tensor", "ValueInfo", "Attribute", "RuntimeOptimizationRecordContainerEntry"),
    }
)
_WIDTHS = {"i8": 1, "bool": 1, "u8": 1, "i32": 4, "u32": 4, "f32": 4, "i64": 8}


def canonical(content: bytes) -> bytes:
    """ORT-format bytes in the one order.

    Raises:
        ModelFileError: no ORT format, or a field of a version that is not known here.
    """
    import flatbuffers
    from flatbuffers.table import Table

    if content[4:8] != IDENTIFIER:
        raise ModelFileError(
            "the file is not in ORT format", why="it lacks the mark ORTM", remedy="convert the model again"
        )
    root = Table(content, int.from_bytes(content[:4], "little"))
    held = _read(root, "InferenceSession")
    builder = flatbuffers.Builder(len(content) + 1024)
    builder.Finish(_write(builder, "InferenceSession", held), IDENTIFIER)
    return bytes(builder.Output())


def _slots(name: str) -> list[str]:
    """One word for each slot of a table; a union's type byte has a slot of its own before its value."""
    return TABLES[name].replace("union", "tag union").split()


def _read(table: Any, name: str) -> dict[int, Any]:
    """The fields that are there, by slot."""
    slots = _slots(name)
    held: dict[int, Any] = {}
    size = int.from_bytes(_vtable(table)[:2], "little")
    for slot in range((size - _VTABLE_START) // 2):
        at = table.Offset(_VTABLE_START + 2 * slot)
        if not at:
            continue
        if slot >= len(slots) or slots[slot] == "-":
            raise ModelFileError(
                f"field {slot} of {name} in an ORT-format file is not known",
                why="this ONNX Runtime writes a newer format than edgekit can put in order",
                remedy="use the ONNX Runtime of constraints.txt",
            )
        held[slot] = _value(table, slots[slot], at, held.get(slot - 1))
    return held


def _vtable(table: Any) -> bytes:
    start = table.Pos - int.from_bytes(table.Bytes[table.Pos : table.Pos + 4], "little", signed=True)
    found: bytes = table.Bytes[start : start + 4]
    return found


def _value(table: Any, kind: str, at: int, before: Any) -> Any:
    from flatbuffers.table import Table

    where = at + table.Pos
    if kind in _WIDTHS or kind == "tag":
        width = _WIDTHS.get(kind, 1)
        return table.Bytes[where : where + width]
    if kind == "str":
        return table.String(where)
    if kind == "union":
        kind = UNION[before[0]]
    if not kind.startswith("["):
        return _read(Table(table.Bytes, table.Indirect(where)), kind)
    inner, start, count = kind[1:-1], table.Vector(at), table.VectorLen(at)
    if inner in _WIDTHS or inner == "EdgeEnd":
        width = _WIDTHS.get(inner, _EDGE_BYTES)
        return table.Bytes[start : start + count * width]
    places = [start + 4 * index for index in range(count)]
    if inner == "str":
        return [table.String(place) for place in places]
    found = [_read(Table(table.Bytes, table.Indirect(place)), inner) for place in places]
    return sorted(found, key=lambda each: each.get(0, b"")) if inner in SORTED else found


def _write(builder: Any, name: str, held: Mapping[int, Any]) -> int:
    """The table's offset; children come first, as flatbuffers are written from the end."""
    slots = _slots(name)
    offsets = {
        slot: _child(builder, slots[slot], value, held.get(slot - 1))
        for slot, value in held.items()
        if not (slots[slot] in _WIDTHS or slots[slot] == "tag")
    }
    builder.StartObject(len(slots))
    # wide fields first: the same padding always
    for slot in sorted(held, key=lambda each: (-_WIDTHS.get(slots[each], 4), each)):
        if slot in offsets:
            builder.PrependUOffsetTRelative(offsets[slot])
        else:
            _prepend(builder, held[slot])
        builder.Slot(slot)
    return int(builder.EndObject())


def _prepend(builder: Any, raw: bytes) -> None:
    builder.Prep(len(raw), 0)
    builder.head -= len(raw)
    builder.Bytes[builder.Head() : builder.Head() + len(raw)] = raw


def _child(builder: Any, kind: str, value: Any, before: Any) -> int:
    if kind == "str":
        return int(builder.CreateString(value))
    if kind == "union":
        return _write(builder, UNION[before[0]], value)
    if not kind.startswith("["):
        return _write(builder, kind, value)
    inner = kind[1:-1]
    if inner in _WIDTHS or inner == "EdgeEnd":
        return _raw_vector(builder, inner, value)
    made = [builder.CreateString(each) if inner == "str" else _write(builder, inner, each) for each in value]
    return _offsets(builder, made)


def _offsets(builder: Any, made: Sequence[int]) -> int:
    builder.StartVector(4, len(made), 4)
    for each in reversed(made):
        builder.PrependUOffsetTRelative(each)
    return int(builder.EndVector())


def _raw_vector(builder: Any, inner: str, raw: bytes) -> int:
    width = _WIDTHS.get(inner, _EDGE_BYTES)
    alignment = _RAW_ALIGNMENT if inner == "u8" else min(width, 8) if inner != "EdgeEnd" else 4
    builder.StartVector(width, len(raw) // width, alignment)
    builder.head -= len(raw)
    builder.Bytes[builder.Head() : builder.Head() + len(raw)] = raw
    return int(builder.EndVector())
