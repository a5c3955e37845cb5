"""ONNX file or bytes <-> onnx_ir.Model. With ``ir.external_data`` the only file that touches protobuf.

    path --load--> Model --to_bytes--> bytes --from_bytes--> Model
    Model --save--> path        (a temporary name, then a rename: nobody sees half a file)

Reading is defensive, because a model file comes from somewhere else. What lies in other files, and models
that are larger than protobuf can hold, are the business of ``ir.external_data``.

Source: onnx.proto3 (IR version 10) and docs/ExternalData.md of the onnx project.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgekit import drafts
from edgekit.errors import ModelFileError, OutputError
from edgekit.ir import external_data, large_file
from edgekit.ir.external_data import EXPORT_AGAIN as _EXPORT_AGAIN
from edgekit.ir.light import without_large_weights
from edgekit.ir.quiet import quiet
from edgekit.spec import Array, Dim, TensorSpec
from edgekit.write_errors import cannot_write

PROTOBUF_LIMIT_BYTES = 2**31 - 1  # protobuf refuses to serialize larger messages
_STRUCTURE = 1 / 32  # of the limit, left for everything that is not a tensor
MOST_ELEMENTS = 2**40  # of an input or output: float32 ones would take 4 TiB
LARGE_FILE_BYTES = 2**20  # of a model's own file: from which on a copy of it costs more than a map
OLDEST_IR_VERSION = 3  # the first that names operator sets (onnx docs/IR.md)

_PLAIN_TYPES = frozenset(
    {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.BOOL}
    | {ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.UINT8}
)


def load(path: Path | str, *, map_from_bytes: int | None = None) -> ir.Model:
    """Read an ONNX file and all external data that it names.

    Args:
        path: of the ``.onnx`` file.
        map_from_bytes: external data of this size is mapped into memory instead of read; the file must
            not change then while the model is in use. None: that of a large model.

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
        proto, mapped = _parsed_file(path)
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
    return _model_from_proto(
        proto, name=str(path), folder=path.parent, map_from_bytes=map_from_bytes, mapped=mapped
    )


def from_bytes(content: bytes, *, name: str = "model") -> ir.Model:
    """Parse a serialized ModelProto that carries all its data; ``name`` is used in messages.

    Raises:
        ModelFileError: as ``load``; external data is refused, because there is no folder to find it in.
    """
    proto = _parse(content, name=name)
    return _model_from_proto(proto, name=name, folder=None, map_from_bytes=None)


def to_bytes(model: ir.Model) -> bytes:
    """Serialize; the same model gives the same bytes, in any process.

    Raises:
        OutputError: the model is larger than protobuf can hold (2 GB).
    """
    size = external_data.size_bytes(model)
    if size > PROTOBUF_LIMIT_BYTES:
        raise _too_large(f"{size} bytes of weights")
    return _serialized(_with_data_inside(model))


def pieces(model: ir.Model) -> Iterator[bytes | memoryview]:
    """The bytes of ``to_bytes`` one after the other: from ``aside_bytes`` on they are never held at once.

    Raises:
        OutputError: as ``to_bytes``, before the first piece.
    """
    return _in_pieces(model) if external_data.goes_aside(model) else iter([to_bytes(model)])


def save(model: ir.Model, path: Path | str, *, limit_bytes: int | None = None) -> tuple[Path, ...]:
    """Write ``model`` to ``path``, atomically; gives the files that it wrote, the model first.

    A model whose tensors do not fit into ``limit_bytes`` (None: what protobuf can hold) keeps them in
    ``<name>.onnx.data`` beside it. Both are written under temporary names. Then the old model goes, the new
    data comes and the new model last: at no time does a model refer to data of another one.

    Raises:
        OutputError: the folder is missing or cannot be written.
    """
    path = Path(path)
    size = external_data.size_bytes(model)
    limit = PROTOBUF_LIMIT_BYTES if limit_bytes is None else limit_bytes
    if size <= limit * (1 - _STRUCTURE):
        parts = pieces(model)
        with _output_errors(path, size), drafts.file(path) as draft, draft.open("wb") as file:
            file.writelines(parts)
        return (path,)
    data = path.with_name(f"{path.name}.data")
    with _output_errors(path, size), drafts.file(path) as draft, drafts.file(data) as data_draft:
        with data_draft.open("wb") as data_file:
            content = _serialized(external_data.write_data(model, data_file, location=data.name))
        draft.write_bytes(content)
        path.unlink(missing_ok=True)
    return path, data


def save_to_map(model: ir.Model, path: Path | str) -> tuple[Path, ...]:
    """``save`` for whoever opens the file at once: from ``aside_bytes`` on tensors lie beside it.

    Raises:
        OutputError: as ``save``.
    """
    return save(model, path, limit_bytes=min(external_data.aside_bytes(), PROTOBUF_LIMIT_BYTES))


@contextlib.contextmanager
def _output_errors(path: Path, size_bytes: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(
            path, error, elsewhere="create the folder or choose another output", size_bytes=size_bytes
        ) from error


def _serialized(model: ir.Model) -> bytes:
    from google.protobuf.message import EncodeError  # type: ignore[import-untyped]  # no stubs

    proto: Any = ir.to_proto(model)
    try:
        content: bytes = proto.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise _too_large(str(error)) from error
    return content


def _in_pieces(model: ir.Model) -> Iterator[bytes | memoryview]:
    """The bytes of ``to_bytes``, one after the other (``ir.large_file``)."""
    light, data = external_data.taken_out(model, smallest=large_file.SMALLEST_BYTES)
    proto: Any = ir.to_proto(light)
    for tensor in proto.graph.initializer:
        if tensor.name in data:
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
    size, parts = large_file.pieces(proto, data)
    if size > PROTOBUF_LIMIT_BYTES:
        raise _too_large(f"{size} bytes")
    return parts


def _too_large(what: str) -> OutputError:
    return OutputError(
        f"the model does not fit into one ONNX file: {what}",
        why=f"protobuf messages end at {PROTOBUF_LIMIT_BYTES} bytes",
        remedy="save it to a path: its weights go into a file beside it then",
    )


def check(model: ir.Model, *, name: str = "model") -> None:
    """Hold the model against the ONNX specification (onnx.checker: operators, attributes, order of nodes).

    Raises:
        ModelFileError: the checker's first complaint.
    """
    import onnx

    try:
        proto: Any = ir.to_proto(without_large_weights(model))
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise ModelFileError(
            f"{name} breaks the ONNX specification: {_first_line(error)}",
            why="runtimes would refuse it, or each read it in its own way",
            remedy="export the model again with a current exporter",
        ) from error


def specs(model: ir.Model) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs; an initializer that is also listed as an input is not an input.

    Raises:
        ModelFileError: an input or output has no type or no rank, and inference does not find one; two of
            them share a name; more elements than any machine holds.
    """
    if any(v.shape is None or v.dtype is None for v in (*model.graph.inputs, *model.graph.outputs)):
        from edgekit.ir.infer import infer_shapes

        model = infer_shapes(model)
    graph = model.graph
    inputs = tuple(_spec(value, "input") for value in graph.inputs if value.name not in graph.initializers)
    outputs = tuple(_spec(value, "output") for value in graph.outputs)
    for found, kind in ((inputs, "input"), (outputs, "output")):
        _check_told_apart(found, f"{kind}s")
        check_can_be_held(found, kind)
    return inputs, outputs


def check_can_be_held(specs: Iterable[TensorSpec], kind: str) -> None:
    """A size that no memory holds is a damaged file; libraries say so each in its own way, and late.

    Raises:
        ModelFileError: an input or output (``kind``) has more than MOST_ELEMENTS elements.
    """
    for spec in specs:
        sizes = [dim for dim in spec.shape if isinstance(dim, int) and dim > 0]
        if math.prod(sizes) > MOST_ELEMENTS:
            raise ModelFileError(
                f"{kind} {spec.name!r} of the model has {' x '.join(map(str, sizes))} elements",
                why=f"no machine holds more than {MOST_ELEMENTS} in one array; the file may be damaged",
                remedy=f"export again with the size that {spec.name!r} really has, or with a dynamic one",
            )


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


def _check_told_apart(specs: tuple[TensorSpec, ...], kind: str) -> None:
    """Some runtimes take a name twice, others do not, and nobody can ask for the second."""
    names = [spec.name for spec in specs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ModelFileError(
            f"two {kind} of the model are named {twice!r}",
            why="arrays go to and come from a model by name",
            remedy=f"export again with a name for each of the {kind}",
        )


def _model_from_proto(
    proto: Any,
    *,
    name: str,
    folder: Path | None,
    map_from_bytes: int | None,
    mapped: Mapping[str, Array] | None = None,
) -> ir.Model:
    limit = external_data.LARGE_BYTES if map_from_bytes is None else map_from_bytes
    outside = external_data.take_inside(proto, name=name, folder=folder, map_from_bytes=limit)
    try:
        with quiet():  # what it warns about, the FLOAT rules refuse
            model: ir.Model = ir.from_proto(proto)
            external_data.use_mapped(model, {**(mapped or {}), **outside})
            _take_arrays(model)
            _check_text(model)
            _open_negative_sizes(model)
    except Exception as error:  # onnx_ir raises whatever the malformed field provokes
        raise ModelFileError(
            f"{name} cannot be read as an ONNX graph: {_first_line(error)}",
            why="a field of the file contradicts another one",
            remedy=_EXPORT_AGAIN,
        ) from error
    return model


def _open_negative_sizes(model: ir.Model) -> None:
    """Some exporters write -1 for a size that is not known; to NumPy and runtimes that is no size."""
    for graph in model.graphs():
        for value in (*graph.inputs, *graph.outputs, *(each for node in graph for each in node.outputs)):
            if value.shape is not None and any(isinstance(dim, int) and dim < 0 for dim in value.shape):
                value.shape = ir.Shape(
                    None if isinstance(dim, int) and dim < 0 else dim for dim in value.shape
                )


def _check_text(model: ir.Model) -> None:
    """Protobuf gives bytes where a string field holds no UTF-8, and writes none back.

    Raises:
        ValueError: a string of the model, a graph, a function, a node or a value is none.
    """
    _check_are_text(model.producer_name, model.producer_version, model.domain, model.doc_string)
    _check_are_text(*model.metadata_props.keys(), *model.metadata_props.values())
    for graph in (*model.graphs(), *(function.graph for function in model.functions.values())):
        _check_are_text(graph.name, graph.doc_string)
        for value in (*graph.inputs, *graph.initializers.values()):
            _check_are_text(value.name, value.doc_string)
        for node in graph:
            _check_are_text(node.name, node.op_type, node.domain, node.doc_string, *node.attributes)
            _check_are_text(*(value.name for value in node.outputs))


def _check_are_text(*texts: object) -> None:
    wrong = next((text for text in texts if isinstance(text, bytes)), None)
    if wrong is not None:
        raise ValueError(f"{wrong[:60]!r} is not UTF-8")


def _take_arrays(model: ir.Model) -> None:
    """Arrays in place of fields of the protobuf message, which copies a field each time it is read.

    The message ends with its last reader. Strings, types that NumPy lacks, and numbers in fields of their own
    (not ``raw_data``) stay what they are.
    """
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if not isinstance(tensor, ir.TensorProtoTensor) or tensor.dtype not in _PLAIN_TYPES:
                continue
            if tensor.raw.HasField("raw_data"):
                value.const_value = ir.Tensor(
                    tensor.numpy(),
                    tensor.dtype,
                    name=tensor.name,
                    doc_string=tensor.doc_string,
                    metadata_props=tensor.metadata_props,
                )


def _parsed_file(path: Path) -> tuple[Any, dict[str, Array]]:
    """The message, and arrays by name of initializers that stay in the file.

    A file above a megabyte is read where the system's page cache has it, and not copied first.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < LARGE_FILE_BYTES:
            return _parse(file.read(), name=str(path)), {}
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as content:
            apart = large_file.read(content) if size >= external_data.LARGE_BYTES else None
            if apart is None:
                return _parse(content, name=str(path)), {}
    structure, extents = apart
    proto = _parse(structure, name=str(path))
    return proto, external_data.map_inside(proto, path, extents, name=str(path))


def _parse(content: bytes | memoryview, *, name: str) -> Any:
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
    if proto.ir_version < OLDEST_IR_VERSION:
        raise ModelFileError(
            f"{name} is of IR version {proto.ir_version or 'unknown'}, from before ONNX 1.0 (2017)",
            why="operators had no versions then, and nothing says what they mean",
            remedy="export the model again with a current exporter",
        )
    if not proto.opset_import:
        raise ModelFileError(
            f"{name} declares no operator set (no opset_import)",
            why="without a version the meaning of its operators is unknown; the file may be cut off",
            remedy=_EXPORT_AGAIN,
        )
    return proto


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
