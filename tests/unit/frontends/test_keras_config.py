"""Configs of Keras 2 as Keras 3 reads them: each rule on a config, without Keras itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from edgekit.errors import ModelFileError
from edgekit.frontends.keras_config import HARD_SIGMOID, adapted
from edgekit.frontends.keras_tf_functions import LAYER


def layer(kind: str, *inbound: Any, name: str = "layer", **config: Any) -> dict[str, Any]:
    return {
        "class_name": kind,
        "config": {"name": name, **config},
        "name": name,
        "inbound_nodes": list(inbound),
    }


def model(*layers: dict[str, Any], outputs: Any = (), kind: str = "Functional") -> dict[str, Any]:
    return {"class_name": kind, "config": {"layers": list(layers), "output_layers": list(outputs)}}


def first(config: dict[str, Any], *, archive: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = adapted(config, name="m.h5", archive=archive)["config"]["layers"][0]
    return found


@dataclass(frozen=True)
class Dropped:
    id: str
    kind: str
    key: str
    value: Any


DROPPED = (
    Dropped("depthwise", "DepthwiseConv2D", "groups", 1),
    Dropped("separable", "SeparableConv1D", "groups", 1),
    Dropped("separable-kernel", "SeparableConv2D", "kernel_initializer", {"class_name": "GlorotUniform"}),
    Dropped("transposed", "Conv2DTranspose", "groups", 1),
    Dropped("time-major", "LSTM", "time_major", False),
    Dropped("dropout", "SpatialDropout2D", "trainable", True),
    Dropped("shapes", "MultiHeadAttention", "query_shape", [None, 6, 4]),
    Dropped("score", "Attention", "score_mode", "dot"),
    Dropped("length", "Embedding", "input_length", 6),
    Dropped("ragged", "InputLayer", "ragged", False),
)


@pytest.mark.parametrize("case", DROPPED, ids=lambda case: case.id)
def test_an_argument_that_says_nothing_goes(case: Dropped) -> None:
    config = first(model(layer(case.kind, **{case.key: case.value, "units": 3})))["config"]
    assert config == {"name": "layer", "units": 3}


REFUSED = (
    Dropped("groups", "DepthwiseConv2D", "groups", 2),
    Dropped("time-major", "GRU", "time_major", True),
    Dropped("ragged", "InputLayer", "ragged", True),
    Dropped("score", "Attention", "score_mode", "concat"),
)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_an_argument_that_means_something_is_refused(case: Dropped) -> None:
    with pytest.raises(ModelFileError, match=f"'layer' .{case.kind}. of m.h5 has {case.key}=") as caught:
        adapted(model(layer(case.kind, **{case.key: case.value})), name="m.h5", archive=False)
    assert "Keras 2 wrote the file" in caught.value.why


def test_the_same_argument_of_another_layer_stays() -> None:
    assert first(model(layer("Conv2D", groups=2)))["config"]["groups"] == 2


def test_what_was_handed_in_stays_as_it_was() -> None:
    config = model(layer("LSTM", time_major=False))
    adapted(config, name="m.h5", archive=False)
    assert config == model(layer("LSTM", time_major=False))


@pytest.mark.parametrize("value", ["hard_sigmoid", {"class_name": "function", "config": "hard_sigmoid"}])
def test_hard_sigmoid_of_keras_2_gets_a_name_of_its_own(value: Any) -> None:
    config = first(model(layer("LSTM", recurrent_activation=value, activation="tanh")))["config"]
    assert (config["recurrent_activation"], config["activation"]) == (HARD_SIGMOID, "tanh")


def test_cells_inside_layers_are_reached() -> None:
    cell = {"class_name": "LSTMCell", "config": {"activation": "hard_sigmoid"}}
    assert first(model(layer("RNN", cell=cell)))["config"]["cell"]["config"]["activation"] == HARD_SIGMOID


@pytest.mark.parametrize(("axis", "marked"), [([1, 2], True), ([3], False), (-1, False)])
def test_several_axes_go_to_the_reader_that_keeps_them(axis: Any, marked: bool) -> None:
    found = first(model(layer("LayerNormalization", axis=axis)))
    assert (found.get("module") == "keras.layers") == marked
    assert found["config"]["axis"] == axis


@dataclass(frozen=True)
class Nested:
    id: str
    kind: str
    calls: tuple[int, ...]
    inside: tuple[int, ...]
    outputs: tuple[int, ...]


NESTED = (
    Nested("functional", "Functional", (1, 2), (0, 1), (1, 2)),  # Keras 3 counts outputs of these itself
    Nested("sequential", "Sequential", (1, 2), (0, 1), (0, 1)),
    Nested("built-by-a-call", "Sequential", (0, 1), (0, 1), (0, 1)),
    Nested("layer", "Dense", (1,), (1,), (1,)),
)


@pytest.mark.parametrize("case", NESTED, ids=lambda case: case.id)
def test_calls_of_nested_models_count_from_zero(case: Nested) -> None:
    config = model(
        layer(case.kind, name="inner"),
        *(layer("Dense", [["inner", call, 0, {}]], name=f"d{call}") for call in case.calls),
        outputs=[["inner", call, 0] for call in case.calls],
    )
    found = adapted(config, name="m.h5", archive=False)["config"]
    assert tuple(item["inbound_nodes"][0][0][1] for item in found["layers"][1:]) == case.inside
    assert tuple(item[1] for item in found["output_layers"]) == case.outputs


def test_slashes_in_names_become_underscores_everywhere() -> None:
    config = model(
        layer("Dense", name="a_b"),
        layer("Dense", [["a_b", 0, 0, {}]], name="a/b"),
        layer("Dense", [["a/b", 0, 0, {}]], name="c"),
        outputs=[["a/b", 0, 0]],
    )
    found = adapted(config, name="m.h5", archive=False)["config"]
    assert [item["name"] for item in found["layers"]] == ["a_b", "a_b_", "c"]
    assert [item["config"]["name"] for item in found["layers"]] == ["a_b", "a_b_", "c"]
    assert found["layers"][2]["inbound_nodes"] == [[["a_b_", 0, 0, {}]]]
    assert found["output_layers"] == [["a_b_", 0, 0]]


def test_tensors_among_named_arguments_are_written_as_today() -> None:
    config = model(layer("MultiHeadAttention", [["x", 0, 0, {"value": ["y", 0, 0], "flag": True}]]))
    (node,) = first(config)["inbound_nodes"]
    assert node["args"][0]["config"]["keras_history"] == ["x", 0, 0]
    assert node["kwargs"]["value"]["config"]["keras_history"] == ["y", 0, 0]
    assert node["kwargs"]["flag"] is True


def test_a_known_function_becomes_a_layer() -> None:
    call = ["x", 0, 0, {"y": 2.0, "name": None}]
    found = first(model(layer("TFOpLambda", call, function="math.multiply")))
    assert found["class_name"] == LAYER
    assert found["inbound_nodes"][0]["kwargs"] == {"y": 2.0}


@pytest.mark.parametrize("function", ["io.write_file", "py_function", "raw_ops.WriteFile", "os.system", None])
def test_other_functions_are_refused(function: str | None) -> None:
    with pytest.raises(ModelFileError, match="calls the TensorFlow function") as caught:
        adapted(model(layer("TFOpLambda", function=function)), name="m.h5", archive=False)
    assert "model.export" in caught.value.remedy


def test_an_archive_gets_the_names_of_today() -> None:
    inner = layer("InputLayer", name="x", batch_input_shape=[None, 4])
    norm = {**layer("BatchNormalization", name="n", axis=[3]), "module": "tf_keras.layers"}
    config = {**model(inner, norm), "module": "keras.src.engine.functional", "registered_name": "Functional"}
    found = adapted(config, name="m.keras", archive=True)
    assert found["module"] == "keras.src.models.functional"
    given, normalized = found["config"]["layers"]
    assert given["config"] == {"name": "x", "batch_shape": [None, 4]}
    assert (normalized["module"], normalized["config"]["axis"]) == ("keras.layers", 3)
