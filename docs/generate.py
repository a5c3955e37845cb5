"""Commands -> docs/cli.md; recipe schema -> docs/recipe.md; matrix schema -> docs/sweep.md.

The prose is in docs/templates/; ``{{name}}`` stands for a generated part. Run it as ``make docs``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from edgekit.cli.command import build
from edgekit.cli.console import open_console
from edgekit.cli.main import VERBS
from edgekit.errors import EXIT_CODE_MEANINGS
from edgekit.pipeline.sweep.matrix_file import Matrix
from edgekit.recipe import Recipe

DOCS = Path(__file__).resolve().parent
Schema = Mapping[str, Any]
_LISTS = {"target", "waiver", "package", "exclude", "device"}  # tables that may stand several times


def generate() -> dict[str, str]:
    """File name below docs/ -> its whole text."""
    return {
        "cli.md": _filled("cli.md", cli_parts()),
        "recipe.md": _filled("recipe.md", recipe_parts(Recipe.model_json_schema(by_alias=True))),
        "sweep.md": _filled("sweep.md", matrix_parts(Matrix.model_json_schema(by_alias=True))),
    }


def _filled(name: str, parts: Mapping[str, str]) -> str:
    text = (DOCS / "templates" / name).read_text("utf-8")
    for key, value in parts.items():
        text = text.replace("{{" + key + "}}", value)
    return text.rstrip() + "\n"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


# --- the command line ---------------------------------------------------------------------------------


def cli_parts() -> dict[str, str]:
    """The generated parts of cli.md."""
    commands = {verb: (build(verb, module), module) for verb, module in _modules().items()}
    common = set(inspect.signature(open_console).parameters)
    first = next(iter(commands.values()))[0]
    return {
        "verbs": _table(
            ("verb", "what it does"), [(f"[`{name}`](#{name})", verb.help) for name, verb in VERBS.items()]
        ),
        "exit_codes": _table(
            ("code", "meaning"), [(str(int(code)), meaning) for code, meaning in EXIT_CODE_MEANINGS.items()]
        ),
        "common": _table(("flag", "meaning"), list(_flags(first, only=common))),
        "details": "\n\n".join(_verb(name, *found, common=common) for name, found in commands.items()),
    }


def _modules() -> dict[str, Any]:
    return {name: import_module(verb.module) for name, verb in VERBS.items()}


def _flags(command: Any, *, only: set[str] | None = None, without: set[str] | None = None) -> Iterator[Any]:
    context = typer.Context(command, info_name=command.name)
    for parameter in command.params:
        if (only is None or parameter.name in only) and parameter.name not in (without or set()):
            name, meaning = parameter.get_help_record(context)
            yield f"`{name}`", " ".join(meaning.split())


def _verb(name: str, command: Any, module: Any, *, common: set[str]) -> str:
    usage = " ".join(["edgekit", name, *command.collect_usage_pieces(typer.Context(command, info_name=name))])
    parts = [
        f"## {name}",
        f"    {usage}",
        str(inspect.getdoc(module.run)),
        "```bash\n" + "\n".join(module.EXAMPLES) + "\n```",
    ]
    flags = list(_flags(command, without=common))
    if flags:
        parts.append(_table(("argument or flag", "meaning"), flags))
    parts.append(f"Exit codes: {', '.join(str(int(code)) for code in module.EXIT_CODES)}.")
    return "\n\n".join(parts)


# --- the recipe ---------------------------------------------------------------------------------------


def recipe_parts(schema: Schema) -> dict[str, str]:
    """The generated parts of recipe.md."""
    steps = _resolve(schema["$defs"]["DataTable"]["properties"]["preprocess"], schema)["items"]["oneOf"]
    return {
        "steps": "\n\n".join(_step(_resolve(each, schema)) for each in steps),
        "keys": "\n\n".join(_tables(schema, schema, "")),
    }


def matrix_parts(schema: Schema) -> dict[str, str]:
    """The generated parts of sweep.md."""
    return {"matrix": "\n\n".join(_tables(schema, schema, ""))}


def _resolve(node: Schema, schema: Schema) -> Schema:
    while "$ref" in node:
        node = {
            **schema["$defs"][str(node["$ref"]).rsplit("/", 1)[-1]],
            **{k: v for k, v in node.items() if k != "$ref"},
        }
    return node


def _step(step: Schema) -> str:
    fields = {name: field for name, field in step["properties"].items() if name != "op"}
    rows = [(f"`{name}`", _type(field, step), _default(name, field, step)) for name, field in fields.items()]
    name = step["properties"]["op"]["const"]
    return f"### `{name}`\n\n{step['description']}\n\n" + _table(("key", "type", "default"), rows)


def _tables(node: Schema, schema: Schema, path: str) -> Iterator[str]:
    """One table of keys for each table of the recipe, in the order of the file."""
    rows, below = [], []
    for key, field in node["properties"].items():
        found = _resolve(_without_null(field), schema)
        inner = _resolve(found.get("items", {}), schema) if found.get("type") == "array" else found
        if "properties" in inner:
            many = "[[{}]]" if found.get("type") == "array" and not path else "[{}]"
            below.append((f"{path}.{key}".lstrip("."), many, inner))
        elif "oneOf" in inner:
            rows.append(
                (f"`{key}`", "list of [steps](#preprocess)", "none", str(field.get("description", "")))
            )
        else:
            meaning = str(field.get("description", ""))
            rows.append((f"`{key}`", _type(found, schema), _default(key, field, node), meaning))
    if rows:
        title = f"`[{path}]`" if path else "At the top"
        yield f"### {title}" if path not in _LISTS else f"### `[[{path}]]`"
        if path and ": " in node.get("description", ""):
            yield _sentence(str(node["description"]))
        yield _table(("key", "type", "default", "meaning"), rows)
    for name, _, inner in below:
        yield from _tables(inner, schema, name)


def _without_null(field: Schema) -> Schema:
    """An optional table as the table itself."""
    kinds = [each for each in field.get("anyOf", ()) if each.get("type") != "null"]
    return kinds[0] if len(kinds) == 1 and "$ref" in kinds[0] else field


def _sentence(description: str) -> str:
    """A table's description without the table's own name in front."""
    text = description.split(": ", 1)[-1] if description.startswith("`[") else description
    return text[0].upper() + text[1:]


def _type(field: Schema, schema: Schema) -> str:
    """A type in words."""
    field = _resolve(field, schema) if "$defs" in schema else field
    if "anyOf" in field:
        return " or ".join(_type(each, schema) for each in field["anyOf"] if each.get("type") != "null")
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{each}`" for each in field["enum"])
    if field.get("type") == "array":
        if "prefixItems" in field:
            return f"{len(field['prefixItems'])} × {_type(field['prefixItems'][0], schema)}"
        return f"list of {_type(field['items'], schema)}"
    if "properties" in field:
        return "table"
    if field.get("type") == "object":
        return f"table of {_type(field['additionalProperties'], schema)}"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    limits = [
        text.format(field[key])
        for key, text in (("minimum", "at least {}"), ("exclusiveMinimum", "above {}"))
        if key in field
    ]
    return ", ".join([words[field["type"]], *limits])


def _default(name: str, field: Schema, table: Schema) -> str:
    if name in table.get("required", ()):
        return "required"
    value = field.get("default")
    if value in (None, "", []):
        return "none"
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


def main() -> None:
    """Write the files."""
    for name, text in generate().items():
        (DOCS / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
