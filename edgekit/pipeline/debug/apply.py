"""Causes -> changes of edgekit.toml; comments, order and layout of everything else stay.

    path ("optimize", "quantize", "method")     the key gets the value
    path ("optimize", "override")               the value becomes one more [[optimize.override]]

A1 the changed recipe is read and checked before it replaces the old one, by rename
A2 of two causes that want one key, the likelier wins      A3 what is there already is not written again
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import drafts
from edgekit import recipe as recipes
from edgekit.errors import RecipeError
from edgekit.pipeline.debug.rows import toml
from edgekit.validation.diagnose.evidence import RecipeEdit
from edgekit.write_errors import cannot_write

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_ARRAYS = {("optimize", "override")}  # arrays of tables: a remedy adds to them


def applied(path: Path, edits: Iterable[RecipeEdit]) -> tuple[str, ...]:
    """Write ``edits`` into the recipe at ``path``; gives those that changed it, as TOML.

    Args:
        path: a recipe, or its folder.
        edits: the most important first.

    Raises:
        RecipeError: the recipe cannot be read, or an edit makes it wrong: nothing is written.
        OutputError: it cannot be written.
    """
    import tomlkit

    path = path / "edgekit.toml" if path.is_dir() else path
    recipes.load(path)  # refuses what is none
    text = path.read_text("utf-8")
    document = tomlkit.parse(text)
    done: dict[str, tuple[str, ...]] = {}
    for edit in edits:
        said = toml(edit)
        taken = edit.path in done.values() and edit.path not in _ARRAYS  # A2
        if not taken and said not in done and _edit(document, edit):
            done[said] = edit.path
    if not done:
        return ()
    made = tomlkit.dumps(document)
    try:
        recipes.parse(made, name=str(path))  # A1
    except RecipeError as error:
        raise RecipeError(
            f"the remedy does not fit recipe {path}: {error.what}",
            why=f"it would have written {'; '.join(done)}",
            remedy="write it yourself, or report the case: nothing was changed",
            more="docs/debug.md",
        ) from error
    _replace(path, made)
    return tuple(done)


def _edit(document: TOMLDocument, edit: RecipeEdit) -> bool:
    """Whether that changed anything (A3)."""
    import tomlkit

    table: Any = document
    for key in edit.path[:-1]:
        if key not in table:
            table[key] = tomlkit.table(is_super_table=True) if table is document else tomlkit.table()
        table = table[key]
    last = edit.path[-1]
    if edit.path not in _ARRAYS:
        if last in table and table[last] == edit.value:
            return False
        table[last] = edit.value
        return True
    assert isinstance(edit.value, dict)  # noqa: S101  what is added to an array of tables is a table
    row = tomlkit.table()
    for key, value in edit.value.items():
        row[key] = value
    if last not in table:
        table[last] = tomlkit.aot()
    if any(dict(each) == dict(row) for each in table[last]):
        return False
    if isinstance(table[last], tomlkit.items.AoT):
        table[last].append(row)
    else:
        inline = tomlkit.inline_table()
        inline.update(dict(row))
        table[last].append(inline)
    return True


def _replace(path: Path, text: str) -> None:
    try:
        with drafts.file(path) as draft:
            draft.write_text(text, "utf-8")
    except OSError as error:
        raise cannot_write(path, error, elsewhere="copy the recipe elsewhere") from error
