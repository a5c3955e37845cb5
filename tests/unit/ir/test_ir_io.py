"""ir.io: files and bytes to models and back."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.errors import ModelFileError, OutputError
from edgekit.ir import io
from edgekit.ir.digest import digest
from edgekit.spec import TensorSpec

TEXT = """
<ir_version: 10, opset_import: ["" : 21]>
tiny (float[batch, 2] x) => (float[batch, 3] y)
<float[2, 3] w = {1, 2, 3, 4, 5, 6}>
{
  y = MatMul(x, w)
}
"""


@pytest.fixture
def tiny() -> ir.Model:
    return ir.from_onnx_text(TEXT)


def external_proto(location: str, *, offset: str = "", length: str = "") -> Any:
    """The tiny model with its weight in another file."""
    proto = ir.to_proto(ir.from_onnx_text(TEXT))
    weight = proto.graph.initializer[0]
    for field in ("raw_data", "float_data"):
        weight.ClearField(field)
    weight.data_location = 1
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value:
            weight.external_data.add(key=key, value=value)
    return proto


def test_a_saved_model_is_read_back_with_the_same_content(tiny: ir.Model, tmp_path: Path) -> None:
    io.save(tiny, tmp_path / "m.onnx")
    assert digest(io.load(tmp_path / "m.onnx")) == digest(tiny)


def test_bytes_are_the_same_every_time_and_after_a_round_trip(tiny: ir.Model) -> None:
    content = io.to_bytes(tiny)
    assert content == io.to_bytes(tiny) == io.to_bytes(tiny.clone())
    assert io.to_bytes(io.from_bytes(content)) == content


def test_saving_replaces_the_file_and_leaves_nothing_beside_it(tiny: ir.Model, tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    target.write_bytes(b"old")
    io.save(tiny, target)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


def test_saving_into_a_missing_folder_is_an_output_error(tiny: ir.Model, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        io.save(tiny, tmp_path / "nowhere" / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_saving_onto_a_folder_leaves_no_partial_file(tiny: ir.Model, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        io.save(tiny, tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_specs_name_dynamic_sizes(tiny: ir.Model) -> None:
    inputs, outputs = io.specs(tiny)
    assert inputs == (TensorSpec("x", "float32", ("batch", 2)),)
    assert outputs == (TensorSpec("y", "float32", ("batch", 3)),)


def test_an_initializer_listed_as_an_input_is_not_an_input(tiny: ir.Model) -> None:
    tiny.graph.inputs.append(tiny.graph.initializers["w"])
    assert [spec.name for spec in io.specs(tiny)[0]] == ["x"]


def test_specs_infer_an_output_without_a_shape_and_leave_the_model_alone(tiny: ir.Model) -> None:
    tiny.graph.outputs[0].shape = None
    assert io.specs(tiny)[1] == (TensorSpec("y", "float32", ("batch", 3)),)
    assert tiny.graph.outputs[0].shape is None


def test_specs_refuse_an_input_of_unknown_rank(tiny: ir.Model) -> None:
    tiny.graph.inputs[0].shape = None
    with pytest.raises(ModelFileError, match="input 'x' of the model has no known rank"):
        io.specs(tiny)


@pytest.mark.parametrize("old", [b"the-node", b"the_out", b"the doc", b"the-maker", b"the-graph"])
def test_a_text_that_is_no_utf_8_is_refused(old: bytes) -> None:  # found by fuzzing
    model = ir.from_onnx_text(TEXT)
    node = next(iter(model.graph))
    node.name, node.outputs[0].name, node.doc_string = "the-node", "the_out", "the doc"
    model.producer_name, model.graph.name = "the-maker", "the-graph"
    content = io.to_bytes(model)
    assert old in content
    io.from_bytes(content)
    with pytest.raises(ModelFileError, match="is not UTF-8"):
        io.from_bytes(content.replace(old, b"\xff" + old[1:]))


def test_specs_refuse_a_name_that_two_outputs_share(tiny: ir.Model) -> None:  # found by fuzzing
    tiny.graph.outputs.append(tiny.graph.outputs[0])
    with pytest.raises(ModelFileError, match="two outputs of the model are named 'y'"):
        io.specs(tiny)


@pytest.mark.parametrize("kind", ["input", "output"])
def test_specs_refuse_a_size_that_no_machine_holds(tiny: ir.Model, kind: str) -> None:  # found by fuzzing
    (value,) = tiny.graph.inputs if kind == "input" else tiny.graph.outputs
    value.shape = ir.Shape(["N", 2**62, 8, 8])
    with pytest.raises(ModelFileError, match=f"{kind} '{value.name}' of the model has 4611686018427387904 x"):
        io.specs(tiny)
    value.shape = ir.Shape(["N", 2**30, 8, 8])  # large, and a dynamic size is not counted
    assert io.specs(tiny)


def test_a_negative_size_is_an_open_one(tiny: ir.Model) -> None:  # found by fuzzing
    """Exporters write -1 for what they do not know; NumPy, asked for zeros of that size, raises."""
    for value in (*tiny.graph.inputs, *tiny.graph.outputs, *tiny.graph.node(0).outputs):
        assert value.shape is not None
        value.shape = ir.Shape([-1, *list(value.shape)[1:]])
    read = io.from_bytes(io.to_bytes(tiny))
    (inputs, outputs) = io.specs(read)
    assert [spec.shape[0] for spec in (*inputs, *outputs)] == [None, None]
    assert inputs[0].shape[1:] == io.specs(tiny)[0][0].shape[1:]
    (middle,) = read.graph.node(0).outputs
    assert middle.shape is not None
    assert middle.shape[0] == ir.SymbolicDim(None)
    assert b"\xff" * 9 not in io.to_bytes(read)  # the varint of -1


def test_external_data_beside_the_model_is_taken_inside(tmp_path: Path) -> None:
    weights = np.arange(1, 7, dtype=np.float32)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "w.bin").write_bytes(b"\0" * 8 + weights.tobytes())
    proto = external_proto("sub/w.bin", offset="8", length="24")
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    model = io.load(tmp_path / "m.onnx")
    (tmp_path / "sub" / "w.bin").write_bytes(b"")  # nothing is read later
    assert digest(model) == digest(ir.from_onnx_text(TEXT))


def test_check_takes_a_good_model_and_refuses_an_unknown_operator(tiny: ir.Model) -> None:
    io.check(tiny)
    next(iter(tiny.graph)).op_type = "MatMool"
    with pytest.raises(ModelFileError, match="breaks the ONNX specification"):
        io.check(tiny)
