"""A cached export is only used while everything that its builder read from Python files is unchanged."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgekit.frontends.source import SourceRequest
from edgekit.pipeline import model as models
from edgekit.pipeline.cache import Cache
from edgekit.spec import Silent, TensorSpec

BUILDER = """
import sys
sys.path.append({shared!r})
import torch, edgekit_test_shared_module
class Times(torch.nn.Module):
    def forward(self, x):
        return x * edgekit_test_shared_module.FACTOR
build = Times
"""
X = TensorSpec("x", "float32", ("batch", 4))
SHARED = "edgekit_test_shared_module"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "shared").mkdir()
    (tmp_path / "model" / "model.py").write_text(BUILDER.format(shared=str(tmp_path / "shared")))
    (tmp_path / "shared" / f"{SHARED}.py").write_text("FACTOR = 3.0\n")
    return tmp_path


def digest(folder: Path) -> str:
    """What a fresh process would get: the shared module is not in memory."""
    sys.modules.pop(SHARED, None)
    path = list(sys.path)
    try:
        request = SourceRequest("model.py:build", base=folder / "model", inputs=(X,))
        cache = Cache(folder / "cache")
        return models.obtain(request, tolerance=1e-4, cache=cache, progress=Silent()).digest
    finally:
        sys.path[:] = path
        sys.modules.pop(SHARED, None)


def test_a_module_outside_the_sources_folder_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a stale .pyc of the same second and size
    first = digest(folder)
    assert digest(folder) == first
    (folder / "shared" / f"{SHARED}.py").write_text("FACTOR = 5.0\n")
    second = digest(folder)
    assert second != first
    (folder / "shared" / f"{SHARED}.py").write_text("FACTOR = 3.0\n")
    assert digest(folder) == first
    assert len(list((folder / "cache" / "export").iterdir())) == 2


def test_the_folder_of_real_data_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delenv("EDGEKIT_DATA", raising=False)
    digest(folder)
    monkeypatch.setenv("EDGEKIT_DATA", str(folder))
    digest(folder)
    assert len(list((folder / "cache" / "export").iterdir())) == 2
