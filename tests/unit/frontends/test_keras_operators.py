"""What Keras layers become: which operators, how many, and the same numbers.

Tolerance: 1e-5 of the output's range in float32 (a MultiHeadAttention of Keras is off by less than 1e-6);
seed 0 for weights and inputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import settings
from edgekit.errors import ExportError
from edgekit.frontends import parity
from edgekit.frontends.extras import import_extra
from edgekit.frontends.keras import load_model
from edgekit.frontends.request import FunctionRunner, Loaded, SourceRequest
from edgekit.ir import io
from edgekit.passes import canonicalize

settings.silence_native_libraries()  # before importorskip imports one
pytest.importorskip("tensorflow")
pytest.importorskip("tf2onnx")

LOOPS = ("Loop", "Scan", "If")


def exported(build: Callable[[Any], Any]) -> Loaded:
    keras = import_extra("keras", needed_for="tests")
    keras.utils.set_random_seed(0)
    model = build(keras)
    rng = np.random.default_rng(0)
    for weight in model.weights:  # also biases, which start at zero
        weight.assign(0.5 * rng.standard_normal(weight.shape))
    return load_model(model, SourceRequest("model", Path()))


def assert_parity(loaded: Loaded) -> None:
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(io.to_bytes(loaded.model), providers=["CPUExecutionProvider"])
    inputs, outputs = io.specs(loaded.model)
    names = [spec.name for spec in outputs]

    def run(arrays: tuple[Any, ...]) -> dict[str, Any]:
        feeds = dict(zip((spec.name for spec in inputs), arrays, strict=True))
        return dict(zip(names, session.run(names, feeds), strict=True))

    assert loaded.reference is not None
    report = parity.check(
        loaded.reference, FunctionRunner(inputs, outputs, run), tolerance=1e-5, seed=0, cases=3
    )
    assert report.passed, report


def operators(loaded: Loaded) -> Counter[str]:
    return Counter(node.op_type for graph in canonicalize(loaded.model).graphs() for node in graph)


def chain(
    *layers: Callable[[Any], Any], shape: tuple[int | None, ...] = (6, 4), dtype: str = "float32"
) -> Any:
    def build(keras: Any) -> Any:
        x = y = keras.Input(shape, name="x", dtype=dtype)
        for layer in layers:
            y = layer(keras.layers)(y)
        return keras.Model(x, y)

    return build


def with_states(kind: str, states: int) -> Callable[[Any], Any]:
    def build(keras: Any) -> Any:
        x = keras.Input((None, 4), name="x")
        given = [keras.Input((5,), name=f"state_{index}") for index in range(states)]
        layer = getattr(keras.layers, kind)(5, return_sequences=True, return_state=True)
        y, *new = layer(x, initial_state=given)
        named = {f"new_{index}": state for index, state in enumerate(new)}
        return keras.Model([x, *given], {"y": y, **named})

    return build


def encoder_decoder(keras: Any) -> Any:
    x, z = keras.Input((6, 4), name="x"), keras.Input((7, 4), name="z")
    _, *states = keras.layers.LSTM(5, return_state=True)(x)
    return keras.Model([x, z], keras.layers.LSTM(5, return_sequences=True)(z, initial_state=states))


def shared(keras: Any) -> Any:
    x, z = keras.Input((6, 4), name="x"), keras.Input((6, 4), name="z")
    layer = keras.layers.GRU(5)
    return keras.Model([x, z], keras.layers.Add()([layer(x), layer(z)]))


@dataclass(frozen=True)
class Recurrent:
    id: str
    build: Callable[[Any], Any]
    expected: dict[str, int]


RECURRENT = (
    Recurrent("lstm", chain(lambda layers: layers.LSTM(5)), {"LSTM": 1}),
    Recurrent(
        "lstm-sequences-dynamic",
        chain(lambda layers: layers.LSTM(5, return_sequences=True), shape=(None, 4)),
        {"LSTM": 1},
    ),
    Recurrent(
        "lstm-backwards",
        chain(lambda layers: layers.LSTM(5, go_backwards=True, return_sequences=True)),
        {"LSTM": 1},
    ),
    Recurrent("lstm-states", with_states("LSTM", 2), {"LSTM": 1}),
    Recurrent("lstm-no-bias", chain(lambda layers: layers.LSTM(5, use_bias=False)), {"LSTM": 1}),
    Recurrent(
        "lstm-hard-sigmoid",
        chain(lambda layers: layers.LSTM(5, recurrent_activation="hard_sigmoid", activation="relu")),
        {"LSTM": 1},
    ),
    Recurrent("lstm-linear", chain(lambda layers: layers.LSTM(5, activation=None)), {"LSTM": 1}),
    Recurrent("lstm-unrolled", chain(lambda layers: layers.LSTM(5, unroll=True)), {"LSTM": 1}),
    Recurrent("lstm-cell", chain(lambda layers: layers.RNN(layers.LSTMCell(5))), {"LSTM": 1}),
    Recurrent(
        "lstm-bidirectional",
        chain(lambda layers: layers.Bidirectional(layers.LSTM(5, return_sequences=True))),
        {"LSTM": 2, "ReverseSequence": 0},
    ),
    Recurrent("lstm-encoder-decoder", encoder_decoder, {"LSTM": 2}),
    Recurrent("gru", chain(lambda layers: layers.GRU(5)), {"GRU": 1}),
    Recurrent("gru-reset-before", chain(lambda layers: layers.GRU(5, reset_after=False)), {"GRU": 1}),
    Recurrent("gru-backwards", chain(lambda layers: layers.GRU(5, go_backwards=True)), {"GRU": 1}),
    Recurrent("gru-states", with_states("GRU", 1), {"GRU": 1}),
    Recurrent(
        "gru-bidirectional",
        chain(lambda layers: layers.Bidirectional(layers.GRU(5))),
        {"GRU": 2, "ReverseSequence": 0},
    ),
    Recurrent("gru-shared", shared, {"GRU": 2}),
    Recurrent("simple-rnn", chain(lambda layers: layers.SimpleRNN(5)), {"RNN": 1}),
    Recurrent("simple-rnn-states", with_states("SimpleRNN", 1), {"RNN": 1}),
    Recurrent(
        "stack",
        chain(lambda layers: layers.LSTM(5, return_sequences=True), lambda layers: layers.GRU(3)),
        {"LSTM": 1, "GRU": 1},
    ),
)


@pytest.mark.parametrize("case", RECURRENT, ids=lambda case: case.id)
def test_recurrent_layers_stay_single_operators(case: Recurrent) -> None:
    loaded = exported(case.build)
    found = operators(loaded)
    assert {name: found[name] for name in case.expected} == case.expected
    assert not [name for name in LOOPS if found[name]]
    assert_parity(loaded)


LEFT_TO_TENSORFLOW = (
    Recurrent(
        "masked",  # the mask decides step by step whether the state moves: ONNX operators have no such input
        chain(
            lambda layers: layers.Embedding(9, 4, mask_zero=True),
            lambda layers: layers.LSTM(5),
            shape=(6,),
            dtype="int32",
        ),
        {"LSTM": 0},
    ),
    Recurrent(
        "stacked-cells",
        chain(lambda layers: layers.RNN([layers.LSTMCell(5), layers.LSTMCell(4)])),
        {"LSTM": 0},
    ),
    Recurrent("other-activation", chain(lambda layers: layers.GRU(5, activation="selu")), {"GRU": 0}),
)


@pytest.mark.parametrize("case", LEFT_TO_TENSORFLOW, ids=lambda case: case.id)
def test_what_onnx_has_no_operator_for_stays_a_loop_and_is_right(case: Recurrent) -> None:
    loaded = exported(case.build)
    found = operators(loaded)
    assert {name: found[name] for name in case.expected} == case.expected
    assert found["Loop"] == 1
    assert_parity(loaded)


def test_a_stateful_layer_is_refused(tmp_path: Path) -> None:
    def build(keras: Any) -> Any:
        x = keras.Input(batch_shape=(1, 6, 4), name="x")
        return keras.Model(x, keras.layers.LSTM(5, stateful=True, name="memory")(x))

    with pytest.raises(ExportError, match="'memory' of model is stateful") as caught:
        exported(build)
    assert "initial_state" in caught.value.remedy


def test_keras_is_as_before_afterwards() -> None:
    keras = import_extra("keras", needed_for="tests")
    before = keras.layers.GRU.inner_loop, keras.layers.RNN.inner_loop, keras.ops.flip
    exported(chain(lambda layers: layers.GRU(5)))
    assert before == (keras.layers.GRU.inner_loop, keras.layers.RNN.inner_loop, keras.ops.flip)


def attention(keras: Any) -> Any:
    x = keras.Input((6, 4), name="x")
    y = keras.layers.MultiHeadAttention(2, 4)(x, x)
    return keras.Model(x, keras.layers.LayerNormalization()(keras.layers.Add()([x, y])))


def nested(keras: Any) -> Any:
    x, z = keras.Input((4,), name="x"), keras.Input((4,), name="z")
    inner_x = keras.Input((4,))
    inner = keras.Model(inner_x, keras.layers.Dense(3, activation="relu")(inner_x))
    return keras.Model({"x": x, "z": z}, {"sum": inner(x) + inner(z), "other": inner(x)})


def complementary_error(layers: Any) -> Any:
    class ComplementaryError(layers.Layer):  # type: ignore[misc]  # the module is not typed
        def call(self, x: Any) -> Any:
            return import_extra("tensorflow", needed_for="tests").math.erfc(x)

    return ComplementaryError()


IMAGE = (8, 8, 4)


@dataclass(frozen=True)
class Layer:
    id: str
    build: Callable[[Any], Any]


LAYERS = (
    Layer("embedding", chain(lambda layers: layers.Embedding(9, 4), shape=(None,), dtype="int32")),
    Layer("attention", attention),
    Layer("nested-shared-several", nested),
    Layer(
        "upsampling",
        chain(
            lambda layers: layers.UpSampling2D(2),
            lambda layers: layers.UpSampling2D(2, interpolation="bilinear"),
            shape=IMAGE,
        ),
    ),
    Layer(
        "transposed",
        chain(
            lambda layers: layers.Conv2DTranspose(5, 3, strides=2, padding="same"),
            lambda layers: layers.Conv2DTranspose(3, 3, strides=2, padding="valid"),
            shape=IMAGE,
        ),
    ),
    Layer(
        "separable-pooled",
        chain(
            lambda layers: layers.SeparableConv2D(5, 3, padding="same", strides=2),
            lambda layers: layers.DepthwiseConv2D(3, padding="same"),
            lambda layers: layers.GlobalAveragePooling2D(),
            shape=IMAGE,
        ),
    ),
    Layer("global-maximum", chain(lambda layers: layers.GlobalMaxPooling1D())),
    Layer("erfc", chain(complementary_error)),
    Layer("dense-3d", chain(lambda layers: layers.Dense(3, activation="gelu"), shape=(None, 4))),
    Layer(
        "causal",
        chain(lambda layers: layers.Conv1D(5, 3, padding="causal", dilation_rate=2)),
    ),
    Layer("distributed", chain(lambda layers: layers.TimeDistributed(layers.Dense(3)))),
)


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.id)
def test_layers_compute_the_same(case: Layer) -> None:
    assert_parity(exported(case.build))
