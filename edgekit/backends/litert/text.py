"""Graph -> text, one line per input, operator and output: what golden tests compare and ``inspect`` may show.

CONV_2D v3 (1|-1,28,28,1 float32) ... -> name (shape dtype {scale, zero})
"""

from __future__ import annotations

from edgekit.backends.litert.tensors import Graph, Tensor, signature
from edgekit.backends.litert.versions import operator_version


def text_of(graph: Graph) -> str:
    """``graph`` in a stable form; constants by shape and type only."""
    lines = [f"input  {_tensor(graph.tensors[index])}" for index in graph.inputs]
    for op in graph.operators:
        inputs = ", ".join("-" if i < 0 else _operand(graph.tensors[i]) for i in op.inputs)
        outputs = ", ".join(_tensor(graph.tensors[i]) for i in op.outputs)
        options = " ".join(f"{name}={value}" for name, value in sorted(op.options.items()) if value != "NONE")
        version = operator_version(op, graph.tensors)
        lines.append(
            f"{op.code}.{version}({inputs})" + (f" [{options}]" if options else "") + f" -> {outputs}"
        )
    lines += [f"output {graph.tensors[index].name}" for index in graph.outputs]
    return "\n".join(lines) + "\n"


def _operand(tensor: Tensor) -> str:
    return tensor.name if tensor.data is None else f"const {_type(tensor)}"


def _tensor(tensor: Tensor) -> str:
    return f"{tensor.name}: {_type(tensor)}"


def _type(tensor: Tensor) -> str:
    sizes = "x".join("?" if size < 0 else str(size) for size in signature(tensor.shape)) or "scalar"
    if tensor.quant is None:
        return f"{tensor.dtype}:{sizes}"
    if tensor.quant.axis is not None:
        return f"{tensor.dtype}:{sizes} per axis {tensor.quant.axis}"
    return f"{tensor.dtype}:{sizes} {tensor.quant.scale[0]:.6g}@{tensor.quant.zero_point[0]}"
