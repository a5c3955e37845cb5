"""A placement of the target that ships is locked, and made again from the lock: the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import edgekit
from edgekit.errors import ExitCode, VerificationError
from edgekit.pipeline import artifact, candidates
from edgekit.pipeline.release.run import release
from edgekit.pipeline.result import CandidateRow, ReleaseResult
from edgekit.pipeline.scheme import Scheme
from edgekit.spec import Artifact, Precision, Silent
from edgekit.target import Target

EXAMPLE = Path(edgekit.__file__).parent / "_examples" / "digits-cnn"
RECIPE = f"""
schema = 1
[model]
name = "digits"
version = "1.0.0"
source = "{EXAMPLE / "digits-cnn.onnx"}"
[data]
calibration = {{ source = "{EXAMPLE / "calibration.npz"}", samples = 64 }}
evaluation = {{ source = "{EXAMPLE / "evaluation.npz"}", metric = "top1" }}
preprocess = [
  {{ op = "resize", size = [28, 28] }}, {{ op = "scale", by = 0.0625 }}, {{ op = "layout", to = "NCHW" }},
]
[optimize]
quantize = {{ precision = "w8a8", method = "minmax" }}
[budget]
never_slower = false
[[target]]
name = "openvino-cpu"
"""
LEAN = Scheme(Precision.W8A8, "lean", placement="lean")


def released(folder: Path, name: str) -> ReleaseResult:
    """With a cache of its own: nothing is taken from another release."""
    return release(
        folder / "edgekit.toml", out=folder / name, cache_dir=folder / f"cache-{name}", progress=Silent()
    )


def shipped(result: ReleaseResult) -> CandidateRow:
    assert result.exit_code is ExitCode.OK, [row.reason for row in result.targets]
    return next(each for each in result.targets[0].candidates if each.shipped)


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, CandidateRow, list[Target]]:
    """A release whose only candidate beside float is the placement; what was compiled, for which rules."""
    compiled_for: list[Target] = []
    obtain = artifact.obtain

    def spied(variant: object, target: Target, *args: object, **options: object) -> Artifact:
        compiled_for.append(target)
        return obtain(variant, target, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(artifact, "obtain", spied)
    (tmp_path / "edgekit.toml").write_text(RECIPE)
    with monkeypatch.context() as alone:
        alone.setattr(candidates, "schemes_of", lambda *_args, **_options: (LEAN,))
        alone.setattr(candidates, "fastest_by_rung", lambda _judged: ())  # no sibling of 16 bits
        row = shipped(released(tmp_path, "first"))
    return tmp_path, row, compiled_for


def test_the_lock_brings_back_a_placement(first: tuple[Path, CandidateRow, list[Target]]) -> None:
    folder, row, compiled_for = first
    assert row.name == "w8a8-lean"
    (locked,) = json.loads((folder / "edgekit.lock").read_text())["targets"].values()
    assert (locked["placement"], locked["variant"]) == ("lean", "lean")
    before = len(compiled_for)
    again = released(folder, "again")
    assert again.lock == "followed", again.lock_reason
    assert (shipped(again).sha256, shipped(again).plan_digest) == (row.sha256, row.plan_digest)
    for rules in (compiled_for[:before], compiled_for[before:]):
        assert [each.keeps_rounding for each in rules[:2]] == [True, False], "float, then the placement"


def test_a_lock_that_names_the_rows_is_noticed(first: tuple[Path, CandidateRow, list[Target]]) -> None:
    """Sabotage: without the placement the bytes are others."""
    folder, _, _ = first
    lock = json.loads((folder / "edgekit.lock").read_text())
    (locked,) = lock["targets"].values()
    locked["placement"] = ""
    (folder / "edgekit.lock").write_text(json.dumps(lock))
    with pytest.raises(VerificationError, match="not the file that the lock names"):
        released(folder, "again")
