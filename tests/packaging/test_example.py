"""The example in the wheel is the trained demo model with the demo's data, not an older copy."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from edgekit.ir import io
from edgekit.ir.digest import digest

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "edgekit" / "_examples" / "digits-cnn"


def test_the_example_is_what_its_script_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="the example's model is exported from PyTorch")
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    runpy.run_path(str(ROOT / "models" / "digits_cnn" / "example.py"))["write"](tmp_path / "made")
    made, kept = (io.load(folder / "digits-cnn.onnx") for folder in (tmp_path / "made", SHIPPED))
    assert digest(made) == digest(kept)
    for name in ("calibration", "evaluation"):
        with np.load(tmp_path / "made" / f"{name}.npz") as one, np.load(SHIPPED / f"{name}.npz") as other:
            assert sorted(one.files) == sorted(other.files)
            for key in one.files:
                np.testing.assert_array_equal(one[key], other[key])


def test_the_example_is_small() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 1_000_000
