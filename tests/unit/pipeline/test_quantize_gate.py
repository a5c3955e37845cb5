"""`edgekit.quantize` with evaluation data: a missed budget raises, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.errors import ExitCode, GateError
from edgekit.pipeline.evaluation import Evaluated, evaluate_pair
from edgekit.pipeline.known_outputs import Replay
from edgekit.pipeline.quantize import quantize
from edgekit.preprocess import Layout, Resize, Scale, Step, apply
from edgekit.spec import Precision, Runner, Silent

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

    def quantized() -> Path:
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
        assert quantized() == out
        assert out.is_file()
        return
    with pytest.raises(GateError, match="accuracy gate is inconclusive") as caught:
        quantized()
    assert caught.value.exit_code is ExitCode.INCONCLUSIVE
    assert not out.exists()


def test_the_float_model_runs_once_for_all_trials(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replayed: list[bool] = []

    def watched(reference: Runner, *others: Any, **more: Any) -> Evaluated:
        replayed.append(isinstance(reference, Replay))
        return evaluate_pair(reference, *others, **more)

    with np.load(data) as held:
        np.save(data.parent / "calibration.npy", held["image"][:64])
    monkeypatch.setattr("edgekit.pipeline.quantize.evaluate_pair", watched)
    for _ in range(2):
        with pytest.raises(GateError):  # a loss of exactly 0 is proved by no number of samples
            edgekit.quantize(
                EXAMPLE / "digits-cnn.onnx",
                calibration_data=str(data.parent / "calibration.npy"),
                out=data.parent / "q.onnx",
                eval_data=str(data),
                max_drop_pp=0.0,
            )
    assert len(replayed) > 4  # trials
    assert replayed == [False, *[True] * (len(replayed) - 1)]


@pytest.mark.parametrize(("start", "shared"), [(0, 8), (64, 0)], ids=["shared", "disjoint"])
def test_it_says_when_it_judges_on_its_calibration_data(data: Path, start: int, shared: int) -> None:
    with np.load(data) as held:
        images, labels = held["image"], held["labels"]
    np.savez(data.parent / "learning.npz", allow_pickle=False, image=images[:64])
    judging = np.r_[start : start + 8, 100:164]
    np.savez(data.parent / "judging.npz", allow_pickle=False, image=images[judging], labels=labels[judging])
    result = quantize(
        EXAMPLE / "digits-cnn.onnx",
        calibration_data=str(data.parent / "learning.npz"),
        ranges=None,
        out=data.parent / "q.onnx",
        target="portable",
        precision=Precision.W8A8,
        method="minmax",
        restore="none",
        eval_data=str(data.parent / "judging.npz"),
        metric="top1",
        max_drop_pp=50.0,
        progress=Silent(),
    )
    found = [each for each in result.findings if each.startswith("data-overlap")]
    assert len(found) == bool(shared)
    assert all(f"{shared} of 72" in each for each in found)
