"""Bytes of a .tflite -> ``bundle.packages.tflite_graph``: what the back end reads, in the bundle's words."""

from __future__ import annotations

from edgekit.backends.litert.tables import Graph, parse
from edgekit.bundle.packages.tflite_graph import GraphOperator, GraphTensor, TfliteGraph


def read_tflite(content: bytes, *, name: str) -> TfliteGraph:
    """The main graph.

    Raises:
        ModelFileError: it is no whole TFLite file.
        MissingBackendError: ai-edge-litert, which holds the schema, is not installed.
    """
    graphs = parse(content, name=name)[0]
    return _main(graphs[0], subgraphs=len(graphs))


def _main(graph: Graph, *, subgraphs: int) -> TfliteGraph:
    place = {tensor.key: index for index, tensor in enumerate(graph.tensors)}
    return TfliteGraph(
        tensors=tuple(
            GraphTensor(
                name=each.name,
                dtype=each.dtype,
                shape=each.shape,
                size_bytes=each.size_bytes or 0,
                constant=bool(each.stored_bytes),
                open_axes=each.open_axes,
                channels=len(each.scale),
            )
            for each in graph.tensors
        ),
        operators=tuple(
            GraphOperator(
                each.name,
                tuple(-1 if tensor is None else place[tensor.key] for tensor in each.inputs),
                tuple(place[tensor.key] for tensor in each.outputs),
            )
            for each in graph.operators
        ),
        inputs=tuple(place[tensor.key] for tensor in graph.inputs),
        outputs=tuple(place[tensor.key] for tensor in graph.outputs),
        subgraphs=subgraphs,
    )
