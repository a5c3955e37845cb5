"""`edgekit.prune` of a live Keras model: a smaller model that computes what the pruned graph does.

Tolerances: 1e-4 of the output's range between Keras and the graph (``PARITY``); 1e-5 where channels of zeros
are removed: the same sums in another order. Seeds 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit import settings
from edgekit.errors import InputError
from edgekit.frontends import keras_apart_rows
from edgekit.frontends.extras import import_extra
from edgekit.frontends.keras_apart import apart
from edgekit.frontends.keras_shrink import shrunk
from edgekit.passes import layers_apart
from edgekit.pipeline.prune.live_keras import LiveModel
from edgekit.pipeline.prune.live_module import channels_of
from edgekit.pipeline.prune.speedometer import Speedometer
from edgekit.pruning.dependency import dependencies
from edgekit.pruning.remove import remove
from edgekit.spec import Array, TensorSpec
from tests.unit.pruning import clock_of_weights
from tests.unit.pruning.in_process import InProcess
from tests.unit.pruning.zeroed import some_of_every_group, zeroed

settings.silence_native_libraries()  # before importorskip imports one
pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
SHAPE = (17, 16, 3)  # odd: "same" padding of a stride is not even


@pytest.fixture(scope="module")
def keras() -> Any:
    return import_extra("keras", needed_for="tests")


def _mixed(keras: Any) -> Any:
    """Every kind of layer that the docs promise for images, in one functional model."""
    layers = keras.layers
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(24, 3, padding="same", strides=2, use_bias=False, name="stem")(
        layers.Rescaling(0.5)(image)
    )
    x = layers.ReLU(6.0)(layers.BatchNormalization(name="stem_norm")(x))
    y = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, use_bias=False, name="deep")(x)
    y = layers.Activation("silu")(layers.BatchNormalization(scale=False)(y))
    y = layers.SeparableConv2D(24, 3, padding="same", use_bias=False, activation="relu", name="apart")(y)
    gate = layers.Reshape((1, 1, 24))(layers.GlobalAveragePooling2D()(y))
    gate = layers.Conv2D(24, 1, activation="sigmoid")(
        layers.Conv2D(16, 1, activation="relu", name="squeeze")(gate)
    )
    x = layers.Add()([x, y * gate])
    z = layers.Conv2D(16, 3, strides=2, padding="same", groups=2, name="grouped")(x)
    side = layers.Conv2D(16, 1, name="side")(layers.MaxPooling2D(2, padding="same")(x))
    x = layers.AveragePooling2D(2, padding="same")(layers.Concatenate()([z, side]))
    x = layers.Dense(40, activation="gelu", name="hidden")(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(5, name="head")(layers.Dropout(0.2)(x)), name="mixed")


def _sequential(keras: Any) -> Any:
    """A nested functional model inside a Sequential, as transfer learning has it."""
    layers = keras.layers
    inner = keras.Input((8, 8, 24))
    x = layers.PReLU(shared_axes=[1, 2], name="slopes")(layers.ZeroPadding2D(1)(inner))
    base = keras.Model(
        inner, layers.Conv2D(16, 3, activation=layers.LeakyReLU(0.1), name="conv")(x), name="base"
    )
    return keras.Sequential(
        [
            keras.Input((16, 16, 3), name="image"),
            layers.Conv2D(24, 3, strides=2, padding="same", activation="relu6", name="conv"),
            base,
            layers.UpSampling2D(2),
            layers.Conv2DTranspose(16, 3, strides=2, padding="same", activation="elu", name="wider"),
            layers.Cropping2D(1),
            layers.GlobalMaxPooling2D(),
            layers.Dense(3, activation="softmax", name="head"),
        ],
        name="sequence",
    )


def _text(keras: Any) -> Any:
    """Integers, one spatial axis, a Dense of three axes."""
    layers = keras.layers
    ids = keras.Input((20,), dtype="int32", name="ids")
    x = layers.Embedding(50, 24, name="table")(ids)
    x = layers.Conv1D(24, 3, padding="causal", activation="tanh", name="conv")(x)
    x = layers.Dense(32, activation="relu", name="each")(layers.LayerNormalization()(x))
    x = layers.MaxPooling1D(2)(layers.DepthwiseConv1D(3, padding="same", name="deep")(x))
    return keras.Model(ids, layers.Dense(2, name="head")(layers.GlobalAveragePooling1D()(x)), name="text")


NETS: dict[str, Callable[[Any], Any]] = {"mixed": _mixed, "sequential": _sequential, "text": _text}


@pytest.fixture(scope="module", params=list(NETS))
def net(request: pytest.FixtureRequest, keras: Any) -> Any:
    return _trained(keras, request.param)


@pytest.fixture(scope="module")
def mixed(keras: Any) -> Any:
    return _trained(keras, "mixed")


def _trained(keras: Any, name: str) -> Any:
    """Weights of a seed, and statistics of normalizations that are not those of a new model."""
    keras.utils.set_random_seed(0)
    model = NETS[name](keras)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(size=layer.moving_mean.shape) / 4)
            layer.moving_variance.assign(rng.uniform(0.5, 2, layer.moving_mean.shape))
        elif isinstance(layer, keras.layers.PReLU):
            layer.alpha.assign(rng.uniform(0, 0.5, layer.alpha.shape))
    return model


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Nothing is timed here, and models run in this process."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Speedometer, "speeds", lambda *_: ())
    for module in ("job", "width_search", "outcome", "live_module", "live_keras"):
        monkeypatch.setattr(f"edgekit.pipeline.prune.{module}.open_model", InProcess)


def _samples(model: Any, count: int, seed: int) -> Array:
    shape = (count, *model.inputs[0].shape[1:])
    rng = np.random.default_rng(seed)
    if "int" in model.inputs[0].dtype:
        return rng.integers(0, 50, shape).astype(np.int32)
    return rng.standard_normal(shape).astype(np.float32)


def _data(model: Any, folder: Any, count: int = 64) -> str:
    name = model.inputs[0].name
    np.savez(folder / "train.npz", allow_pickle=False, **{name: _samples(model, count, 0)})
    return str(folder / "train.npz")


def _widths(result: Any) -> dict[str, tuple[int, int]]:
    return {row.group: (row.channels, row.kept) for row in result.widths}


def test_channels_of_zeros_go_and_nothing_changes(net: Any) -> None:
    """The plan of the graph, carried out in Keras: equal to within the order of sums."""
    spec = TensorSpec(net.inputs[0].name, net.inputs[0].dtype, ("batch", *net.inputs[0].shape[1:]))
    written = apart(net, (spec,), ("out",))
    found = dependencies(layers_apart(written.model))
    may_go = channels_of(written.known)
    wanted = {channel for group in found.groups if may_go(found, group) for channel in group.channels}
    gone = tuple(channel for channel in some_of_every_group(found, seed=1) if channel in wanted)
    assert len(gone) > 20
    live = LiveModel(net, written)
    empty, small = live.carried_out(zeroed(found, gone)), live.carried_out(remove(found, gone))
    x = _samples(net, 4, 1)
    before, after = np.asarray(empty(x, training=False)), np.asarray(small(x, training=False))
    assert small.count_params() < net.count_params()
    assert np.ptp(before) > 0
    assert np.abs(before - after).max() <= 1e-5 * max(np.ptp(before), np.abs(before).max())


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # of Keras 3.15, when it saves
def test_a_smaller_model_comes_back_and_can_be_trained(mixed: Any, keras: Any, tmp_path: Any) -> None:
    before = [np.array(each) for each in mixed.get_weights()]
    made, result = edgekit.prune(mixed, calibration_data=_data(mixed, tmp_path), keep=0.5)
    assert type(made) is type(mixed)
    assert [layer.name for layer in made.layers] == [layer.name for layer in mixed.layers]
    widths = _widths(result)
    assert widths["side/kernel"] == (16, 8)
    assert widths["hidden/kernel"] == (40, 16)
    assert widths["grouped/kernel"][0] == 8  # two groups: the same place of both
    assert made.get_layer("grouped").groups == 2
    assert made.get_layer("deep").depth_multiplier == 2
    assert made.get_layer("stem").filters == made.get_layer("apart").filters == 12
    assert not made.get_layer("stem").use_bias
    assert made.get_layer("deep").use_bias  # solving the weights gave it one
    assert made.get_layer(
        "apart"
    ).use_bias  # and the depthwise half of this one, which has no place for it (K2)
    assert made.count_params() < 0.5 * mixed.count_params()
    assert all(np.array_equal(a, b) for a, b in zip(before, mixed.get_weights(), strict=True))
    made.compile(optimizer="adam", loss="mse", jit_compile=False)
    made.fit(_samples(mixed, 8, 1), np.zeros((8, 5), np.float32), verbose=0)
    made.save(tmp_path / "small.keras")
    again = keras.models.load_model(tmp_path / "small.keras")
    assert again.count_params() == made.count_params()


def test_recovery_brings_the_smaller_model_nearer(keras: Any, tmp_path: Any) -> None:
    layers = keras.layers
    keras.utils.set_random_seed(0)
    x = keras.Input((12,), name="x")
    y = layers.Dropout(0.5)(layers.BatchNormalization(name="norm")(layers.Dense(48)(x)))
    y = layers.Dense(48, activation="tanh", name="hidden")(layers.ReLU()(y))
    model = keras.Model(x, layers.Dense(4, name="head")(y))
    model.get_layer("norm").moving_mean.assign(np.linspace(-1, 1, 48))
    samples, data = _samples(model, 512, 0), _data(model, tmp_path, count=512)
    wanted = np.asarray(model(samples, training=False))
    off = []
    for epochs in (0, 30):
        made, result = edgekit.prune(model, calibration_data=data, keep=0.34, recover=epochs)
        assert result.recovered == epochs
        off.append(float(((np.asarray(made(samples, training=False)) - wanted) ** 2).mean()))
        kept = made.get_layer("norm").moving_mean.numpy()
        assert set(kept) <= set(model.get_layer("norm").moving_mean.numpy())  # G1
    assert off[1] < 0.8 * off[0]


def test_an_embedding_width_goes(keras: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """3 times needs it: the layers in front of and behind two normalizations, and these."""
    clock_of_weights.install(monkeypatch)
    layers = keras.layers
    keras.utils.set_random_seed(0)
    tokens = keras.Input((10, 6), name="tokens")
    x = layers.Dense(32, name="embed")(tokens)
    y = layers.Dense(48, activation="relu", name="up")(layers.LayerNormalization(name="first")(x))
    x = layers.Add()([x, layers.Dense(32, name="down")(y)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(name="last")(x))
    model = keras.Model(tokens, layers.Dense(4, name="head")(x))
    made, result = edgekit.prune(model, calibration_data=_data(model, tmp_path, count=128), speedup=3.0)
    whole, width = _widths(result)["embed/kernel"]
    assert width < whole == 32
    assert {made.get_layer(name).gamma.shape for name in ("first", "last")} == {(width,)}
    assert made.get_layer("down").units == made.get_layer("embed").units == width
    assert made.count_params() < model.count_params() / 2


def test_a_size_that_the_configuration_writes_down_stays(keras: Any, tmp_path: Any) -> None:
    layers = keras.layers
    x = keras.Input((6,), name="x")
    y = layers.Reshape((4, 8))(layers.Dense(32, activation="relu", name="fixed")(x))
    y = layers.Flatten()(y)
    y = layers.Dense(32, activation="relu", name="free")(y)
    model = keras.Model(x, layers.Dense(3, name="head")(y))
    made, result = edgekit.prune(model, calibration_data=_data(model, tmp_path), keep=0.5)
    assert made.get_layer("fixed").units == 32
    assert _widths(result)["free/kernel"] == (32, 16)


def _lambda(keras: Any, x: Any) -> Any:
    return keras.layers.Lambda(lambda t: t * 2, name="odd")(x)


def _recurrent(keras: Any, x: Any) -> Any:
    return keras.layers.LSTM(8, name="odd")(keras.layers.Reshape((4, 8))(x))


def _twice(keras: Any, x: Any) -> Any:
    layer = keras.layers.Dense(32, name="odd")
    return layer(layer(x))


@pytest.mark.parametrize(
    ("part", "why"), [(_lambda, "no row"), (_recurrent, "no row"), (_twice, "more than once")]
)
def test_what_cannot_be_rebuilt_is_refused_by_name(keras: Any, part: Callable[..., Any], why: str) -> None:
    x = keras.Input((6,), name="x")
    y = part(keras, keras.layers.Dense(32, activation="relu")(x))
    model = keras.Model(x, keras.layers.Dense(3)(keras.layers.Flatten()(y)))
    with pytest.raises(InputError, match="'odd' cannot be pruned as a Keras layer") as caught:
        edgekit.prune(model, calibration_data="x.npz", keep=0.5)
    assert why in caught.value.why


def test_a_class_with_a_forward_pass_of_its_own_is_refused(keras: Any) -> None:
    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="own")
            self.dense = keras.layers.Dense(3)

        def call(self, x: Any) -> Any:
            return self.dense(x)

    with pytest.raises(InputError, match="Own 'own' cannot be pruned"):
        edgekit.prune(
            Own(), calibration_data="x.npz", inputs=[TensorSpec("x", "float32", ("batch", 4))], keep=0.5
        )


def test_zeros_are_for_files(mixed: Any) -> None:
    with pytest.raises(InputError, match="a Keras model is pruned by keep or by speedup alone"):
        edgekit.prune(mixed, calibration_data="x.npz", sparsity=0.5)  # type: ignore[call-overload]


def test_a_row_that_computes_something_else_is_refused(
    mixed: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sabotage: the graph that is planned on is another model (K1)."""
    rows = keras_apart_rows.ROWS | {"MaxPooling2D": keras_apart_rows.ROWS["AveragePooling2D"]}
    monkeypatch.setattr(keras_apart_rows, "ROWS", rows)
    with pytest.raises(InputError, match="the graph that edgekit wrote for the model differs at output"):
        edgekit.prune(mixed, calibration_data=_data(mixed, tmp_path), keep=0.5)


def test_wrong_numbers_in_the_smaller_model_are_refused(
    mixed: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sabotage: all shapes fit, a bias does not."""

    def careless(model: Any, arrays: Any, **rest: Any) -> Any:
        for own in arrays.values():
            if own.get("bias") is not None:
                own["bias"] = own["bias"] + 1
        return shrunk(model, arrays, **rest)

    monkeypatch.setattr("edgekit.pipeline.prune.live_keras.shrunk", careless)
    with pytest.raises(InputError, match=r"cannot be carried out on the model: output .* differs by"):
        edgekit.prune(mixed, calibration_data=_data(mixed, tmp_path), keep=0.5)


def test_an_array_that_does_not_fit_is_refused(mixed: Any) -> None:
    """Sabotage: a convolution loses channels, and what is added to it does not."""
    arrays = {
        id(layer): {weight.name: weight.numpy() for weight in layer.weights}
        for layer in mixed.layers
        if layer.weights
    }
    stem = arrays[id(mixed.get_layer("stem"))]
    stem["kernel"] = stem["kernel"][..., :8]
    with pytest.raises(InputError, match=r"the smaller model cannot be built|should be"):
        shrunk(mixed, arrays, groups={})
