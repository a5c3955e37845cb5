"""Compiled files that were cut, or had bytes flipped, are read or refused: one error, never another one.

Seeded: the same damage in every run. What a flip leaves readable (a name, a weight) is read.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.backends import openvino_reading
from edgekit.backends.base import CompileRequest
from edgekit.backends.litert import reading as litert_reading
from edgekit.backends.litert.backend import LiteRt
from edgekit.backends.openvino import OpenVino
from edgekit.errors import ExitCode, ModelFileError
from edgekit.ir.contents import Contents
from edgekit.spec import Precision, RunOptions

MODEL = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[batch,1,4,4] image) => (float[batch,2,4,4] scores)
<float[2,1,1,1] w = {1, 2}, float[2] b = {3, 4}>
{
  h = Conv(image, w, b)
  scores = Relu(h)
}
"""


def request(target: str) -> CompileRequest:
    return CompileRequest(ir.from_onnx_text(MODEL), targets.load(target), Precision.FP32, RunOptions(), "m")


@pytest.fixture(scope="module")
def tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return LiteRt().compile(request("litert-cpu"), tmp_path_factory.mktemp("tflite")).path


@pytest.fixture(scope="module")
def xml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return OpenVino().compile(request("openvino-cpu"), tmp_path_factory.mktemp("xml")).path


def damaged(content: bytes, *, seed: int, flips: int, cuts: int) -> list[bytes]:
    rng = np.random.default_rng(seed)
    found = [content[: int(size)] for size in rng.integers(0, len(content), cuts)]
    for _ in range(flips):
        changed = np.frombuffer(content, np.uint8).copy()
        places = rng.integers(0, len(content), rng.integers(1, 5))
        changed[places] = rng.integers(0, 256, len(places))
        found.append(changed.tobytes())
    return found


def refused(path: Path, contents: list[bytes], read: Callable[[Path], Contents]) -> int:
    errors = []
    for content in contents:
        path.write_bytes(content)
        try:
            read(path)
        except ModelFileError as error:
            errors.append(error)
    for each in errors:
        assert each.exit_code is ExitCode.BAD_INPUT
        assert each.why
        assert each.remedy
    return len(errors)


def test_damaged_tflite_files(tflite: Path, tmp_path: Path) -> None:
    contents = damaged(tflite.read_bytes(), seed=0, flips=400, cuts=60)
    count = refused(tmp_path / "m.tflite", contents, litert_reading.read)
    assert 60 < count < len(contents)  # every cut and some flips; a flipped weight is still a file


def test_every_cut_of_a_tflite_file_is_refused(tflite: Path, tmp_path: Path) -> None:
    """The buffers lie at the end: a file that lost its last bytes must not look whole."""
    content = tflite.read_bytes()
    cuts = [content[:size] for size in range(0, len(content) - 16, 7)]
    assert refused(tmp_path / "m.tflite", cuts, litert_reading.read) == len(cuts)


def test_damaged_xml_files(xml: Path, tmp_path: Path) -> None:
    path = tmp_path / xml.name
    shutil.copy(xml.with_suffix(".bin"), path.with_suffix(".bin"))
    contents = damaged(xml.read_bytes(), seed=1, flips=400, cuts=60)
    count = refused(path, contents, openvino_reading.read)
    assert 60 <= count < len(contents)


def test_undamaged_files_are_read(tflite: Path, xml: Path) -> None:
    """Must not fire."""
    assert litert_reading.read(tflite).layers
    assert openvino_reading.read(xml).layers
