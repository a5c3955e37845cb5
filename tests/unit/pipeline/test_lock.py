"""edgekit.lock: when it is followed, and what a partial release keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import RecipeError
from edgekit.pipeline import lock as locks
from edgekit.pipeline.lock import Lock, LockedPruning, LockedTarget
from edgekit.spec import Precision, Range, Ranges

INPUTS = {"recipe": "r", "model": "m", "target a": "1", "target b": "2"}
TOOLS = {"edgekit": "0.1", "onnxruntime": "1"}
RANGES = Ranges({"x": Range(-1.0, 2.0)}, "minmax", "m", "d", "p", 3, 0)


def made(names: str = "ab", **inputs: str) -> Lock:
    targets = {
        name: LockedTarget(precision=Precision.W8A8, plan="p", files={f"{name}.onnx": "0"}) for name in names
    }
    kept = {k: v for k, v in INPUTS.items() if not k.startswith("target ") or k[-1] in names}
    return locks.make(inputs={**kept, **inputs}, tools=TOOLS, ranges=RANGES, targets=targets)


def test_it_reads_back_as_itself(tmp_path: Path) -> None:
    (tmp_path / locks.NAME).write_text(made().text())
    found = locks.read(tmp_path / "edgekit.toml")
    assert found == made()
    assert found is not None
    assert found.locked_ranges() == RANGES


def test_no_lock_is_no_error(tmp_path: Path) -> None:
    assert locks.read(tmp_path / "edgekit.toml") is None


@pytest.mark.parametrize(
    "text", ["", "{", '{"schema": "edgekit/lock/2"}', made().text().replace("w8a8", "w9a9")]
)
def test_a_damaged_lock_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / locks.NAME).write_text(text)
    with pytest.raises(RecipeError, match="cannot be read"):
        locks.read(tmp_path / "edgekit.toml")


def test_equal_inputs_and_tools_match() -> None:
    assert made().differences(INPUTS, TOOLS) == ()


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_each_changed_input_is_named(name: str) -> None:
    assert made().differences({**INPUTS, name: "other"}, TOOLS) == (f"input {name} changed",)


def test_a_changed_tool_is_named() -> None:
    assert made().differences(INPUTS, {**TOOLS, "onnxruntime": "2"}) == ("tool onnxruntime changed",)


def test_a_partial_release_keeps_the_other_targets() -> None:
    together = made("a").with_others_of(made("ab"))
    assert set(together.targets) == {"a", "b"}
    assert together.differences(INPUTS, TOOLS) == ()


def test_other_targets_of_another_model_are_dropped() -> None:
    assert set(made("a", model="new").with_others_of(made("ab")).targets) == {"a"}


def test_a_lock_without_pruning_does_not_speak_of_it() -> None:
    assert "pruned" not in made().text()


def test_a_pruned_model_is_read_back(tmp_path: Path) -> None:
    lock = made().model_copy(update={"pruned": LockedPruning(graph="g", kept={"w": 8}, step={"action": "x"})})
    target = made().targets["a"].model_copy(update={"pruned": True})
    lock = lock.model_copy(update={"targets": {"a": target}})
    (tmp_path / locks.NAME).write_text(lock.text())
    found = locks.read(tmp_path / "edgekit.toml")
    assert found == lock
    assert found is not None
    assert found.targets["a"].scheme.label == "w8a8-pruned"


def test_targets_of_another_pruned_model_are_not_kept() -> None:
    """The same inputs, and the search by measured speed ended elsewhere."""
    previous = made("ab").model_copy(update={"pruned": LockedPruning(graph="g", step={})})
    partial = made("a").model_copy(update={"pruned": LockedPruning(graph="h", step={})})
    assert set(partial.with_others_of(previous).targets) == {"a"}
    same = made("a").model_copy(update={"pruned": LockedPruning(graph="g", step={})})
    assert set(same.with_others_of(previous).targets) == {"a", "b"}
