"""torch module x smaller arrays for its parameters -> a smaller module of the same class, to be trained on.

    conv1.weight (16, 3, 3, 3) -> (8, 3, 3, 3): the tensor is replaced, and out_channels becomes 8

S1: parameters and buffers are found by the names that the exporter gives initializers; a matrix whose
    initializer has another name (a Linear's, transposed) by its numbers.
S2: numbers that a layer keeps about its shape follow (``_SIZES``). What ``forward`` itself writes down, as
    ``x.view(-1, 512)``, cannot follow: whoever calls this runs the result once.
S3: the module that is given is left alone; the new one is a copy, in the same mode.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.errors import InputError
from edgekit.frontends.extras import import_extra
from edgekit.ir.graph import constant
from edgekit.spec import Array

# Class -> (attribute, parameter, axis); a second input of a Conv counts inside its group
_SIZES: Mapping[str, tuple[tuple[str, str, int], ...]] = {
    "Linear": (("out_features", "weight", 0), ("in_features", "weight", 1)),
    "Conv1d": (("out_channels", "weight", 0), ("in_channels", "weight", 1)),
    "Conv2d": (("out_channels", "weight", 0), ("in_channels", "weight", 1)),
    "ConvTranspose1d": (("in_channels", "weight", 0), ("out_channels", "weight", 1)),
    "ConvTranspose2d": (("in_channels", "weight", 0), ("out_channels", "weight", 1)),
    "BatchNorm1d": (("num_features", "running_mean", 0),),
    "BatchNorm2d": (("num_features", "running_mean", 0),),
    "InstanceNorm1d": (("num_features", "weight", 0),),
    "InstanceNorm2d": (("num_features", "weight", 0),),
    "LayerNorm": (("normalized_shape", "weight", 0),),
    "RMSNorm": (("normalized_shape", "weight", 0),),
    "PReLU": (("num_parameters", "weight", 0),),
    "Embedding": (("num_embeddings", "weight", 0), ("embedding_dim", "weight", 1)),
}


@dataclass(frozen=True)
class Origin:
    """Where an initializer comes from.

    Attributes:
        name: of the parameter or buffer, as in ``state_dict``.
        turned: whether the initializer is its transpose.
    """

    name: str
    turned: bool = False


def origins(module: Any, model: ir.Model) -> dict[str, Origin]:
    """S1: initializer -> parameter or buffer of ``module``; those that are none of both are absent."""
    held = {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}
    found: dict[str, Origin] = {}
    for name, value in model.graph.initializers.items():
        array = constant(value)
        if array is not None and name in held and np.array_equal(held[name], array):
            found[name] = Origin(name)
    left = {
        name: array for name, array in held.items() if array.ndim == 2 and Origin(name) not in found.values()
    }
    for name, value in model.graph.initializers.items():
        array = constant(value)
        if name in found or array is None or array.ndim != 2:
            continue
        fits = [
            Origin(other, turned)
            for other, matrix in left.items()
            for turned, form in ((False, matrix), (True, matrix.T))
            if form.shape == array.shape and np.array_equal(form, array)
        ]
        if len({each.name for each in fits}) == 1:
            found[name] = fits[0]
    return found


def shrunk(
    module: Any, arrays: Mapping[str, Array], *, biases: Mapping[str, Array], groups: Mapping[str, int]
) -> Any:
    """A copy of ``module`` with other parameters (S2, S3).

    Args:
        module: torch.nn.Module.
        arrays: new values of parameters and buffers by their names.
        biases: new biases of layers that have none, by the name of the layer's weight.
        groups: of convolutions, by the name of their weight.

    Raises:
        InputError: a layer of a class whose sizes are not known gets another shape.
    """
    torch = import_extra("torch", needed_for="pruning a PyTorch module")
    made = copy.deepcopy(module)
    for name, array in arrays.items():
        owner, leaf = _owner(made, name)
        old = getattr(owner, leaf)
        new = torch.from_numpy(np.array(array)).to(dtype=old.dtype, device=old.device)
        if new.shape != old.shape and type(owner).__name__ not in _SIZES:
            raise InputError(
                f"{name} belongs to a {type(owner).__name__}, whose sizes edgekit does not know",
                why="a layer keeps numbers about its shape that have to follow",
                remedy="prune the exported model instead: `edgekit prune model.onnx ...`",
            )
        if isinstance(old, torch.nn.Parameter):
            setattr(owner, leaf, torch.nn.Parameter(new, requires_grad=old.requires_grad))
        else:
            owner.register_buffer(leaf, new)
    for name, array in biases.items():
        owner, _ = _owner(made, name)
        weight = owner.weight
        new = torch.from_numpy(np.array(array)).to(dtype=weight.dtype, device=weight.device)
        owner.bias = torch.nn.Parameter(new, requires_grad=weight.requires_grad)
    for name, count in groups.items():
        _owner(made, name)[0].groups = count
    for layer in made.modules():
        _follow(layer)
    return made


def _owner(module: Any, name: str) -> tuple[Any, str]:
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf


def _follow(layer: Any) -> None:
    """S2."""
    for attribute, parameter, axis in _SIZES.get(type(layer).__name__, ()):
        tensor = getattr(layer, parameter, None)
        if tensor is None:
            continue
        inside = axis == 1 and hasattr(layer, "groups")
        size = int(tensor.shape[axis]) * (layer.groups if inside else 1)
        setattr(layer, attribute, tuple(tensor.shape) if attribute == "normalized_shape" else size)
