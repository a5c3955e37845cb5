"""TOML text x pydantic model -> the checked value, or one error that names every problem.

Unknown keys are errors with the closest key beside each: a misspelt wish must not be nobody's. Recipes and
sweep matrices are read by it.
"""

from __future__ import annotations

import tomllib
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from edgekit.errors import RecipeError, closest

Document = TypeVar("Document", bound=BaseModel)


def checked(text: str, kind: type[Document], *, name: str, schema: str, more: str) -> Document:
    """Read ``text`` as a ``kind``.

    Args:
        text: TOML.
        kind: a closed pydantic model.
        name: how messages call the document ("recipe edgekit.toml").
        schema: what `edgekit schema` calls ``kind``.
        more: where to read more.

    Raises:
        RecipeError: it is no TOML, or has a key or value that is not in the schema.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(
            f"{name} is not TOML: {error}",
            why="it cannot be read",
            remedy="correct the line that the message names",
            more=more,
        ) from error
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        lines = [_line(problem, kind) for problem in error.errors()]
        count = len(lines)
        raise RecipeError(
            f"{name}: {lines[0]}" if count == 1 else f"{name} has {count} errors: {'; '.join(lines)}",
            why="a key that edgekit does not know would be a wish that nobody fulfils",
            remedy=f"correct it; `edgekit schema {schema}` prints every key",
            more=more,
        ) from error


def _line(problem: Any, kind: type[BaseModel]) -> str:
    """One problem of pydantic's, with the closest key where one is unknown."""
    where = [str(part) for part in problem["loc"]]
    if problem["type"] == "extra_forbidden":
        near = closest(where[-1], _known_keys(where[:-1], kind))
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        return f"{'.'.join(where)}: unknown key{hint}"
    return f"{'.'.join(where)}: {problem['msg']} (got {problem['input']!r:.60})"


def _known_keys(path: list[str], kind: type[BaseModel]) -> tuple[str, ...]:
    """The keys of the table at ``path`` in the schema."""
    schema: dict[str, Any] = kind.model_json_schema(by_alias=True)
    node: dict[str, Any] = schema
    for part in path:
        node = _resolve(node, schema)
        if part.isdigit():
            node = node.get("items", {})
        elif part in node.get("properties", {}):
            node = node["properties"][part]
    return tuple(_resolve(node, schema).get("properties", {}))


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """What a reference names; of a table that may be left out (a union with null), the table."""
    node = next((each for each in node.get("anyOf", ()) if "$ref" in each), node)
    while "$ref" in node:
        node = schema["$defs"][str(node["$ref"]).rsplit("/", 1)[-1]]
    return node
