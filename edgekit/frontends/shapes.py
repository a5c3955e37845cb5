"""What a source says of its inputs x what the user asks -> the inputs that are exported.

    known (from the source) + wanted (recipe or flags) + dynamic --agree--> TensorSpecs
    Model + TensorSpecs --set_input_shapes--> Model

Cases of one axis: A1 both fixed and equal, or both dynamic: kept, under the wanted name. A2 dynamic in the
source, fixed by the user: fixed. A3 fixed in the source and something else asked: refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import onnx_ir as ir

from edgekit.errors import ExportError, InputError, UnknownNameError
from edgekit.spec import Dim, TensorSpec

BATCH = "batch"
_NAME = re.compile(r"[A-Za-z_]\w*")


def agree(
    known: tuple[TensorSpec, ...], wanted: tuple[TensorSpec, ...], *, source: str, rename: bool
) -> tuple[TensorSpec, ...]:
    """``known`` narrowed to ``wanted``, in the order of ``known``; names are the wanted ones.

    Args:
        known: inputs as the source declares them.
        wanted: inputs as the user declares them; empty = as the source has them.
        source: how messages call the source.
        rename: match by position where no name fits (framework inputs often have generated names).

    Raises:
        UnknownNameError: a wanted input is not one of the source's.
        ExportError: another number of inputs, another element type, rank or fixed size.
    """
    if not wanted:
        return known
    if len(wanted) != len(known):
        raise ExportError(
            f"{source} has {len(known)} inputs ({_list(known)}), and {len(wanted)} are declared "
            f"({_list(wanted)})",
            why="every input is declared, or none",
            remedy="declare the inputs as the source has them, or remove the declaration",
        )
    names = {spec.name for spec in known}
    fitting = [spec for spec in wanted if spec.name in names]
    if len(fitting) < len(wanted) and (fitting or not rename):
        stranger = next(spec.name for spec in wanted if spec.name not in names)
        raise UnknownNameError(f"input of {source}", stranger, names, listing=f"edgekit inspect {source}")
    by_name = {spec.name: spec for spec in wanted} if fitting else {}
    pairs = [(have, by_name.get(have.name, wanted[index])) for index, have in enumerate(known)]
    return tuple(_narrowed(have, want, source) for have, want in pairs)


def with_dynamic(
    specs: tuple[TensorSpec, ...], dynamic: Mapping[str, Mapping[int, str]], *, source: str
) -> tuple[TensorSpec, ...]:
    """``specs`` with the named axes dynamic.

    Raises:
        UnknownNameError: no such input.
        InputError: no such axis, or a name that is no identifier.
    """
    names = [spec.name for spec in specs]
    for name in dynamic:
        if name not in names:
            raise UnknownNameError(f"input of {source}", name, names, listing=f"edgekit inspect {source}")
    result = []
    for spec in specs:
        shape = list(spec.shape)
        for axis, name in dynamic.get(spec.name, {}).items():
            if not 0 <= axis < len(shape):
                raise InputError(
                    f"input {spec.name!r} has {len(shape)} axes, and axis {axis} is to be dynamic",
                    why="axes count from 0",
                    remedy=f"--dynamic {spec.name}:0=batch makes the first one dynamic",
                )
            shape[axis] = name
        result.append(TensorSpec(spec.name, spec.dtype, _named(spec.name, tuple(shape))))
    return tuple(result)


def set_input_shapes(model: ir.Model, specs: tuple[TensorSpec, ...]) -> ir.Model:
    """A clone of ``model`` whose inputs have the shapes of ``specs``, with every shape that follows by name.

    Sizes that were named (``s40``) and are now fixed or called otherwise change in all values of the graph.
    """
    model = model.clone()
    wanted = {spec.name: spec for spec in specs}
    renamed: dict[str, int | str] = {}
    for value in model.graph.inputs:
        spec = wanted.get(value.name or "")
        if spec is None or value.shape is None:
            continue
        for old, new in zip(value.shape, spec.shape, strict=True):
            if isinstance(old, ir.SymbolicDim) and old.value is not None and new is not None:
                renamed[old.value] = new
        value.shape = ir.Shape(spec.shape)
    for graph in model.graphs():
        for value in (*graph.inputs, *(out for node in graph for out in node.outputs)):
            if value.shape is not None:
                value.shape = ir.Shape([_renamed(dim, renamed) for dim in value.shape])
    return model


def _renamed(dim: int | ir.SymbolicDim, renamed: Mapping[str, int | str]) -> int | str | None:
    if isinstance(dim, int) or dim.value is None:
        return dim if isinstance(dim, int) else None
    if dim.value in renamed:
        return renamed[dim.value]
    # An expression, such as 2*s40: with other names it stays one, with numbers in it inference finds it anew.
    parts = {part: renamed[part] for part in _NAME.findall(dim.value) if part in renamed}
    if any(isinstance(new, int) for new in parts.values()):
        return None
    return _NAME.sub(lambda match: str(parts.get(match[0], match[0])), dim.value)


def _narrowed(have: TensorSpec, want: TensorSpec, source: str) -> TensorSpec:
    if have.dtype != want.dtype:
        raise ExportError(
            f"input {want.name!r} of {source} is {have.dtype}, and {want.dtype} is declared",
            why="an export never converts element types silently",
            remedy=f"declare {want.name}:{have.dtype}, or change the model",
        )
    if len(have.shape) != len(want.shape) or not all(
        _compatible(h, w) for h, w in zip(have.shape, want.shape, strict=True)
    ):
        raise ExportError(
            f"input {want.name!r} of {source} is {have}, and {want} is declared",
            why="a size that is fixed in the source stays as it is",
            remedy=f"declare --input {have}, or change the model",
        )
    shape = tuple(h if w is None else w for h, w in zip(have.shape, want.shape, strict=True))
    return TensorSpec(want.name, have.dtype, shape)


def _compatible(have: Dim, want: Dim) -> bool:
    return want is None or not isinstance(have, int) or have == want


def _named(name: str, shape: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """``shape`` with a name for every dynamic axis."""
    for dim in shape:
        if isinstance(dim, str) and not dim.isidentifier():
            raise InputError(
                f"dynamic axis {dim!r} of input {name!r} has a name that is no identifier",
                why="the name becomes a symbol in the exported graph",
                remedy="use letters, digits and underscores, for example 'batch'",
            )
    return tuple(
        dim if dim is not None else (BATCH if axis == 0 else f"{name}_{axis}")
        for axis, dim in enumerate(shape)
    )


def _list(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(map(str, specs))
