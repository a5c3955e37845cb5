"""What ``forward`` returns -> tensors by name.

| structure | names |
|---|---|
| a tensor | ``output`` |
| tuple or list | ``output_0``, ``output_1``, … |
| mapping, named tuple | its keys or fields |
| nested | joined by ``_``; inside a tuple ``output_1_0`` |
| None | left out |
| called like an input (a state that is handed on) | with ``_out`` at the end |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgekit.errors import ExportError
from edgekit.frontends.extras import import_extra
from edgekit.spec import Array


def named_outputs(result: Any, source: str, *, name: str = "") -> dict[str, Any]:
    """Tensors of a nested result by name, in the order in which torch flattens it.

    Raises:
        ExportError: something in it is no tensor, or two tensors get one name.
    """
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
        found = named_outputs(value, source, name=f"{name}_{key}" if name else key)
        for twice in found.keys() & named.keys():
            raise ExportError(
                f"{source} gives two outputs that would both be called {twice!r}",
                why="outputs are told apart by name",
                remedy="rename one of the keys of what forward returns",
            )
        named |= found
    return named


def apart(outputs: Sequence[str], inputs: Sequence[str]) -> tuple[str, ...]:
    """Names of outputs, none of which is an input's: ONNX has one name space for both."""
    taken = {*inputs, *outputs}
    names = []
    for name in outputs:
        new = name
        while new in inputs or (new != name and new in taken):
            new = f"{new}_out"
        taken.add(new)
        names.append(new)
    return tuple(names)


def to_numpy(name: str, tensor: Any, source: str) -> Array:
    """A copy of an output that the caller owns.

    Raises:
        ExportError: NumPy and the runtimes have no such element type, or it is sparse or without values.
    """
    torch = import_extra("torch", needed_for=source)
    if tensor.dtype.is_complex or tensor.dtype in (torch.bfloat16,) or "float8" in str(tensor.dtype):
        dtype = str(tensor.dtype).removeprefix("torch.")
        raise ExportError(
            f"output {name!r} of {source} is {dtype}",
            why="no session on any target gives arrays of that type",
            remedy="return torch.view_as_real(x)" if tensor.dtype.is_complex else "return x.float()",
        )
    try:
        return np.array(tensor.detach().resolve_conj().resolve_neg().numpy())
    except (TypeError, RuntimeError) as error:  # quantized, sparse and other layouts
        raise ExportError(
            f"output {name!r} of {source} is no plain array: {str(error).splitlines()[0]}",
            why="quantized, sparse and nested tensors have no NumPy form",
            remedy="return x.dequantize() or x.to_dense()",
        ) from error
