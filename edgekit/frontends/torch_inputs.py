"""What is declared, or what a module shows itself -> how ``forward`` is called, with arrays to call it with.

    recipe, --input                   -> names, types, shapes; arrays are random (see ``samples``)
    module.example_inputs()           -> the same, read off; arrays are the shown ones
    axis 0 of all shown tensors equal -> the batch, dynamic if the model allows it

What is declared goes before what is shown: a declared number is a promise and stays fixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from inspect import Parameter
from typing import Any

import numpy as np

from edgekit.errors import ExportError
from edgekit.frontends.explain import explain
from edgekit.frontends.request import SourceRequest
from edgekit.frontends.samples import sample
from edgekit.frontends.shapes import BATCH, with_dynamic
from edgekit.frontends.torch_arguments import Arguments, declared, shown
from edgekit.spec import Array, TensorSpec

SEED = 0  # of the arrays that the model is run on once; they do not reach the exported graph
TYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


@dataclass(frozen=True)
class Inputs:
    """The inputs of one export.

    Attributes:
        specs: names, types, shapes; a size that is text is dynamic.
        arguments: how they become the arguments of ``forward``.
        shown: arrays of the module's own ``example_inputs()``, by name; empty = arrays are drawn.
        guessed: axis 0 is dynamic because it looks like a batch, not because somebody said so.
        notes: what the user should know.
    """

    specs: tuple[TensorSpec, ...]
    arguments: Arguments
    shown: Mapping[str, Array] = field(default_factory=dict)
    guessed: bool = False
    notes: tuple[str, ...] = ()

    @property
    def has_batch(self) -> bool:
        """Whether axis 0 of some input is dynamic."""
        return any(spec.shape and not isinstance(spec.shape[0], int) for spec in self.specs)

    @property
    def free_axes(self) -> frozenset[str]:
        """Names of the dynamic axes that are not first ones."""
        return frozenset(dim for spec in self.specs for dim in spec.shape[1:] if isinstance(dim, str))

    def arrays(self, batch: int, free: int | None = None) -> dict[str, Array]:
        """One array per input; dynamic first axes are ``batch`` long, others ``free`` or as they come."""
        if not self.shown:
            sizes = {} if free is None else dict.fromkeys(self.free_axes, free)
            return sample(self.specs, batch=batch, rng=np.random.default_rng(SEED), sizes=sizes)
        arrays = {}
        for spec in self.specs:
            array = self.shown[spec.name]
            for axis, dim in enumerate(spec.shape):
                size = batch if axis == 0 else free
                if not isinstance(dim, int) and size is not None:
                    array = np.take(array, range(size), axis=axis, mode="wrap")
            arrays[spec.name] = array
        return arrays

    def sizes(self, arrays: Mapping[str, Array]) -> dict[str, int]:
        """How long each named axis is in ``arrays``."""
        return {
            dim: arrays[spec.name].shape[axis]
            for spec in self.specs
            for axis, dim in enumerate(spec.shape)
            if isinstance(dim, str)
        }

    def fixed(self, reason: str) -> Inputs:
        """The same with the guess taken back, and why."""
        shapes = {name: array.shape for name, array in self.shown.items()}
        specs = tuple(
            replace(spec, shape=(shapes[spec.name][0], *spec.shape[1:]))
            if spec.shape[:1] == (BATCH,)
            else spec
            for spec in self.specs
        )
        note = f"the batch stays fixed at {_first_size(self.shown)}: {reason}"
        return replace(self, specs=specs, guessed=False, notes=(*self.notes, note))


def inputs_of(module: Any, parameters: Mapping[str, Parameter], request: SourceRequest) -> Inputs:
    """The inputs that ``request`` declares, or else those that the module shows.

    Raises:
        ExportError: there are neither, ``example_inputs()`` fails, or an element type is not supported.
        UnknownNameError: a name fits no parameter.
        InputError: a dynamic axis does not exist.
    """
    example = getattr(module, "example_inputs", None)
    if not request.inputs and not callable(example):
        raise ExportError(
            f"{request.source} needs its inputs declared",
            why="a PyTorch module does not know the shapes that it is called with",
            remedy="--input image:float32:batchx3x224x224, `inputs` under [model] in the recipe, "
            "or a method example_inputs() that returns a tuple of tensors",
        )
    if request.inputs:
        specs = with_dynamic(request.inputs, request.dynamic, source=request.source)
        _require_types(specs, request.source)
        return Inputs(specs, _declared(specs, example, parameters))
    return _shown(_called(example, request.source), parameters, request)


def _declared(specs: tuple[TensorSpec, ...], example: Any, parameters: Mapping[str, Parameter]) -> Arguments:
    """By the rules of ``torch_arguments``, unless the module shows a nesting of the very same names."""
    names = [spec.name for spec in specs]
    if callable(example):
        arguments, _ = shown(_called(example, "the model"), parameters)
        if set(arguments.names) == set(names):
            return arguments
    return declared(names, parameters)


def _shown(example: Any, parameters: Mapping[str, Parameter], request: SourceRequest) -> Inputs:
    arguments, tensors = shown(example, parameters)
    specs = tuple(
        TensorSpec(
            name, str(tensors[name].dtype).removeprefix("torch."), tuple(map(int, tensors[name].shape))
        )
        for name in arguments.names
    )
    _require_types(specs, request.source)
    arrays = {
        name: np.array(each.detach().numpy() if hasattr(each, "detach") else each)
        for name, each in tensors.items()
    }
    specs = with_dynamic(specs, request.dynamic, source=request.source)
    inputs = Inputs(specs, arguments, shown=arrays)
    if any(0 in axes for axes in request.dynamic.values()):
        return inputs
    first = {spec.name: spec.shape[0] for spec in specs if spec.shape}
    if len(set(first.values())) > 1:
        sizes = ", ".join(f"{name} {size}" for name, size in first.items())
        note = f"no axis is taken as the batch: the inputs differ in their first size ({sizes})"
        return replace(inputs, notes=(note,))
    batched = tuple(replace(spec, shape=(BATCH, *spec.shape[1:])) if spec.shape else spec for spec in specs)
    return replace(inputs, specs=batched, guessed=bool(first))


def _called(example: Any, source: str) -> Any:
    try:
        return example()
    except Exception as error:  # the user's method may raise anything
        raise ExportError(
            f"example_inputs() of {source} raised: {explain(error)}",
            why="it shows what the module is called with",
            remedy="correct it, or declare the inputs with --input",
        ) from error


def _require_types(specs: tuple[TensorSpec, ...], source: str) -> None:
    for spec in specs:
        if spec.dtype not in TYPES:
            raise ExportError(
                f"input {spec.name!r} of {source} is {spec.dtype}",
                why=f"element types that NumPy, ONNX and PyTorch share: {', '.join(TYPES)}",
                remedy="convert it inside forward, for example from float32 with x.to(torch.bfloat16)",
            )


def _first_size(arrays: Mapping[str, Array]) -> int:
    return next((array.shape[0] for array in arrays.values() if array.shape), 1)
