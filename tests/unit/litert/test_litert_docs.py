"""docs/litert.md names every operator that has a lowering, and none that has not."""

from __future__ import annotations

import re
from pathlib import Path

from edgekit.backends.litert.lower import LOWERINGS
from edgekit.backends.litert.unroll import CONTROL

PAGE = Path(__file__).parents[3] / "docs" / "litert.md"


def named(page: str) -> set[str]:
    """The operators of the list between the two comments."""
    text = page.split("<!-- operators:")[1].split("<!-- end of operators -->", maxsplit=1)[0]
    return set(re.findall(r"`([A-Z]\w+)`", text))


def test_the_page_lists_the_lowering_table() -> None:
    page = PAGE.read_text("utf-8")
    assert named(page) == {op for op in LOWERINGS if not op.startswith("[")}
    assert all(f"`{op}`" in page for op in CONTROL)


def test_sabotage_an_operator_that_the_page_forgets() -> None:
    page = PAGE.read_text("utf-8").replace("`Einsum`, ", "")
    assert "Einsum" not in named(page)
