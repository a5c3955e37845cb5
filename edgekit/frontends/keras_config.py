"""Config of a Keras 2 model -> the same model as Keras 3 reads it, or a refusal with the layer's name.

    {"class_name": "DepthwiseConv2D", "config": {"groups": 1, ...}}  ->  {... without "groups"}

Keras 2 wrote arguments into its files that Keras 3 does not take, and two that Keras 3 takes for something
else without a word. Only files that Keras 1 or 2 wrote are adapted:

K1 an argument that Keras 3 lacks goes if it has the value that says nothing; another value is refused
K2 ``hard_sigmoid`` was clip(0.2 x + 0.5, 0, 1) and is relu6(x + 3) / 6 now: it gets a name of its own
K3 ``axis`` with several axes: Keras 3's reader of HDF5 drops it; such a layer is marked for the other reader
K4 a call of a nested model counts from 1 in Keras 2, and from 0 in Keras 3
K5 a slash in the name of a layer, which Keras 3 refuses, becomes an underscore
K6 modules and shapes of a ``.keras`` file of Keras 2.12 to 2.15 get the names that they have now
K7 a call with tensors among its named arguments is written as Keras 3 writes calls

Source: keras/src/legacy/saving (Keras 3.15) against the files that tf_keras 2.21 writes for each layer;
tf_keras/src/backend.py and keras/src/activations/activations.py (hard_sigmoid); tf_keras/src/engine/
functional.py (_should_skip_first_node) against keras/src/models/functional.py (functional_from_config).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from edgekit.errors import ModelFileError
from edgekit.frontends import keras_tf_functions

HARD_SIGMOID = "keras2_hard_sigmoid"  # the name under which K2 is registered while a model is read
_REFERENCE = 3  # layer, call, output

_DEPTHWISE = frozenset({"DepthwiseConv1D", "DepthwiseConv2D"})
_SEPARABLE = frozenset({"SeparableConv1D", "SeparableConv2D"})
_TRANSPOSED = frozenset({"Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"})
_RECURRENT = frozenset({"RNN", "LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"})
_SPATIAL_DROPOUT = frozenset({"SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"})
_ATTENTION = frozenset({"MultiHeadAttention"})
_MODELS = frozenset({"Functional", "Model", "Sequential"})
_ACTIVATIONS = frozenset({"activation", "recurrent_activation"})

ANYTHING: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Dropped:
    """K1: arguments of Keras 2 that go.

    Attributes:
        layers: class names.
        keys: the arguments.
        values: those that may go; ``ANYTHING`` where the argument only matters in training.
    """

    layers: frozenset[str]
    keys: tuple[str, ...]
    values: tuple[Any, ...] = ANYTHING


DROPPED: tuple[Dropped, ...] = (
    # Keras 2 layers inherit these from Conv; Keras 3 ones do not.
    Dropped(_DEPTHWISE | _SEPARABLE | _TRANSPOSED, ("groups",), (1,)),
    Dropped(_DEPTHWISE | _SEPARABLE, ("kernel_initializer", "kernel_regularizer", "kernel_constraint")),
    Dropped(_RECURRENT, ("time_major",), (False,)),
    Dropped(_SPATIAL_DROPOUT, ("trainable", "noise_shape")),
    Dropped(_ATTENTION, ("query_shape", "key_shape", "value_shape")),  # found again when it is called
    Dropped(_ATTENTION, ("softmax_robust_masking",), (False, None)),
    Dropped(frozenset({"Attention"}), ("score_mode",), ("dot",)),  # read as the function of that name
    Dropped(frozenset({"Embedding"}), ("input_length",)),
    Dropped(frozenset({"InputLayer"}), ("ragged",), (False, None)),
    Dropped(frozenset({"InputLayer"}), ("optional",), (False,)),
)


def adapted(config: dict[str, Any], *, name: str, archive: bool) -> dict[str, Any]:
    """A copy of ``config``, rules K1 to K7 applied.

    Args:
        config: of the whole model: ``class_name`` and ``config``.
        name: how messages call the file.
        archive: it comes from a ``.keras`` file, not from HDF5.

    Raises:
        ModelFileError: a layer uses an argument that Keras 3 has no counterpart for.
    """
    result = copy.deepcopy(config)
    for layer in _objects(result):
        if layer["class_name"] in keras_tf_functions.CLASSES:
            keras_tf_functions.refuse_unknown(layer["config"], name=name)
            layer["class_name"] = keras_tf_functions.LAYER
            if archive:
                layer.update(module=None, registered_name=keras_tf_functions.LAYER)
        _drop(layer, name)
        _rename_hard_sigmoid(layer["config"], archive=archive)
        if archive:
            _today(layer)
        else:
            _mark_several_axes(layer)
    for model in _objects(result):
        if model["class_name"] in _MODELS and isinstance(model["config"].get("layers"), list):
            _count_calls_from_zero(model["config"])
            _rename_layers(model["config"])
            for layer in model["config"]["layers"]:
                _write_calls_as_today(layer)
    return result


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every dict below ``config`` that stands for an object: layers, models, cells, initializers."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str) and isinstance(config.get("config"), dict):
            yield config
        for value in config.values():
            yield from _objects(value)
    elif isinstance(config, list):
        for value in config:
            yield from _objects(value)


def _drop(layer: dict[str, Any], name: str) -> None:
    config = layer["config"]
    for rule in DROPPED:
        if layer["class_name"] not in rule.layers:
            continue
        for key in rule.keys:
            if key not in config:
                continue
            if rule.values and config[key] not in rule.values:
                subject = f"layer {config.get('name')!r} ({layer['class_name']}) of {name}"
                raise ModelFileError(
                    f"{subject} has {key}={config[key]!r}",
                    why=f"Keras 2 wrote the file, and the layer has no argument {key!r} in Keras 3",
                    remedy="load it with Keras 2 (tf_keras) and save it with model.export(folder)",
                )
            del config[key]


def _rename_hard_sigmoid(config: dict[str, Any], *, archive: bool) -> None:
    named = {"module": None, "class_name": "function", "config": HARD_SIGMOID, "registered_name": "function"}
    for key in _ACTIVATIONS & config.keys():
        found = config[key]
        if isinstance(found, dict):
            found = found.get("config")
        if found == "hard_sigmoid":
            config[key] = named if archive else HARD_SIGMOID


def _mark_several_axes(layer: dict[str, Any]) -> None:
    axis = layer["config"].get("axis")
    if isinstance(axis, list) and len(axis) > 1:  # one axis in a list is read as that axis
        layer.update(module="keras.layers", registered_name=None)


def _today(layer: dict[str, Any]) -> None:
    """K6. A layer keeps the shape that its first call had in ``build_config``, so it is not lost."""
    module = layer.get("module")
    if isinstance(module, str) and module.partition(".")[0] in ("keras", "tf_keras"):
        if layer["class_name"] in _MODELS:
            functional = layer["class_name"] == "Functional"
            layer.update(module="keras.src.models.functional" if functional else "keras")
            layer["registered_name"] = "Functional" if functional else None  # as Keras 3 writes them itself
        elif not module.startswith("keras.src"):
            layer["module"] = "keras" + module[len(module.partition(".")[0]) :]
    if layer["class_name"] in _ATTENTION:
        layer.pop("build_config", None)  # it has one of the three shapes; the first call has all
    axis = layer["config"].get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        layer["config"]["axis"] = axis[0]
    shape = layer["config"].pop("batch_input_shape", None)
    if shape is not None and layer["class_name"] == "InputLayer":
        layer["config"]["batch_shape"] = shape


def _count_calls_from_zero(config: dict[str, Any]) -> None:
    """K4. Keras 3 counts outputs of nested functional models itself, those of Sequential ones it does not."""
    nested = {
        layer["name"]: layer["class_name"]
        for layer in config["layers"]
        if isinstance(layer, dict) and layer.get("class_name") in _MODELS and "name" in layer
    }
    references = [(leaf, True) for layer in config["layers"] for leaf in _leaves(layer.get("inbound_nodes"))]
    references += [(leaf, False) for leaf in _leaves(config.get("output_layers"))]
    for name, kind in nested.items():
        mine = [(leaf, inside) for leaf, inside in references if leaf[0] == name]
        if any(leaf[1] < 1 for leaf, _ in mine):
            continue  # a Sequential that was built by its first call counts from 0 in Keras 2 too
        for leaf, inside in mine:
            if inside or kind == "Sequential":
                leaf[1] -= 1


def _rename_layers(config: dict[str, Any]) -> None:
    taken = {layer["config"].get("name") for layer in config["layers"]}
    new: dict[str, str] = {}
    for layer in config["layers"]:
        old = layer["config"].get("name")
        if isinstance(old, str) and "/" in old:
            free = _free(old.replace("/", "_"), lambda name: name in taken)
            taken.add(free)
            new[old] = free
            layer["config"]["name"] = free
            if "name" in layer:
                layer["name"] = free
    for part in (config.get("input_layers"), config.get("output_layers")):
        _rename_leaves(part, new)
    for layer in config["layers"]:
        _rename_leaves(layer.get("inbound_nodes"), new)


def _free(name: str, taken: Callable[[str], bool]) -> str:
    while taken(name):
        name += "_"
    return name


def _rename_leaves(part: Any, new: dict[str, str]) -> None:
    for leaf in _leaves(part):
        leaf[0] = new.get(leaf[0], leaf[0])


def _write_calls_as_today(layer: dict[str, Any]) -> None:
    """K7: ``[["x", 0, 0, {"value": ["y", 0, 0]}]]`` -> ``{"args": [x], "kwargs": {"value": y}}``."""
    nodes = layer.get("inbound_nodes")
    if not isinstance(nodes, list):
        return
    for index, node in enumerate(nodes):
        if not isinstance(node, list) or not node:
            continue
        flat = isinstance(node[0], str)  # one tensor, not in a list of its own
        inputs = [node] if flat else node
        arguments = inputs[-1][_REFERENCE] if len(inputs[-1]) > _REFERENCE else {}
        if flat or any(_leaves(arguments)):
            tensors = [_tensor(item) for item in inputs]
            nodes[index] = {
                "args": [tensors[0] if len(tensors) == 1 else tensors],
                "kwargs": {key: _argument(value) for key, value in arguments.items() if key != "name"},
            }


def _argument(value: Any) -> Any:
    if isinstance(value, list):
        return _tensor(value) if any(leaf is value for leaf in _leaves(value)) else [*map(_argument, value)]
    return value


def _tensor(reference: list[Any]) -> dict[str, Any]:
    """As keras/src/saving/serialization_lib.py writes one; shape and type are found by its history."""
    config = {"shape": [], "dtype": "float32", "keras_history": reference[:_REFERENCE]}
    return {"class_name": "__keras_tensor__", "config": config}


def _leaves(part: Any) -> Iterator[list[Any]]:
    """Every ``[layer, call, output, ...]`` below ``part``."""
    if isinstance(part, dict):
        for value in part.values():
            yield from _leaves(value)
    elif isinstance(part, list):
        if len(part) >= _REFERENCE and isinstance(part[0], str) and isinstance(part[1], int):
            yield part
            part = part[_REFERENCE:]  # arguments that are tensors themselves
        for value in part:
            yield from _leaves(value)
