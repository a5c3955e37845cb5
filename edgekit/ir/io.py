"""ONNX file or bytes <-> onnx_ir.Model. The only file of edgekit that touches protobuf.

    path --load--> Model --to_bytes--> bytes --from_bytes--> Model
    Model --save--> path        (a temporary name, then a rename: nobody sees half a file)

Reading is defensive, because a model file comes from somewhere else. External data must lie inside the
model's own folder; a path that leaves it reads files that the model's author has no business with
(GHSA-77fj-vx54-gvh7, path traversal through ``external_data.location``).

Source: onnx.proto3 (IR version 10) and docs/ExternalData.md of the onnx project.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import onnx_ir as ir

from edgekit.errors import ModelFileError, OutputError
from edgekit.ir.quiet import quiet
from edgekit.spec import Dim, TensorSpec

PROTOBUF_LIMIT_BYTES = 2**31 - 1  # protobuf refuses to serialize larger messages

_EXPORT_AGAIN = "export the model again, or copy the file again and compare its size"


def load(path: Path | str) -> ir.Model:
    """Read an ONNX file and all external data that it names.

    Raises:
        ModelFileError: the file is missing, a folder, empty, truncated or not ONNX, declares no operator
            set, or its external data is missing, too short or outside the model's folder.
    """
    path = Path(path)
    if path.is_dir():
        raise ModelFileError(
            f"{path} is a folder, not an ONNX file",
            why="an ONNX model is one file, beside it possibly external data",
            remedy="name the .onnx file inside it",
        )
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelFileError(
            f"no model file at {path}",
            why="there is nothing to read",
            remedy="check the path; `edgekit export` writes a model from a PyTorch or Keras source",
        ) from error
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read: {error.strerror}",
            why="the operating system refused",
            remedy="check the file's permissions",
        ) from error
    return _model_from_bytes(content, name=str(path), folder=path.parent)


def from_bytes(content: bytes, *, name: str = "model") -> ir.Model:
    """Parse a serialized ModelProto that carries all its data; ``name`` is used in messages.

    Raises:
        ModelFileError: as ``load``; external data is refused, because there is no folder to find it in.
    """
    return _model_from_bytes(content, name=name, folder=None)


def to_bytes(model: ir.Model) -> bytes:
    """Serialize; the same model gives the same bytes, in any process.

    Raises:
        OutputError: the model is larger than protobuf can hold (2 GB).
    """
    from google.protobuf.message import EncodeError  # type: ignore[import-untyped]  # no stubs

    proto: Any = ir.to_proto(_with_data_inside(model))
    try:
        content: bytes = proto.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise OutputError(
            f"the model does not fit into one ONNX file: {error}",
            why=f"protobuf messages end at {PROTOBUF_LIMIT_BYTES} bytes",
            remedy="use a smaller model, or quantize its weights first",
        ) from error
    return content


def save(model: ir.Model, path: Path | str) -> None:
    """Write ``model`` to ``path`` as one self-contained file, atomically.

    Raises:
        OutputError: the folder is missing or cannot be written, or the model is larger than 2 GB.
    """
    path = Path(path)
    content = to_bytes(model)
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        temporary.chmod(0o644)  # mkstemp makes 0600; a model is not a secret
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}",
            why="the folder is missing or not writable",
            remedy="create the folder or choose another output",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check(model: ir.Model, *, name: str = "model") -> None:
    """Hold the model against the ONNX specification (onnx.checker: operators, attributes, order of nodes).

    Raises:
        ModelFileError: the checker's first complaint.
    """
    import onnx

    try:
        onnx.checker.check_model(onnx.load_from_string(to_bytes(model)))
    except onnx.checker.ValidationError as error:
        raise ModelFileError(
            f"{name} breaks the ONNX specification: {_first_line(error)}",
            why="runtimes would refuse it, or each read it in its own way",
            remedy="export the model again with a current exporter",
        ) from error


def specs(model: ir.Model) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs; an initializer that is also listed as an input is not an input.

    Raises:
        ModelFileError: an input or output has no type or no rank, and inference does not find one.
    """
    if any(v.shape is None or v.dtype is None for v in (*model.graph.inputs, *model.graph.outputs)):
        from edgekit.ir.infer import infer_shapes

        model = infer_shapes(model)
    graph = model.graph
    inputs = tuple(_spec(value, "input") for value in graph.inputs if value.name not in graph.initializers)
    return inputs, tuple(_spec(value, "output") for value in graph.outputs)


def dims(shape: ir.Shape) -> tuple[Dim, ...]:
    """Sizes as int, names of dynamic sizes as str, None where nothing is known."""
    return tuple(dim if isinstance(dim, int) else dim.value for dim in shape)


def dtype_name(dtype: ir.DataType) -> str:
    """The NumPy name: FLOAT -> "float32"; "string" for ONNX strings."""
    return "string" if dtype == ir.DataType.STRING else dtype.numpy().name


def _spec(value: ir.Value, kind: str) -> TensorSpec:
    if value.shape is None or value.dtype is None or not value.name:
        raise ModelFileError(
            f"{kind} {value.name!r} of the model has no known {'rank' if value.dtype else 'element type'}",
            why="every artifact needs named inputs and outputs of a known type and rank",
            remedy=f"export again with a declared shape for {value.name!r}",
        )
    return TensorSpec(value.name, dtype_name(value.dtype), dims(value.shape))


def _model_from_bytes(content: bytes, *, name: str, folder: Path | None) -> ir.Model:
    proto = _parse(content, name=name)
    for tensor in _external_tensors(proto):
        _take_inside(tensor, _external_file(tensor, name=name, folder=folder), name=name)
    try:
        with quiet():  # what it warns about, the FLOAT rules refuse
            model: ir.Model = ir.from_proto(proto)
    except Exception as error:  # onnx_ir raises whatever the malformed field provokes
        raise ModelFileError(
            f"{name} cannot be read as an ONNX graph: {_first_line(error)}",
            why="a field of the file contradicts another one",
            remedy=_EXPORT_AGAIN,
        ) from error
    return model


def _parse(content: bytes, *, name: str) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    if not content:
        raise ModelFileError(
            f"{name} is empty (0 bytes)", why="an ONNX file holds at least a graph", remedy=_EXPORT_AGAIN
        )
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError as error:
        raise ModelFileError(
            f"{name} is not an ONNX file, or it is cut off ({len(content)} bytes)",
            why=f"its bytes do not parse as a ModelProto: {_first_line(error)}",
            remedy=_EXPORT_AGAIN,
        ) from error
    if not proto.HasField("graph"):
        raise ModelFileError(
            f"{name} holds no graph ({len(content)} bytes)",
            why="it is another kind of protobuf file, or it is cut off before its graph",
            remedy=_EXPORT_AGAIN,
        )
    if not proto.opset_import:
        raise ModelFileError(
            f"{name} declares no operator set (no opset_import)",
            why="without a version the meaning of its operators is unknown; the file may be cut off",
            remedy=_EXPORT_AGAIN,
        )
    return proto


def _external_tensors(proto: Any) -> Iterator[Any]:
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


def _external_file(tensor: Any, *, name: str, folder: Path | None) -> Path:
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
    return file


def _take_inside(tensor: Any, file: Path, *, name: str) -> None:
    """Replace the reference of ``tensor`` by the bytes themselves."""
    import onnx

    entries = {entry.key: entry.value for entry in tensor.external_data}
    size = file.stat().st_size
    offset, length = entries.get("offset", "0"), entries.get("length", "")
    if not _extent_fits(offset, length, size=size):
        raise ModelFileError(
            f"tensor {tensor.name!r} of {name} wants {length or 'all'} bytes from byte {offset} of "
            f"{file.name}, which has {size}",
            why="the data file is cut off or belongs to another model",
            remedy=_EXPORT_AGAIN,
        )
    with file.open("rb") as stream:
        stream.seek(int(offset))
        tensor.raw_data = stream.read(int(length)) if length else stream.read()
    tensor.ClearField("external_data")
    tensor.data_location = onnx.TensorProto.DEFAULT


def _extent_fits(offset: str, length: str, *, size: int) -> bool:
    if not offset.isdecimal() or not (length or "0").isdecimal():
        return False
    return int(offset) + int(length or "0") <= size


def _with_data_inside(model: ir.Model) -> ir.Model:
    """``model`` itself, or a clone whose external tensors are in memory."""
    if not any(
        isinstance(v.const_value, ir.ExternalTensor) for g in model.graphs() for v in g.initializers.values()
    ):
        return model
    clone = model.clone()
    ir.external_data.load_to_model(clone)
    return clone


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
