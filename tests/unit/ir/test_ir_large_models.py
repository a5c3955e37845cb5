"""Models with weights beside them: mapped where they are large, written beside where protobuf ends.

The limits are parameters, so that a few kilobytes stand for gigabytes; one slow test uses real ones.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from edgekit.errors import ModelFileError, OutputError
from edgekit.ir import external_data, io
from edgekit.ir.digest import digest, digest_of_tensor
from edgekit.ir.infer import infer_shapes
from edgekit.passes import canonicalize

ROOT = Path(__file__).parents[3]


def dense(columns: int = 512, *, dtype: Any = np.float32) -> ir.Model:
    """y = x w; w: (4, columns), 8 KiB by default."""
    w = np.arange(4 * columns).reshape(4, columns).astype(dtype)
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
    g (float[n, 4] x) => (float[n, {columns}] y) <float[4, {columns}] w> {{ y = MatMul(x, w) }}"""
    return ir.from_onnx_text(text, initializers=[ir.tensor(w, name="w")])


def data_of(model: ir.Model) -> Any:
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    return tensor.numpy()


def root_of(array: Any) -> Any:
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    return array


def test_a_large_model_is_two_files_and_comes_back_the_same(tmp_path: Path) -> None:
    files = io.save(dense(), tmp_path / "m.onnx", limit_bytes=1000)
    assert files == (tmp_path / "m.onnx", tmp_path / "m.onnx.data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert files[0].stat().st_size < 1000
    assert files[0].stat().st_mode & 0o777 == files[1].stat().st_mode & 0o777 == 0o644
    assert digest(io.load(files[0])) == digest(io.load(files[0], map_from_bytes=1)) == digest(dense())


def test_a_model_that_fits_is_one_file(tmp_path: Path) -> None:
    assert io.save(dense(), tmp_path / "m.onnx") == (tmp_path / "m.onnx",)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_onnx_runtime_reads_both_files(tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    io.save(dense(), tmp_path / "m.onnx", limit_bytes=1000)
    session = ort.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], x @ data_of(dense()))


def test_large_data_is_mapped_and_small_data_is_read(tmp_path: Path) -> None:
    io.save(dense(), tmp_path / "m.onnx", limit_bytes=1000)
    import mmap

    assert isinstance(root_of(data_of(io.load(tmp_path / "m.onnx", map_from_bytes=1))), mmap.mmap)
    assert not isinstance(root_of(data_of(io.load(tmp_path / "m.onnx"))), mmap.mmap)


def test_a_mapped_model_can_be_saved_over_its_own_files(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    io.save(dense(), path, limit_bytes=1000)
    model = io.load(path, map_from_bytes=1)
    model.graph.initializers["z"] = ir.Value(
        name="z", const_value=ir.tensor(np.ones(999, np.float32), name="z")
    )
    io.save(model, path, limit_bytes=1000)
    assert digest(io.load(path, map_from_bytes=1)) == digest(model)
    np.testing.assert_array_equal(data_of(model), data_of(dense()))  # its own map is that of the old file


def test_an_old_model_never_meets_new_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    io.save(dense(), path, limit_bytes=1000)
    seen: list[list[str]] = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        result = replace(self, target)
        seen.append(sorted(item.name for item in tmp_path.iterdir() if item.suffix != ".draft"))
        if len(seen) == 1:
            raise OSError(28, "No space left on device")
        return result

    monkeypatch.setattr(Path, "replace", watched)
    with pytest.raises(OutputError, match="No space left"):
        io.save(dense(600), path, limit_bytes=1000)
    assert seen == [["m.onnx.data"]]  # the old model is gone before the new data comes
    assert [item.name for item in tmp_path.iterdir()] == ["m.onnx.data"]


def test_a_failed_save_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    io.save(dense(), path, limit_bytes=1000)

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(external_data, "write_data", full)
    with pytest.raises(OutputError, match="No space left"):
        io.save(dense(600), path, limit_bytes=1000)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert digest(io.load(path)) == digest(dense())


def test_bytes_end_where_protobuf_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "PROTOBUF_LIMIT_BYTES", 1000)
    with pytest.raises(OutputError, match="does not fit into one ONNX file: 8192 bytes") as caught:
        io.to_bytes(dense())
    assert "save it to a path" in caught.value.remedy


@pytest.mark.parametrize("dtype", [np.int8, np.float64, np.bool_, ml_dtypes.bfloat16, ml_dtypes.int4])
def test_every_element_type_comes_back(dtype: Any, tmp_path: Path) -> None:
    model = dense(4096, dtype=dtype)
    io.save(model, tmp_path / "m.onnx", limit_bytes=1000)
    for loaded in (io.load(tmp_path / "m.onnx"), io.load(tmp_path / "m.onnx", map_from_bytes=1)):
        assert data_of(loaded).dtype == data_of(model).dtype
        assert np.array_equal(data_of(loaded), data_of(model))


def test_data_of_another_size_is_refused_while_it_is_mapped(tmp_path: Path) -> None:
    io.save(dense(), tmp_path / "m.onnx", limit_bytes=1000)
    content = (tmp_path / "m.onnx").read_bytes().replace(b"8192", b"8188")
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelFileError, match="has 8192 bytes, and its external data 8188"):
        io.load(tmp_path / "m.onnx", map_from_bytes=1)


def test_the_digest_of_a_tensor_is_that_of_its_bytes() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert digest_of_tensor(ir.tensor(array.T)) == digest_of_tensor(ir.tensor(np.ascontiguousarray(array.T)))


GIGABYTES = """
import numpy as np, onnx_ir as ir, resource, sys
from pathlib import Path
from edgekit.ir import external_data, io
from edgekit.ir.digest import digest
from edgekit.passes import canonicalize
path = Path(sys.argv[1]) / "m.onnx"
weights = [ir.tensor(np.zeros((4096, 4096), np.float32), name=f"w{i}") for i in range(34)]
names = "".join(f"a{i + 1} = MatMul(a{i}, w{i}) " for i in range(34))
declared = ", ".join(f"float[4096, 4096] w{i}" for i in range(34))
text = '<ir_version: 10, opset_import: ["" : 17]> g (float[n, 4096] a0) => (float[n, 4096] a34) '
model = ir.from_onnx_text(text + f"<{declared}> {{ {names} }}", initializers=weights)
files = io.save(model, path)
assert len(files) == 2 and files[1].stat().st_size > 2**31, files
del model, weights
def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 2**20
before = anonymous()
loaded = io.load(path)
io.check(loaded)
digest(loaded)
read = anonymous() - before
canonical = canonicalize(loaded)
assert canonical.opset_imports == {"": 21}, canonical.opset_imports
print(f"{read:.2f} {anonymous() - before:.2f}")
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_model_of_more_than_two_gigabytes(tmp_path: Path) -> None:
    """Of its 2.13 GiB: load, check and digest copy nothing, canonicalize once (transposed weights)."""
    code = [sys.executable, "-c", GIGABYTES, str(tmp_path)]
    found = subprocess.run(code, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    read, canonical = map(float, found.stdout.split())
    assert read < 0.1  # GiB of private memory
    assert canonical < 2.4


def test_inference_and_canonical_form_keep_the_mapped_array(tmp_path: Path) -> None:
    io.save(dense(), tmp_path / "m.onnx", limit_bytes=1000)
    model = io.load(tmp_path / "m.onnx", map_from_bytes=1)
    assert data_of(infer_shapes(model)) is data_of(model)
    io.check(canonicalize(model))


def wide(folder: Path, monkeypatch: pytest.MonkeyPatch, *, dtype: Any = np.float32) -> Path:
    """A file of half a megabyte that counts as large and holds its weights itself."""
    model = dense(2**15, dtype=dtype)
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    tensor.doc_string = "words behind the data"
    model.metadata_props["key"] = "value"
    path = folder / "wide.onnx"
    path.write_bytes(io.to_bytes(model))
    monkeypatch.setattr(external_data, "LARGE_BYTES", 1000)
    monkeypatch.setattr(io, "LARGE_FILE_BYTES", 1000)
    return path


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.float64, ml_dtypes.bfloat16, ml_dtypes.int4])
def test_a_large_file_is_mapped_and_written_in_pieces_with_the_same_bytes(
    dtype: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = wide(tmp_path, monkeypatch, dtype=dtype)
    model = io.load(path)
    assert data_of(model).dtype == dtype
    assert np.array_equal(data_of(model), np.arange(2**17).reshape(4, -1).astype(dtype))
    monkeypatch.setattr(io, "to_bytes", None)  # nothing is serialized as a whole
    assert io.save(dense(2**15, dtype=dtype), tmp_path / "again.onnx") == (tmp_path / "again.onnx",)
    assert digest(io.load(tmp_path / "again.onnx")) == digest(model)
    io.save(model, path)  # over the file that it is mapped from
    assert digest(io.load(path)) == digest(model)
    monkeypatch.undo()
    assert io.to_bytes(io.load(tmp_path / "again.onnx")) == (tmp_path / "again.onnx").read_bytes()


def test_pieces_are_what_protobuf_writes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = canonicalize(dense(2**15))
    model.metadata_props["key"] = "value"
    whole = io.to_bytes(model)
    assert b"".join(io.pieces(model)) == whole
    monkeypatch.setattr(external_data, "LARGE_BYTES", 1000)
    monkeypatch.setattr(io, "to_bytes", None)  # nothing is serialized as a whole
    assert b"".join(io.pieces(model)) == whole


@pytest.mark.parametrize("at", [0, 1, 5, 30, 60, -1, -9])
def test_a_damaged_large_file_is_refused_as_a_small_one_is(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = wide(tmp_path, monkeypatch)
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)
    found = []
    for limit in (1000, 2**40):
        monkeypatch.setattr(external_data, "LARGE_BYTES", limit)
        try:
            found.append(digest(io.load(path)))
        except ModelFileError as error:
            found.append(type(error).__name__)
    assert found[0] == found[1]


def test_a_cut_off_large_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wide(tmp_path, monkeypatch)
    path.write_bytes(path.read_bytes()[:-100_000])
    with pytest.raises(ModelFileError, match="cut off"):
        io.load(path)


def test_only_a_large_file_is_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wide(tmp_path, monkeypatch)
    import mmap

    assert isinstance(root_of(data_of(io.load(path))), mmap.mmap)
    monkeypatch.setattr(external_data, "LARGE_BYTES", 2**28)
    assert not isinstance(root_of(data_of(io.load(path))), mmap.mmap)


def test_working_space_beside_a_large_model_is_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = dense()
    size = external_data.size_bytes(model)
    monkeypatch.setattr(external_data, "LARGE_BYTES", size)
    assert external_data.room(model, most=10 * size) == size // 8
    assert external_data.room(model, most=16) == 16
    monkeypatch.setattr(external_data, "LARGE_BYTES", size + 1)
    assert external_data.room(model, most=10 * size) == 10 * size
