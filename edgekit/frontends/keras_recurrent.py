"""LSTM, GRU and SimpleRNN of Keras -> one ONNX operator each, while a model is traced.

    layer(x) --trace--> one stand-in operation of TensorFlow --tf2onnx, our handler--> LSTM, GRU or RNN

TensorFlow traces a recurrent layer as a while loop. tf2onnx recognizes the loop of an LSTM with the usual
activations; that of a GRU of Keras 3 becomes a Loop, which no runtime has a kernel for. So the loop is never
traced: the layer puts an operation of TensorFlow in its place that nothing else uses (CudnnRNNV3; it is never
run) and whose seed says which layer it was.

Gate order (columns of Keras kernels -> rows of ONNX W and R):  LSTM i f c o -> i o f c;  GRU z r h = z r h;
bias: LSTM (4n) input side, GRU with reset_after (2, 3n) both sides, without (3n) input side.

    Keras  h' = z h + (1 - z) g(...)  is ONNX  H = (1 - z) g(...) + z H;  reset_after is linear_before_reset

R1 masks, dropout of states, other cells, activations without an ONNX name: left to TensorFlow, as before
R2 ``go_backwards`` is direction "reverse" and a reversal of what comes out; Bidirectional undoes that one,
   and neither is written · R3 states that start at zero are not written · R4 ``stateful`` is refused: the
   state would be a constant

Source: onnx Operators.md (LSTM-14, GRU-14, RNN-14); keras/src/layers/rnn/{rnn,lstm,gru,simple_rnn}.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt

from edgekit.errors import ExportError
from edgekit.frontends.extras import import_extra
from edgekit.frontends.keras_tf_operators import Handlers

STAND_IN = "CudnnRNNV3"
_OPERATORS = {"LSTMCell": "LSTM", "GRUCell": "GRU", "SimpleRNNCell": "RNN"}
_LSTM_ORDER = (0, 3, 1, 2)  # i f c o -> i o f c

# ONNX name, alpha, beta of an activation (None: the operator has none). hard_sigmoid: keras/src/activations.
_ACTIVATIONS: dict[str, tuple[str, float | None, float | None]] = {
    "tanh": ("Tanh", None, None),
    "sigmoid": ("Sigmoid", None, None),
    "relu": ("Relu", None, None),
    "softsign": ("Softsign", None, None),
    "softplus": ("Softplus", None, None),
    "hard_sigmoid": ("HardSigmoid", 1 / 6, 0.5),
    "keras2_hard_sigmoid": ("HardSigmoid", 0.2, 0.5),
    "linear": ("Affine", 1.0, 0.0),
}

Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Recurrence:
    """One traced call, as ONNX wants it; n units, d features.

    Attributes:
        operator: "LSTM", "GRU" or "RNN".
        w: (1, gates * n, d).
        r: (1, gates * n, n).
        b: (1, 2 * gates * n): input side, then state side.
        attributes: of the ONNX node.
        zero_state: the state starts at zero.
    """

    operator: str
    w: Float
    r: Float
    b: Float
    attributes: dict[str, Any]
    zero_state: bool


@contextlib.contextmanager
def single_operators() -> Iterator[Handlers]:
    """Within: recurrent layers are traced as stand-ins; gives the handlers of tf2onnx for them."""
    keras = import_extra("keras", needed_for="a Keras source")
    tensorflow = import_extra("tensorflow", needed_for="a Keras source")
    found: list[_Recurrence] = []
    reversed_outputs: dict[Any, Any] = {}
    flip = keras.ops.flip

    def patched(original: Callable[..., Any]) -> Callable[..., Any]:
        def inner_loop(layer: Any, sequences: Any, initial_state: Any, mask: Any, **others: Any) -> Any:
            states = list(keras.tree.flatten(initial_state))
            made = _recurrence(tensorflow, layer, states)
            if made is None or any(part is not None for part in keras.tree.flatten(mask)):
                return original(layer, sequences, initial_state, mask, **others)
            found.append(made)
            last, outputs, new = _stand_in(tensorflow, sequences, states, len(found) - 1)
            if layer.go_backwards:
                flipped = tensorflow.reverse(outputs, [1])
                reversed_outputs[flipped.ref()] = outputs
                outputs = flipped
            return last, outputs, new[: len(states)]

        return inner_loop

    def flipped_back(x: Any, axis: Any = None) -> Any:
        known = reversed_outputs.get(x.ref()) if axis == 1 and tensorflow.is_tensor(x) else None
        return flip(x, axis) if known is None else known

    with contextlib.ExitStack() as stack:
        for kind in (keras.layers.RNN, keras.layers.LSTM, keras.layers.GRU):
            loop = kind.__dict__["inner_loop"]
            stack.enter_context(mock.patch.object(kind, "inner_loop", patched(loop)))
        bidirectional = vars(import_extra("keras.src.layers.rnn.bidirectional", needed_for="a Keras source"))
        stack.enter_context(mock.patch.object(bidirectional["ops"], "flip", flipped_back))
        yield {STAND_IN: (lambda graph, node, *_: _write(graph, node, found), [])}


def refuse_stateful(model: Any, source: str) -> None:
    """R4.

    Raises:
        ExportError: a layer keeps its state between calls.
    """
    # Keras has no public walk through nested layers.
    for layer in model._flatten_layers() if hasattr(model, "_flatten_layers") else ():
        if getattr(layer, "stateful", False) and hasattr(layer, "cell"):
            raise ExportError(
                f"layer {layer.name!r} of {source} is stateful: it keeps its state between calls",
                why="an exported graph has no memory, and would start from the same state every time",
                remedy="make the state an input (initial_state=...) and an output (return_state=True)",
            )


def _recurrence(tensorflow: Any, layer: Any, states: list[Any]) -> _Recurrence | None:
    """What the call of ``layer`` computes, or None in case R1."""
    cell = layer.cell
    operator = _OPERATORS.get(type(cell).__name__)
    if (
        operator is None
        or not type(cell).__module__.startswith("keras.src.")
        or layer.compute_dtype != "float32"
    ):
        return None
    names = [getattr(cell, key, None) for key in ("recurrent_activation", "activation")]
    activations = [_ACTIVATIONS.get(getattr(found, "__name__", "").lstrip("_")) for found in names if found]
    if None in activations or len(activations) != (1 if operator == "RNN" else 2):
        return None
    used = [found for found in activations if found is not None]
    used += used[1:] if operator == "LSTM" else []  # f for the gates, g for the cell, h for the output
    attributes: dict[str, Any] = {"hidden_size": cell.units, "activations": [name for name, _, _ in used]}
    attributes["direction"] = "reverse" if layer.go_backwards else "forward"
    alphas = [alpha for _, alpha, _ in used if alpha is not None]
    if alphas:
        attributes["activation_alpha"] = alphas
        attributes["activation_beta"] = [beta for _, _, beta in used if beta is not None]
    if operator == "GRU":
        attributes["linear_before_reset"] = int(cell.reset_after)
    with tensorflow.init_scope():
        kernel, state_kernel = (np.asarray(v.value) for v in (cell.kernel, cell.recurrent_kernel))
        bias = np.asarray(cell.bias.value) if cell.use_bias else np.zeros(kernel.shape[1], np.float32)
    sides = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    w, r, b = (_gates(array, operator) for array in (kernel, state_kernel, sides))
    zero = all(_is_zero(tensorflow, state) for state in states)
    return _Recurrence(operator, w.T[None], r.T[None], b.reshape(1, -1), attributes, zero)


def _gates(columns: Float, operator: str) -> Float:
    """(m, gates * n) in Keras order -> the same in ONNX order, contiguous."""
    if operator != "LSTM":
        return np.ascontiguousarray(columns)
    parts = np.split(columns, 4, axis=-1)
    return np.concatenate([parts[index] for index in _LSTM_ORDER], axis=-1)


def _is_zero(tensorflow: Any, tensor: Any) -> bool:
    value = tensorflow.get_static_value(tensor)
    if value is None and tensor.op.type == "Fill":  # tf.zeros of a size that is not known yet
        value = tensorflow.get_static_value(tensor.op.inputs[1])
    return value is not None and not np.any(value)


def _stand_in(tensorflow: Any, sequences: Any, states: list[Any], index: int) -> tuple[Any, Any, list[Any]]:
    """Last output (batch, n), outputs (batch, time, n), new states (batch, n)."""
    steps = tensorflow.transpose(sequences, (1, 0, 2))
    shape = tensorflow.shape(steps)
    result = tensorflow.raw_ops.CudnnRNNV3(
        input=steps,
        input_h=tensorflow.expand_dims(states[0], 0),
        input_c=tensorflow.expand_dims(states[-1], 0),
        params=tensorflow.zeros((1,)),
        sequence_lengths=tensorflow.fill([shape[1]], shape[0]),
        rnn_mode="lstm",  # whatever the layer is: shapes of all outputs are inferred
        seed=index,
        is_training=False,
    )
    last, cell = (tensorflow.squeeze(state, axis=0) for state in (result.output_h, result.output_c))
    return last, tensorflow.transpose(result.output, (1, 0, 2)), [last, cell]


def _write(graph: Any, node: Any, found: list[_Recurrence]) -> None:
    """The stand-in ``node`` -> an ONNX operator in ``graph`` (tf2onnx.graph.Graph)."""
    from tf2onnx import utils
    from tf2onnx.graph_builder import GraphBuilder

    made = found[node.attr["seed"].i]
    weights = [
        graph.make_const(utils.make_name(f"{node.name}_{name}"), array).output[0]
        for name, array in (("W", made.w), ("R", made.r), ("B", made.b))
    ]
    x, h, c = node.input[:3]
    inputs = [x, *weights]
    if not made.zero_state:
        inputs += ["", h, c] if made.operator == "LSTM" else ["", h]
    outputs = list(node.output)
    shapes, dtypes = [graph.get_shape(name) for name in outputs], [graph.get_dtype(outputs[0])]
    graph.remove_node(node.name)
    directions = utils.make_name(f"{node.name}_Y")
    names = [directions, *outputs[1 : 3 if made.operator == "LSTM" else 2]]
    graph.make_node(
        made.operator,
        inputs,
        attr=made.attributes,
        outputs=names,
        name=node.name,
        shapes=[None if shapes[0] is None else [shapes[0][0], 1, *shapes[0][1:]], *shapes[1 : len(names)]],
        dtypes=dtypes * len(names),
    )
    GraphBuilder(graph).make_squeeze({"data": directions, "axes": [1], "outputs": [outputs[0]]})
