"""Tensors whose data lies in files beside the model: read with care, and written.

    TensorProto + folder --take_inside--> TensorProto with its bytes      (E1: small models)
    TensorProto + folder --map_large--> arrays over the mapped file       (E2: large ones: nothing is copied)
    Model --write_data--> data file, Model that refers to it              (E3: larger than protobuf can hold)
    large file that holds its data --map_inside--> arrays over that file  (E4: ``ir.large_file`` says where)
    Model --taken_out--> Model that refers to nothing yet, its bytes      (E5: for ``ir.large_file`` to write)

A path may come from a stranger: it must lie inside the model's own folder (GHSA-77fj-vx54-gvh7). A mapped
file is opened once, while the model is read; later nobody follows its path again, so that a model can be
saved over the files that it was read from.

Source: onnx docs/ExternalData.md; offsets are multiples of 4096, as it asks, so that others can map them too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

import numpy as np
import onnx_ir as ir

from edgekit.errors import ModelFileError
from edgekit.ir.large_file import Extents
from edgekit.spec import Array

LARGE_BYTES = 2**28  # of a model's tensors, from which on they are mapped, and each copy of them counts
EXPORT_AGAIN = "export the model again, or copy the file again and compare its size"
_SMALLEST_BYTES = 1024  # what is smaller stays in the model itself (onnx.external_data_helper's default)
_ALIGNMENT = 4096


def take_inside(proto: Any, *, name: str, folder: Path | None, map_from_bytes: int) -> dict[str, Array]:
    """Put external data into ``proto`` (E1), or give the arrays of its initializers by name (E2).

    Raises:
        ModelFileError: data that is missing, too short, or outside ``folder``.
    """
    found = [(tensor, _file(tensor, name=name, folder=folder)) for tensor in _external(proto)]
    extents = {id(tensor): _extent(tensor, file, name=name) for tensor, file in found}
    mapped: dict[str, Array] = {}
    if sum(length for _, length in extents.values()) >= map_from_bytes:
        own = {id(tensor) for tensor in proto.graph.initializer}
        maps = {file: np.memmap(file, np.uint8, "r") for tensor, file in found if id(tensor) in own}
        for tensor, file in found:
            array = _view(tensor, maps[file], *extents[id(tensor)], name=name) if id(tensor) in own else None
            if array is not None:
                mapped[tensor.name] = array
                tensor.ClearField("external_data")  # the number itself is put in by ``use_mapped``
                tensor.ClearField("data_location")
                tensor.ClearField("dims")
                tensor.dims.append(0)
    for tensor, file in found:
        if tensor.name not in mapped:
            _read(tensor, file, *extents[id(tensor)])
    return mapped


def use_mapped(model: ir.Model, mapped: dict[str, Array]) -> None:
    """Give the initializers of ``model`` their arrays."""
    for name, array in mapped.items():
        value = model.graph.initializers[name]
        value.const_value = ir.Tensor(array, name=name)
        value.shape = ir.Shape(array.shape)


def write_data(model: ir.Model, file: BinaryIO, *, location: str) -> ir.Model:
    """A clone whose large initializers refer to ``location``; their bytes go to ``file`` (E3)."""
    clone = model.clone()
    for name, value in clone.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or tensor.dtype == ir.DataType.STRING or tensor.nbytes < _SMALLEST_BYTES:
            continue
        offset = -(-file.tell() // _ALIGNMENT) * _ALIGNMENT
        file.write(b"\0" * (offset - file.tell()))
        file.write(buffer_of(tensor))
        value.const_value = ir.ExternalTensor(
            location, offset, tensor.nbytes, tensor.dtype, shape=ir.Shape(tensor.numpy().shape), name=name
        )
    return clone


def map_inside(proto: Any, file: Path, extents: Extents, *, name: str) -> dict[str, Array]:
    """Arrays of initializers by name, over the model's own file (E4); they need not be aligned.

    Raises:
        ModelFileError: a tensor's data has another size than its shape says.
    """
    data = np.memmap(file, np.uint8, "r")
    mapped: dict[str, Array] = {}
    for tensor in proto.graph.initializer:
        if tensor.name not in extents:
            continue
        offset, length = extents[tensor.name]
        array = _view(tensor, data, offset, length, name=name)
        if array is None:
            tensor.raw_data = data[offset : offset + length].tobytes()
        else:
            mapped[tensor.name] = array
            tensor.ClearField("dims")
            tensor.dims.append(0)
    return mapped


def taken_out(model: ir.Model, *, smallest: int) -> tuple[ir.Model, dict[str, Any]]:
    """(a clone without the data of its large initializers, their bytes by name): E5."""
    clone = model.clone()
    found: dict[str, Any] = {}
    for name, value in clone.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or tensor.dtype == ir.DataType.STRING or tensor.nbytes < smallest:
            continue
        found[name] = buffer_of(tensor)
        value.const_value = ir.ExternalTensor(
            "taken out",
            0,
            tensor.nbytes,
            tensor.dtype,
            shape=ir.Shape(tensor.numpy().shape),
            name=name,
            doc_string=tensor.doc_string,
            metadata_props=dict(tensor.metadata_props),
        )
    return clone, found


def buffer_of(tensor: ir.TensorProtocol) -> Any:
    """Its bytes as ONNX stores them; not copied where the array has them in that form already."""
    if tensor.dtype != ir.DataType.STRING and tensor.dtype.bitwidth >= 8:
        array = tensor.numpy()
        if np.little_endian and array.flags.c_contiguous and array.size:
            return array.reshape(-1).view(np.uint8).data
    return tensor.tobytes()


def is_large(model: ir.Model) -> bool:
    """Whether the model is one of those that are held in memory as few times as possible."""
    return size_bytes(model) >= LARGE_BYTES


def goes_aside(model: ir.Model) -> bool:
    """Whether what is made new of the model goes to files, and nobody serializes it whole."""
    return size_bytes(model) >= aside_bytes()


def aside_bytes() -> int:
    """Of a model's tensors: what a large one becomes, pruned or in int8, is no small one yet."""
    return LARGE_BYTES // 4


def room(model: ir.Model, *, most: int) -> int:
    """Bytes for working space beside the model: ``most``, and of a large one an eighth of its own size."""
    return min(most, size_bytes(model) // 8) if is_large(model) else most


def size_bytes(model: ir.Model) -> int:
    """Bytes of all tensors: initializers and attributes, of subgraphs too."""
    total = 0
    for graph in model.graphs():
        total += sum(v.const_value.nbytes for v in graph.initializers.values() if v.const_value is not None)
        for node in graph:
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.TENSOR:
                    total += attribute.as_tensor().nbytes
    return total


def _external(proto: Any) -> Iterator[Any]:
    """Every TensorProto below ``proto`` whose data lies in another file, in file order."""
    import onnx

    def of_graph(graph: Any) -> Iterator[Any]:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        yield from of_nodes(graph.node)

    def of_nodes(nodes: Any) -> Iterator[Any]:
        for node in nodes:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                    yield from of_graph(graph)

    tensors = [*of_graph(proto.graph)]
    for function in proto.functions:
        tensors.extend(of_nodes(function.node))
    return (t for t in tensors if t.data_location == onnx.TensorProto.EXTERNAL)


def _file(tensor: Any, *, name: str, folder: Path | None) -> Path:
    """The file that holds the data of ``tensor``, if it exists inside ``folder``."""
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    subject = f"tensor {tensor.name!r} of {name}"
    if folder is None:
        raise ModelFileError(
            f"{subject} keeps its data in another file ({location!r})",
            why="bytes in memory have no folder to look into",
            remedy="load the model from its .onnx file",
        )
    parts = (*PurePosixPath(location).parts, *PureWindowsPath(location).parts)
    absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor
    file = folder / location
    if not location or absolute or ".." in parts or not file.resolve().is_relative_to(folder.resolve()):
        raise ModelFileError(
            f"{subject} wants external data from {location!r}, outside the model's folder",
            why="a model must not read files that do not belong to it",
            remedy="put the data file beside the .onnx file and save the model with that relative name",
        )
    if not file.is_file():
        raise ModelFileError(
            f"{subject} wants external data from {location!r}, which is not there",
            why="the weights are in that file",
            remedy=f"copy {location} into {folder} beside the model",
        )
    return file.resolve()


def _extent(tensor: Any, file: Path, *, name: str) -> tuple[int, int]:
    """(offset, length) in bytes, inside the file."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    size = file.stat().st_size
    offset, length = entries.get("offset", "0"), entries.get("length", "")
    known = offset.isdecimal() and (length or "0").isdecimal()
    if not known or int(offset) + int(length or "0") > size:
        raise ModelFileError(
            f"tensor {tensor.name!r} of {name} wants {length or 'all'} bytes from byte {offset} of "
            f"{file.name}, which has {size}",
            why="the data file is cut off or belongs to another model",
            remedy=EXPORT_AGAIN,
        )
    return int(offset), int(length) if length else size - int(offset)


def _view(tensor: Any, data: Array, offset: int, length: int, *, name: str) -> Array | None:
    """The array over the mapped file, or None for element types that are packed."""
    dtype, shape = ir.DataType(tensor.data_type), tuple(tensor.dims)
    if dtype == ir.DataType.STRING or dtype.bitwidth < 8:
        return None
    wanted = dtype.numpy().itemsize * int(np.prod(shape, dtype=np.int64))
    if wanted != length:
        raise ModelFileError(
            f"tensor {tensor.name!r} of {name} has {wanted} bytes, and its external data {length}",
            why="the data file belongs to another model",
            remedy=EXPORT_AGAIN,
        )
    return np.asarray(data[offset : offset + length]).view(dtype.numpy()).reshape(shape)


def _read(tensor: Any, file: Path, offset: int, length: int) -> None:
    """Replace the reference of ``tensor`` by the bytes themselves."""
    import onnx

    with file.open("rb") as stream:
        stream.seek(offset)
        tensor.raw_data = stream.read(length)
    tensor.ClearField("external_data")
    tensor.data_location = onnx.TensorProto.DEFAULT
