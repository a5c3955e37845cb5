"""torch.nn.Module or .pt2 -> float ONNX model, by ``torch.onnx.export(dynamo=True)``.

    Module --eval, run once--> output names --torch.onnx.export--> Model
    .pt2 --torch.export.load--> ExportedProgram --torch.onnx.export--> Model

Names of outputs come from the structure of what ``forward`` returns: keys of a mapping, fields of a named
tuple, ``output`` for a tensor, ``output_0``, ``output_1`` for a tuple.

Source: https://docs.pytorch.org/docs/stable/onnx_export.html; torch.export's dynamic shapes (a dynamic axis
that the model fixes is an error there, and here).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.errors import ExportError, UnknownNameError
from edgekit.frontends.explain import explain
from edgekit.frontends.extras import import_extra
from edgekit.frontends.quiet import quiet
from edgekit.frontends.request import FunctionRunner, Loaded, SourceRequest
from edgekit.frontends.samples import sample
from edgekit.frontends.shapes import agree, set_input_shapes, with_dynamic
from edgekit.frontends.torch_archive import read_program
from edgekit.frontends.torch_weights import apply_weights
from edgekit.ir import io
from edgekit.spec import Array, TensorSpec

TRACE_BATCH = 2  # 0 and 1 are special to torch.export: it would fix the axis
TRACE_SEED = 0  # of the arrays that the model is run on once; they do not reach the exported graph


def load_module(module: Any, request: SourceRequest) -> Loaded:
    """Export a ``torch.nn.Module`` in evaluation mode; the module is the caller's own fresh one.

    Raises:
        ExportError: no inputs are declared, the module does not run on them, or it cannot be exported.
        ModelFileError, ExportError: the weights, see ``torch_weights``.
    """
    if not request.inputs:
        raise ExportError(
            f"{request.source} needs its inputs declared",
            why="a PyTorch module does not know the shapes that it is called with",
            remedy="--input image:float32:batchx3x224x224, or `inputs` under [model] in the recipe",
        )
    if request.weights is not None:
        apply_weights(module, request.base / request.weights, trust_source=request.trust_source)
    specs = with_dynamic(request.inputs, request.dynamic, source=request.source)
    module = module.to("cpu").eval()
    by_name = _takes_by_name(module, specs)
    # torch.export trusts the declaration: a forward that only works at the traced batch would pass.
    for batch in (1, TRACE_BATCH):
        feeds = sample(specs, batch=batch, rng=np.random.default_rng(TRACE_SEED))
        outputs = _run_once(module, specs, feeds, by_name=by_name, request=request)
    program = _export_module(module, specs, feeds, by_name=by_name, outputs=tuple(outputs), request=request)
    return _loaded(program, module, specs, by_name)


def load_program(request: SourceRequest) -> Loaded:
    """Export a ``.pt2`` file that ``torch.export.save`` wrote.

    Raises:
        ModelFileError: the file is missing, damaged, or would run code on loading.
        ExportError: weights are given besides, the declared inputs do not fit, or it cannot be exported.
    """
    torch = import_extra("torch", needed_for=request.source)
    if request.weights is not None:
        raise ExportError(
            f"{request.source} has its weights inside, and {request.weights.name} is given besides",
            why="one of the two would be ignored",
            remedy="remove --weights, or export the module itself with file.py:callable",
        )
    program = read_program(request.base / request.source, trust_source=request.trust_source)
    with quiet():
        exported = _onnx_program(
            lambda: torch.onnx.export(program, (), dynamo=True, opset_version=request.opset, verbose=False),
            request,
        )
    known, _ = io.specs(exported)
    specs = agree(known, request.inputs, source=request.source, rename=False)
    specs = with_dynamic(specs, {**_unnamed_axes(specs), **request.dynamic}, source=request.source)
    with quiet():
        module = program.module()
    model = set_input_shapes(exported, specs)
    return Loaded(model, _reference(module, *io.specs(model), by_name=False), "torch")


def _takes_by_name(module: Any, specs: tuple[TensorSpec, ...]) -> bool:
    """Whether the declared inputs are parameters of ``forward``; where none is, they go by position."""
    parameters = inspect.signature(module.forward).parameters
    strangers = [spec.name for spec in specs if spec.name not in parameters]
    if strangers and len(strangers) < len(specs):
        raise UnknownNameError(
            "parameter of forward", strangers[0], parameters, listing="python -m pydoc MODULE.CLASS.forward"
        )
    return not strangers


def _run_once(
    module: Any,
    specs: tuple[TensorSpec, ...],
    feeds: Mapping[str, Array],
    *,
    by_name: bool,
    request: SourceRequest,
) -> dict[str, Any]:
    try:
        return _named_outputs(_forward(module, specs, tuple(feeds.values()), by_name), request.source)
    except ExportError:
        raise
    except Exception as error:  # the user's forward may raise anything
        shapes = ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in feeds.items())
        raise ExportError(
            f"{request.source} does not run on its declared inputs ({shapes}): {explain(error)}",
            why="a model is run once before it is exported",
            remedy="correct names, element types or shapes of the inputs, or the model",
        ) from error


def _forward(module: Any, specs: tuple[TensorSpec, ...], arrays: tuple[Array, ...], by_name: bool) -> Any:
    """One forward pass without gradients on one thread; the caller's thread count is restored."""
    torch = import_extra("torch", needed_for="a PyTorch source")
    tensors = [torch.from_numpy(np.array(array)) for array in arrays]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            if by_name:
                return module(**{spec.name: tensor for spec, tensor in zip(specs, tensors, strict=True)})
            return module(*tensors)
    finally:
        torch.set_num_threads(threads)


def _named_outputs(result: Any, source: str, *, name: str = "") -> dict[str, Any]:
    """Tensors of a nested result by name, in the order in which torch flattens it; None is left out."""
    torch = import_extra("torch", needed_for=source)
    if result is None:
        return {}
    if isinstance(result, torch.Tensor):
        return {name or "output": result}
    children: Sequence[tuple[str, Any]]
    if isinstance(result, Mapping):
        children = [(str(key), value) for key, value in result.items()]
    elif isinstance(result, tuple) and hasattr(result, "_fields"):
        children = list(zip(result._fields, result, strict=True))
    elif isinstance(result, (tuple, list)):
        children = [(f"{name or 'output'}_{index}", value) for index, value in enumerate(result)]
        name = ""  # the index already continues the parent's name
    else:
        raise ExportError(
            f"{source} gives an object of type {type(result).__name__}",
            why="outputs are tensors, or mappings and tuples of tensors",
            remedy="return a tensor, or a dict whose keys name the outputs",
        )
    named: dict[str, Any] = {}
    for key, value in children:
        named |= _named_outputs(value, source, name=f"{name}_{key}" if name else key)
    return named


def _export_module(
    module: Any,
    specs: tuple[TensorSpec, ...],
    feeds: Mapping[str, Array],
    *,
    by_name: bool,
    outputs: tuple[str, ...],
    request: SourceRequest,
) -> ir.Model:
    torch = import_extra("torch", needed_for=request.source)
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in feeds.items()}
    symbols = {dim: torch.export.Dim(dim) for spec in specs for dim in spec.shape if isinstance(dim, str)}
    axes = {
        spec.name: {axis: symbols[dim] for axis, dim in enumerate(spec.shape) if isinstance(dim, str)}
        for spec in specs
    }
    with quiet():
        return _onnx_program(
            lambda: torch.onnx.export(
                module,
                () if by_name else tuple(tensors.values()),
                kwargs=tensors if by_name else None,
                dynamic_shapes=axes if by_name else tuple(axes.values()),
                input_names=None if by_name else list(tensors),
                output_names=list(outputs),
                opset_version=request.opset,
                dynamo=True,
                verbose=False,
            ),
            request,
        )


def _onnx_program(export: Any, request: SourceRequest) -> ir.Model:
    """``export()`` as a model of its own: without torch's tensors and without traces of this machine."""
    try:
        model: ir.Model = export().model
    except Exception as error:  # the exporter passes on whatever the model's code raises under tracing
        raise ExportError(
            f"{request.source} cannot be exported by torch.onnx.export: {explain(error)}",
            why="its forward pass must be a graph that does not depend on values, only on shapes",
            remedy="replace data-dependent branches by torch.where, or give a dynamic axis a number",
            more="https://docs.pytorch.org/docs/stable/onnx_export.html",
        ) from error
    model = io.from_bytes(io.to_bytes(model), name=request.source)
    ir_passes.ClearMetadataAndDocStringPass()(model)  # stack traces with this machine's paths
    return model


def _loaded(program: ir.Model, module: Any, specs: tuple[TensorSpec, ...], by_name: bool) -> Loaded:
    _, outputs = io.specs(program)
    return Loaded(program, _reference(module, specs, outputs, by_name=by_name), "torch")


def _reference(
    module: Any, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], *, by_name: bool
) -> FunctionRunner:
    names = tuple(spec.name for spec in outputs)

    def run(arrays: tuple[Array, ...]) -> dict[str, Array]:
        tensors = _named_outputs(_forward(module, inputs, arrays, by_name), "the model").values()
        return {name: np.array(tensor.detach().numpy()) for name, tensor in zip(names, tensors, strict=True)}

    return FunctionRunner(inputs, outputs, run)


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
