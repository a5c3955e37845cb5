"""`validate` on ONNX Runtime: what is broken is red, with the right code and reason; its neighbours are not.

The model is a linear classifier of four classes whose weights are its class centres, so that it is nearly
always right and sure of it. An artifact is the same graph with other numbers.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import edgekit
from edgekit.cli.main import run
from edgekit.errors import DataError, ExitCode, InputError
from edgekit.ir import io
from edgekit.pipeline import validate as pipeline
from edgekit.spec import Silent

SEED = 29
COUNT = 400
CENTRES = 3.0 * np.random.default_rng(SEED).normal(size=(4, 6)).astype(np.float32)
GRAPH = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[batch,{features}] x) => (float[batch,4] scores)
<float[{features},4] w = {{{weights}}}, float[4] b = {{{bias}}}, float[1] s = {{{scale}}}>
{{ y = MatMul(x, w) z = Add(y, b) t = {operator}(z) scores = Mul(t, s) }}
"""


def write(path: Path, centres: np.ndarray, *, operator: str = "Identity", scale: str = "1") -> Path:
    """Scores x . c - |c|^2 / 2 for each centre c."""
    bias = -(centres**2).sum(axis=1) / 2
    text = GRAPH.format(
        features=centres.shape[1],
        weights=", ".join(str(float(v)) for v in centres.T.ravel()),
        bias=", ".join(str(float(v)) for v in bias),
        operator=operator,
        scale=scale,
    )
    io.save(ir.from_onnx_text(text), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(SEED)
    labels = rng.integers(0, 4, COUNT)
    x = (CENTRES[labels] + rng.normal(scale=1.0, size=(COUNT, 6))).astype(np.float32)
    light = np.where(np.arange(COUNT) % 4 == 0, "dark", "day")
    np.savez(tmp_path / "data.npz", allow_pickle=False, x=x, labels=labels, slice=light)
    swapped = rng.permutation(labels)
    np.savez(tmp_path / "swapped.npz", allow_pickle=False, x=x, labels=swapped)
    write(tmp_path / "model.onnx", CENTRES)
    write(tmp_path / "good.onnx", np.round(CENTRES * 32) / 32)
    write(tmp_path / "bad.onnx", CENTRES[[1, 0, 2, 3]])
    write(tmp_path / "nan.onnx", CENTRES, operator="Sqrt")  # of negative scores
    write(tmp_path / "other.onnx", np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32))
    return tmp_path


def validate(folder: Path, *artifacts: str, data: str = "data.npz", **more: object) -> edgekit.ValidateResult:
    found: edgekit.ValidateResult = edgekit.validate(
        [folder / each for each in artifacts],
        reference=folder / "model.onnx",
        data=str(folder / data),
        **more,  # type: ignore[arg-type]  # by name
    )
    return found


def test_a_healthy_artifact_passes_beside_broken_ones(folder: Path) -> None:
    found = validate(folder, "good.onnx", "bad.onnx", "nan.onnx")
    good, bad, nan = found.artifacts
    assert (good.status, good.exit_code) == ("pass", ExitCode.OK)
    assert (bad.status, bad.exit_code) == ("fail", ExitCode.ACCURACY_GATE)
    assert "above the budget" in bad.gates[0].reason
    assert (nan.status, nan.exit_code) == ("fail", ExitCode.ACCURACY_GATE)
    assert "output 'scores' of the nan.onnx is nan at sample" in nan.gates[0].reason
    assert nan.accuracy is None
    assert found.exit_code is ExitCode.ACCURACY_GATE
    assert [(row.first, row.step) for row in found.matrix] == [("ONNX float", "runtime")] * 2
    assert any("bad.onnx: class" in finding for finding in found.findings)
    assert not any("good.onnx" in finding for finding in found.findings)
    assert {group.kind for group in bad.groups} == {"class", "slice"}


def test_it_is_the_same_as_one_by_one(folder: Path) -> None:
    both = validate(folder, "good.onnx", "bad.onnx")
    for row, name in zip(both.artifacts, ("good.onnx", "bad.onnx"), strict=True):
        assert validate(folder, name).artifacts[0] == row


def test_the_reference_runs_once_for_one_data_set(folder: Path, tmp_path: Path) -> None:
    class Notes(Silent):
        def __init__(self) -> None:
            self.said: list[str] = []

        def note(self, text: str) -> None:
            self.said.append(text)

    def once(*artifacts: str, samples: int | None = None) -> tuple[edgekit.ValidateResult, bool]:
        notes = Notes()
        found = pipeline.validate(
            [folder / each for each in artifacts],
            reference=folder / "model.onnx",
            data=str(folder / "data.npz"),
            metric="top1",
            max_drop_pp=1.0,
            samples=samples,
            progress=notes,
            cache_dir=tmp_path / "cache",
        )
        return found, any("does not run again" in text for text in notes.said)

    first, known = once("good.onnx", "bad.onnx")
    assert not known
    again, known = once("good.onnx", "bad.onnx")
    assert known
    assert again == first
    _, known = once("good.onnx", samples=300)  # other data
    assert not known
    write(folder / "model.onnx", CENTRES * 1.01)  # another model under the same name
    changed, known = once("good.onnx", "bad.onnx")
    assert not known
    assert changed.artifacts[0].drift != first.artifacts[0].drift


def test_swapped_labels_are_an_error_of_the_data(folder: Path) -> None:
    with pytest.raises(DataError, match="labels in random order") as caught:
        validate(folder, "good.onnx", data="swapped.npz")
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    # Stated as it is, it is taken as it is; stated as it should be, it is refused for that.
    assert validate(folder, "good.onnx", data="swapped.npz", expected=0.25).artifacts
    with pytest.raises(DataError, match="is expected of it"):
        validate(folder, "good.onnx", data="swapped.npz", expected=0.98)


def test_a_reference_with_nan_is_an_error_of_the_data(folder: Path) -> None:
    with pytest.raises(DataError, match="of the float reference is nan"):
        edgekit.validate(folder / "good.onnx", reference=folder / "nan.onnx", data=str(folder / "data.npz"))


def test_an_artifact_of_another_model_is_refused(folder: Path) -> None:
    with pytest.raises(InputError):
        validate(folder, "good.onnx", "other.onnx")


def test_an_artifact_named_twice_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="named twice"):
        validate(folder, "good.onnx", "good.onnx")


def test_a_straddled_budget_says_how_many_samples_in_text_and_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--reference", f"{folder}/model.onnx", "--data", f"{folder}/data.npz", "--max-drop", "0.2"]
    assert run(["validate", f"{folder}/good.onnx", *flags, "--format", "json"]) == ExitCode.INCONCLUSIVE
    gate = json.loads(capsys.readouterr().out)["artifacts"][0]["gates"][0]
    assert gate["status"] == "inconclusive"
    needed = gate["samples_needed"]
    assert needed > COUNT
    assert run(["validate", f"{folder}/good.onnx", *flags]) == ExitCode.INCONCLUSIVE
    assert f"{needed} samples would" in " ".join(capsys.readouterr().out.split())


def test_a_class_that_collapses_breaks_its_gate_and_not_the_mean_s(folder: Path) -> None:
    found = validate(folder, "bad.onnx", max_drop_pp=80.0, max_group_drop_pp=5.0)
    assert [(gate.name, gate.status) for gate in found.gates] == [("accuracy", "pass"), ("groups", "fail")]
    assert found.exit_code is ExitCode.ACCURACY_GATE


def test_an_own_metric(folder: Path) -> None:
    (folder / "mine.py").write_text(
        "def margin(outputs, labels):\n"
        "    s = outputs['scores']\n"
        "    return (s[range(len(s)), labels] >= s.max(axis=1))\n"
    )
    own = validate(folder, "good.onnx", metric=f"{folder}/mine.py:margin").accuracy
    table = validate(folder, "good.onnx").accuracy
    assert (own.value, own.drop_low_pp, own.drop_high_pp) == (
        table.value,
        table.drop_low_pp,
        table.drop_high_pp,
    )
