"""torch's ExportedProgram and its ONNX graph -> a graph of its own, with the names of the source.

G1 inputs and outputs have the given names, whatever else had them · G2 an output that is an input, a
constant or a second output is a copy of it, so that each has one name · G3 weights are plain arrays that
share the module's memory: nothing is copied; values are onnx_ir's own (comparing two of torch's adds nodes) ·
G4 no stack trace and no path of this machine is left · G5 a forward that keeps state is refused · G6 a size
that torch wrote as a number, and that is seen to change from run to run (time steps of LSTM), is dynamic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.errors import ExportError

Seen = tuple[Mapping[str, int], Sequence[tuple[int, ...]]]


def finish(
    model: ir.Model, *, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None
) -> ir.Model:
    """A clone of ``model``, rules G1 to G4 applied.

    Args:
        model: what ``torch.onnx.export`` gave.
        inputs: new names in the graph's order, or None to keep them.
        outputs: likewise.
    """
    model = model.clone()
    _copy_shared_outputs(model.graph)
    _rename(model.graph, inputs, outputs)
    for graph in model.graphs():
        for value in graph.initializers.values():
            _own_array(value)
        for value in (*graph.inputs, *(out for node in graph for out in node.outputs)):
            _numbers_as_numbers(value)
    ir_passes.ClearMetadataAndDocStringPass()(model)
    for value in _values(model.graph):
        value.metadata_props.clear()
        value.meta.clear()
    return model


def forget_wrong_sizes(model: ir.Model, seen: Sequence[Seen]) -> None:
    """Rule G6, in place. Sizes inside a graph with such an output are as doubtful, and are all forgotten.

    Args:
        model: the exporter's own fresh one.
        seen: sizes of the named axes, and the shapes of all outputs, in several runs of the framework.
    """
    wrong = False
    for index, value in enumerate(model.graph.outputs):
        dims = list(value.shape or ())
        for axis, dim in enumerate(dims):
            sizes = [shapes[index][axis] for _, shapes in seen]
            if isinstance(dim, int) and any(size != dim for size in sizes):
                names = [name for name in seen[0][0] if [axes[name] for axes, _ in seen] == sizes]
                dims[axis] = ir.SymbolicDim(names[0] if names else None)
                wrong = True
        value.shape = ir.Shape(dims)
    if wrong:
        results = set(model.graph.outputs)
        for node in model.graph.all_nodes():
            for value in node.outputs:
                value.shape = value.shape if value in results else None


def refuse_state(program: Any, source: str) -> None:
    """Rule G5: no output may depend on a buffer that ``forward`` changes.

    Raises:
        ExportError: one does.
    """
    signature = program.graph_signature
    changed = set(signature.buffers_to_mutate.values())
    if not changed:
        return
    results = set(signature.user_outputs)
    last = next(node for node in reversed(program.graph.nodes) if node.op == "output")
    waiting = [node for node in last.all_input_nodes if node.name in results]
    seen = set(waiting)
    while waiting:
        for before in waiting.pop().all_input_nodes:
            if before not in seen:
                seen.add(before)
                waiting.append(before)
    names = {name: buffer for name, buffer in signature.inputs_to_buffers.items() if buffer in changed}
    state = sorted(names[node.name] for node in seen if node.name in names)
    if state:
        raise ExportError(
            f"{source} keeps state between calls: forward changes its buffer {state[0]!r} and reads it",
            why="an ONNX graph has no memory; the state would be frozen at its present value",
            remedy="take the state as an input and return the new state, as in forward(x, state) -> y, state",
        )


def _copy_shared_outputs(graph: ir.Graph) -> None:
    """Rule G2."""
    seen: set[ir.Value] = set(graph.inputs) | set(graph.initializers.values())
    for index, value in enumerate(graph.outputs):
        if value in seen:
            node = ir.node("Identity", inputs=[value])
            (copy,) = node.outputs
            copy.shape, copy.type = value.shape, value.type
            graph.append(node)
            graph.outputs[index] = copy
        seen.add(value)


def _rename(graph: ir.Graph, inputs: Sequence[str] | None, outputs: Sequence[str] | None) -> None:
    """Rule G1."""
    wanted: dict[ir.Value, str] = {}
    for values, names in ((graph.inputs, inputs), (graph.outputs, outputs)):
        wanted |= zip(
            values, names if names is not None else [each.name or "" for each in values], strict=True
        )
    taken = set(wanted.values()) | {value.name for value in _values(graph) if value.name}
    for value in list(_values(graph)):
        if value not in wanted and value.name in wanted.values():
            _set_name(graph, value, _fresh(f"{value.name}_inner", taken))
    for value in wanted:  # in two steps: two names may be swapped
        value.name = _fresh(f"{value.name}_before", taken)
    for value, name in wanted.items():
        value.name = name


def _set_name(graph: ir.Graph, value: ir.Value, name: str) -> None:
    if value.is_initializer() and value.name is not None:
        owner = value.graph or graph
        owner.initializers.pop(value.name)
        value.name = name
        owner.register_initializer(value)
    else:
        value.name = name


def _fresh(name: str, taken: set[str]) -> str:
    new, count = name, 0
    while new in taken:
        count += 1
        new = f"{name}_{count}"
    taken.add(new)
    return new


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    """Every value of ``graph`` and of the graphs inside it."""
    for each in (graph, *graph.subgraphs()):
        yield from each.inputs
        yield from each.initializers.values()
        for node in each:
            yield from node.outputs


def _own_array(value: ir.Value) -> None:
    """Rule G3: torch's tensor class -> onnx_ir's, over the same memory."""
    tensor = value.const_value
    if tensor is not None and not isinstance(getattr(tensor, "raw", None), np.ndarray):
        value.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=value.name)


def _numbers_as_numbers(value: ir.Value) -> None:
    """A size that torch writes as the text "5" is the number 5."""
    if value.shape is not None and any(_is_number(dim) for dim in value.shape):
        value.shape = ir.Shape([int(str(dim)) if _is_number(dim) else dim for dim in value.shape])


def _is_number(dim: int | ir.SymbolicDim) -> bool:
    return isinstance(dim, ir.SymbolicDim) and (dim.value or "").isdigit()
