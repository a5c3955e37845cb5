"""Files that Keras 2 wrote are read by Keras 3, and compute what they did.

The files here are written by Keras 3 and given the config that Keras 2 gives them; those that Keras 2 really
wrote are in EDGEKIT_DATA. Tolerance: 1e-6 absolute against NumPy, 1e-5 of the range against ONNX Runtime,
1e-3 against golden outputs of others; seed 0.
"""

from __future__ import annotations

import json
import os
import shutil
import wave
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import settings
from edgekit.backends.onnxruntime import open_model
from edgekit.errors import ExportError, ModelFileError
from edgekit.frontends.extras import import_extra
from edgekit.frontends.keras import load_archive, load_model, load_saved_model
from edgekit.frontends.keras_archive import read_archive
from edgekit.frontends.keras_weights import apply_weights
from edgekit.frontends.onnx import load_onnx
from edgekit.frontends.quiet import quiet
from edgekit.frontends.request import Loaded, SourceRequest
from edgekit.ir import io
from edgekit.passes import canonicalize
from edgekit.spec import Array, RunOptions

settings.silence_native_libraries()  # before importorskip imports one
pytest.importorskip("tensorflow")
pytest.importorskip("tf2onnx")

X = np.random.default_rng(0).standard_normal((2, 8, 8, 4)).astype(np.float32)
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def keras() -> Any:
    found = import_extra("keras", needed_for="tests")
    found.utils.set_random_seed(0)
    return found


def chain(keras: Any, *layers: Any) -> Any:
    x = y = keras.Input(X.shape[1:], name="x")
    for layer in layers:
        y = layer(y)
    return keras.Model(x, y)


def saved(model: Any, path: Path, change: Change = lambda config: None) -> Path:
    """``model`` in ``path``, as if Keras 2.13 had written the file."""
    with quiet():
        model.save(path)
    if path.suffix == ".keras":
        return _changed_zip(path, change)
    h5py = import_extra("h5py", needed_for="tests")
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config)
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.13.1"
    return path


def _changed_zip(path: Path, change: Change) -> Path:
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(content["config.json"])
    config["module"] = "keras.src.engine.functional"
    change(config)
    content["config.json"] = json.dumps(config).encode()
    content["metadata.json"] = json.dumps({"keras_version": "2.13.1"}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    return path


def set_in(kind: str, **values: Any) -> Change:
    def change(config: dict[str, Any]) -> None:
        for layer in config["config"]["layers"]:
            if layer["class_name"] == kind:
                layer["config"].update(values)

    return change


@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_a_depthwise_convolution_with_groups(ending: str, tmp_path: Path, keras: Any) -> None:
    model = chain(keras, keras.layers.DepthwiseConv2D(3))
    path = saved(model, tmp_path / f"m.{ending}", set_in("DepthwiseConv2D", groups=1))
    with pytest.raises(TypeError, match="groups"):  # what it is for
        keras.saving.load_model(path, compile=False)
    again = read_archive(path, trust_source=False)
    np.testing.assert_array_equal(np.asarray(again(X)), np.asarray(model(X)))


@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_hard_sigmoid_is_that_of_keras_2(ending: str, tmp_path: Path, keras: Any) -> None:
    model = chain(keras, keras.layers.Activation("hard_sigmoid"))
    again = read_archive(saved(model, tmp_path / f"m.{ending}"), trust_source=False)
    np.testing.assert_allclose(np.asarray(again(X)), np.clip(0.2 * X + 0.5, 0, 1), atol=1e-6)
    now = tmp_path / f"now.{ending}"
    with quiet():
        model.save(now)  # Keras 3 wrote this one: its own meaning stays
    again = read_archive(now, trust_source=False)
    np.testing.assert_allclose(np.asarray(again(X)), np.clip(X + 3, 0, 6) / 6, atol=1e-6)


def test_functions_of_tensorflow(tmp_path: Path, keras: Any) -> None:
    def change(config: dict[str, Any]) -> None:
        layer = config["config"]["layers"][1]
        layer["class_name"] = "TFOpLambda"
        layer["config"] = {"name": layer["name"], "function": "math.multiply"}
        layer["inbound_nodes"] = [["x", 0, 0, {"y": 3.0, "name": None}]]
        config["config"]["layers"].append(
            {
                "class_name": "SlicingOpLambda",
                "config": {"name": "part", "function": "__operators__.getitem"},
                "name": "part",
                "inbound_nodes": [
                    [layer["name"], 0, 0, {"slice_spec": [{"start": None}, {"start": 2, "stop": 4}]}]
                ],
            }
        )
        config["config"]["output_layers"] = [["part", 0, 0]]

    path = saved(chain(keras, keras.layers.ReLU()), tmp_path / "m.h5", change)
    again = read_archive(path, trust_source=False)
    np.testing.assert_array_equal(np.asarray(again(X)), 3 * X[:, 2:4])


def test_an_argument_that_keras_3_lacks_names_the_layer(tmp_path: Path, keras: Any) -> None:
    path = saved(
        chain(keras, keras.layers.ReLU(name="r")), tmp_path / "m.h5", set_in("InputLayer", ragged=True)
    )
    with pytest.raises(ModelFileError, match="has ragged=True"):
        load_archive(SourceRequest(path.name, tmp_path))


def test_nothing_is_left_beside_the_file(tmp_path: Path, keras: Any) -> None:
    path = saved(chain(keras, keras.layers.ReLU()), tmp_path / "m.h5")
    content = path.read_bytes()
    read_archive(path, trust_source=False)
    assert [item.name for item in tmp_path.iterdir()] == ["m.h5"]
    assert path.read_bytes() == content


def test_weights_without_an_architecture(tmp_path: Path, keras: Any) -> None:
    h5py = import_extra("h5py", needed_for="tests")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = [b"dense"]
    with pytest.raises(ExportError, match="weights without an architecture") as caught:
        load_archive(SourceRequest("w.h5", tmp_path))
    assert "--weights w.h5" in caught.value.remedy


def old_weights(model: Any, path: Path, *, wrong: bool = False) -> None:
    """As save_weights of Keras 2 wrote them (legacy_h5_format.py): by layer, with the names in attributes."""
    h5py = import_extra("h5py", needed_for="tests")
    layers = [layer for layer in model.layers if layer.weights]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.13.1"
        for layer in layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                value = np.asarray(weight)
                group.create_dataset(name, data=value[:1] if wrong else value)


@pytest.mark.parametrize("name", ["old.h5", "old.weights.h5", "whole.h5", "new.weights.h5"])
def test_weights_of_every_form(name: str, tmp_path: Path, keras: Any) -> None:
    model = chain(keras, keras.layers.Conv2D(3, 3), keras.layers.Flatten(), keras.layers.Dense(2))
    if name.startswith("old"):
        old_weights(model, tmp_path / name)
    else:
        with quiet():
            (model.save if name.startswith("whole") else model.save_weights)(tmp_path / name)
    expected = np.asarray(model(X))
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    loaded = load_model(model, SourceRequest("model", tmp_path, weights=Path(name)))
    assert loaded.reference is not None
    np.testing.assert_array_equal(next(iter(loaded.reference.run({"x": X}).values())), expected)


def test_old_weights_that_do_not_fit(tmp_path: Path, keras: Any) -> None:
    model = chain(keras, keras.layers.Conv2D(3, 3))
    old_weights(model, tmp_path / "w.h5", wrong=True)
    with pytest.raises(ExportError, match=r"weights w.h5 do not fit the model: ValueError"):
        apply_weights(model, tmp_path / "w.h5")


def test_a_saved_model_that_the_first_loader_refuses(
    tmp_path: Path, keras: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensorflow = import_extra("tensorflow", needed_for="tests")
    model = chain(keras, keras.layers.Conv2D(3, 3), keras.layers.BatchNormalization())
    with quiet():
        model.export(tmp_path / "saved", verbose=False)

    def refuse(path: str) -> None:
        raise AttributeError("'_UserObject' object has no attribute 'add_slot'")

    monkeypatch.setattr(tensorflow.saved_model, "load", refuse)
    loaded = load_saved_model(SourceRequest("saved", tmp_path))
    (found,) = onnx_outputs(loaded, X).values()
    assert_close(found, np.asarray(model(X)), of_range=1e-5)
    shutil.rmtree(tmp_path / "saved" / "variables")
    with pytest.raises(ModelFileError, match=r"cannot be loaded: AttributeError: .*add_slot"):
        load_saved_model(SourceRequest("saved", tmp_path))


def assert_close(have: Any, want: Any, *, of_range: float) -> None:
    assert have.shape == want.shape
    assert float(np.max(np.abs(have - want))) <= of_range * float(np.ptp(want))


def onnx_outputs(loaded: Loaded, x: Array) -> dict[str, Array]:
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(io.to_bytes(loaded.model), providers=["CPUExecutionProvider"])
    names = [spec.name for spec in io.specs(loaded.model)[1]]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: x}), strict=True))


def data() -> Path:
    if not os.environ.get("EDGEKIT_DATA"):
        pytest.skip("EDGEKIT_DATA is not set: the files that Keras 2 wrote are there")
    return Path(os.environ["EDGEKIT_DATA"])


@dataclass(frozen=True)
class Real:
    id: str
    path: str
    low: float
    high: float


REAL = (
    Real("wake-word", "mlperf_tiny_sww/str_ww_ref_model.h5", 0.0, 1.0),
    Real("resnet8", "mlperf_tiny_ic/pretrainedResnet.h5", 0.0, 255.0),
)


@pytest.mark.parametrize("case", REAL, ids=lambda case: case.id)
def test_h5_files_of_keras_2(case: Real) -> None:
    path = data() / case.path
    loaded = load_archive(SourceRequest(path.name, path.parent))
    assert loaded.reference is not None
    (given,) = loaded.reference.inputs
    rng = np.random.default_rng(0)
    x = rng.uniform(case.low, case.high, (4, *given.shape[1:])).astype(np.float32)  # type: ignore[arg-type]  # all but the batch is fixed
    (want,) = loaded.reference.run({given.name: x}).values()
    (have,) = onnx_outputs(loaded, x).values()
    assert_close(have, want, of_range=1e-5)


@dataclass(frozen=True)
class SavedCell:
    """A recurrent layer in a SavedModel, and the one operator that it is."""

    id: str
    layer: Callable[[Any], Any]
    operator: str
    steps: int | None = 5


CELLS = [
    SavedCell("lstm", lambda layers: layers.LSTM(4), "LSTM"),
    SavedCell("gru", lambda layers: layers.GRU(4), "GRU"),
    SavedCell("gru-reset-before", lambda layers: layers.GRU(4, reset_after=False), "GRU"),
    SavedCell("gru-sequences", lambda layers: layers.GRU(4, return_sequences=True), "GRU"),
    SavedCell("gru-backwards", lambda layers: layers.GRU(4, go_backwards=True), "GRU"),
    SavedCell("gru-no-bias-relu", lambda layers: layers.GRU(4, use_bias=False, activation="relu"), "GRU"),
    SavedCell("gru-any-length", lambda layers: layers.GRU(4), "GRU", steps=None),
    SavedCell("simple-rnn-stays", lambda layers: layers.SimpleRNN(4), "Loop"),
]


@pytest.mark.parametrize("case", CELLS, ids=lambda case: case.id)
def test_a_saved_cell_is_one_operator(keras: Any, case: SavedCell, tmp_path: Path) -> None:
    """Tolerance: 1e-6 of values in -1 .. 1, sums of a few float32 products in another order."""
    with quiet():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((case.steps, 3)), case.layer(keras.layers)])
        model.export(tmp_path / "saved", verbose=False)
    loaded = load_saved_model(SourceRequest("saved", tmp_path))
    canonical = canonicalize(loaded.model)
    kinds = [node.op_type for node in canonical.graph]
    assert kinds.count(case.operator) == 1
    assert case.operator == "Loop" or "Loop" not in kinds
    assert loaded.reference is not None
    (given,) = loaded.reference.inputs
    x = np.random.default_rng(1).uniform(-1, 1, (3, 5, 3)).astype(np.float32)
    (want,) = loaded.reference.run({given.name: x}).values()
    with open_model(canonical, RunOptions()) as session:
        (have,) = session.run({given.name: x}).values()
    np.testing.assert_allclose(np.asarray(have, np.float32), np.asarray(want, np.float32), atol=1e-6)


BASIC_PITCH = "basic_pitch/basic_pitch/saved_models/icassp_2022"
RATE, WINDOW, OVERLAP = 22050, 43844, 30 * 256  # samples; basic_pitch/constants.py and inference.py
TAPS, CUTOFF, BETA = (
    255,
    0.48,
    14.0,
)  # of the filter before every second sample is dropped (44.1 -> 22.05 kHz)


def windows(path: Path) -> Array:
    """(windows, samples, 1) of a mono recording at twice the model's rate, as basic_pitch cuts it."""
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels()) == (2 * RATE, 1)
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16) / 2**15
    taps = CUTOFF * np.sinc(CUTOFF * (np.arange(TAPS) - TAPS // 2)) * np.kaiser(TAPS, BETA)
    half = np.convolve(samples, taps / taps.sum(), mode="same")[::2]
    padded = np.concatenate([np.zeros(OVERLAP // 2), half, np.zeros(WINDOW)])
    starts = range(0, OVERLAP // 2 + len(half), WINDOW - OVERLAP)
    return np.stack([padded[start : start + WINDOW] for start in starts]).astype(np.float32)[..., None]


def golden() -> dict[str, Any]:
    path = data() / "basic_pitch/tests/resources/vocadito_10/model_output.npz"
    found: dict[str, Any] = np.load(path, allow_pickle=True)["arr_0"].item()
    return found


@pytest.mark.parametrize(
    "source", ["nmp", pytest.param("nmp.onnx", id="the-authors-own-onnx")], ids=lambda source: source
)
def test_golden_outputs_of_basic_pitch(source: str) -> None:
    """Largest difference 1e-3 of outputs in [0, 1]; the golden ones were made from another resampling."""
    request = SourceRequest(source, data() / BASIC_PITCH)
    loaded = load_saved_model(request) if source == "nmp" else load_onnx(request)
    canonical = canonicalize(loaded.model)
    assert io.specs(canonical)[1] == io.specs(loaded.model)[1]
    x = windows(data() / "basic_pitch/tests/resources/vocadito_10.wav")
    found = onnx_outputs(Loaded(canonical, None, ""), x)
    names = dict(
        zip(("contour", "note", "onset"), sorted(found), strict=True)
    )  # ":0", ":1", ":2" in the ONNX
    for name, want in golden().items():
        frames: Any = found[names[name]][:, 15:-15].reshape(
            -1, want.shape[1]
        )  # half of the overlap, in frames
        have = frames[: len(want)]
        assert len(have) > 700
        assert float(np.max(np.abs(have - want[: len(have)]))) <= 1e-3
