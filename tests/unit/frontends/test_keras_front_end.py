"""Keras models, archives and SavedModels become ONNX with stable names, and compute the same.

Tolerance: 1e-5 of the output's range in float32; seed 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import settings
from edgekit.frontends import parity
from edgekit.frontends.call_source import call_source
from edgekit.frontends.extras import import_extra
from edgekit.frontends.quiet import quiet
from edgekit.frontends.request import FunctionRunner
from edgekit.frontends.source import Loaded, SourceRequest, load
from edgekit.ir import io
from edgekit.spec import TensorSpec

settings.silence_native_libraries()  # before importorskip imports one
pytest.importorskip("tensorflow")
pytest.importorskip("tf2onnx")

PREAMBLE = """
import keras
from keras import layers
keras.utils.set_random_seed(0)
"""
DENSE = """
def build():
    x = keras.Input((4,), name="x")
    y = layers.Dropout(0.5)(layers.Dense(3, name="dense")(x))
    return keras.Model(x, layers.Softmax(name="scores")(y))
"""


@pytest.fixture
def keras() -> Any:
    return import_extra("keras", needed_for="tests")


def request(folder: Path, code: str, *inputs: TensorSpec, **changes: Any) -> SourceRequest:
    (folder / "model.py").write_text(PREAMBLE + code)
    return SourceRequest("model.py:build", folder, inputs=inputs, **changes)


def onnx_runner(loaded: Loaded) -> FunctionRunner:
    settings.silence_native_libraries()
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(io.to_bytes(loaded.model), providers=["CPUExecutionProvider"])
    inputs, outputs = io.specs(loaded.model)
    names = [spec.name for spec in outputs]

    def run(arrays: tuple[Any, ...]) -> dict[str, Any]:
        feeds = dict(zip((spec.name for spec in inputs), arrays, strict=True))
        return dict(zip(names, session.run(names, feeds), strict=True))

    return FunctionRunner(inputs, outputs, run)


def assert_parity(loaded: Loaded) -> None:
    assert loaded.reference is not None
    assert loaded.reference.outputs == io.specs(loaded.model)[1]
    report = parity.check(loaded.reference, onnx_runner(loaded), tolerance=1e-5, seed=0)
    assert report.passed, report


def test_a_functional_model_keeps_its_names(tmp_path: Path) -> None:
    loaded = load(request(tmp_path, DENSE))
    inputs, outputs = io.specs(loaded.model)
    assert inputs == (TensorSpec("x", "float32", ("batch", 4)),)
    assert outputs == (TensorSpec("scores", "float32", ("batch", 3)),)
    assert loaded.framework == "keras"
    assert loaded.model.opset_imports == {"": 21}
    assert_parity(loaded)


def test_declared_names_and_sizes_win(tmp_path: Path) -> None:
    loaded = load(request(tmp_path, DENSE, TensorSpec("features", "float32", (2, 4))))
    assert io.specs(loaded.model)[0] == (TensorSpec("features", "float32", (2, 4)),)
    assert io.specs(loaded.model)[1][0].shape == (2, 3)
    assert_parity(loaded)


def test_an_older_opset_can_be_asked_for(tmp_path: Path) -> None:
    assert load(request(tmp_path, DENSE, opset=15)).model.opset_imports == {"": 15}


RECURRENT = """
def build():
    a, b = keras.Input((6, 4), name="sequence"), keras.Input((3,), name="extra")
    x = layers.GRU(5, name="gru")(layers.LSTM(4, return_sequences=True, name="lstm")(a))
    x = layers.Concatenate(name="both")([x, b])
    return keras.Model({"sequence": a, "extra": b}, {"score": layers.Dense(2, name="d")(x), "joined": x})
"""


def test_two_inputs_two_outputs_and_recurrence(tmp_path: Path) -> None:
    loaded = load(request(tmp_path, RECURRENT))
    assert {spec.name for spec in io.specs(loaded.model)[0]} == {"sequence", "extra"}
    assert {spec.name for spec in io.specs(loaded.model)[1]} == {"score", "joined"}
    assert "LSTM" in {node.op_type for node in loaded.model.graph}
    assert_parity(loaded)


def test_a_second_export_in_one_process_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (io.to_bytes(load(request(tmp_path, RECURRENT)).model) for _ in range(2))
    assert one == two  # tf2onnx's own counters have moved on meanwhile


SUBCLASSED = """
class Model(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)
    def call(self, x, training=False):
        return self.dense(x), x * 2
def build():
    return Model()
"""


def test_a_subclassed_model_needs_declared_inputs_only(tmp_path: Path) -> None:
    loaded = load(request(tmp_path, SUBCLASSED, TensorSpec("x", "float32", ("n", 4))))
    assert io.specs(loaded.model)[1] == (
        TensorSpec("output_0", "float32", ("n", 3)),
        TensorSpec("output_1", "float32", ("n", 4)),
    )
    assert_parity(loaded)


def test_other_dynamic_axes_stay_dynamic(tmp_path: Path) -> None:
    code = """
def build():
    x = keras.Input((None, 4), name="x")
    return keras.Model(x, layers.Dense(3, name="y")(x))
"""
    loaded = load(request(tmp_path, code))
    assert io.specs(loaded.model)[1][0].shape == ("batch", "y_1", 3)
    assert_parity(loaded)


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_archives_are_exported(ending: str, tmp_path: Path, keras: Any) -> None:
    x = keras.Input((4,), name="x")
    with quiet():
        keras.Model(x, keras.layers.Dense(3, name="y")(x)).save(tmp_path / f"m.{ending}")
    loaded = load(SourceRequest(f"m.{ending}", tmp_path))
    assert [spec.name for specs in io.specs(loaded.model) for spec in specs] == ["x", "y"]
    assert_parity(loaded)


def test_a_saved_model_is_exported(tmp_path: Path, keras: Any) -> None:
    x = keras.Input((4,), name="x")
    with quiet():
        keras.Model(x, keras.layers.Dense(3, name="y")(x)).export(tmp_path / "saved", verbose=False)
    loaded = load(SourceRequest("saved", tmp_path))
    (given,), (found,) = io.specs(loaded.model)
    assert (given.name, given.shape, found.shape) == ("x", ("batch", 4), ("batch", 3))
    assert_parity(loaded)


def test_weights_are_applied_to_a_model_that_was_never_called(tmp_path: Path, keras: Any) -> None:
    spec = TensorSpec("x", "float32", ("n", 4))
    model = call_source(request(tmp_path, SUBCLASSED).source, base=tmp_path)
    model(keras.ops.zeros((1, 4)))
    with quiet():
        model.save_weights(tmp_path / "m.weights.h5")
    other = SUBCLASSED.replace("return Model()", "keras.utils.set_random_seed(5)\n    return Model()")
    fresh = load(request(tmp_path, other, spec)).reference
    loaded = load(request(tmp_path, other, spec, weights=Path("m.weights.h5"))).reference
    assert loaded is not None
    assert fresh is not None
    x = np.ones((2, 4), np.float32)
    expected = np.asarray(model(x)[0])
    np.testing.assert_array_equal(loaded.run({"x": x})["output_0"], expected)
    assert not np.array_equal(fresh.run({"x": x})["output_0"], expected)
