"""torch.nn.Module or ExportedProgram -> float ONNX model, by ``torch.onnx.export(dynamo=True)``.

    Module --eval, run once--> output names --torch_export--> Model
    .pt2 --torch_archive--> ExportedProgram --torch_export--> Model

The model's ``forward`` may take and return nested tuples, lists and dicts: see ``torch_arguments`` and
``torch_outputs`` for the names. Quantized models keep their scales: see ``torch_quantized``.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.errors import ExportError
from edgekit.frontends.explain import explain
from edgekit.frontends.extras import import_extra
from edgekit.frontends.quiet import quiet
from edgekit.frontends.request import FunctionRunner, Loaded, SourceRequest
from edgekit.frontends.shapes import agree, set_input_shapes, with_dynamic
from edgekit.frontends.torch_archive import read_program
from edgekit.frontends.torch_arguments import Arguments, parameters_of
from edgekit.frontends.torch_export import export_module, export_program
from edgekit.frontends.torch_graph import Seen, finish, forget_wrong_sizes, refuse_state
from edgekit.frontends.torch_inputs import Inputs, inputs_of
from edgekit.frontends.torch_outputs import apart, named_outputs, to_numpy
from edgekit.frontends.torch_quantized import freeze, integer_weights
from edgekit.frontends.torch_weights import apply_weights
from edgekit.ir import io
from edgekit.spec import Array, TensorSpec

TRACE_BATCH = 2  # 0 and 1 are special to torch.export: it would fix the axis
_WRAPPERS = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}
_OTHER_FREE_AXIS = 48  # besides samples.FREE_AXIS: what follows an axis is told from what does not
_PROBES = (1, TRACE_BATCH)  # torch.export trusts the declaration: a forward that fails at batch 1 would pass

Call = Callable[[Sequence[Any]], Any]
"""Tensors in the order of the inputs -> what ``forward`` returns."""


def load_module(module: Any, request: SourceRequest) -> Loaded:
    """Export a ``torch.nn.Module`` in evaluation mode; the module is the caller's own fresh one.

    Raises:
        ExportError: no inputs are declared, the module does not run on them, it keeps state between calls, or
            it cannot be exported.
        ModelFileError, ExportError: the weights, see ``torch_weights``.
    """
    module = _unwrapped(module)
    if request.weights is not None:
        apply_weights(module, request.base / request.weights, trust_source=request.trust_source)
    _require_values(module, request.source)
    module = _evaluating(module.to("cpu"))
    notes = freeze(module)
    inputs = inputs_of(module, parameters_of(module), request)
    try:
        loaded = _export(module, inputs, request)
    except ExportError as error:
        if not inputs.guessed:
            raise
        loaded = _export(module, inputs.fixed(error.what), request)
    return replace(loaded, notes=(*notes, *loaded.notes))


def load_program(request: SourceRequest) -> Loaded:
    """Export a ``.pt2`` file that ``torch.export.save`` wrote.

    Raises:
        ModelFileError: the file is missing, damaged, or would run code on loading.
        ExportError: weights are given besides, the declared inputs do not fit, or it cannot be exported.
    """
    import_extra("torch", needed_for=request.source)
    refuse_weights(request)
    program = read_program(request.base / request.source, trust_source=request.trust_source)
    with quiet():
        module = program.module()
        call = _program_call(program, module)
    return load_exported(program, call, request)


def load_exported(
    program: Any, call: Call, request: SourceRequest, *, names: Sequence[str] | None = None
) -> Loaded:
    """Export an ExportedProgram, whose axes are what they are.

    Args:
        program: the program.
        call: runs what the program was made from, on tensors in the order of the program's inputs.
        request: declared inputs narrow the axes that the program has.
        names: of the inputs; None = as the program calls them.

    Raises:
        ExportError: the declared inputs do not fit, or it cannot be exported.
    """
    refuse_state(program, request.source)
    exported, _ = export_program(program, request)
    inputs = [value.name or "" for value in exported.graph.inputs] if names is None else names
    outputs = apart(_program_outputs(program, request), inputs)
    exported = integer_weights(finish(exported, inputs=inputs, outputs=outputs))
    known, _ = io.specs(exported)
    specs = agree(known, request.inputs, source=request.source, rename=False)
    specs = with_dynamic(specs, {**_unnamed_axes(specs), **request.dynamic}, source=request.source)
    model = set_input_shapes(exported, specs)
    return _loaded(model, call, (*_quantized_note(model), *_unread_note(model)))


def refuse_weights(request: SourceRequest) -> None:
    """A file that holds its weights takes no others.

    Raises:
        ExportError: ``request`` has some.
    """
    if request.weights is not None:
        raise ExportError(
            f"{request.source} has its weights inside, and {request.weights.name} is given besides",
            why="one of the two would be ignored",
            remedy="remove --weights, or export the module itself with file.py:callable",
        )


def run_once(call: Call, arrays: Mapping[str, Array], source: str) -> dict[str, Any]:
    """The outputs by name; what the model prints goes to stderr.

    Raises:
        ExportError: the model raises, or gives something else than arrays.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            outputs = named_outputs(_forward(call, tuple(arrays.values())), source)
    except ExportError:
        raise
    except Exception as error:  # the user's forward may raise anything
        shapes = ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in arrays.items())
        raise ExportError(
            f"{source} does not run on its declared inputs ({shapes}): {explain(error)}",
            why="a model is run once before it is exported",
            remedy="correct names, element types or shapes of the inputs, or the model",
        ) from error
    if not outputs:
        raise ExportError(
            f"{source} returns no tensor",
            why="a model without outputs computes nothing",
            remedy="return a tensor from forward",
        )
    for name, tensor in outputs.items():
        to_numpy(name, tensor, source)
    return outputs


def _export(module: Any, inputs: Inputs, request: SourceRequest) -> Loaded:
    torch = import_extra("torch", needed_for=request.source)
    names = inputs.arguments.names
    call = _module_call(module, inputs.arguments)
    seen: list[Seen] = []
    for batch in _PROBES if inputs.has_batch else _PROBES[-1:]:
        arrays = inputs.arrays(batch)
        outputs = run_once(call, {name: arrays[name] for name in names}, request.source)
        seen.append((inputs.sizes(arrays), [tuple(each.shape) for each in outputs.values()]))
    if inputs.free_axes:
        other = inputs.arrays(TRACE_BATCH, _OTHER_FREE_AXIS)
        with contextlib.suppress(ExportError):  # an axis may take certain sizes only
            results = run_once(call, {name: other[name] for name in names}, request.source)
            seen.append((inputs.sizes(other), [tuple(each.shape) for each in results.values()]))
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    exported, program = export_module(module, inputs.arguments, tensors, inputs.specs, request)
    refuse_state(program, request.source)
    model = integer_weights(finish(exported, inputs=names, outputs=apart(tuple(outputs), names)))
    forget_wrong_sizes(model, seen)
    return _loaded(model, call, (*inputs.notes, *_quantized_note(model), *_unread_note(model)))


def _module_call(module: Any, arguments: Arguments) -> Call:
    def call(tensors: Sequence[Any]) -> Any:
        positional, named = arguments.fill(dict(zip(arguments.names, tensors, strict=True)))
        return module(*positional, **named)

    return call


def _program_call(program: Any, module: Any) -> Call:
    """The program's own module, on tensors in the order of its inputs; constants go in their places."""
    pytree = import_extra("torch.utils._pytree", needed_for="a PyTorch source")
    tensors_of = [spec.arg for spec in program.graph_signature.input_specs if "USER_INPUT" in str(spec.kind)]

    def call(tensors: Sequence[Any]) -> Any:
        given = iter(tensors)
        leaves = [arg.value if hasattr(arg, "value") else next(given) for arg in tensors_of]
        positional, named = pytree.tree_unflatten(leaves, program.call_spec.in_spec)
        return module(*positional, **named)

    return call


def _program_outputs(program: Any, request: SourceRequest) -> tuple[str, ...]:
    """Names of the outputs, from the structure that the program remembers."""
    torch = import_extra("torch", needed_for=request.source)
    pytree = import_extra("torch.utils._pytree", needed_for=request.source)
    user = [spec.arg for spec in program.graph_signature.output_specs if "USER_OUTPUT" in str(spec.kind)]
    leaves = [arg.value if hasattr(arg, "value") else torch.empty(0) for arg in user]
    return tuple(named_outputs(pytree.tree_unflatten(leaves, program.call_spec.out_spec), request.source))


def _unwrapped(module: Any) -> Any:
    """The module inside what training and compiling wrap around it."""
    inner = _WRAPPERS.get(type(module).__name__)
    return _unwrapped(getattr(module, inner)) if inner else module


def _evaluating(module: Any) -> Any:
    """``module`` in evaluation mode; a graph that torch exported has none, and is as it was exported."""
    try:
        module.eval()
    except NotImplementedError:
        for each in module.modules():
            each.training = False
    return module


def _require_values(module: Any, source: str) -> None:
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_meta:
            raise ExportError(
                f"{source} has no values: {name} and others are on the meta device",
                why="it was built without memory for its weights",
                remedy="give them with --weights, or build the model outside of torch.device('meta')",
            )


def _forward(call: Call, arrays: tuple[Array, ...]) -> Any:
    """One forward pass without gradients on one thread; the caller's thread count is restored."""
    torch = import_extra("torch", needed_for="a PyTorch source")
    tensors = [torch.from_numpy(np.array(array)) for array in arrays]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            return call(tensors)
    finally:
        torch.set_num_threads(threads)


def _loaded(model: ir.Model, call: Call, notes: tuple[str, ...]) -> Loaded:
    inputs, outputs = io.specs(model)
    names = tuple(spec.name for spec in outputs)

    def run(arrays: tuple[Array, ...]) -> dict[str, Array]:
        with contextlib.redirect_stdout(sys.stderr):
            tensors = named_outputs(_forward(call, arrays), "the model").values()
        return {name: to_numpy(name, each, "the model") for name, each in zip(names, tensors, strict=True)}

    return Loaded(model, FunctionRunner(inputs, outputs, run), "torch", notes)


def _quantized_note(model: ir.Model) -> tuple[str, ...]:
    count = sum(node.op_type == "DequantizeLinear" for node in model.graph)
    if not count:
        return ()
    return (f"the model came quantized: {count} tensors keep their own scales",)


def _unread_note(model: ir.Model) -> tuple[str, ...]:
    results = set(model.graph.outputs)
    unread = [str(value.name) for value in model.graph.inputs if not value.uses() and value not in results]
    return (f"the outputs do not depend on input {', '.join(unread)}",) if unread else ()


def _unnamed_axes(specs: tuple[TensorSpec, ...]) -> dict[str, dict[int, str]]:
    """Names for the axes that torch.export calls s40: ``batch`` for a first axis, else input and axis."""
    return {
        spec.name: {
            axis: "batch" if axis == 0 else f"{spec.name}_{axis}"
            for axis, dim in enumerate(spec.shape)
            if dim is None or (isinstance(dim, str) and dim[:1] in "su" and dim[1:].isdigit())
        }
        for spec in specs
    }
