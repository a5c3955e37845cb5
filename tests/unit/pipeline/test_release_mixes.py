"""A model that eight bits break: release keeps the one operator in float that did it, and locks that."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import edgekit
from edgekit.pipeline.result import CandidateRow, ReleaseResult

MODELS = Path(__file__).parents[3] / "models"


def _released(recipe: Path, out: Path) -> ReleaseResult:
    return edgekit.release(recipe, out=out, targets=["onnxruntime-cpu"])


def _shipped(result: ReleaseResult) -> CandidateRow:
    return next(each for each in result.targets[0].candidates if each.shipped)


@pytest.mark.slow
def test_the_mix_ships_and_is_made_again_from_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGEKIT_DATA", raising=False)  # the generated sounds: the same everywhere
    folder = tmp_path / "models" / "spoken_digits"
    shutil.copytree(MODELS / "spoken_digits", folder, ignore=shutil.ignore_patterns("__pycache__", "*.lock"))
    shutil.copy(MODELS / "sound_clips.py", tmp_path / "models")
    first = _released(folder / "edgekit.toml", tmp_path / "dist")
    row = _shipped(first)
    assert row.name == "w8a8-mixed"
    assert row.accuracy is not None
    assert row.accuracy.drop_pp <= 1.0
    whole = next(each for each in first.targets[0].candidates if each.name == "w8a8")
    assert whole.status == "fail", "nothing would have to be mixed"
    kept = [each.node for each in row.left_float if each.rule == "accuracy"]
    assert len(kept) == 1, kept
    assert "matmul" in kept[0], "the product with the mel bands: README of the model"

    lock = json.loads((folder / "edgekit.lock").read_text())
    assert list(lock["targets"]["onnxruntime-cpu"]["keep_float"]) == kept
    again = _released(folder / "edgekit.toml", tmp_path / "again")
    assert again.lock == "followed", again.lock_reason
    assert _shipped(again).sha256 == row.sha256
