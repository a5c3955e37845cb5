"""Calls of TensorFlow functions in a Keras 2 model (TFOpLambda, SlicingOpLambda) -> a layer of Keras 3.

    {"function": "math.multiply"}, x, y=2.0  ->  tf.math.multiply(x, y=2.0)

Keras 2 wrote ``x * 2`` into a file as the function's name. Keras 3 has no such layer, because a name out of
a file would choose what is called; so only pure functions of the table are, each by its public name.

Source: tf_keras/src/layers/core/tf_op_layer.py (TFOpLambda, SlicingOpLambda).
"""

from __future__ import annotations

from typing import Any

from edgekit.errors import ModelFileError
from edgekit.frontends.extras import import_extra

CLASSES = frozenset({"TFOpLambda", "SlicingOpLambda"})  # as Keras 2 calls them
LAYER = "Keras2Function"  # the name under which ``layer_class`` is registered while a model is read
SLICE = "__operators__.getitem"
_OPERATORS = {"__operators__.add": "math.add"}
FUNCTIONS = frozenset(
    {
        *("math.add", "math.subtract", "math.multiply", "math.divide", "math.truediv", "math.divide_no_nan"),
        *("math.maximum", "math.minimum", "math.pow", "math.negative", "math.abs", "math.square"),
        *("math.sqrt", "math.rsqrt", "math.exp", "math.log", "math.sigmoid", "math.tanh", "math.softplus"),
        *("math.reduce_sum", "math.reduce_mean", "math.reduce_max", "math.reduce_min", "math.reduce_prod"),
        *("math.l2_normalize", "math.argmax", "linalg.matmul", "nn.relu", "nn.relu6", "nn.leaky_relu"),
        *(
            "nn.elu",
            "nn.selu",
            "nn.silu",
            "nn.gelu",
            "nn.softmax",
            "nn.sigmoid",
            "nn.tanh",
            "nn.l2_normalize",
        ),
        *("clip_by_value", "reshape", "transpose", "expand_dims", "squeeze", "concat", "identity", "cast"),
    }
)


def refuse_unknown(config: dict[str, Any], *, name: str) -> None:
    """Nothing, if the function is one of the table.

    Raises:
        ModelFileError: it is not.
    """
    function = config.get("function")
    if function not in FUNCTIONS and function not in _OPERATORS and function != SLICE:
        raise ModelFileError(
            f"layer {config.get('name')!r} of {name} calls the TensorFlow function {function!r}",
            why="Keras 3 calls no function that a file names, and edgekit only pure ones that it knows",
            remedy="load it with Keras 2 (tf_keras) and save it with model.export(folder)",
        )


def layer_class() -> Any:
    """The layer that makes such a call; made when it is needed, because Keras is."""
    keras = import_extra("keras", needed_for="a model of Keras 2")
    tensorflow = import_extra("tensorflow", needed_for="a model of Keras 2")

    base: Any = keras.layers.Layer

    class Keras2Function(base):  # type: ignore[misc]  # Keras is not typed here
        """One call of one function of the table."""

        def __init__(self, function: str, **arguments: Any) -> None:
            super().__init__(**arguments)
            self.function = function

        def call(self, *tensors: Any, **arguments: Any) -> Any:
            """What the function gives."""
            if self.function == SLICE:
                return tensors[0][tuple(map(_index, arguments["slice_spec"]))]
            found = tensorflow
            for part in _OPERATORS.get(self.function, self.function).split("."):
                found = getattr(found, part)
            return found(*tensors, **arguments)

    return Keras2Function


def _index(item: Any) -> Any:
    """A slice out of its parts; numbers stand for themselves."""
    if isinstance(item, dict):
        return slice(item.get("start"), item.get("stop"), item.get("step"))
    return item
