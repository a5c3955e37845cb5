"""Every source that cannot be exported ends in one error with what, why and what to do next."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import settings
from edgekit.errors import (
    DataError,
    EdgekitError,
    ExitCode,
    ExportError,
    InputError,
    MissingBackendError,
    ModelFileError,
    UnknownNameError,
)
from edgekit.frontends.extras import import_extra
from edgekit.frontends.quiet import quiet
from edgekit.frontends.request import FunctionRunner
from edgekit.frontends.source import SourceRequest, load
from edgekit.spec import TensorSpec

settings.silence_native_libraries()  # before importorskip imports one

X = TensorSpec("x", "float32", ("batch", 4))
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Case:
    """Files to write, the source to load, and how it must end."""

    id: str
    source: str
    error: type[EdgekitError]
    text: str
    code: str = ""
    inputs: tuple[TensorSpec, ...] = (X,)
    weights: Path | None = None
    needs: str = ""
    opset: int = 21


def assert_refused(case: Case, folder: Path) -> None:
    if case.needs:
        pytest.importorskip(case.needs)
    if case.code:
        (folder / "model.py").write_text(case.code)
    request = SourceRequest(case.source, folder, inputs=case.inputs, weights=case.weights, opset=case.opset)
    with pytest.raises(case.error, match=case.text) as refused:
        load(request)
    assert refused.value.why
    assert refused.value.remedy
    assert "\n" not in refused.value.what


SOURCES = [
    Case("no-file", "model.py:build", ExportError, "no file at .*model.py"),
    Case("no-module", "edgekit_no_such:build", ExportError, "cannot be imported: ModuleNotFoundError"),
    Case("no-callable-named", "model.py:", ExportError, "names no callable"),
    Case("file-without-callable", "model.py", ExportError, "file without a callable", "build = int\n"),
    Case(
        "misspelled",
        "model.py:biuld",
        UnknownNameError,
        "unknown callable in model.py 'biuld'",
        "def build(): 1\n",
    ),
    Case(
        "not-callable", "model.py:build", ExportError, "an object of type int, not a callable", "build = 3\n"
    ),
    Case(
        "raises",
        "model.py:build",
        ExportError,
        "raised: ValueError: no",
        "def build(): raise ValueError('no')\n",
    ),
    Case(
        "exits", "model.py:build", ExportError, "raised: SystemExit: 3", "def build(): raise SystemExit(3)\n"
    ),
    Case("syntax", "model.py:build", ExportError, "cannot be imported: SyntaxError", "def build(:\n"),
    Case("needs-arguments", "model.py:build", ExportError, "raised: TypeError", "def build(width): pass\n"),
    Case("missing-import", "model.py:build", ExportError, "No module named 'no_such'", "import no_such\n"),
    Case(
        "returns-nothing",
        "model.py:build",
        ExportError,
        "returned an object of type NoneType",
        "build = dict.fromkeys\ndef build(): pass\n",
    ),
    Case("returns-text", "model.py:build", ExportError, "returned an object of type str", "build = str\n"),
    Case("missing-onnx", "m.onnx", ModelFileError, "no model file at"),
    Case("missing-keras", "m.keras", ModelFileError, "no model file at", needs="tensorflow"),
    Case("missing-pt2", "m.pt2", ModelFileError, "no model file at", needs="torch"),
    Case("missing-tflite", "m.tflite", ModelFileError, "no model file at", needs="ai_edge_litert"),
    Case("missing-other", "m.mlmodel", ExportError, "m.mlmodel does not exist"),
    Case("missing-checkpoint", "m.pth", ExportError, "weights without an architecture"),
    Case("weights-h5", "m.weights.h5", ModelFileError, "no model file at", needs="tensorflow"),
    Case("folder", ".", ExportError, "holds no saved_model.pb"),
    Case("opset-too-old", "m.onnx", InputError, "opset 9 cannot be exported", opset=9),
    Case("opset-too-new", "m.onnx", InputError, "opset 99 cannot be exported", opset=99),
]


@pytest.mark.parametrize("case", SOURCES, ids=lambda case: case.id)
def test_sources(case: Case, tmp_path: Path) -> None:
    assert_refused(case, tmp_path)


def test_the_closest_names_are_told(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("def build(): pass\ndef rebuild(): pass\n")
    with pytest.raises(UnknownNameError) as refused:
        load(SourceRequest("model.py:biuld", tmp_path))
    assert "did you mean build" in refused.value.remedy


TORCH = "import torch\nfrom torch import nn\n"
MODULE = TORCH + "class M(nn.Module):\n    def forward(self, x):\n        {body}\ndef build(): return M()\n"
SEQUENTIAL = TORCH + "def build(): return nn.Sequential(nn.Linear(4, 3))\n"
TORCH_CASES = [
    Case("no-inputs", "model.py:build", ExportError, "needs its inputs declared", SEQUENTIAL, ()),
    Case(
        "wrong-width",
        "model.py:build",
        ExportError,
        r"does not run on its declared inputs \(x \(1, 5\) float32\): RuntimeError",
        SEQUENTIAL,
        (TensorSpec("x", "float32", ("batch", 5)),),
    ),
    Case(
        "misspelled-input",
        "model.py:build",
        UnknownNameError,
        "unknown parameter of forward 'maks'",
        TORCH + "class M(nn.Module):\n    def forward(self, x, mask): return x\ndef build(): return M()\n",
        (X, TensorSpec("maks", "float32", ("batch", 4))),
    ),
    Case(
        "gives-text",
        "model.py:build",
        ExportError,
        "gives an object of type str",
        MODULE.format(body="return 'x'"),
    ),
    Case(
        "data-dependent",
        "model.py:build",
        ExportError,
        r"branches on a value .* \(model.py, line 5: return x if x.sum\(\) > 0 else -x\)",
        MODULE.format(body="return x if x.sum() > 0 else -x"),
    ),
    Case(
        "fixes-the-batch",
        "model.py:build",
        ExportError,
        r"does not run on its declared inputs \(x \(1, 4\) float32\): RuntimeError",
        MODULE.format(body="return x.reshape(2, 4)"),
    ),
    Case(
        "missing-weights",
        "model.py:build",
        ModelFileError,
        "no weights file",
        SEQUENTIAL,
        weights=Path("w.pt"),
    ),
    Case(
        "keras-weights",
        "model.py:build",
        ModelFileError,
        "no weights file at .*w.weights.h5",
        SEQUENTIAL,
        weights=Path("w.weights.h5"),
    ),
]


@pytest.mark.parametrize("case", TORCH_CASES, ids=lambda case: case.id)
def test_torch(case: Case, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    assert_refused(case, tmp_path)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("/nonexistent/folder/edgekit-was-here"),))


def write_program(path: Path) -> None:
    torch = import_extra("torch", needed_for="tests")
    with quiet():
        torch.export.save(torch.export.export(torch.nn.Linear(4, 3), (torch.zeros(2, 4),)), path)


def add_evil_member(path: Path) -> None:
    torch = import_extra("torch", needed_for="tests")
    torch.save({"a": Evil()}, path.with_name("evil.pt"))
    copy = path.with_name("copy.pt2")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
        for entry in old.infolist():
            evil = entry.filename.endswith("sample_inputs/model.pt")
            new.writestr(entry, path.with_name("evil.pt").read_bytes() if evil else old.read(entry))
    copy.replace(path)


def add_opaque_member(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("m/data/constants/opaque_obj_0", b"")


def add_pickled_weight(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("m/data/constants/other_config.json", '{"config": {"w": {"use_pickle": true}}}')


@dataclass(frozen=True)
class Damage:
    id: str
    change: Callable[[Path], Any]
    text: str


@pytest.mark.parametrize(
    "case",
    [
        Damage("empty", lambda path: path.write_bytes(b""), "is not a program that torch.export.save wrote"),
        Damage("cut-off", lambda path: path.write_bytes(path.read_bytes()[:900]), "or is damaged"),
        Damage("P1-code-in-a-pickle", add_evil_member, "would run code on loading: .*pathlib.Path"),
        Damage("P2-opaque-object", add_opaque_member, "would run code on loading: opaque_obj_0"),
        Damage("P2-pickled-weight", add_pickled_weight, "would run code on loading: w"),
    ],
    ids=lambda case: case.id,
)
def test_program_files(case: Damage, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    write_program(tmp_path / "m.pt2")
    case.change(tmp_path / "m.pt2")
    assert_refused(Case(case.id, "m.pt2", ModelFileError, case.text, inputs=()), tmp_path)


def test_program_with_weights_besides(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    case = Case("", "m.pt2", ExportError, "has its weights inside, and w.pt is given", weights=Path("w.pt"))
    assert_refused(case, tmp_path)


KERAS = "import keras\nfrom keras import layers\n"
FUNCTIONAL = KERAS + "def build():\n    x = keras.Input((4,), name='x')\n    return keras.Model(x, {body})\n"
KERAS_CASES = [
    Case(
        "never-called",
        "model.py:build",
        ExportError,
        "needs its inputs declared",
        KERAS + "def build(): return keras.Sequential([layers.Dense(3)])\n",
        (),
    ),
    Case(
        "other-size",
        "model.py:build",
        ExportError,
        "input 'x' of model.py:build is x:float32:.x4, and x:float32:batchx5 is declared",
        FUNCTIONAL.format(body="layers.Dense(3)(x)"),
        (TensorSpec("x", "float32", ("batch", 5)),),
    ),
    Case(
        "does-not-run",
        "model.py:build",
        ExportError,
        "does not run on its declared inputs",
        KERAS
        + "class M(keras.Model):\n    def call(self, x): raise ValueError('no')\ndef build(): return M()\n",
    ),
    Case(
        "nested-outputs",
        "model.py:build",
        ExportError,
        "gives nested outputs",
        KERAS + "class M(keras.Model):\n    def call(self, x): return x, [x, x]\ndef build(): return M()\n",
    ),
    Case(
        "rank-changes",
        "model.py:build",
        ExportError,
        "changes its rank with the batch size",
        KERAS
        + "class M(keras.Model):\n    def call(self, x): return x[0] if x.shape[0] == 1 else x\n"
        + "def build(): return M()\n",
    ),
    Case(
        "operator-without-onnx-form",
        "model.py:build",
        ExportError,
        "operators without an ONNX form: Betainc",
        KERAS
        + "import tensorflow as tf\nclass M(keras.Model):\n"
        + "    def call(self, x): return tf.math.betainc(x, x, x * 0.5)\n"
        + "def build(): return M()\n",
    ),
    Case(
        "python-in-the-graph",
        "model.py:build",
        ExportError,
        "cannot be exported by tf2onnx|without an ONNX form",
        KERAS
        + "import tensorflow as tf\nclass M(keras.Model):\n    def call(self, x):\n"
        + "        return tf.constant(x.numpy())\ndef build(): return M()\n",
    ),
    Case(
        "torch-weights",
        "model.py:build",
        ModelFileError,
        "ending that a Keras model does not load",
        FUNCTIONAL.format(body="layers.Dense(3)(x)"),
        weights=Path("model.py"),
    ),
    Case(
        "missing-weights",
        "model.py:build",
        ModelFileError,
        "no weights file at",
        FUNCTIONAL.format(body="layers.Dense(3)(x)"),
        weights=Path("w.weights.h5"),
    ),
]


@pytest.mark.parametrize("case", KERAS_CASES, ids=lambda case: case.id)
def test_keras(case: Case, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    assert_refused(case, tmp_path)


@dataclass(frozen=True)
class Archive:
    id: str
    name: str
    write: Callable[[Path, Any], Any]
    error: type[EdgekitError]
    text: str


def save_lambda(path: Path, keras: Any) -> None:
    x = keras.Input((4,), name="x")
    with quiet():
        keras.Model(x, keras.layers.Lambda(lambda value: value * 2)(x)).save(path)


def save_weights(path: Path, keras: Any) -> None:
    with quiet():
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save_weights(path)


ARCHIVES = [
    Archive("empty-keras", "m.keras", lambda path, _: path.touch(), ModelFileError, "cannot be loaded"),
    Archive("junk-h5", "m.h5", lambda path, _: path.write_bytes(b"junk"), ModelFileError, "cannot be loaded"),
    Archive("lambda-keras", "m.keras", save_lambda, ModelFileError, "would run code on loading"),
    Archive("lambda-h5", "m.h5", save_lambda, ModelFileError, "would run code on loading"),
    Archive("only-weights", "m.weights.h5", save_weights, ExportError, "weights without an architecture"),
]


@pytest.mark.parametrize("case", ARCHIVES, ids=lambda case: case.id)
def test_keras_archives(case: Archive, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    case.write(tmp_path / case.name, import_extra("keras", needed_for="tests"))
    assert_refused(Case(case.id, case.name, case.error, case.text, inputs=()), tmp_path)


def test_an_unsafe_archive_is_loaded_when_trusted(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    save_lambda(tmp_path / "m.keras", import_extra("keras", needed_for="tests"))
    loaded = load(SourceRequest("m.keras", tmp_path, trust_source=True))
    assert loaded.reference is not None
    feeds = {"x": np.ones((2, 4), np.float32)}
    (result,) = loaded.reference.run(feeds).values()
    np.testing.assert_array_equal(result, np.full((2, 4), 2, np.float32))


@dataclass(frozen=True)
class Misfit:
    id: str
    layers: Callable[[Any], list[Any]]
    text: str


@pytest.mark.parametrize(
    "case",
    [
        Misfit("missing", lambda k: [k.layers.Dense(3)], "missing in the file: .*dense_1"),
        Misfit(
            "unexpected",
            lambda k: [k.layers.Dense(3), k.layers.Dense(3), k.layers.Dense(3)],
            "not in the model: .*dense_2",
        ),
        Misfit(
            "shape",
            lambda k: [k.layers.Dense(5), k.layers.Dense(3)],
            r"is \(4, 5\) in the file and \(4, 3\) in the model",
        ),
    ],
    ids=lambda case: case.id,
)
def test_keras_weights_that_do_not_fit(case: Misfit, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    keras = import_extra("keras", needed_for="tests")
    with quiet():
        keras.Sequential([keras.Input((4,)), *case.layers(keras)]).save_weights(tmp_path / "w.weights.h5")
    code = (
        KERAS
        + "def build():\n    return keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(3)])\n"
    )
    refused = Case(case.id, "model.py:build", ExportError, case.text, code, (), Path("w.weights.h5"))
    assert_refused(refused, tmp_path)


def test_keras_weights_that_are_damaged(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    (tmp_path / "w.weights.h5").write_bytes(b"junk")
    code = FUNCTIONAL.format(body="layers.Dense(3)(x)")
    refused = Case(
        "", "model.py:build", ModelFileError, "cannot be read .4 bytes.", code, (), Path("w.weights.h5")
    )
    assert_refused(refused, tmp_path)


def save_program_that_writes(folder: Path) -> None:
    tensorflow: Any = import_extra("tensorflow", needed_for="tests")
    base: Any = tensorflow.Module

    class Module(base):  # type: ignore[misc]  # TensorFlow is untyped here
        @tensorflow.function(input_signature=[tensorflow.TensorSpec((None, 4), name="x")])  # type: ignore[untyped-decorator]  # as above
        def serve(self, x: Any) -> Any:
            tensorflow.io.write_file(str(folder.parent / "written"), "text")
            return x * 2

    module = Module()
    with quiet():
        tensorflow.saved_model.save(module, str(folder), signatures=module.serve)


def test_a_saved_model_that_writes_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    save_program_that_writes(tmp_path / "saved")
    assert_refused(
        Case("", "saved", ModelFileError, r"reads or writes files .* \(WriteFile\)", inputs=()), tmp_path
    )
    assert not (tmp_path / "written").exists()


def test_a_saved_model_that_is_damaged(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"junk")
    assert_refused(Case("", "saved", ModelFileError, "cannot be loaded", inputs=()), tmp_path)


def test_a_saved_model_without_signature(tmp_path: Path) -> None:
    tensorflow = pytest.importorskip("tensorflow")
    with quiet():
        tensorflow.saved_model.save(tensorflow.Module(), str(tmp_path / "saved"))
    assert_refused(Case("", "saved", ExportError, r"has 0 signatures \(none\)", inputs=()), tmp_path)


def test_a_saved_model_with_weights_besides(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    case = Case("", "saved", ExportError, "has its weights inside", weights=Path("w.weights.h5"))
    assert_refused(case, tmp_path)


ONNX = '<ir_version: 10, opset_import: ["" : 21]> g (float[2, 4] x) => (float[2, 4] y) { y = Relu(x) }'
ONNX_CASES = [
    Case(
        "unknown-input",
        "m.onnx",
        UnknownNameError,
        "unknown input of m.onnx 'image'",
        inputs=(TensorSpec("image", "float32", (2, 4)),),
    ),
    Case(
        "other-type",
        "m.onnx",
        ExportError,
        "is float32, and int8 is declared",
        inputs=(TensorSpec("x", "int8", (2, 4)),),
    ),
    Case("fixed-axis", "m.onnx", ExportError, "x:float32:batchx4 is declared", inputs=(X,)),
    Case("weights", "m.onnx", ExportError, "has its weights inside", weights=Path("w.pt"), inputs=()),
]


@pytest.mark.parametrize("case", ONNX_CASES, ids=lambda case: case.id)
def test_onnx(case: Case, tmp_path: Path) -> None:
    import onnx_ir as ir

    ir.save(ir.from_onnx_text(ONNX), tmp_path / "m.onnx")
    assert_refused(case, tmp_path)


def test_a_fixed_axis_of_an_onnx_file_does_not_become_dynamic(tmp_path: Path) -> None:
    import onnx_ir as ir

    ir.save(ir.from_onnx_text(ONNX), tmp_path / "m.onnx")
    with pytest.raises(ExportError, match=r"axis 0 of input 'x' of m\.onnx is fixed at 2"):
        load(SourceRequest("m.onnx", tmp_path, dynamic={"x": {0: "batch"}}))


@dataclass(frozen=True)
class Missing:
    id: str
    source: str
    package: str
    install: str
    code: str = ""


@pytest.mark.parametrize(
    "case",
    [
        Missing("pt2", "m.pt2", "torch", "torch"),
        Missing("keras", "m.keras", "keras", "keras"),
        Missing("keras-without-tensorflow", "m.keras", "tensorflow", "keras"),
        Missing("torch-callable", "model.py:build", "torch", "torch", "import torch\n"),
        Missing("keras-callable", "model.py:build", "tensorflow", "keras", "import tensorflow.nn\n"),
    ],
    ids=lambda case: case.id,
)
def test_a_missing_framework_names_the_install_line(
    case: Missing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in sys.modules if each == case.package or each.startswith(f"{case.package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, case.package, None)  # how Python marks "not importable"
    (tmp_path / "model.py").write_text(case.code)
    with pytest.raises(MissingBackendError) as refused:
        load(SourceRequest(case.source, tmp_path))
    assert refused.value.exit_code == ExitCode.BACKEND_MISSING
    assert refused.value.remedy == f'pip install "edgekit[{case.install}]"'


def test_another_keras_back_end(tmp_path: Path) -> None:
    pytest.importorskip("keras")
    pytest.importorskip("torch")
    (tmp_path / "model.py").write_text(FUNCTIONAL.format(body="layers.Dense(3)(x)"))
    code = (
        "import os, pathlib, sys\nos.environ['KERAS_BACKEND'] = 'torch'\nimport keras\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from edgekit.frontends.source import SourceRequest, load\nfrom edgekit.errors import ExportError\n"
        "try:\n    load(SourceRequest('model.py:build', pathlib.Path(sys.argv[1])))\n"
        "except ExportError as error:\n    print(error.what, '|', error.remedy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert "was built on the Keras back end 'torch' | run with KERAS_BACKEND=tensorflow" in done.stdout, (
        done.stderr
    )


def test_feeds_of_another_name() -> None:
    runner = FunctionRunner((X,), (), lambda arrays: {})
    with pytest.raises(DataError, match="the model takes x, and was given y"):
        runner.run({"y": np.zeros(1)})
