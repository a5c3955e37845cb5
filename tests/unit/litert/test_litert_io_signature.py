"""What an app sees of the file: signature, open batch, shared and aligned buffers, files above 2 GB."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgekit import settings
from edgekit.backends.base import IoDtype, IoForm, ModelInfo
from edgekit.backends.litert import flatbuffer
from edgekit.backends.litert.backend import packed, translate
from edgekit.backends.litert.reading import read
from edgekit.backends.litert.tensors import Graph, Operator, Tensor
from edgekit.ir.infer import infer_shapes
from edgekit.quantization.float16 import to_float16
from edgekit.spec import Array
from tests.unit.litert.litert_models import Floats, Model, as_ir, relative_error, run_onnx

STEP = 0.1  # of the int8 output


def float_model() -> onnx.ModelProto:
    m = Model(seed=5)
    x = m.input("serving_default_x:0", ("batch", 3, 8, 8))
    y = m.add("Relu", m.add("Conv", x, m.weight(16, 3, 3, 3), pads=[1, 1, 1, 1]))
    pooled = m.add("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    flat = m.add("Reshape", pooled, m.ints(0, -1))
    z = m.add("Gemm", flat, m.weight(256, 5, scale=0.1), m.weight(5), out="StatefulPartitionedCall/scores")
    return m.build(z, y)


def int8_model(dtype: str = "int8") -> onnx.ModelProto:
    m = Model(seed=5)
    x = m.quantized(m.input("serving_default_x:0", ("batch", 3, 8, 8)), 0.03, 0, dtype=dtype)
    w, _ = m.quantized_weight(m.rng.standard_normal((4, 3, 3, 3)).astype(np.float32), axis=0)
    y = m.quantized(m.add("Relu", m.add("Conv", x, w, pads=[1, 1, 1, 1])), 0.05, 0, dtype=dtype)
    flat = m.quantized(m.add("Flatten", y), 0.05, 0, dtype=dtype)
    w2, _ = m.quantized_weight((m.rng.standard_normal((256, 5)) * 0.1).astype(np.float32), axis=1)
    return m.build(m.quantized(m.add("MatMul", flat, w2), STEP, 0, dtype=dtype), y)


FORMS: dict[str, tuple[ir.Model, IoDtype]] = {
    "float32": (as_ir(float_model()), "float32"),
    "float16": (to_float16(infer_shapes(as_ir(float_model()))), "float32"),
    "int8": (as_ir(int8_model()), "float32"),
    "int8-in-and-out": (as_ir(int8_model()), "int8"),
    "uint8-in-and-out": (as_ir(int8_model()), "uint8"),
    "int16": (as_ir(int8_model("int16")), "float32"),
}
NAMED = pytest.mark.parametrize("form", FORMS)


def image(batch: int) -> Floats:
    steps = np.random.default_rng(batch).integers(-100, 101, (batch, 3, 8, 8))
    return (steps * np.float32(0.03)).astype(np.float32)  # on the grid of the input's scale


def interpreter_of(content: bytes) -> Any:
    settings.silence_native_libraries()
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=content)


def stored(values: Array, detail: dict[str, Any]) -> Array:
    """Channels-last, and integers where the file takes them."""
    values = np.transpose(values, (0, 2, 3, 1))
    if detail["dtype"] == np.float32:
        return values
    scale, zero = detail["quantization"]
    integers: Array = (np.rint(values.astype(np.float64) / scale) + zero).astype(detail["dtype"])
    return integers


def real(values: Array, detail: dict[str, Any]) -> Array:
    if detail["dtype"] == np.float32:
        return values
    scale, zero = detail["quantization"]
    numbers: Array = ((values.astype(np.float64) - zero) * scale).astype(np.float32)
    return numbers


def reference(form: str, batch: int) -> dict[str, Array]:
    model = float_model() if form.startswith("float") else int8_model("int16" if form == "int16" else "int8")
    return run_onnx(model, {"serving_default_x:0": image(batch)})


def tolerance(form: str) -> float:
    """Relative to the range of the output: float sums, half-float weights, one step of int8."""
    return {"float32": 1e-5, "float16": 2e-3}.get(form, 0.05)


@NAMED
def test_the_signature_has_the_references_names(form: str) -> None:
    model, dtype = FORMS[form]
    made = translate(model, IoForm(dtype))
    interpreter = interpreter_of(packed(made, ModelInfo(name="m")))
    outputs = [binding.name for binding in made.outputs]
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["serving_default_x:0"], "outputs": sorted(outputs)}
    }
    runner = interpreter.get_signature_runner("serving_default")
    detail = runner.get_input_details()["serving_default_x:0"]
    found = runner(**{"serving_default_x:0": stored(image(1), detail)})
    expected = reference(form, 1)
    assert set(found) == set(expected)
    scores = real(found[outputs[0]], runner.get_output_details()[outputs[0]])
    assert relative_error(scores, expected[outputs[0]]) < tolerance(form)


@NAMED
def test_the_batch_is_open(form: str) -> None:
    model, dtype = FORMS[form]
    made = translate(model, IoForm(dtype))
    interpreter = interpreter_of(packed(made, None))
    (given,) = interpreter.get_input_details()
    assert given["shape_signature"].tolist() == [-1, 8, 8, 3]
    assert all(each["shape_signature"][0] == -1 for each in interpreter.get_output_details())
    for batch in (3, 1, 7):
        interpreter.resize_tensor_input(given["index"], [batch, 8, 8, 3], strict=True)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], stored(image(batch), given))
        interpreter.invoke()
        detail = next(
            each for each in interpreter.get_output_details() if each["name"] == made.outputs[0].name
        )
        found = real(interpreter.get_tensor(detail["index"]), detail)
        expected = reference(form, batch)[made.outputs[0].name]
        assert relative_error(found, expected) < tolerance(form)


@NAMED
def test_buffers_are_aligned_and_written_once(form: str) -> None:
    from ai_edge_litert import schema_py_generated as schema

    model, dtype = FORMS[form]
    content = packed(translate(model, IoForm(dtype)), ModelInfo(name="m", files={"a.txt": b"a"}))
    file = schema.Model.GetRootAs(content, 0)
    start = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    seen: list[bytes] = []
    for index in range(file.BuffersLength()):
        data = file.Buffers(index).DataAsNumpy()
        if isinstance(data, np.ndarray):
            assert (data.__array_interface__["data"][0] - start) % 16 == 0
            seen.append(data.tobytes())
    assert len(seen) == len(set(seen)) > 4


def test_one_weight_in_two_places_is_one_buffer() -> None:
    """The same numbers in two layers, once as a matrix and once reshaped: bytes count, not shapes."""
    m = Model(seed=1)
    weight = m.rng.standard_normal((64, 64)).astype(np.float32)
    x = m.input("x", (1, 64))
    y = m.add("MatMul", m.add("MatMul", x, m.constant(weight)), m.constant(weight.copy()))
    z = m.add("Add", m.add("Reshape", y, m.ints(1, 8, 8)), m.constant(weight[:1].reshape(1, 8, 8)))
    once = len(packed(translate(as_ir(m.build(z))), None))
    assert weight.nbytes < once < 1.3 * weight.nbytes


def test_tables_of_equal_bytes_and_other_scales_share_a_buffer() -> None:
    from ai_edge_litert import schema_py_generated as schema

    data = np.arange(64, dtype=np.int8)
    tensors = (
        Tensor("x", "int8", (64,)),
        Tensor("a", "int8", (64,), data=data),
        Tensor("b", "int8", (8, 8), data=data.reshape(8, 8).copy()),
        Tensor("y", "int8", (64,)),
    )
    graph = Graph(tensors, (Operator("ADD", (0, 1), (3,)),), (0,), (3,), ("x",), ("y",))
    subgraph = schema.Model.GetRootAs(flatbuffer.pack(graph), 0).Subgraphs(0)
    assert subgraph.Tensors(1).Buffer() == subgraph.Tensors(2).Buffer() != 0


def huge(count: int) -> Graph:
    """Constants of 1 GB each that take no memory: one number, seen 2^28 times."""
    names = [f"k{index}" for index in range(count)]
    constants = tuple(
        Tensor(name, "float32", (2**28,), data=np.broadcast_to(np.float32(index), (2**28,)))
        for index, name in enumerate(names)
    )
    tensors = (Tensor("x", "float32", (2**28,)), *constants, Tensor("y", "float32", (2**28,)))
    return Graph(tensors, (), (0,), (len(tensors) - 1,), ("x",), ("y",))


def test_only_what_a_flatbuffer_cannot_address_lies_behind_it() -> None:
    assert flatbuffer.has_offsets(huge(2))
    assert not flatbuffer.has_offsets(huge(1))


@NAMED
def test_a_file_above_2_gb_computes_the_same(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written as such a file is, from the first byte of weights on; the runtime maps it."""
    model, dtype = FORMS[form]
    made = translate(model, IoForm(dtype))
    info = ModelInfo(name="m", files={"labels.txt": b"a\nb\n"})
    near = result_of(packed(made, info), tmp_path)
    monkeypatch.setattr(flatbuffer, "LARGEST_FLATBUFFER_BYTES", flatbuffer.ROOM_FOR_TABLES)
    content = packed(made, info)
    np.testing.assert_array_equal(result_of(content, tmp_path), near)
    (tmp_path / "far.tflite").write_bytes(content)
    found = read(tmp_path / "far.tflite")
    assert found.facts["least runtime"] == "TFLite 2.16.0"
    assert sum(each.parameters for each in found.layers) > 0
    with zipfile.ZipFile(tmp_path / "far.tflite") as archive:
        assert archive.read("labels.txt") == b"a\nb\n"


def test_sabotage_an_offset_that_is_four_bytes_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = translate(FORMS["float32"][0])
    near = result_of(packed(made, None), tmp_path)
    monkeypatch.setattr(flatbuffer, "LARGEST_FLATBUFFER_BYTES", flatbuffer.ROOM_FOR_TABLES)
    at = flatbuffer._Buffers.at
    monkeypatch.setattr(flatbuffer._Buffers, "at", lambda self, start, schema: at(self, start - 4, schema))
    assert not np.array_equal(result_of(packed(made, None), tmp_path), near)


def result_of(content: bytes, folder: Path) -> Array:
    """The scores of one image, out of a file."""
    from ai_edge_litert.interpreter import Interpreter

    settings.silence_native_libraries()
    path = folder / "m.tflite"
    path.write_bytes(content)
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    interpreter.set_tensor(given["index"], stored(image(1), given))
    interpreter.invoke()
    found: Array = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return found


def test_one_array_in_two_tensors_counts_once() -> None:
    graph = huge(1)
    again = replace(graph.tensors[1], name="again")
    assert flatbuffer.weight_bytes(graph) == 2**30
    assert flatbuffer.weight_bytes(replace(graph, tensors=(*graph.tensors, again))) == 2**30


def test_files_that_travel_along_keep_the_graph_apart(tmp_path: Path) -> None:
    """The graph ends where the archive begins: without it, it is the same flatbuffer."""
    made = translate(FORMS["float32"][0])
    plain = packed(made, ModelInfo(name="m"))
    both = packed(made, ModelInfo(name="m", files={"b.bin": bytes(1000)}))
    assert len(both) > len(plain) + 1000
    path = tmp_path / "both.tflite"
    path.write_bytes(both)
    interpreter = interpreter_of(path.read_bytes())
    interpreter.allocate_tensors()
    assert interpreter.get_signature_list()["serving_default"]["inputs"] == ["serving_default_x:0"]
