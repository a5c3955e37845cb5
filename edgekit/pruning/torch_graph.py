"""Canonical float graph -> a PyTorch function of its constants, so that gradients reach them.

    run(constants, feeds) -> outputs by name

O1: one table row for each operator; a graph with another one is refused with the operator's name.
O2: attributes as ONNX defines them at opset 21, as far as canonical graphs use them (the same pads on both
    sides, no ceil mode, no padding by name).

O3: means and variances are no weights, nor is what lies in front of a logarithm or a root with nothing but
    sums and products between: a step may make its argument negative (a bank of filters before its logarithm).
    Nor are the rows of a table that indices choose: of an embedding some thousand samples name few rows, each
    a few times.

Source: onnx docs/Operators.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.errors import InputError
from edgekit.ir.graph import constant, float_attribute, int_attribute, ints_attribute, is_onnx

Tensor = Any  # torch.Tensor, where torch is there
Row = Callable[[ir.Node, list[Any]], Any]


def is_trainable(value: ir.Value) -> bool:
    """Whether a constant is a floating-point weight of at least two numbers that may be any numbers (O3)."""
    array = constant(value)
    if any(is_onnx(use.node, "BatchNormalization") and use.idx > 2 for use in value.uses()):
        return False
    if any(_is_in_front_of_a_bound(use.node) for use in value.uses()):
        return False
    if any(is_onnx(use.node, "Gather") and use.idx == 0 for use in value.uses()):
        return False
    return array is not None and array.dtype.kind == "f" and array.size > 1


def _is_in_front_of_a_bound(node: ir.Node) -> bool:
    """O3."""
    if is_onnx(node, "Log", "Sqrt"):
        return True
    if not is_onnx(node, "MatMul", "Gemm", "Conv", "Add", "Mul", "Reshape", "Transpose", "Identity"):
        return False
    return any(_is_in_front_of_a_bound(use.node) for value in node.outputs for use in value.uses())


def check(model: ir.Model) -> None:
    """Raise InputError where an operator has no row (O1)."""
    rows = _rows()
    missing = sorted(
        {node.op_type for node in model.graph if not is_onnx(node, node.op_type) or node.op_type not in rows}
    )
    odd = [node.name or node.op_type for node in model.graph if _is_odd(node)]
    if missing or odd:
        raise InputError(
            f"recovery does not know {', '.join(missing or odd)}",
            why="weights are trained in PyTorch, and the graph is written there operator by operator",
            remedy="leave --recover out; the pruned model is repaired by least squares all the same",
        )


def function(
    model: ir.Model,
    *,
    also: Sequence[str] = (),
    behind: Callable[[ir.Node, Tensor], Tensor] = lambda node, value: value,
) -> Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]]:
    """(trainable constants by name, inputs by name) -> outputs, and the values ``also``, by name.

    ``behind`` gets what each node of one output gives, and says what is read in its place.
    """
    import torch

    rows = _rows()
    nodes = list(model.graph)
    held = {
        name: torch.from_numpy(np.array(array))
        for name, value in model.graph.initializers.items()
        if not is_trainable(value) and (array := constant(value)) is not None
    }
    names = [*(value.name or "" for value in model.graph.outputs), *also]
    done = _last_read(nodes, names)

    def run(constants: Mapping[str, Tensor], feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        known: dict[str, Any] = {**held, **constants, **feeds}
        for index, node in enumerate(nodes):
            given = [known[value.name] if value is not None and value.name else None for value in node.inputs]
            found = rows[node.op_type](node, given)
            if not isinstance(found, tuple):
                found = behind(node, found)
            for value, each in zip(
                node.outputs, found if isinstance(found, tuple) else (found,), strict=False
            ):
                known[value.name or ""] = each
            for name in done[index]:
                known.pop(name, None)
        return {name: known[name] for name in names}

    return run


def _last_read(nodes: Sequence[ir.Node], kept: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """For each node the activations that nobody reads behind it: they go."""
    last = {
        value.name or "": index
        for index, node in enumerate(nodes)
        for value in (*node.outputs, *(v for v in node.inputs if v is not None and v.producer() is not None))
    }
    return tuple(
        tuple(name for name, at in last.items() if at == index and name not in kept)
        for index in range(len(nodes))
    )


def _is_odd(node: ir.Node) -> bool:
    """O2."""
    padded = "auto_pad" in node.attributes and node.attributes["auto_pad"].as_string() != "NOTSET"
    if is_onnx(node, "MaxPool", "AveragePool", "Conv"):
        pads = ints_attribute(node, "pads", ())
        half = len(pads) // 2
        uneven = tuple(pads[:half]) != tuple(pads[half:]) and not is_onnx(node, "Conv")
        return padded or uneven or bool(int_attribute(node, "ceil_mode", 0))
    if is_onnx(node, "GatherND"):
        return bool(int_attribute(node, "batch_dims", 0))
    if is_onnx(node, "Pad"):
        return "mode" in node.attributes and node.attributes["mode"].as_string() != "constant"
    return padded


def _rows() -> Mapping[str, Row]:
    import torch
    from torch.nn import functional as f

    def conv(node: ir.Node, v: list[Any]) -> Any:
        axes = v[1].ndim - 2
        pads = ints_attribute(node, "pads", (0,) * (2 * axes))
        x, around = v[0], pads[:axes]
        if pads[axes:] != around:
            x = f.pad(x, [p for axis in reversed(range(axes)) for p in (pads[axis], pads[axis + axes])])
            around = (0,) * axes
        call = {1: f.conv1d, 2: f.conv2d, 3: f.conv3d}[axes]
        return call(
            x,
            v[1],
            v[2] if len(v) > 2 else None,
            stride=ints_attribute(node, "strides", (1,) * axes),
            padding=around,
            dilation=ints_attribute(node, "dilations", (1,) * axes),
            groups=int_attribute(node, "group", 1),
        )

    def gemm(node: ir.Node, v: list[Any]) -> Any:
        a = v[0].T if int_attribute(node, "transA", 0) else v[0]
        b = v[1].T if int_attribute(node, "transB", 0) else v[1]
        y = float_attribute(node, "alpha", 1.0) * (a @ b)
        return y if len(v) < 3 or v[2] is None else y + float_attribute(node, "beta", 1.0) * v[2]

    def clip(node: ir.Node, v: list[Any]) -> Any:
        del node
        low, high = (v[i].item() if len(v) > i and v[i] is not None else None for i in (1, 2))
        return v[0] if low is None and high is None else torch.clamp(v[0], low, high)

    def pool(node: ir.Node, v: list[Any]) -> Any:
        kernel = ints_attribute(node, "kernel_shape", ())
        axes = len(kernel)
        strides = ints_attribute(node, "strides", (1,) * axes)
        pads = ints_attribute(node, "pads", (0,) * (2 * axes))[:axes]
        if is_onnx(node, "MaxPool"):
            return (f.max_pool1d, f.max_pool2d, f.max_pool3d)[axes - 1](v[0], kernel, strides, pads)
        whole = bool(int_attribute(node, "count_include_pad", 0))
        return (f.avg_pool1d, f.avg_pool2d, f.avg_pool3d)[axes - 1](
            v[0], kernel, strides, pads, count_include_pad=whole
        )

    def slices(node: ir.Node, v: list[Any]) -> Any:
        del node
        starts, ends = v[1].tolist(), v[2].tolist()
        along = v[3].tolist() if len(v) > 3 and v[3] is not None else list(range(len(starts)))
        steps = v[4].tolist() if len(v) > 4 and v[4] is not None else [1] * len(starts)
        x = v[0]
        for start, end, axis, step in zip(starts, ends, along, steps, strict=True):
            index = torch.arange(x.shape[axis])[slice(start, end)] if step > 0 else None
            x = (
                x.index_select(axis, torch.arange(x.shape[axis]).flip(0)[::-step])
                if index is None
                else (x.index_select(axis, index[::step]))
            )
        return x

    def split(node: ir.Node, v: list[Any]) -> Any:
        axis = int_attribute(node, "axis", 0)
        if len(v) > 1 and v[1] is not None:
            return tuple(torch.split(v[0], v[1].tolist(), dim=axis))
        size = -(-v[0].shape[axis] // len(node.outputs))
        return tuple(torch.split(v[0], size, dim=axis))

    def pad(node: ir.Node, v: list[Any]) -> Any:
        del node
        pads, count = v[1].tolist(), v[0].ndim
        along = v[3].tolist() if len(v) > 3 and v[3] is not None else list(range(count))
        both = {axis % count: (pads[i], pads[i + len(along)]) for i, axis in enumerate(along)}
        flat = [p for axis in reversed(range(count)) for p in both.get(axis, (0, 0))]
        return f.pad(v[0], flat, value=float(v[2]) if len(v) > 2 and v[2] is not None else 0.0)

    def reshape(node: ir.Node, v: list[Any]) -> Any:
        del node
        wanted = [v[0].shape[i] if size == 0 else size for i, size in enumerate(v[1].tolist())]
        return v[0].reshape(wanted)

    def reduce_mean(node: ir.Node, v: list[Any]) -> Any:
        along = v[1].tolist() if len(v) > 1 and v[1] is not None else list(range(v[0].ndim))
        return v[0].mean(along, keepdim=bool(int_attribute(node, "keepdims", 1)))

    def reduce_sum(node: ir.Node, v: list[Any]) -> Any:
        along = v[1].tolist() if len(v) > 1 and v[1] is not None else list(range(v[0].ndim))
        return v[0].sum(along, keepdim=bool(int_attribute(node, "keepdims", 1)))

    def cast(node: ir.Node, v: list[Any]) -> Any:
        kind = ir.DataType(int_attribute(node, "to", 1)).numpy()
        return v[0].to(torch.from_numpy(np.empty(0, kind)).dtype)

    def gather(node: ir.Node, v: list[Any]) -> Any:
        axis = int_attribute(node, "axis", 0) % v[0].ndim
        rows = v[0].index_select(axis, v[1].reshape(-1).long() % v[0].shape[axis])
        return rows.reshape(*v[0].shape[:axis], *v[1].shape, *v[0].shape[axis + 1 :])

    def shape(node: ir.Node, v: list[Any]) -> Any:
        ends = int_attribute(node, "end", v[0].ndim)
        return torch.tensor(v[0].shape[int_attribute(node, "start", 0) : ends], dtype=torch.int64)

    def expand(node: ir.Node, v: list[Any]) -> Any:
        del node
        return v[0].expand(torch.broadcast_shapes(v[0].shape, v[1].tolist()))

    def layer_norm(node: ir.Node, v: list[Any]) -> Any:
        first = int_attribute(node, "axis", -1) % v[0].ndim
        bias = v[2] if len(v) > 2 else None
        return f.layer_norm(v[0], v[0].shape[first:], v[1], bias, float_attribute(node, "epsilon", 1e-5))

    def batch_norm(node: ir.Node, v: list[Any]) -> Any:
        epsilon = float_attribute(node, "epsilon", 1e-5)
        return f.batch_norm(v[0], v[3], v[4], v[1], v[2], training=False, eps=epsilon)

    def flatten(node: ir.Node, v: list[Any]) -> Any:
        axis = int_attribute(node, "axis", 1)
        return v[0].reshape(int(np.prod(v[0].shape[:axis])), -1)

    def gelu(node: ir.Node, v: list[Any]) -> Any:
        kind = node.attributes["approximate"].as_string() if "approximate" in node.attributes else "none"
        return f.gelu(v[0], approximate=kind)

    def unsqueeze(node: ir.Node, v: list[Any]) -> Any:
        del node
        x = v[0]
        for axis in sorted(v[1].tolist()):
            x = x.unsqueeze(axis)
        return x

    return {
        "Conv": conv,
        "Gemm": gemm,
        "MatMul": lambda _, v: v[0] @ v[1],
        "Add": lambda _, v: v[0] + v[1],
        "Sub": lambda _, v: v[0] - v[1],
        "Mul": lambda _, v: v[0] * v[1],
        "Div": lambda _, v: v[0] / v[1],
        "Relu": lambda _, v: f.relu(v[0]),
        "LeakyRelu": lambda n, v: f.leaky_relu(v[0], float_attribute(n, "alpha", 0.01)),
        "PRelu": lambda _, v: torch.where(v[0] >= 0, v[0], v[0] * v[1]),
        "Sigmoid": lambda _, v: torch.sigmoid(v[0]),
        "HardSigmoid": lambda n, v: torch.clamp(
            float_attribute(n, "alpha", 0.2) * v[0] + float_attribute(n, "beta", 0.5), 0, 1
        ),
        "HardSwish": lambda _, v: f.hardswish(v[0]),
        "Tanh": lambda _, v: torch.tanh(v[0]),
        "Erf": lambda _, v: torch.erf(v[0]),
        "Gelu": gelu,
        "Sqrt": lambda _, v: torch.sqrt(v[0]),
        "Exp": lambda _, v: torch.exp(v[0]),
        "Log": lambda _, v: torch.log(v[0]),
        "Clip": clip,
        "Softmax": lambda n, v: torch.softmax(v[0], int_attribute(n, "axis", -1)),
        "Concat": lambda n, v: torch.cat(v, int_attribute(n, "axis", 0)),
        "Identity": lambda _, v: v[0],
        "Transpose": lambda n, v: v[0].permute(ints_attribute(n, "perm", tuple(range(v[0].ndim))[::-1])),
        "Squeeze": lambda _, v: v[0].squeeze(*(tuple(each.tolist()) for each in v[1:])),
        "Unsqueeze": unsqueeze,
        "Slice": slices,
        "Split": split,
        "Pad": pad,
        "Reshape": reshape,
        "Flatten": flatten,
        "MaxPool": pool,
        "AveragePool": pool,
        "GlobalAveragePool": lambda _, v: v[0].mean(tuple(range(2, v[0].ndim)), keepdim=True),
        "ReduceMean": reduce_mean,
        "ReduceSum": reduce_sum,
        "Pow": lambda _, v: v[0] ** v[1],
        "Neg": lambda _, v: -v[0],
        "Abs": lambda _, v: v[0].abs(),
        "Reciprocal": lambda _, v: 1 / v[0],
        "Max": lambda _, v: reduce(torch.maximum, v),
        "Min": lambda _, v: reduce(torch.minimum, v),
        "Where": lambda _, v: torch.where(v[0], v[1], v[2]),
        "And": lambda _, v: v[0] & v[1],
        "Or": lambda _, v: v[0] | v[1],
        "Not": lambda _, v: ~v[0],
        "Equal": lambda _, v: v[0] == v[1],
        "Less": lambda _, v: v[0] < v[1],
        "LessOrEqual": lambda _, v: v[0] <= v[1],
        "Greater": lambda _, v: v[0] > v[1],
        "GreaterOrEqual": lambda _, v: v[0] >= v[1],
        "Cast": cast,
        "Gather": gather,
        "GatherND": lambda _, v: v[0][tuple(v[1].unbind(-1))],
        "Shape": shape,
        "Range": lambda _, v: torch.arange(*(each.item() for each in v), dtype=v[0].dtype),
        "Expand": expand,
        "LayerNormalization": layer_norm,
        "BatchNormalization": batch_norm,
    }
