"""importers: what other tools take is read as it is, again and again; what cannot be is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import edgekit
from edgekit import dataset
from edgekit.dataset import DataSource
from edgekit.errors import DataError, InputError, UnknownNameError
from edgekit.ir import io
from edgekit.spec import TensorSpec

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Arrays = dict[str, Floats]

INPUTS = (TensorSpec("a", "float32", ("n", 3)), TensorSpec("b", "float32", ("n", 2)))
ONE = INPUTS[:1]
A: Floats = np.arange(30, dtype=np.float32).reshape(10, 3)
B: Floats = np.arange(20, dtype=np.float32).reshape(10, 2)


class Reader:
    """What onnxruntime.quantization.CalibrationDataReader asks for."""

    def __init__(self) -> None:
        self.rewind()

    def get_next(self) -> Arrays | None:
        return next(self._left, None)

    def rewind(self) -> None:
        self._left = iter([{"a": A[i : i + 2], "b": B[i : i + 2]} for i in range(0, 10, 2)])


class OneWayReader:
    def __init__(self) -> None:
        self._left = iter([{"a": A, "b": B}])

    def get_next(self) -> Arrays | None:
        return next(self._left, None)


class NncfDataset:
    """nncf.Dataset: source items, and a function from an item to the model's inputs."""

    def __init__(self, source: Iterable[int], transform: Callable[[int], object]) -> None:
        self._source, self._transform = source, transform

    def get_data(self, indices: list[int] | None = None) -> Iterable[int]:
        return self._source

    def get_inference_data(self, indices: list[int] | None = None) -> Iterator[object]:
        return (self._transform(item) for item in self._source)


def representative() -> Iterator[list[Floats]]:
    """As for tf.lite.TFLiteConverter.representative_dataset."""
    for index in range(10):
        yield [A[index : index + 1], B[index : index + 1]]


@dataclass(frozen=True)
class Form:
    id: str
    value: object


FORMS = (
    Form("CalibrationDataReader", Reader()),
    Form("class of a reader", Reader),
    Form("class of a reader without rewind", OneWayReader),
    Form("nncf of mappings", NncfDataset(range(10), lambda i: {"a": A[i : i + 1], "b": B[i : i + 1]})),
    Form("nncf of tuples", NncfDataset(range(10), lambda i: (A[i : i + 1], B[i : i + 1]))),
    Form("TFLite generator of lists", representative),
    Form("TFLite generator of mappings", lambda: ({"a": A[i : i + 1], "b": B[i : i + 1]} for i in range(10))),
    Form("arrays by name", {"a": A, "b": B}),
    Form("list of mappings", [{"a": A[:4], "b": B[:4]}, {"a": A[4:], "b": B[4:]}]),
    Form("list of tuples", [(A[:4], B[:4]), (A[4:], B[4:])]),
    Form("function that returns arrays", lambda: {"a": A, "b": B}),
    Form("function that returns a reader", lambda: OneWayReader()),  # noqa: PLW0108 - a function is what is tested
)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.id)
def test_every_form_gives_the_same_data_again_and_again(form: Form) -> None:
    data = dataset.load_object(form.value, inputs=INPUTS)
    for _ in range(2):
        (batch,) = data.batches(99)
        np.testing.assert_array_equal(batch["a"], A)
        np.testing.assert_array_equal(batch["b"], B)
    assert data.count == 10
    assert data.digest == dataset.load_object({"a": A, "b": B}, inputs=INPUTS).digest


def test_an_array_is_the_only_input() -> None:
    data = dataset.load_object(A, inputs=ONE, samples=4, seed=3)
    assert data.count == 4
    assert len(next(data.batches(9))["a"]) == 4


class RefillingReader(Reader):
    """One buffer for all batches, as loaders have that re-use their memory."""

    def __init__(self, form: str) -> None:
        self._form = form
        super().__init__()

    def rewind(self) -> None:
        self._left = self.filled()

    def filled(self) -> Iterator[Any]:
        buffer, labels = np.zeros((2, 3), np.float32), np.zeros(2, np.int64)
        for value in range(3):
            buffer[:], labels[:] = value, value
            yield [buffer] if self._form == "lists" else {"a": buffer, "labels": labels}


@pytest.mark.parametrize("form", ["mappings", "lists", "reader"])
def test_one_buffer_that_is_filled_again_and_again_is_read_in_time(form: str) -> None:
    """Three batches of two, stacked by four, were the second one twice."""
    reader = RefillingReader(form)
    data = dataset.load_object(reader if form == "reader" else reader.filled, inputs=ONE)
    assert [batch["a"][:, 0].tolist() for batch in data.batches(4)] == [[0, 0, 1, 1], [2, 2]]
    if form != "lists":
        assert data.labels is not None
        assert data.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_labels_travel_along() -> None:
    data = dataset.load_object({"a": A, "labels": np.arange(10)}, inputs=ONE)
    assert data.labels is not None
    assert data.labels.tolist() == list(range(10))
    assert set(next(data.batches(2))) == {"a"}


REFUSED: tuple[tuple[str, object, str], ...] = (
    ("a running generator", representative(), "can be read only once"),
    ("a reader without rewind", OneWayReader(), "can be read only once"),
    ("a number", 7, "which is no data"),
    ("text", b"x.npz", "which is no data"),
    ("a list of numbers", [1, 2], "yields a int with int"),
    ("too few arrays", [[A]], "yields 1 arrays without names, and the model has 2 inputs"),
    ("an empty batch", [[]], "yields an empty list"),
    ("a function that returns a function", lambda: lambda: 3, "returns a function"),
)


@pytest.mark.parametrize("value", REFUSED, ids=lambda case: case[0])
def test_what_is_no_data_is_refused(value: tuple[str, object, str]) -> None:
    with pytest.raises(DataError, match=value[2]) as caught:
        dataset.load_object(value[1], inputs=INPUTS)
    assert caught.value.remedy


FILE = """
import numpy as np

A = np.arange(30, dtype=np.float32).reshape(10, 3)

def lists():
    for row in A:
        yield [row[None]]

def made():
    return {"a": A}

class Reader:
    def __init__(self):
        self.rewind()
    def rewind(self):
        self.left = iter(A)
    def get_next(self):
        row = next(self.left, None)
        return None if row is None else {"a": row[None]}

reader = Reader()
running = lists()
"""


@pytest.mark.parametrize("name", ["lists", "made", "Reader", "reader", "A"])
def test_a_file_may_return_or_hold_any_of_them(name: str, tmp_path: Path) -> None:
    (tmp_path / "feed.py").write_text(FILE)
    data = dataset.load(DataSource(f"feed.py:{name}"), inputs=ONE, base=tmp_path)
    np.testing.assert_array_equal(next(data.batches(99))["a"], A)


def test_a_file_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "feed.py").write_text(FILE)
    with pytest.raises(DataError, match=r"feed\.py:running is a generator"):
        dataset.load(DataSource("feed.py:running"), inputs=ONE, base=tmp_path)
    with pytest.raises(UnknownNameError, match="reder"):
        dataset.load(DataSource("feed.py:reder"), inputs=ONE, base=tmp_path)


def saved(tmp_path: Path) -> Path:
    text = (
        '<ir_version: 10, opset_import: ["" : 21]>'
        " g (float[n, 3] a, float[n, 2] b) => (float[n, 3] y, float[n, 2] z) { y = Sigmoid(a) z = Relu(b) }"
    )
    io.save(ir.from_onnx_text(text), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_the_python_api_takes_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    model = saved(tmp_path)
    written = [
        edgekit.calibrate(model, calibration_data=value, out=tmp_path / f"{index}.json", method="mse")
        for index, value in enumerate((Reader(), representative))
    ]
    first, second = (json.loads(path.read_text()) for path in written)
    assert first == second
    assert first["schema"] == "edgekit/ranges/2"
    assert first["samples"] == 10
    assert set(first["histograms"]) == {"a", "b", "y", "z"}
    assert first["tensors"]["b"] == {"low": 0.0, "high": 19.0}
    assert first["tools"]["onnxruntime"]


def test_ranges_of_another_time_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    model = saved(tmp_path)
    path = edgekit.calibrate(model, calibration_data={"a": A, "b": B}, out=tmp_path / "r.json")
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "schema": "edgekit/ranges/1"}))
    with pytest.raises(InputError, match="has the schema 'edgekit/ranges/1'") as caught:
        edgekit.quantize(model, ranges=path, out=tmp_path / "q.onnx", target="portable", precision="w8a8")
    assert "calibrate again" in caught.value.remedy
