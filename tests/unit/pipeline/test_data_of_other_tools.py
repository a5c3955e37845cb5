"""Data as other tools take it, and raw data with its steps -> the ranges and files of ready arrays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.errors import InputError, RecipeError
from edgekit.pipeline import steps
from edgekit.pipeline.release.run import release
from edgekit.preprocess import Layout, Resize, Scale, Step, apply
from edgekit.spec import Silent

EXAMPLE = Path(edgekit.__file__).parent / "_examples" / "digits-cnn"
MODEL = EXAMPLE / "digits-cnn.onnx"
STEPS: list[Step] = [
    Resize(op="resize", size=(28, 28)),
    Scale(op="scale", by=1 / 16),
    Layout(op="layout", to="NCHW"),
]
with np.load(EXAMPLE / "evaluation.npz") as _raw:
    RAW, LABELS = _raw["image"][:32], _raw["labels"][:32]
READY = np.stack([apply(image, STEPS) for image in RAW])


def reader() -> object:
    """ONNX Runtime's own class, one sample after the other."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # an untyped package
        def __init__(self) -> None:
            self.rewind()

        def rewind(self) -> None:
            self._rows = iter(READY)

        def get_next(self) -> dict[str, Any] | None:
            row = next(self._rows, None)
            return None if row is None else {"image": row[None]}

    return Reader()


class NncfDataset:
    """nncf.Dataset by its public methods: the package is not installed here."""

    def get_data(self, indices: list[int] | None = None) -> Iterator[Any]:
        yield from READY

    def get_inference_data(self, indices: list[int] | None = None) -> Iterator[Any]:
        yield from ({"image": row[None]} for row in READY)


def tflite() -> Iterator[list[Any]]:
    """A representative dataset of TFLite: lists of arrays."""
    yield from ([row[None]] for row in READY)


FORMS = [("reader", reader), ("nncf", NncfDataset), ("tflite", lambda: tflite), ("array", lambda: READY)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))


def ranges(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))["tensors"]


@pytest.mark.parametrize("form", [each[1] for each in FORMS], ids=[each[0] for each in FORMS])
def test_objects_give_what_a_file_gives(form: Callable[[], object], tmp_path: Path) -> None:
    np.save(tmp_path / "ready.npy", READY)
    of_file = edgekit.calibrate(MODEL, calibration_data=str(tmp_path / "ready.npy"), out=tmp_path / "a.json")
    of_object = edgekit.calibrate(MODEL, calibration_data=form(), out=tmp_path / "b.json")
    assert ranges(of_file) == ranges(of_object)
    one = edgekit.quantize(MODEL, ranges=of_file, out=tmp_path / "a.onnx", precision="w8a8")
    other = edgekit.quantize(
        MODEL,
        calibration_data=form(),
        out=tmp_path / "b.onnx",
        precision="w8a8",
        restore="none",  # ranges alone cannot restore anything: that takes data
    )
    assert one.read_bytes() == other.read_bytes()


def test_steps_of_a_file_stand_between_raw_data_and_the_model(tmp_path: Path) -> None:
    np.save(tmp_path / "ready.npy", READY)
    np.savez(tmp_path / "raw.npz", allow_pickle=False, image=RAW, labels=LABELS)
    (tmp_path / "steps.json").write_text(json.dumps([step.model_dump(mode="json") for step in STEPS]))
    raw, given = str(tmp_path / "raw.npz"), tmp_path / "steps.json"
    ready = edgekit.calibrate(MODEL, calibration_data=str(tmp_path / "ready.npy"), out=tmp_path / "a.json")
    cooked = edgekit.calibrate(MODEL, calibration_data=raw, preprocess=given, out=tmp_path / "b.json")
    assert ranges(ready) == ranges(cooked)
    out = edgekit.quantize(
        MODEL,
        calibration_data=raw,
        eval_data=raw,
        preprocess=given,
        out=tmp_path / "q.onnx",
        precision="w8a8",
    )
    held = edgekit.validate(out, reference=MODEL, data=raw, preprocess=given, max_drop_pp=50.0)
    assert held.accuracy.reference > 0.9
    with pytest.raises(edgekit.errors.DataError):  # without the steps raw data is no data of this model
        edgekit.validate(out, reference=MODEL, data=raw)


def test_every_form_of_the_file_gives_the_same_steps(tmp_path: Path) -> None:
    listed = [step.model_dump(mode="json") for step in STEPS]
    (tmp_path / "list.json").write_text(json.dumps(listed))
    (tmp_path / "key.json").write_text(json.dumps({"preprocess": listed}))
    (tmp_path / "key.toml").write_text(
        'preprocess = [{ op = "resize", size = [28, 28] }, { op = "scale", by = 0.0625 },'
        ' { op = "layout", to = "NCHW" }]\n'
    )
    names = ("list.json", "key.json", "key.toml")
    assert [steps.read(tmp_path / name) for name in names] == [tuple(STEPS)] * 3
    assert steps.read(EXAMPLE) == steps.read(EXAMPLE / "edgekit.toml")
    assert steps.read(None) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [("{}", "no key 'preprocess'"), ('[{"op": "scael"}]', "scael"), ("[", "Expecting value"), ("3", "tuple")],
)
def test_a_file_without_steps_is_an_error(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "steps.json").write_text(text)
    with pytest.raises(InputError, match=said):
        steps.read(tmp_path / "steps.json")


def test_a_broken_recipe_is_the_recipe_s_error(tmp_path: Path) -> None:
    (tmp_path / "edgekit.toml").write_text("schema = 1\n[data]\n")
    with pytest.raises(RecipeError):
        steps.read(tmp_path)


RECIPE = """
schema = 1
[model]
name = "digits"
version = "1"
source = "digits-cnn.onnx"
[data]
calibration = {{ source = "{learning}" }}
evaluation = {{ source = "judging.npz", metric = "top1" }}
[optimize]
quantize = {{ precision = "w8a8" }}
[budget]
max_drop_pp = 50.0
never_slower = false
on_inconclusive = "pass"
[[target]]
name = "onnxruntime-cpu"
"""


@pytest.mark.parametrize(("learning", "shared"), [("judging.npz", True), ("learning.npz", False)])
def test_a_release_says_when_it_judges_on_its_calibration_data(
    learning: str, shared: bool, tmp_path: Path
) -> None:
    (tmp_path / "digits-cnn.onnx").write_bytes(MODEL.read_bytes())
    np.savez(tmp_path / "judging.npz", allow_pickle=False, image=READY[:16], labels=LABELS[:16])
    np.savez(tmp_path / "learning.npz", allow_pickle=False, image=READY[16:], labels=LABELS[16:])
    (tmp_path / "edgekit.toml").write_text(RECIPE.format(learning=learning))
    result = release(tmp_path / "edgekit.toml", out=tmp_path, dry_run=True, progress=Silent())
    found = [each for each in result.findings if each.startswith("data-overlap")]
    assert bool(found) is shared
    if shared:
        (text,) = found
        from edgekit.report import render_release

        assert "16 of 16" in text
        assert "different splits" in text  # the remedy
        for name, content in render_release(result).items():
            if not name.endswith(".css"):
                assert b"data-overlap" in content, name
                assert b"different splits" in content, name
