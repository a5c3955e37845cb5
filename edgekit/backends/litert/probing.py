"""Model with named sizes -> what its values are, found by computing them for three choices of these sizes.

    batch = 3: (3, 48)    batch = 5: (5, 48)    =>  ("batch", 48)
    batch = 3: (12, 40)   batch = 5: (20, 40)   =>  ("4*batch", 40)

Exporters compute shapes, masks and index grids from Shape(x). With the sizes fixed, constant folding computes
them all; what comes out the same for every choice does not depend on the sizes, and what repeats itself along
a named axis is one row of it. The third choice is 1 for all: a size of 1 is what graphs make exceptions for.

K1 the same array every time: a constant
K2 equal along every named axis, and the rows equal every time: a constant that is spread along those axes
K3 anything else that is known every time: kept for rules that recognise an index grid (``units``)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgekit.backends.litert.close_bodies import DOMAIN
from edgekit.backends.litert.tensors import UNKNOWN_RANK, Shape
from edgekit.ir.infer import infer_shapes
from edgekit.ir.quiet import quiet
from edgekit.passes.fold_constants import FoldConstants
from edgekit.spec import Array

# Pairwise different primes that are rare as sizes: a product or a sum names where it comes from.
CHOICES = ((3, 5, 7, 11, 13), (17, 19, 23, 29, 31), (1, 1, 1, 1, 1))
ROUNDS = 4  # folding and inference feed each other; the reference models settle within two
LARGEST_ELEMENTS = 2**20  # of one array that is computed
SHAPE_OPERATORS = frozenset({"Shape", "Size", "Range", "ConstantOfShape", "Expand"})

Sizes = dict[str, int]


@dataclass(frozen=True)
class Spread:
    """K2: ``data`` has size 1 where ``shape`` names a size."""

    data: Array
    shape: Shape


@dataclass(frozen=True)
class Probed:
    """What was found out; empty where nothing is dynamic.

    Attributes:
        shapes: value name -> sizes, for every value seen.
        constants: K1.
        spreads: K2.
        known: K3, one array for each of the first two choices.
    """

    shapes: dict[str, Shape] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    spreads: dict[str, Spread] = field(default_factory=dict)
    known: dict[str, tuple[Array, Array]] = field(default_factory=dict)


def probe(model: ir.Model) -> Probed:
    """Compute ``model``'s shapes and shape arithmetic; it is not changed."""
    names = list(dict.fromkeys(dim for value in model.graph.inputs for dim in _symbols(value)))
    if not names or len(names) > len(CHOICES[0]) or not _is_worth_it(model, set(names)):
        return Probed()
    sizes = [dict(zip(names, choice, strict=False)) for choice in CHOICES]
    made = [_with_sizes(model, each) for each in sizes]
    shapes = [_shapes(each) for each in made]
    found = Probed()
    for name in shapes[0]:
        if all(name in each for each in shapes):
            shape = _named([each[name] for each in shapes], sizes)
            if shape is not None:
                found.shapes[name] = shape
    own = set(model.graph.initializers)
    computed = [{k: v for k, v in _constants(each).items() if k not in own} for each in made]
    for name in computed[0]:
        if all(name in each for each in computed):
            _classify(name, [each[name] for each in computed], found)
    return found


def _symbols(value: ir.Value) -> list[str]:
    shape = value.shape
    return [] if shape is None else [d.value for d in shape if not isinstance(d, int) and d.value is not None]


def _is_worth_it(model: ir.Model, names: set[str]) -> bool:
    """Whether there is shape arithmetic, or a size that inference left open."""
    if any(node.op_type in SHAPE_OPERATORS for node in model.graph):
        return True
    shapes = [value.shape for node in model.graph for value in node.outputs if value.name]
    return any(
        shape is None or any(not isinstance(dim, int) and dim.value not in names for dim in shape)
        for shape in shapes
    )


def _with_sizes(model: ir.Model, sizes: Sizes) -> ir.Model:
    """A clone with fixed sizes, shapes inferred anew and folded."""
    clone = model.clone()
    for value in clone.graph.inputs:
        if value.shape is not None:
            value.shape = ir.Shape(
                [d if isinstance(d, int) else sizes.get(d.value or "") for d in value.shape]
            )
    for node in clone.graph:
        for value in node.outputs:
            value.shape = _sized(value.shape, sizes) if node.domain == DOMAIN else None
    fold = FoldConstants(largest_output=LARGEST_ELEMENTS)
    count = -1
    for _ in range(ROUNDS):
        clone = infer_shapes(clone)
        with quiet():
            clone = fold.apply(clone)
        if len(clone.graph) == count:
            break
        count = len(clone.graph)
    return infer_shapes(clone)


def _sized(shape: ir.Shape | None, sizes: Sizes) -> ir.Shape | None:
    """What ``close_bodies`` found, which onnx cannot."""
    if shape is None:
        return None
    return ir.Shape([dim if isinstance(dim, int) else sizes.get(dim.value or "") for dim in shape])


def _shapes(model: ir.Model) -> dict[str, tuple[int, ...]]:
    """Value name -> sizes, where all are numbers."""
    found: dict[str, tuple[int, ...]] = {}
    values = [value for node in model.graph for value in node.outputs]
    for value in (*values, *model.graph.initializers.values()):
        sizes = [] if value.shape is None else [dim for dim in value.shape if isinstance(dim, int)]
        if value.name and value.shape is not None and len(sizes) == len(value.shape):
            found[value.name] = tuple(sizes)
    return found


def _named(shapes: list[tuple[int, ...]], sizes: list[Sizes]) -> Shape | None:
    if len({len(shape) for shape in shapes}) != 1:
        return None
    return tuple(_name(list(each), sizes) for each in zip(*shapes, strict=True))


def _name(found: list[int], sizes: list[Sizes]) -> int | str:
    """A size that is ``found`` with each of the choices."""
    first = found[0]
    if all(each == first for each in found):
        return first
    for name in sizes[0]:
        factor, rest = divmod(first, sizes[0][name])
        if not rest and all(factor * size[name] == each for size, each in zip(sizes, found, strict=True)):
            return name if factor == 1 else f"{factor}*{name}"
    return "size " + " or ".join(map(str, found))


def _constants(model: ir.Model) -> dict[str, Array]:
    return {
        name: value.const_value.numpy()
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }


def _classify(name: str, arrays: list[Array], found: Probed) -> None:
    first, second, _ = arrays
    if len({(array.dtype, array.ndim) for array in arrays}) != 1:
        return
    if all(np.array_equal(array, first) for array in arrays):
        found.constants[name] = first  # K1
        return
    found.known[name] = (first, second)  # K3
    shape = found.shapes.get(name, UNKNOWN_RANK)
    if shape == UNKNOWN_RANK:
        return
    rows = [_one_row(array, shape) for array in arrays]
    row = rows[0]
    if row is not None and all(other is not None and np.array_equal(row, other) for other in rows):
        found.spreads[name] = Spread(row, shape)  # K2


def _one_row(array: Array, shape: Shape) -> Array | None:
    """``array`` with size 1 along the named axes; None where it differs along them."""
    row = array
    for axis, dim in enumerate(shape):
        if not isinstance(dim, int):
            row = row.take([0], axis=axis)
    return row if np.array_equal(np.broadcast_to(row, array.shape), array) else None
