"""A .tflite file -> Contents: its interface, and what each operator costs. Nothing is run.

    file --tables--> graphs --> layers, interface, quantization

A file says all of it by itself: no description beside it is needed. Integer inputs and outputs with a scale
are taken and given in floats, in the file's own layout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import prod
from pathlib import Path

from edgekit.backends.litert import counting
from edgekit.backends.litert.tables import Graph, Operator, Tensor, parse
from edgekit.errors import ModelFileError
from edgekit.ir.contents import (
    FLOAT,
    Contents,
    LayerCost,
    Quantization,
    Step,
    peak_bytes,
    schemes_in_words,
)
from edgekit.spec import Dim, IoBinding, Precision, QuantParams, TensorSpec


def read(path: Path) -> Contents:
    """What is inside the .tflite file at ``path``.

    Raises:
        ModelFileError: it cannot be read, or it is no whole TFLite file (R1 to R3 of ``tables``).
        MissingBackendError: ai-edge-litert, which holds the schema, is not installed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read: {error.strerror}",
            why="the operating system refused",
            remedy="check the path and its permissions",
        ) from error
    return _contents(*parse(content, name=path.name), name=path.name)


def _contents(graphs: tuple[Graph, ...], facts: Mapping[str, str], *, name: str) -> Contents:
    main, operators = graphs[0], [each for graph in graphs for each in graph.operators]
    quantization = _quantization(graphs)
    versions: dict[str, set[int]] = {}
    for each in operators:
        versions.setdefault(each.name, set()).add(each.version)
    notes = []
    if len(graphs) > 1:
        notes.append(f"{len(graphs)} subgraphs; each is counted once, however often it runs")
    return Contents(
        form="TFLite",
        files=(name,),
        facts=facts,
        inputs=tuple(map(_binding, main.inputs)),
        outputs=tuple(map(_binding, main.outputs)),
        precision=_precision(main, quantization),
        layers=_layers(operators),
        quantization=quantization,
        versions={key: ", ".join(map(str, sorted(found))) for key, found in sorted(versions.items())},
        peak_bytes=_peak(main) if len(graphs) == 1 else None,
        notes=tuple(notes),
    )


def _binding(tensor: Tensor) -> IoBinding:
    dims: tuple[Dim, ...] = tuple(
        ("batch" if axis == 0 else None) if axis in tensor.open_axes else size
        for axis, size in enumerate(tensor.shape)
    )
    quant = (
        QuantParams(
            tensor.dtype, tensor.scale, tensor.zero_point, tensor.axis if len(tensor.scale) > 1 else None
        )
        if tensor.is_integer
        else None
    )
    reference = TensorSpec(tensor.name, "float32" if quant else tensor.dtype, dims)
    return IoBinding(reference=reference, name=tensor.name, dtype=tensor.dtype, shape=dims, quant=quant)


def _precision(main: Graph, quantization: Quantization) -> Precision:
    """int8 where one operator at least computes in integers; else what the weights are stored in."""
    integer = any(tensor.is_integer and not tensor.stored_bytes for tensor in main.tensors)
    if quantization.quantized or (integer and not quantization.weighted):
        return Precision.W8A8
    stored = {
        tensor.dtype for tensor in main.tensors if tensor.stored_bytes and tensor.dtype.startswith("float")
    }
    return Precision.FP16 if "float16" in stored else Precision.FP32


def _layers(operators: list[Operator]) -> tuple[LayerCost, ...]:
    counted: set[tuple[int, int]] = set()
    roots = _roots(operators)
    found = []
    for each in operators:
        read_here = {} if each.name in {"DEQUANTIZE", "DENSIFY"} else _parameters(each, roots)
        fresh = [tensor for key, tensor in read_here.items() if key not in counted]
        counted.update(read_here)
        sizes = [tensor.size_bytes for tensor in each.outputs]
        found.append(
            LayerCost(
                name=each.outputs[0].name if each.outputs else each.name,
                operator=each.name,
                macs=counting.macs(
                    each.name,
                    [None if tensor is None else tensor.shape for tensor in each.inputs],
                    [tensor.shape for tensor in each.outputs],
                ),
                parameters=sum(prod(tensor.shape) for tensor in fresh),
                parameter_bytes=sum(tensor.stored_bytes for tensor in fresh),
                output=each.outputs[0].shape if each.outputs else None,
                output_bytes=None if None in sizes else sum(size for size in sizes if size is not None),
            )
        )
    return tuple(found)


def _roots(operators: list[Operator]) -> dict[tuple[int, int], Tensor]:
    """Outputs of DEQUANTIZE, DENSIFY whose input is a constant (float16, sparse weights) -> that constant."""
    return {
        each.outputs[0].key: each.inputs[0]
        for each in operators
        if each.name in {"DEQUANTIZE", "DENSIFY"}
        and each.outputs
        and each.inputs[0] is not None
        and each.inputs[0].stored_bytes
    }


def _parameters(operator: Operator, roots: Mapping[tuple[int, int], Tensor]) -> dict[tuple[int, int], Tensor]:
    """Constants that it reads as parameters: floats of rank 1 and more, and integers with a scale."""
    found = {}
    for tensor in operator.inputs:
        if tensor is None:
            continue
        constant = roots.get(tensor.key, tensor)
        learned = constant.is_integer or constant.dtype.startswith("float")
        if constant.stored_bytes and constant.shape and learned:
            found[constant.key] = constant
    return found


def _quantization(graphs: tuple[Graph, ...]) -> Quantization:
    operators = [each for graph in graphs for each in graph.operators]
    roots = _roots(operators)
    pairs = []
    for each in operators:
        weights = [tensor for tensor in _parameters(each, roots).values() if len(tensor.shape) > 1]
        if not counting.multiplies(each.name) or not weights:
            continue
        free = [tensor for tensor in each.inputs if tensor is not None and not tensor.stored_bytes]
        activations = [tensor for tensor in free if tensor.key not in roots and tensor.dtype != "int32"]
        pairs.append((weights[0].scheme, activations[0].scheme if activations else FLOAT))
    kinds = Counter(
        tensor.scheme if tensor.is_integer else tensor.dtype for graph in graphs for tensor in graph.tensors
    )
    schemes = Counter(schemes_in_words(*pair) for pair in pairs)
    return Quantization(
        weighted=len(pairs),
        quantized=sum(FLOAT not in pair for pair in pairs),
        schemes=dict(sorted(schemes.items())),
        tensors=dict(sorted(kinds.items())),
    )


def _peak(graph: Graph) -> int | None:
    steps: list[Step] = [
        (
            [tensor.key for tensor in each.inputs if tensor is not None],
            [tensor.key for tensor in each.outputs],
        )
        for each in graph.operators
    ]
    sizes = {tensor.key: tensor.size_bytes for tensor in graph.tensors if not tensor.stored_bytes}
    return peak_bytes(
        steps,
        sizes,
        given=[tensor.key for tensor in graph.inputs],
        kept=[tensor.key for tensor in graph.outputs],
    )
