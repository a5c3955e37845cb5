"""A large ONNX file <-> its structure, as a small message, and where in the file the weights are.

    file --read--> ModelProto without large weights, {initializer: (offset, length)}
    ModelProto without large weights, arrays --pieces--> the same bytes that protobuf would write

Protobuf holds a whole message in memory, and another one while it reads or writes it. Here the large fields
``ModelProto.graph.initializer.raw_data`` stay where they are: a file of 2 GB costs its structure.

F1 Only initializers of the main graph with ``raw_data`` of at least ``SMALLEST_BYTES`` are taken out.
F2 What does not look as expected is not taken apart: protobuf reads it whole, and says what is wrong with it.
F3 Written bytes are those of the deterministic serialization: fields by number, so that no digest changes.

Source: protobuf.dev, "Encoding" (tags, varints, lengths); onnx.proto3 (field numbers).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SMALLEST_BYTES = 2**16
GRAPH, INITIALIZER, NAME, RAW = 7, 5, 8, 9  # fields of ModelProto, GraphProto, TensorProto, TensorProto
_LENGTH_DELIMITED = 2
_FIXED = {1: 8, 5: 4}  # wire type -> bytes
_VARINT_BYTES = 10  # of the longest
Extents = dict[str, tuple[int, int]]
Buffer = bytes | memoryview


@dataclass(frozen=True)
class _Field:
    """One field in a buffer: from its tag to its end, and where its content starts."""

    number: int
    wire: int
    start: int
    content: int
    end: int


def read(whole: memoryview) -> tuple[bytes, Extents] | None:
    """(serialized ModelProto without the data of large initializers, where that is by name); None: F2."""
    try:
        return _read(whole)
    except (ValueError, IndexError, UnicodeDecodeError):
        return None


def _read(whole: memoryview) -> tuple[bytes, Extents] | None:
    extents: Extents = {}
    pieces: list[Buffer] = []
    graphs = 0
    for field in _fields(whole, 0, len(whole)):
        if field.number != GRAPH or field.wire != _LENGTH_DELIMITED:
            pieces.append(whole[field.start : field.end])
            continue
        graphs += 1
        inside: list[Buffer] = []
        for part in _fields(whole, field.content, field.end):
            if part.number == INITIALIZER and part.wire == _LENGTH_DELIMITED:
                inside += _without_data(whole, part, extents)
            else:
                inside.append(whole[part.start : part.end])
        pieces += _message(GRAPH, inside)
    if graphs != 1 or not extents:
        return None
    return b"".join(pieces), extents


def _without_data(whole: memoryview, tensor: _Field, extents: Extents) -> list[Buffer]:
    """F1: the field ``initializer``, and its data's place in ``extents``."""
    fields = list(_fields(whole, tensor.content, tensor.end))
    data = [each for each in fields if each.number == RAW and each.wire == _LENGTH_DELIMITED]
    names = [each for each in fields if each.number == NAME and each.wire == _LENGTH_DELIMITED]
    if len(data) != 1 or len(names) != 1 or data[0].end - data[0].content < SMALLEST_BYTES:
        return [whole[tensor.start : tensor.end]]
    name = str(whole[names[0].content : names[0].end], "utf-8")
    if name in extents:
        raise ValueError(name)
    extents[name] = (data[0].content, data[0].end - data[0].content)
    return _message(INITIALIZER, [whole[each.start : each.end] for each in fields if each is not data[0]])


def _fields(whole: memoryview, start: int, end: int) -> Iterator[_Field]:
    """The fields between two places.

    Raises:
        ValueError: they do not end there, or one is of a type that proto3 does not have.
    """
    at = start
    while at < end:
        tag, content = _varint(whole, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            _, stop = _varint(whole, content)
        elif wire == _LENGTH_DELIMITED:
            length, content = _varint(whole, content)
            stop = content + length
        else:
            stop = content + _FIXED.get(wire, end)
        if stop > end or not number:
            raise ValueError(at)
        yield _Field(number, wire, at, content, stop)
        at = stop


def _varint(whole: memoryview, at: int) -> tuple[int, int]:
    """(number, where it ends)."""
    number = 0
    for index in range(_VARINT_BYTES):
        byte = whole[at + index]
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, at + index + 1
    raise ValueError(at)


def pieces(proto: Any, data: Mapping[str, Buffer]) -> tuple[int, Iterator[Buffer]]:
    """(size, bytes in order) of ``proto`` with ``data`` as the ``raw_data`` of its initializers of that name.

    Args:
        proto: a ModelProto whose initializers of these names have no data.
        data: bytes by name.
    """
    graph: list[Buffer] = []
    before, behind = _split(proto.graph, INITIALIZER)
    graph.append(before)
    for tensor in proto.graph.initializer:
        if tensor.name in data:
            first, last = _split(tensor, RAW)
            graph += _message(INITIALIZER, [first, *_message(RAW, [data[tensor.name]]), last])
        else:
            graph += _message(INITIALIZER, [tensor.SerializeToString(deterministic=True)])
    graph.append(behind)
    first, last = _split(proto, GRAPH)
    found = [first, *_message(GRAPH, graph), last]
    return sum(map(len, found)), iter(found)


def _message(number: int, content: list[Buffer]) -> list[Buffer]:
    """A length-delimited field."""
    return [_number(number << 3 | _LENGTH_DELIMITED) + _number(sum(map(len, content))), *content]


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _split(message: Any, number: int) -> tuple[bytes, bytes]:
    """Serialized fields below and above ``number``; the field itself is left out."""
    halves = []
    for wanted in (range(number), range(number + 1, 2**29)):
        half = type(message)()
        half.CopyFrom(message)
        for field, _ in message.ListFields():
            if field.number not in wanted:
                half.ClearField(field.name)
        halves.append(half.SerializeToString(deterministic=True))
    return halves[0], halves[1]
