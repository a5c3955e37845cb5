"""lines_of: L1 to L4, and that every key of a real recipe is found where it stands."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit.pipeline.recipe_lines import lines_of, named

ROOT = Path(__file__).parents[3]
TEXT = '''# a comment            1
schema = 1              # 2
title = """
[not a table]
key = "not a key"
"""
[model]                 # 7
name = "m"
inputs = [
    { name = "x", shape = [1, 2] },   # [still] the value = of inputs
]
files = ["a # b", 'c = d']            # 12
[budget]
"max_drop_pp" = 1.0
a.b = 2
text = \'\'\'
[[target]] \'\'\'
[[target]]              # 18
name = "one"
[target.budget]         # 20
max_size_bytes = 5
[[target]]
name = "two"            # 23
[[optimize.override]]
nodes = "x"
[[optimize.override]]   # 26
nodes = "y"
'''


def test_every_statement_has_its_line() -> None:
    assert lines_of(TEXT) == {
        "schema": 2,
        "title": 3,
        "model": 7,
        "model.name": 8,
        "model.inputs": 9,
        "model.files": 12,
        "budget": 13,
        "budget.max_drop_pp": 14,
        "budget.a.b": 15,
        "budget.text": 16,
        "target.0": 18,
        "target.0.name": 19,
        "target.0.budget": 20,
        "target.0.budget.max_size_bytes": 21,
        "target.1": 22,
        "target.1.name": 23,
        "optimize.override.0": 24,
        "optimize.override.0.nodes": 25,
        "optimize.override.1": 26,
        "optimize.override.1.nodes": 27,
    }


def test_targets_are_called_by_their_names() -> None:
    found = named(lines_of(TEXT), {0: "one", 1: "two"})
    assert (found["target.one"], found["target.one.budget.max_size_bytes"], found["target.two"]) == (
        18,
        21,
        22,
    )
    assert "target.0" not in found
    assert found["budget.max_drop_pp"] == 14


def _paths(value: object, path: str = "") -> Iterator[str]:
    """Every key of a parsed recipe; inline tables end at their own key."""
    if isinstance(value, dict):
        for key, each in value.items():
            whole = f"{path}.{key}".lstrip(".")
            yield whole
            yield from _paths(each, whole)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _paths(each, f"{path}.{index}")


@pytest.mark.parametrize(
    "recipe", sorted(ROOT.glob("models/*/edgekit.toml")), ids=lambda path: path.parent.name
)
def test_the_line_of_a_key_holds_the_key(recipe: Path) -> None:
    text = recipe.read_text("utf-8")
    table: dict[str, Any] = tomllib.loads(text)
    lines = text.splitlines()
    found = lines_of(text)
    assert found
    known = set(_paths(table))
    for path, line in found.items():
        last = path.split(".")[-1]
        assert last.isdigit() or last in lines[line - 1], (path, line)
        assert path in known or last.isdigit(), path
    assert {path for path in table if path not in {"target", "waiver"}} <= set(found) | {"optimize"}
