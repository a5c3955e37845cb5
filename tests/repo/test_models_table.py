"""models/README.md shows what models/results.json holds: every model, every target, none dropped."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"


@pytest.fixture(scope="module")
def table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("models_table", MODELS / "table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((MODELS / "results.json").read_text("utf-8"))
    return found


def test_the_readme_is_what_the_results_give(table: ModuleType, results: dict[str, Any]) -> None:
    text = (MODELS / "README.md").read_text("utf-8")
    shown = text.split(table.BEGIN)[1].split(table.END)[0].strip()
    assert shown == table.render(results).strip(), "run: python models/table.py --render"


def test_every_model_has_an_answer_of_every_target(table: ModuleType, results: dict[str, Any]) -> None:
    assert sorted(results) == table.names()
    for name, found in results.items():
        assert "error" not in found, f"{name}: {found.get('error')}"
        assert set(found["targets"]) == set(table.TARGETS), name


def test_a_refusal_says_node_rule_reason_and_remedy(results: dict[str, Any]) -> None:
    for name, found in results.items():
        for target, row in found["targets"].items():
            if row["exit_code"] == 5:
                assert row["rejections"], f"{name}, {target}: refused without a reason"
            for each in row["rejections"]:
                assert each["rule"], (name, target)
                assert each["reason"], (name, target)
                assert each["remedy"], (name, target)


def test_a_model_without_results_would_be_seen(table: ModuleType, results: dict[str, Any]) -> None:
    """Sabotage: the checks above go red where a model or a target is missing."""
    fewer = {name: found for name, found in results.items() if name != "digits_cnn"}
    assert sorted(fewer) != table.names()
    assert table.render(fewer) != table.render(results)
