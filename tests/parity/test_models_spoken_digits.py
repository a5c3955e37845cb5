"""spoken_digits: plain min-max breaks it, default flags do not; its recipe runs on data available anywhere.

S1 w8a8 with plain minimum and maximum and nothing restored loses more than 5 points on spoken digits
S2 the same does not break ds_cnn, which hears the same clips: its input is a logarithm already
S3 with default flags what ships loses at most 1 point
S4 without EDGEKIT_DATA the recipe runs on generated sounds
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import edgekit
from edgekit import recipe, settings
from edgekit.recipe import QuantizeTable
from edgekit.spec import Precision

MODELS = Path(__file__).parents[2] / "models"
BREAKS_PP, RESTORED_PP = 5.0, 1.0


@pytest.fixture
def _recordings() -> None:
    settings.silence_native_libraries()
    for extra in ("torch", "safetensors", "onnxruntime"):
        pytest.importorskip(extra)
    folder = settings.data_dir()
    if folder is None or not (folder / "fsdd").is_dir():
        pytest.skip("EDGEKIT_DATA with fsdd is not there")


def lost_by_min_max(name: str, data: str, tmp_path: Path) -> float:
    """Points that plain min-max costs on ONNX Runtime."""
    home = MODELS / name
    plan = recipe.load(home / "edgekit.toml")
    options: dict[str, Any] = {"method": "minmax"}
    if "restore" in QuantizeTable.model_fields:
        options["restore"] = "none"
    inputs = [table.spec() for table in plan.model.inputs]
    model = edgekit.export(f"{home}/{plan.model.source}", inputs=inputs, out=tmp_path / "float.onnx")
    steps = home / "edgekit.toml" if plan.data.preprocess else None
    quantized = edgekit.quantize(
        model,
        calibration_data=f"{home}/{data}:calibration",
        target="onnxruntime-cpu",
        precision=Precision.W8A8,
        out=tmp_path / "int8.onnx",
        preprocess=steps,
        **options,
    )
    found = edgekit.validate(
        quantized, reference=model, data=f"{home}/{data}:evaluation", metric="top1", preprocess=steps
    )
    assert found.accuracy.reference > 0.95
    return found.accuracy.drop_pp


@pytest.mark.usefixtures("_recordings")
def test_plain_min_max_breaks_it(tmp_path: Path) -> None:  # S1
    assert lost_by_min_max("spoken_digits", "spectra.py", tmp_path) > BREAKS_PP


@pytest.mark.usefixtures("_recordings")
def test_plain_min_max_does_not_break_its_neighbour(tmp_path: Path) -> None:  # S2
    assert lost_by_min_max("ds_cnn", "speech.py", tmp_path) < RESTORED_PP


@pytest.mark.usefixtures("_recordings")
def test_default_flags_keep_it(tmp_path: Path) -> None:  # S3
    (shipped,) = released(tmp_path)
    assert shipped.accuracy is not None
    assert shipped.accuracy.drop_pp <= RESTORED_PP


def test_its_recipe_runs_on_generated_sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # S4
    settings.silence_native_libraries()
    for extra in ("torch", "safetensors", "onnxruntime"):
        pytest.importorskip(extra)
    monkeypatch.delenv("EDGEKIT_DATA", raising=False)
    (shipped,) = released(tmp_path)
    assert shipped.accuracy is not None
    assert shipped.accuracy.samples == 1000
    assert shipped.accuracy.reference > 0.97


def released(tmp_path: Path) -> list[Any]:
    """What ships for ONNX Runtime."""
    result = edgekit.release(
        MODELS / "spoken_digits" / "edgekit.toml",
        out=tmp_path,
        targets=("onnxruntime-cpu",),
        dry_run=True,
        cache_dir=tmp_path / "cache",
    )
    return [row for target in result.targets for row in target.candidates if row.shipped]
