"""Graph x table -> why TFLite Micro cannot run it, and which kernels an app must register.

    M1  an operator that TFLite Micro has not
    M2  an operator that it has, with a type that its kernel refuses
    M3  float activations with integer weights ("hybrid" kernels): TFLite Micro has none
    M4  an open axis besides the batch: nothing is resized there
    M5  more than one subgraph
    M6  more inputs than its kernel takes (a concatenation of more than ten)
    M7  a RESHAPE whose sizes as the file writes them contradict each other: they are settled by resizing

The table is ``tflite_micro.toml``: every row was run on the version that it names.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import prod

from edgekit.bundle.packages.tflite_graph import GraphOperator, TfliteGraph
from edgekit.spec import Rejection

_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL"})
_QUANTIZE = 'release the target with precision = "w8a8" (or "fp32")'


@dataclass(frozen=True)
class Kernel:
    """How it is registered, types of its first input that is no constant, how many it takes (0 = any)."""

    add: str
    types: tuple[str, ...]
    max_inputs: int = 0


@cache
def table() -> tuple[str, dict[str, Kernel]]:
    """Version of TFLite Micro, and its kernels by operator."""
    held = tomllib.loads(files("edgekit.bundle.packages").joinpath("tflite_micro.toml").read_text("utf-8"))
    kernels = {
        name: Kernel(row["add"], tuple(row["types"]), row.get("max_inputs", 0))
        for name, row in held["operators"].items()
    }
    return held["source"]["version"], kernels


def rejections(graph: TfliteGraph) -> tuple[Rejection, ...]:
    """Every reason; () = it runs there."""
    version, kernels = table()
    found = []
    if graph.subgraphs > 1:  # M5
        found.append(
            Rejection(
                "graph",
                "M5",
                f"the file has {graph.subgraphs} subgraphs (a loop or a branch)",
                "export a model of fixed length, without If, Loop or Scan",
            )
        )
    for index in (*graph.inputs, *graph.outputs):  # M4
        tensor = graph.tensors[index]
        if any(tensor.open_axes):
            found.append(
                Rejection(
                    tensor.name,
                    "M4",
                    f"axis {max(tensor.open_axes)} has no fixed size",
                    "export the model with fixed sizes, but for the batch",
                )
            )
    for operator in graph.operators:
        found += _of_operator(operator, graph, kernels, version)
    return tuple(found)


def _of_operator(
    operator: GraphOperator, graph: TfliteGraph, kernels: dict[str, Kernel], version: str
) -> list[Rejection]:
    name = graph.tensors[operator.outputs[0]].name if operator.outputs else operator.name
    if operator.name not in kernels:  # M1
        reason = f"TFLite Micro {version} has no {operator.name}"
        return [Rejection(name, "M1", reason, "replace it in the model, or register a kernel of your own")]
    given = [graph.tensors[index] for index in operator.inputs if index >= 0]
    if operator.name == "RESHAPE":  # M7
        before, after = (prod(graph.tensors[at].shape) for at in (operator.inputs[0], operator.outputs[0]))
        if before != after:
            reason = f"RESHAPE of {before} elements into {after}, as the file has them for a batch of 1"
            return [Rejection(name, "M7", reason, "export the model with a fixed batch of 1")]
    # float16 weights are constants that DEQUANTIZE reads
    free = next((tensor for tensor in given if not tensor.constant), given[0] if given else None)
    if free is None:
        return []
    most = kernels[operator.name].max_inputs
    if most and len(given) > most:  # M6
        reason = f"{operator.name} of {len(given)} tensors; TFLite Micro {version} takes {most}"
        return [Rejection(name, "M6", reason, "join them in two steps")]
    integer = any(tensor.constant and tensor.dtype == "int8" for tensor in given)
    if operator.name in _WEIGHTED and free.dtype == "float32" and integer:  # M3
        reason = f"{operator.name} has float activations and int8 weights; TFLite Micro has no such kernel"
        return [Rejection(name, "M3", reason, _QUANTIZE)]
    types = kernels[operator.name].types
    if free.dtype not in types:  # M2
        reason = f"{operator.name} of {free.dtype}; TFLite Micro {version} takes {', '.join(types)}"
        return [Rejection(name, "M2", reason, _QUANTIZE)]
    return []


def registrations(graph: TfliteGraph) -> tuple[str, ...]:
    """The methods of MicroMutableOpResolver that the file needs, sorted."""
    kernels = table()[1]
    return tuple(sorted({kernels[operator.name].add for operator in graph.operators}))
