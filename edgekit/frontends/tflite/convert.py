"""TfliteFile -> ONNX model: walk, look up, write; then hold every known shape against the file's.

    unknown operator          -> refused before anything is written, all of them at once
    shapes that do not agree  -> the file is damaged (or this front end is wrong): refused, never run

Source: one row of ``ops`` for each builtin operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.errors import ExportError, ModelFileError
from edgekit.frontends.shapes import BATCH
from edgekit.frontends.tflite.graph import Importer, UnreadableError, refusal
from edgekit.frontends.tflite.ops import activation, conv, elementwise, matrix, pool, recurrent, reduce, shape
from edgekit.frontends.tflite.read import Operator, TfliteFile
from edgekit.ir.graph import is_onnx, shape_of
from edgekit.ir.infer import infer_shapes

LOWERINGS: dict[str, Callable[[Importer, Operator], None]] = {
    **activation.LOWERINGS,
    **conv.LOWERINGS,
    **elementwise.LOWERINGS,
    **matrix.LOWERINGS,
    **pool.LOWERINGS,
    **recurrent.LOWERINGS,
    **reduce.LOWERINGS,
    **shape.LOWERINGS,
}
"""Builtin operator -> how it is written."""


def convert(file: TfliteFile) -> tuple[ir.Model, tuple[str, ...]]:
    """The file as ONNX, opset 21, and notes. A dynamic batch stays dynamic where the whole graph allows it.

    Raises:
        ExportError: an operator has no ONNX form here.
        ModelFileError: the shapes in the file contradict its operators.
    """
    _require_known(file)
    if any(-1 in file.tensors[index].signature for index in file.inputs):
        model, notes = _written(file, dynamic=True)
        if _is_dynamic(model):
            return model, notes
        fixed, notes = _written(file, dynamic=False)
        return fixed, (
            *notes,
            "the file calls its batch dynamic, and an operator inside fixes it: it is fixed",
        )
    return _written(file, dynamic=False)


def _require_known(file: TfliteFile) -> None:
    unknown = [operator for operator in file.operators if operator.code not in LOWERINGS]
    if not unknown:
        return
    more = f", and {len(unknown) - 3} more" if len(unknown) > 3 else ""
    raise ExportError(
        f"{file.name} holds {', '.join(map(str, unknown[:3]))}{more}, which edgekit does not read",
        why="every operator of a .tflite file needs an ONNX form that computes the same",
        remedy="export the model from its framework instead: edgekit export model.py:build",
    )


def _written(file: TfliteFile, *, dynamic: bool) -> tuple[ir.Model, tuple[str, ...]]:
    graph = Importer(file, dynamic=dynamic)
    for position, index in enumerate(file.inputs):
        sizes = graph.dims(index)
        shape: list[int | str] = [
            size if size is not None else BATCH if axis == 0 else f"size_{position}_{axis}"
            for axis, size in enumerate(sizes)
        ]
        graph.add_input(index, position, shape)
        try:
            graph.quantize_input(index)
        except UnreadableError as error:
            raise refusal(f"input {position}", file, *error.args) from error
    for operator in file.operators:
        graph.operator(operator)
        try:
            LOWERINGS[operator.code](graph, operator)
        except UnreadableError as error:
            raise refusal(operator, file, *error.args) from error
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # What a size or an option of a damaged file provokes; the round-trip tests hold the healthy ones.
            raise _contradiction(file, f"{operator}: {type(error).__name__}: {error}") from error
    model = _tidy(graph.model())
    _require_same_shapes(file, graph, model)
    _complete_shapes(file, graph, model)
    model = infer_shapes(model)
    _require_same_shapes(file, graph, model)
    return model, tuple(graph.notes)


def _tidy(model: ir.Model) -> ir.Model:
    ir_passes.RemoveUnusedNodesPass()(model)
    ir_passes.DeduplicateInitializersPass()(model)
    return infer_shapes(model)


def _require_same_shapes(file: TfliteFile, graph: Importer, model: ir.Model) -> None:
    """Whatever both sides know of a tensor's shape is the same."""
    values = {value.name: value for node in model.graph for value in node.outputs}
    for index, names in graph.stored().items():
        for name, wanted in names:
            found = shape_of(values.get(name))
            if found is None:
                continue
            pairs = list(zip(found, wanted, strict=False))
            if len(found) != len(wanted) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
                raise _contradiction(file, f"tensor {index} is {wanted} in the file, and computed as {found}")


def _complete_shapes(file: TfliteFile, graph: Importer, model: ir.Model) -> None:
    """Sizes that inference lost (behind a Reshape to a computed shape, a Resize) are those of the file.

    The file states its sizes for one batch. A first size that it calls dynamic is called the batch where it
    is as large as the inputs' own: one row for each sample.
    """
    rows = {file.tensors[index].shape[:1] for index in file.inputs if graph.dims(index)[:1] == (None,)}
    values = {value.name: value for node in model.graph for value in node.outputs}
    for index, names in graph.stored().items():
        has_rows = file.tensors[index].shape[:1] in rows
        for name, sizes in names:
            value = values.get(name)
            if value is None:
                continue
            old = [None] * len(sizes) if value.shape is None else list(value.shape)
            shape = [
                _completed(dim, size, is_batch=has_rows and axis == 0)
                for axis, (dim, size) in enumerate(zip(old, sizes, strict=True))
            ]
            for each in _before_pair(value):
                each.shape = ir.Shape(shape)


def _before_pair(value: ir.Value) -> Iterator[ir.Value]:
    """``value``, and where a pair makes it, the integers and the reals that the pair came from."""
    current: ir.Value | None = value
    while current is not None:
        yield current
        node = current.producer()
        if node is None or not is_onnx(node, "DequantizeLinear", "QuantizeLinear"):
            return
        current = node.inputs[0]
        if current is None or current.producer() is None:
            return


def _completed(
    dim: int | ir.SymbolicDim | None, size: int | None, *, is_batch: bool
) -> int | str | ir.SymbolicDim | None:
    if isinstance(dim, int):
        return dim
    if size is not None:
        return size
    generated = dim is None or dim.value is None or dim.value.startswith("unk__")
    return BATCH if generated and is_batch else dim


def _contradiction(file: TfliteFile, why: str) -> ModelFileError:
    return ModelFileError(
        f"{file.name} cannot be read as a TFLite file: a part of it contradicts another",
        why=why.splitlines()[0][:200],
        remedy="convert the model again, or copy the file again and compare its size",
    )


def _is_dynamic(model: ir.Model) -> bool:
    """Whether every output still depends on the batch (its first size is not a number)."""
    return all(
        value.shape is not None and (len(value.shape) == 0 or not isinstance(value.shape[0], int))
        for value in model.graph.outputs
    )
