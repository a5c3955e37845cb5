"""Triton's library is loaded before TensorFlow's, and never after it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.frontends.extras import import_extra
from edgekit.frontends.triton_first import load_triton_first

NAMES = ("triton", "tensorflow")


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Stand-ins for both packages, neither imported yet; the list grows as they are."""
    order: list[str] = []
    kept = {name: sys.modules.pop(name) for name in NAMES if name in sys.modules}
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"import sys\nsys.edgekit_order.append({name!r})\n")
    monkeypatch.setattr(sys, "edgekit_order", order, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    yield order
    for name in NAMES:
        sys.modules.pop(name, None)
    sys.modules.update(kept)


def test_triton_comes_first(loaded: list[str]) -> None:
    import_extra("tensorflow", needed_for="a test")
    assert loaded == ["triton", "tensorflow"]


def test_it_is_not_loaded_behind_tensorflow(loaded: list[str]) -> None:
    sys.modules["tensorflow"] = sys
    load_triton_first()
    assert loaded == []


def test_nothing_happens_without_triton(loaded: list[str], tmp_path: Path) -> None:
    (tmp_path / "triton.py").write_text("raise ImportError('no such library')\n")
    import_extra("tensorflow", needed_for="a test")
    assert loaded == ["tensorflow"]
