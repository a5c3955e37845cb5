"""TFLite metadata, read back by a reader that shares nothing with the writer: struct and zipfile."""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit import target as targets
from edgekit.backends.base import CompileRequest, IoForm, ModelInfo, Normalization
from edgekit.backends.litert import flatbuffer, metadata, reading
from edgekit.backends.litert.backend import LiteRt, packed, translate
from edgekit.backends.litert.kernels import KERNELS
from edgekit.backends.litert.runtime_versions import FIRST_RUNTIME, NEWEST, first_runtime
from edgekit.backends.litert.tensors import Graph, Operator, Tensor
from edgekit.errors import TargetRefusalError
from edgekit.spec import Artifact, IoBinding, Precision, QuantParams, RunOptions, TensorSpec
from tests.unit.litert.litert_models import Model, as_ir, relative_error, run_onnx

TARGET = targets.load("litert-cpu")
LABELS = "zero\none\ntwo\nthree\nfünf\n".encode()
INFO = ModelInfo(
    name="digits",
    version="1.2.3",
    description="Reads a digit.",
    author="A. Author",
    license="MIT",
    files={
        "labels.txt": LABELS,
        "vocab.txt": b"a\nb\n",
        "README.md": b"hello",
        "other.bin": bytes(range(256)),
    },
    labels="labels.txt",
    normalization={"image": Normalization((123.5, 116.0, 103.25), (58.5,))},
)


@dataclass(frozen=True)
class Flat:
    """A table of a flatbuffer, by slot: vtable entry 4 + 2 * slot holds the field's place (0 = absent)."""

    data: bytes
    at: int

    def place(self, slot: int) -> int:
        vtable = self.at - struct.unpack_from("<i", self.data, self.at)[0]
        size = struct.unpack_from("<H", self.data, vtable)[0]
        entry = 4 + 2 * slot
        offset = struct.unpack_from("<H", self.data, vtable + entry)[0] if entry < size else 0
        return self.at + offset if offset else 0

    def byte(self, slot: int) -> int:
        place = self.place(slot)
        return self.data[place] if place else 0

    def target(self, slot: int) -> int:
        place = self.place(slot)
        return place + int(struct.unpack_from("<I", self.data, place)[0]) if place else 0

    def table(self, slot: int) -> Flat:
        assert self.target(slot)
        return Flat(self.data, self.target(slot))

    def text(self, slot: int) -> str:
        at = self.target(slot)
        if not at:
            return ""
        size = struct.unpack_from("<I", self.data, at)[0]
        assert self.data[at + 4 + size] == 0  # strings end with a zero
        return self.data[at + 4 : at + 4 + size].decode()

    def floats(self, slot: int) -> tuple[float, ...]:
        at = self.target(slot)
        count = struct.unpack_from("<I", self.data, at)[0] if at else 0
        return struct.unpack_from(f"<{count}f", self.data, at + 4) if at else ()

    def tables(self, slot: int) -> list[Flat]:
        at = self.target(slot)
        count = struct.unpack_from("<I", self.data, at)[0] if at else 0
        places = [at + 4 + 4 * index for index in range(count)]
        return [Flat(self.data, p + struct.unpack_from("<I", self.data, p)[0]) for p in places]


def root(data: bytes) -> Flat:
    assert data[4:8] == b"M001"
    return Flat(data, struct.unpack_from("<I", data)[0])


def built() -> onnx.ModelProto:
    m = Model(seed=2)
    x = m.input("image", ("batch", 3, 8, 8))
    y = m.add("Relu", m.add("Conv", x, m.weight(4, 3, 3, 3), pads=[1, 1, 1, 1]))
    flat = m.add("Flatten", m.add("GlobalAveragePool", y))
    return m.build(m.add("MatMul", flat, m.weight(4, 5), out="scores"))


def compile_with(folder: Path, info: ModelInfo | None) -> Artifact:
    request = CompileRequest(as_ir(built()), TARGET, Precision.FP32, RunOptions(), "m", info=info)
    return LiteRt().compile(request, folder)


def entries(content: bytes) -> dict[str, bytes]:
    """The metadata entries of a .tflite, by the generated schema."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    found = {}
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        found[entry.Name().decode()] = bytes(model.Buffers(entry.Buffer()).DataAsNumpy())
    return found


def test_the_tables_say_what_is_known(tmp_path: Path) -> None:
    model = root(entries(compile_with(tmp_path, INFO).path.read_bytes())["TFLITE_METADATA"])
    assert [model.text(slot) for slot in (0, 1, 2, 4, 5)] == [
        "digits",
        "Reads a digit.",
        "1.2.3",
        "A. Author",
        "MIT",
    ]
    assert model.text(7) == "1.0.1"
    assert [(file.text(0), file.byte(2)) for file in model.tables(6)] == [
        ("README.md", 1),
        ("other.bin", 0),
        ("vocab.txt", 5),
    ]
    (graph,) = model.tables(3)
    (image,), (scores,) = graph.tables(2), graph.tables(3)
    assert (image.text(0), scores.text(0)) == ("image", "scores")
    assert "axes in the order 0, 2, 3, 1" in image.text(1)
    content = image.table(3)
    assert content.byte(0) == 2  # ImageProperties
    assert content.table(1).byte(0) == 1  # RGB
    (unit,) = image.tables(4)
    assert unit.byte(0) == 1  # NormalizationOptions
    assert unit.table(1).floats(0) == (123.5, 116.0, 103.25)
    assert unit.table(1).floats(1) == (58.5,)
    assert scores.table(3).byte(0) == 1  # FeatureProperties
    assert [(file.text(0), file.byte(2)) for file in scores.tables(6)] == [("labels.txt", 2)]


def test_the_file_is_a_zip_archive_too(tmp_path: Path) -> None:
    artifact = compile_with(tmp_path, INFO)
    with zipfile.ZipFile(artifact.path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == sorted(INFO.files)
        assert {name: archive.read(name) for name in archive.namelist()} == INFO.files
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_the_model_computes_the_same_with_and_without(tmp_path: Path) -> None:
    feeds = {"image": np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)}
    results = []
    for name, info in (("with", INFO), ("without", None)):
        (tmp_path / name).mkdir()
        artifact = compile_with(tmp_path / name, info)
        with LiteRt().open(artifact, artifact.options) as session:
            results.append(session.run(feeds)["scores"])
    np.testing.assert_array_equal(results[0], results[1])
    assert relative_error(results[0], run_onnx(built(), feeds)["scores"]) < 1e-5  # of the output's range


def test_equal_input_gives_equal_bytes() -> None:
    made = translate(as_ir(built()))
    reordered = replace(INFO, files=dict(reversed(list(INFO.files.items()))))
    assert packed(made, INFO) == packed(made, INFO) == packed(made, reordered)


def test_without_info_there_is_the_least_runtime_alone(tmp_path: Path) -> None:
    content = compile_with(tmp_path, None).path.read_bytes()
    assert entries(content) == {"min_runtime_version": b"1.6.0".ljust(16, b"\0")}
    assert not zipfile.is_zipfile(io.BytesIO(content))


def test_inspect_names_what_is_inside(tmp_path: Path) -> None:
    facts = reading.read(compile_with(tmp_path, INFO).path).facts
    assert facts["least runtime"] == "TFLite 1.6.0"
    assert facts["labels and preprocessing"] == "in the file"


def test_an_empty_info_writes_the_interface(tmp_path: Path) -> None:
    model = root(entries(compile_with(tmp_path, ModelInfo()).path.read_bytes())["TFLITE_METADATA"])
    assert [model.text(slot) for slot in (0, 1, 2, 4, 5)] == [""] * 5
    assert model.text(7) == "1.0.0"
    assert model.tables(6) == []
    (graph,) = model.tables(3)
    assert [each.text(0) for each in (*graph.tables(2), *graph.tables(3))] == ["image", "scores"]


def test_a_quantized_boundary_is_put_in_words() -> None:
    m = Model()
    x = m.quantized(m.input("x", (1, 4)), 0.5, 128)
    made = translate(as_ir(m.build(m.quantized(m.add("Relu", x), 0.25, 128))), IoForm("uint8"))
    model = root(metadata.metadata(ModelInfo(), made.inputs, made.outputs))
    (graph,) = model.tables(3)
    assert graph.tables(2)[0].text(1) == "x:float32:1x4 of the model; 0.5 * (uint8 - 128)"


def test_an_axes_order_that_the_image_keeps_is_no_image() -> None:
    """TFLite's image tools want channels last: NCHW is declared as features."""
    made = translate(as_ir(built()), IoForm(layout="model"))
    (graph,) = root(metadata.metadata(INFO, made.inputs, made.outputs)).tables(3)
    assert graph.tables(2)[0].table(3).byte(0) == 1


@dataclass(frozen=True)
class Image:
    id: str
    shape: tuple[int | str, ...]
    permutation: tuple[int, ...]
    color: int

    def binding(self) -> IoBinding:
        return IoBinding(TensorSpec("x", "float32", self.shape), "x", "float32", self.shape, self.permutation)


IMAGES = (
    Image("rgb-permuted", ("batch", 8, 8, 3), (0, 2, 3, 1), 1),
    Image("grey-permuted", ("batch", 8, 8, 1), (0, 2, 3, 1), 2),
    Image("rgb-as-it-is", (1, 8, 8, 3), (), 1),
    Image("channels-first", (1, 3, 8, 8), (), 0),
    Image("either-way", (1, 1, 8, 3), (), 0),
    Image("spectrum", (1, 8, 8, 40), (), 0),
    Image("rows", (1, 8, 3), (), 0),
)


@pytest.mark.parametrize("case", IMAGES, ids=lambda case: case.id)
def test_color_spaces(case: Image) -> None:
    (graph,) = root(metadata.metadata(ModelInfo(), [case.binding()], ())).tables(3)
    content = graph.tables(2)[0].table(3)
    assert content.byte(0) == (2 if case.color else 1)
    assert content.table(1).byte(0) == case.color


SCORES = IoBinding(TensorSpec("scores", "float32", ("batch", 5)), "scores", "float32", ("batch", 5))
BOXES = replace(SCORES, reference=TensorSpec("boxes", "float32", ("batch", 4)), shape=("batch", 4))


@dataclass(frozen=True)
class Refused:
    id: str
    info: ModelInfo
    outputs: tuple[IoBinding, ...]
    said: str


REFUSED = (
    Refused("lines", replace(INFO, files={"labels.txt": b"a\nb\n"}), (SCORES,), "2 lines.*5 classes"),
    Refused("which-output", INFO, (SCORES, BOXES), "belongs to no output"),
    Refused("no-such-input", replace(INFO, labels=""), (SCORES,), "no input 'image'"),
)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_metadata_that_would_lead_astray_is_refused(case: Refused) -> None:
    inputs = (
        () if case.id == "no-such-input" else (replace(SCORES, reference=TensorSpec("image", "float32", ())),)
    )
    with pytest.raises(TargetRefusalError, match=case.said):
        metadata.metadata(case.info, inputs, case.outputs)


def test_labels_go_to_the_scored_output() -> None:
    info = replace(INFO, labelled="scores", normalization={})
    (graph,) = root(metadata.metadata(info, (), (BOXES, SCORES))).tables(3)
    assert [len(each.tables(6)) for each in graph.tables(3)] == [0, 1]


def test_a_writer_with_a_wrong_slot_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: the reader above does not share the writer's table of slots."""
    monkeypatch.setattr(metadata, "MODEL_VERSION", 1)
    monkeypatch.setattr(metadata, "MODEL_DESCRIPTION", 2)
    model = root(metadata.metadata(ModelInfo(version="v", description="d"), (), ()))
    assert (model.text(2), model.text(1)) == ("d", "v")


# Least runtime ---------------------------------------------------------------------------------------------


def graph_of(code: str, dtype: str) -> Graph:
    quant = QuantParams(dtype, (0.5,), (0,)) if dtype == "int8" else None
    tensors = tuple(Tensor(name, dtype, (1, 4), quant) for name in "xy")
    return Graph(tensors, (Operator(code, (0,), (1,)),), (0,), (1,), ("x",), ("y",))


@dataclass(frozen=True)
class Runtime:
    code: str
    dtype: str
    expected: str

    def __str__(self) -> str:
        return f"{self.code}-{self.dtype}"


RUNTIMES = (
    Runtime("SOFTMAX", "float32", "1.5.0"),
    Runtime("SOFTMAX", "int8", "1.14.0"),
    Runtime("TANH", "int8", "1.14.0"),
    Runtime("TILE", "float32", "1.10.1"),
    Runtime("GELU", "float32", "2.9.0"),
    Runtime("NO_SUCH_OPERATOR", "float32", f"{NEWEST}.0"),
)


@pytest.mark.parametrize("case", RUNTIMES, ids=str)
def test_first_runtime(case: Runtime) -> None:
    assert first_runtime(graph_of(case.code, case.dtype)) == case.expected


def test_the_newest_operator_decides() -> None:
    graph = graph_of("TANH", "float32")
    assert (
        first_runtime(replace(graph, operators=(*graph.operators, Operator("GELU", (0,), (1,))))) == "2.9.0"
    )
    assert first_runtime(replace(graph, operators=())) == "1.5.0"


def test_every_kernel_has_a_row() -> None:
    assert sorted(KERNELS.keys() - FIRST_RUNTIME.keys()) == []


def test_metadata_entries_have_buffers_of_their_own() -> None:
    content = flatbuffer.pack(graph_of("TANH", "float32"), metadata={"a": b"same", "b": b"same"})
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    assert [model.Metadata(index).Buffer() for index in range(2)] == [1, 2]
