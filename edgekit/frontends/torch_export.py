"""torch module + arguments + dynamic axes -> ONNX model, by ``torch.onnx.export(dynamo=True)``.

What torch says in pages of advice becomes one sentence and one remedy:

| torch | here |
|---|---|
| GuardOnDataDependentSymNode, "data-dependent" | E1 forward branches on a value |
| DispatchError "No ONNX function found for" | E2 operator without an ONNX form |
| a dynamic axis that comes out as a number | E3 axis is fixed by the model |
| anything else | E4 the innermost cause |

Source: https://docs.pytorch.org/docs/stable/onnx_export.html; a dynamic axis that the model fixes is an error
there with some models and silently fixed with others, and always an error here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import onnx_ir as ir

from edgekit.errors import ExportError
from edgekit.frontends.explain import explain, user_line
from edgekit.frontends.extras import import_extra
from edgekit.frontends.quiet import quiet
from edgekit.frontends.request import SourceRequest
from edgekit.frontends.torch_arguments import Arguments
from edgekit.frontends.torch_quantized import translations
from edgekit.spec import TensorSpec

_NO_FORM = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.:]+)', overload='(\w+)'\)>")
_MORE = "https://docs.pytorch.org/docs/stable/onnx_export.html"


def export_module(
    module: Any,
    arguments: Arguments,
    tensors: Mapping[str, Any],
    specs: tuple[TensorSpec, ...],
    request: SourceRequest,
) -> tuple[ir.Model, Any]:
    """Export ``module`` as it is called with ``tensors``.

    Args:
        module: in evaluation mode, on the CPU.
        arguments: how the flat inputs become the arguments of ``forward``.
        tensors: by flat name; distinct objects.
        specs: sizes that are text are dynamic; equal texts are one size.
        request: operator set and source name.

    Returns:
        The exporter's model, inputs in the order of ``arguments.names``; and the program it was made from.

    Raises:
        ExportError: cases E1 to E4.
    """
    torch = import_extra("torch", needed_for=request.source)
    positional, named = arguments.fill(tensors)
    symbols = {dim: torch.export.Dim(dim) for spec in specs for dim in spec.shape if isinstance(dim, str)}
    dynamic = torch.export.ShapesCollection()
    for spec in specs:
        dynamic[tensors[spec.name]] = {
            axis: symbols[dim] for axis, dim in enumerate(spec.shape) if isinstance(dim, str)
        }

    def export() -> Any:
        return torch.onnx.export(
            module,
            positional,
            kwargs=named,
            dynamic_shapes=dynamic.dynamic_shapes(module, positional, named) if symbols else None,
            custom_translation_table=translations(request.opset),
            opset_version=request.opset,
            dynamo=True,
            optimize=not request.layers_apart,
            verbose=False,
        )

    model, program = _guarded(export, request.source)
    by_name = {spec.name: spec for spec in specs}
    for value, name in zip(model.graph.inputs, arguments.names, strict=True):
        _require_dynamic(value, by_name[name], request.source)
    return model, program


def export_program(program: Any, request: SourceRequest) -> tuple[ir.Model, Any]:
    """Export an ExportedProgram, with the axes that it has.

    Raises:
        ExportError: cases E2 and E4.
    """
    torch = import_extra("torch", needed_for=request.source)

    def export() -> Any:
        return torch.onnx.export(
            program,
            (),
            custom_translation_table=translations(request.opset),
            opset_version=request.opset,
            dynamo=True,
            verbose=False,
        )

    return _guarded(export, request.source)


def _guarded(export: Callable[[], Any], source: str) -> tuple[ir.Model, Any]:
    try:
        with quiet():
            program = export()
            _forget_the_last_graph()
            return program.model, program.exported_program
    except ExportError:
        raise
    except Exception as error:  # the exporter passes on whatever the model's code raises under tracing
        raise _translated(error, source) from error


def _forget_the_last_graph() -> None:
    """Give onnxscript's rewriter another graph: each of its rules keeps the last one, with all weights."""
    optimizer = import_extra("onnxscript.optimizer", needed_for="a PyTorch source")
    value = ir.Value(name="x", shape=ir.Shape((1,)), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.node("Relu", [value])
    node.outputs[0].name = "y"
    optimizer.optimize(
        ir.Model(
            ir.Graph([value], node.outputs, nodes=[node], opset_imports={"": 21}, name="small"), ir_version=10
        )
    )


def _translated(error: Exception, source: str) -> ExportError:
    causes = _causes(error)
    for each in causes:
        if isinstance(each, ExportError):  # of edgekit's own translations
            return ExportError(f"{source}: {each.what}", why=each.why, remedy=each.remedy)
    text = "\n".join(map(str, causes))
    missing = _NO_FORM.search(text)
    if missing is not None:
        return _without_form(missing[1], missing[2], source)
    if "data-dependent" in text or "GuardOnDataDependent" in text:
        where = user_line(error) or explain(error)
        return ExportError(
            f"{source} branches on a value that is only known when it runs ({where})",
            why="its forward pass must be a graph that does not depend on values, only on shapes",
            remedy="replace data-dependent branches by torch.where, and .item() by tensor arithmetic",
            more=_MORE,
        )
    return ExportError(
        f"{source} cannot be exported by torch.onnx.export: {explain(error)}",
        why="its forward pass must be a graph that does not depend on values, only on shapes",
        remedy="replace data-dependent branches by torch.where, or give a dynamic axis a number",
        more=_MORE,
    )


def _without_form(name: str, overload: str, source: str) -> ExportError:
    operator = name if overload == "default" else f"{name}.{overload}"
    if "choose_qparams" in operator:
        remedy = "quantize activations statically (is_dynamic=False): their scales are then part of the model"
    elif operator.startswith(("quantized.", "torchao.")):
        remedy = "export the float model, or quantize with PT2E (torchao.quantization.pt2e)"
    else:
        remedy = "replace it in forward by operators that ONNX has, or do that part outside of the model"
    return ExportError(
        f"{source} holds an operator without an ONNX form: {operator}",
        why="neither torch's exporter nor edgekit knows an equivalent in ONNX",
        remedy=remedy,
        more=_MORE,
    )


def _require_dynamic(value: ir.Value, spec: TensorSpec, source: str) -> None:
    """Case E3; torch fixes an axis without a word where a number in the model asks for it."""
    for axis, (want, have) in enumerate(zip(spec.shape, value.shape or (), strict=True)):
        if isinstance(want, str) and (isinstance(have, int) or (have.value or "").isdigit()):
            raise ExportError(
                f"axis {axis} ({want!r}) of input {spec.name!r} of {source} is dynamic, "
                f"and the model fixes it at {have}",
                why="its code uses that size as a number: a loop over it, a reshape, a buffer of that length",
                remedy=f"give the axis a number, or let forward read it from its input (x.shape[{axis}])",
            )


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__
    return found
