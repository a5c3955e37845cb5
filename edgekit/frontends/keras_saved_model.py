"""SavedModel folder -> its signature, as a function of TensorFlow.

    saved_model.pb --parse--> operators, looked at --tf.saved_model.load--> signature        (L1)
                                                   --v1 loader, variables frozen--> signature (L2)

L2 is for folders that L1 cannot read, though all that inference needs is there: objects besides the
signature that TensorFlow no longer knows (slot variables of a Keras 2 optimizer), or no objects at all
(TensorFlow 1). It restores the variables into a graph, turns them into constants and cuts the graph down
to what the signature computes.

Loading runs the folder's own initializers; so nothing is loaded before its operators were looked at.

Source: tensorflow/python/saved_model/load.py and loader_impl.py; tensorflow/core/protobuf/saved_model.proto.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import ExportError, ModelFileError
from edgekit.frontends.extras import import_extra
from edgekit.frontends.keras_archive import not_loaded
from edgekit.frontends.quiet import quiet

SAVED_MODEL_FILE = "saved_model.pb"
_DEFAULT = "serving_default"
_INIT = "__saved_model_init_op"  # tensorflow/python/saved_model/constants.py
_SERVE = "serve"  # the tag of a graph for inference

# TensorFlow operations that reach the file system (tensorflow/core/ops/io_ops.cc).
_FILE_OPERATIONS = frozenset({"ReadFile", "WriteFile", "MatchingFiles"})
_SAVERS = frozenset({"SaveV2", "Save", "SaveSlices"})  # every folder has one; a signature has none


@dataclass(frozen=True)
class Signature:
    """What a SavedModel computes.

    Attributes:
        inputs: name -> TensorSpec of TensorFlow, by name.
        outputs: names, sorted.
        function: tensors by input name -> tensors by output name.
        keep: what must live as long as ``function``.
    """

    inputs: Mapping[str, Any]
    outputs: tuple[str, ...]
    function: Callable[..., Mapping[str, Any]]
    keep: object


def read_saved_model(path: Path, *, source: str, trust_source: bool) -> Signature:
    """The signature ``serving_default`` of the folder, or its only one.

    Raises:
        ModelFileError: damaged, or it reads or writes files when it runs.
        ExportError: no signature to export.
    """
    tensorflow = import_extra("tensorflow", needed_for=source)
    meta = _meta_graph(path, source)
    if not trust_source:
        _refuse_files(_all_nodes(meta.graph_def), _FILE_OPERATIONS, path)
    try:
        with quiet():
            loaded = tensorflow.saved_model.load(str(path))
        name = _name(loaded.signatures, source)
        function = loaded.signatures[name]
        inputs = function.structured_input_signature[1]
        outputs, keep = function.structured_outputs, loaded
    except ExportError as error:
        if not _signatures(meta):
            raise
        first: Exception = error
    except Exception as error:  # noqa: BLE001  # TensorFlow raises whatever the file's content leads to
        first = error
    else:
        if not trust_source:
            _refuse_files(_computing(function.graph.as_graph_def()), _FILE_OPERATIONS | _SAVERS, path)
        return Signature(dict(sorted(inputs.items())), tuple(sorted(outputs)), function, keep)
    try:
        with quiet():
            return _frozen(tensorflow, meta, path, source=source, trust_source=trust_source)
    except (ExportError, ModelFileError):
        raise
    except Exception:  # noqa: BLE001  # whatever it is, the first loader's complaint is the better one
        raise not_loaded(path, first) from first


def _meta_graph(path: Path, source: str) -> Any:
    """The graph for inference; a folder can hold several (MetaGraphDef of saved_model.proto)."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # no stubs

    import_extra("tensorflow", needed_for=source)
    messages = importlib.import_module("tensorflow.core.protobuf.saved_model_pb2")
    saved = messages.SavedModel()
    try:
        saved.ParseFromString((path / SAVED_MODEL_FILE).read_bytes())
    except (DecodeError, OSError) as error:
        raise not_loaded(path, error) from error
    graphs = [meta for meta in saved.meta_graphs if _SERVE in meta.meta_info_def.tags] or saved.meta_graphs
    if not graphs:
        raise not_loaded(path, ValueError("it holds no graph"))
    return graphs[0]


def _all_nodes(graph: Any) -> list[Any]:
    return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]


def _computing(graph: Any) -> list[Any]:
    """The nodes of a GraphDef and of the functions that they call; a library may hold others besides."""
    bodies = {function.signature.name: function.node_def for function in graph.library.function}
    found = [*graph.node]
    for node in found:  # grows while it is walked
        called = {node.op}
        for attribute in node.attr.values():
            called |= {attribute.func.name, *(function.name for function in attribute.list.func)}
        for name in called & bodies.keys():
            found.extend(bodies.pop(name))
    return found


def _refuse_files(nodes: Iterable[Any], operations: frozenset[str], path: Path) -> None:
    touching = sorted({node.op for node in nodes} & operations)
    if touching:
        raise ModelFileError(
            f"{path.name} reads or writes files when it runs ({', '.join(touching)})",
            why="a model from elsewhere has no business in the file system",
            remedy="export it without them; or add --trust-source if you made it yourself",
        )


def _signatures(meta: Any) -> list[str]:
    return sorted(name for name in meta.signature_def if name != _INIT)


def _name(signatures: Iterable[str], source: str) -> str:
    names = sorted(signatures)
    if _DEFAULT in names:
        return _DEFAULT
    if len(names) != 1:
        raise ExportError(
            f"{source} has {len(names)} signatures ({', '.join(names) or 'none'})",
            why="the one to export is called serving_default, or is the only one",
            remedy="save it with model.export(folder), or name the signature serving_default",
        )
    return names[0]


def _frozen(tensorflow: Any, meta: Any, path: Path, *, source: str, trust_source: bool) -> Signature:
    """L2."""
    v1 = tensorflow.compat.v1
    signature = meta.signature_def[_name(_signatures(meta), source)]
    given, found = dict(sorted(signature.inputs.items())), dict(sorted(signature.outputs.items()))
    with tensorflow.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        v1.saved_model.load(session, list(meta.meta_info_def.tags), str(path))
        nodes = sorted({info.name.partition(":")[0] for info in found.values()})
        frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), nodes)
    wrapped = v1.wrap_function(lambda: v1.import_graph_def(frozen, name=""), [])
    tensor = wrapped.graph.get_tensor_by_name
    function = wrapped.prune(
        [tensor(info.name) for info in given.values()],
        {name: tensor(info.name) for name, info in found.items()},
    )
    if not trust_source:
        _refuse_files(_computing(function.graph.as_graph_def()), _FILE_OPERATIONS | _SAVERS, path)
    inputs = {
        name: tensorflow.TensorSpec(info.tensor_shape, tensorflow.as_dtype(info.dtype), name)
        for name, info in given.items()
    }

    def call(**tensors: Any) -> Mapping[str, Any]:
        result: Mapping[str, Any] = function(*(tensors[name] for name in given))
        return result

    return Signature(inputs, tuple(found), call, wrapped)
