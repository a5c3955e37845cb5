"""`edgekit.quantize` with evaluation data: a missed budget raises, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.errors import ExitCode, GateError
from edgekit.preprocess import Layout, Resize, Scale, Step, apply

EXAMPLE = Path(edgekit.__file__).parent / "_examples" / "digits-cnn"
STEPS: list[Step] = [
    Resize(op="resize", size=(28, 28)),
    Scale(op="scale", by=1 / 16),
    Layout(op="layout", to="NCHW"),
]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    with np.load(EXAMPLE / "evaluation.npz") as raw:
        images = np.stack([apply(image, STEPS) for image in raw["image"]])
        np.savez(tmp_path / "data.npz", allow_pickle=False, image=images, labels=raw["labels"])
    return tmp_path / "data.npz"


@pytest.mark.parametrize(("limit", "kept"), [(1.0, True), (0.0, False)], ids=["kept", "missed"])
def test_the_budget_decides_whether_there_is_a_file(data: Path, limit: float, kept: bool) -> None:
    out = data.parent / "q.onnx"

    def quantize() -> Path:
        return edgekit.quantize(
            EXAMPLE / "digits-cnn.onnx",
            calibration_data=str(data.parent / "calibration.npy"),
            out=out,
            eval_data=str(data),
            max_drop_pp=limit,
        )

    with np.load(data) as held:
        np.save(data.parent / "calibration.npy", held["image"][:64])
    if kept:
        assert quantize() == out
        assert out.is_file()
        return
    with pytest.raises(GateError, match="accuracy gate is inconclusive") as caught:
        quantize()
    assert caught.value.exit_code is ExitCode.INCONCLUSIVE
    assert not out.exists()
