"""Which files a manifest names as the model's sources."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.ir import io
from edgekit.pipeline.source_files import source_files

WHOLE = {
    "model.py": "build",
    "layers.py": "layers",
    "weights.safetensors": "weights",
    "README.md": "text",
    "edgekit.lock": "lock",
    "out.onnx": "ours",
    "deep/other.py": "elsewhere",
    "saved/saved_model.pb": "graph",
    "saved/variables/variables.index": "index",
    "net.keras": "archive",
}


@dataclass(frozen=True)
class Case:
    """A source, and the files that it is made from."""

    id: str
    source: str
    files: tuple[str, ...]
    weights: str | None = None


CASES = (
    Case(
        "F1: a builder, and what it may read",
        "model.py:build",
        ("layers.py", "model.py", "net.keras", "weights.safetensors"),
    ),
    Case("F1: deeper", "deep/other.py:build", ("deep/other.py",)),
    Case("F2: a module", "json.decoder:JSONDecoder", ("decoder.py",)),
    Case("F2: a module that nobody has", "no_such_module:build", ()),
    Case("F3: a SavedModel", "saved", ("saved/saved_model.pb", "saved/variables/variables.index")),
    Case(
        "F5: an archive and weights", "net.keras", ("net.keras", "weights.safetensors"), "weights.safetensors"
    ),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in WHOLE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_files(case: Case, folder: Path) -> None:
    found = source_files(case.source, base=folder, weights=case.weights)
    assert tuple(found) == case.files
    for name, digest in found.items():
        if name in WHOLE:
            assert digest == hashlib.sha256(WHOLE[name].encode()).hexdigest()


def test_external_data_belongs_to_an_onnx_file(tmp_path: Path) -> None:
    """F4."""
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 21]>\n'
        "g (float[n,4096] x) => (float[n,4096] y) <float[4] w = {1,2,3,4}> { y = Add(x, w) }"
    )
    model.graph.initializers["w"].const_value = ir.tensor(np.zeros(4096, np.float32), name="w")
    io.save(model, tmp_path / "m.onnx", limit_bytes=1)
    (tmp_path / "beside.safetensors").write_text("not of an ONNX file")
    assert tuple(source_files("m.onnx", base=tmp_path)) == ("m.onnx", "m.onnx.data")


def test_a_file_outside_the_recipe_s_folder_is_called_by_its_name(folder: Path) -> None:
    """The way to it differs from machine to machine."""
    found = source_files("../model.py:build", base=folder / "deep")
    assert tuple(found) == ("layers.py", "model.py", "net.keras", "weights.safetensors")
