"""``.tflite`` sources that cannot be taken: the operator by name and index, the reason, what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import DataError, EdgekitError, ExportError, ModelFileError, UnknownNameError
from edgekit.frontends.request import SourceRequest
from edgekit.frontends.tflite import load_tflite
from edgekit.spec import TensorSpec
from tests.unit.frontends.tflite_files import FileWriter, loaded


def relu(**more: Any) -> FileWriter:
    file = FileWriter()
    x, y = file.input("x", (2, 3), **more), file.output("y", (2, 3), **more)
    file.operator("RELU", [x], [y])
    return file


def with_operator(code: str, options: str = "", **fields: Any) -> FileWriter:
    file = relu()
    z = file.output("z", (2, 3))
    file.operator(code, [0], [z], options, **fields)
    return file


def custom() -> FileWriter:
    file = relu()
    z = file.output("z", (2, 3))
    file.operator("CUSTOM", [0], [z], custom="Mystery")
    return file


def changed(edit: Callable[[FileWriter], None]) -> FileWriter:
    file = relu()
    edit(file)
    return file


def set_field(table: str, index: int, **fields: Any) -> FileWriter:
    def edit(file: FileWriter) -> None:
        for name, value in fields.items():
            setattr(getattr(file.graph, table)[index], name, value)

    return changed(edit)


def short_constant() -> FileWriter:
    file = relu()
    index = file.constant("c", np.zeros(3, np.float32))
    file.graph.tensors[index].shape = [4]
    z = file.output("z", (2, 4))
    file.operator("ADD", [0, index], [z], "AddOptions")
    return file


def bad_scales() -> FileWriter:
    return set_field("tensors", 0, quantization=_scales([0.1, 0.2, 0.3, 0.4]))


def _scales(values: list[float]) -> Any:
    from edgekit.frontends.tflite.read import schema

    quant = schema().QuantizationParametersT()
    quant.scale, quant.zeroPoint, quant.quantizedDimension = values, [0] * len(values), 1
    return quant


def vector_activation() -> FileWriter:
    file = relu()
    for tensor in file.graph.tensors:
        tensor.type, tensor.quantization = 9, _scales([0.1, 0.2, 0.3])  # INT8
    return file


def shuffled() -> FileWriter:
    file = FileWriter()
    x, y = file.input("x", (2, 3)), file.output("y", (2, 4))
    w = file.constant("w", np.zeros((4, 3), np.float32))
    file.operator("FULLY_CONNECTED", [x, w, -1], [y], "FullyConnectedOptions", weightsFormat=1)
    return file


def recurrent(**fields: Any) -> FileWriter:
    file = FileWriter()
    x, y = file.input("x", (1, 6, 3)), file.output("y", (1, 6, 4))
    w = [file.constant(f"w{i}", np.zeros((4, 3), np.float32)) for i in range(4)]
    r = [file.constant(f"r{i}", np.zeros((4, 4), np.float32)) for i in range(4)]
    b = [file.constant(f"b{i}", np.zeros(4, np.float32)) for i in range(4)]
    s = [file.tensor(f"s{i}", (1, 4), variable=True) for i in range(2)]
    inputs = [x, *w, *r, -1, -1, -1, *b, -1, -1, *s]
    if fields.pop("coupled", False):
        inputs[1] = -1
    code, options = "UNIDIRECTIONAL_SEQUENCE_LSTM", "UnidirectionalSequenceLSTMOptions"
    file.operator(code, inputs, [y], options, **{"fusedActivationFunction": 4, **fields})
    return file


def wrong_shape() -> FileWriter:
    return set_field("tensors", 1, shape=[3, 2])


def _without_graph() -> FileWriter:
    file = relu()
    file.model.subgraphs = []
    return file


@dataclass(frozen=True)
class Case:
    id: str
    make: Callable[[], FileWriter]
    error: type[EdgekitError]
    says: str


CASES = (
    Case("control-flow", lambda: with_operator("WHILE"), ExportError, r"operator 1 \(WHILE\)"),
    Case("custom", custom, ExportError, r"operator 1 \(CUSTOM Mystery\)"),
    Case(
        "activation",
        lambda: with_operator("ADD", "AddOptions", fusedActivationFunction=5),
        ExportError,
        "its fused activation is number 5",
    ),
    Case("no-target-shape", lambda: with_operator("RESHAPE"), ExportError, "no target shape"),
    Case("shuffled-weights", shuffled, ExportError, "shuffled"),
    Case("coupled-gates", lambda: recurrent(coupled=True), ExportError, "couples its input gate"),
    Case("other-activation", lambda: recurrent(fusedActivationFunction=1), ExportError, "another activation"),
    Case("vector-activation", vector_activation, ExportError, "one scale per channel"),
    Case("string-type", lambda: set_field("tensors", 0, type=5), ExportError, "type STRING"),
    Case("scales-of-another-axis", bad_scales, ModelFileError, "4 scales along axis 1"),
    Case("negative-scale", lambda: relu(dtype="INT8", scale=-0.5), ModelFileError, "not finite, or negative"),
    Case("too-little-data", short_constant, ModelFileError, "12 bytes of data, not 16"),
    Case("buffer-out-of-range", lambda: set_field("tensors", 0, buffer=99), ModelFileError, "buffer 99"),
    Case(
        "code-out-of-range",
        lambda: set_field("operators", 0, opcodeIndex=7),
        ModelFileError,
        "operator code 7",
    ),
    Case(
        "input-out-of-range", lambda: set_field("operators", 0, inputs=[9]), ModelFileError, "reads tensor 9"
    ),
    Case("made-twice", lambda: set_field("operators", 0, outputs=[0]), ModelFileError, "not its own"),
    Case("shapes-contradict", wrong_shape, ModelFileError, "tensor 1 is"),
    Case("no-subgraph", _without_graph, ModelFileError, "no subgraph"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_refused(case: Case, tmp_path: Path) -> None:
    path = case.make().save(tmp_path)
    with pytest.raises(case.error) as found:
        loaded(path)
    assert case.says.replace("\\", "") in str(found.value)
    assert found.value.remedy


def test_files_that_are_none(tmp_path: Path) -> None:
    for name, content in (
        ("empty.tflite", b""),
        ("text.tflite", b"not a flatbuffer at all"),
        ("cut.tflite", b"\x1c\x00\x00\x00TFL3"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ModelFileError):
            loaded(path)
    with pytest.raises(ModelFileError, match="cannot be read"):
        load_tflite(SourceRequest(".", tmp_path))
    with pytest.raises(ModelFileError, match="no model file at"):
        load_tflite(SourceRequest("missing.tflite", tmp_path))


def test_declarations_that_do_not_fit(tmp_path: Path) -> None:
    path = relu().save(tmp_path)
    with pytest.raises(ExportError, match="weights inside"):
        loaded(path, weights=tmp_path / "w.pt")
    with pytest.raises(ExportError, match="is to be dynamic"):
        loaded(path, dynamic={"x": {0: "batch"}})
    with pytest.raises(ExportError, match="is declared"):
        loaded(path, inputs=(TensorSpec("x", "float32", (2, 4)),))
    with pytest.raises(UnknownNameError):
        loaded(path, dynamic={"z": {0: "batch"}})


def test_what_litert_itself_refuses_is_said_when_it_runs(tmp_path: Path) -> None:
    reference = loaded(relu().save(tmp_path)).reference
    assert reference is not None
    with pytest.raises(DataError, match="takes x"):
        reference.run({"z": np.zeros((2, 3), np.float32)})
    file = with_operator("BROADCAST_TO", "BroadcastToOptions")
    file.model.operatorCodes[1].version = 99
    file.graph.operators[1].inputs = [0, file.ints(2, 3)]
    newer = loaded(file.save(tmp_path, "newer.tflite")).reference
    assert newer is not None
    with pytest.raises(ModelFileError, match="LiteRT takes"):
        newer.run({"x": np.zeros((2, 3), np.float32)})
