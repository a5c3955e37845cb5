"""docs/cli.md and docs/recipe.md are what docs/generate.py makes of the commands and the schema."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from edgekit import recipe
from edgekit.cli.main import VERBS

DOCS = Path(__file__).parents[3] / "docs"


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_files_are_fresh() -> None:
    for name, text in generator().generate().items():
        assert (DOCS / name).read_text("utf-8") == text, f"docs/{name} is stale: run `make docs`"


def test_no_placeholder_is_left_and_links_have_their_target() -> None:
    for name, text in generator().generate().items():
        assert "{{" not in text, name
        anchors = {heading.strip("`[] ").lower() for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
        anchors |= set(re.findall(r'<a id="([^"]+)">', text))
        for link in re.findall(r"\]\(#([^)]+)\)", text):
            assert link in anchors, f"{name}: #{link}"


def test_the_annotated_example_is_a_recipe() -> None:
    text = (DOCS / "recipe.md").read_text("utf-8")
    example = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    found = recipe.parse(example[1], name="docs/recipe.md")
    assert [target.name for target in found.target] == ["onnxruntime-cpu", "litert-cpu"]


def test_every_verb_and_every_anchor_that_messages_name_is_there() -> None:
    text = (DOCS / "cli.md").read_text("utf-8")
    for verb in VERBS:
        assert f"\n## {verb}\n" in text
    assert '<a id="data"></a>' in (DOCS / "recipe.md").read_text("utf-8")
