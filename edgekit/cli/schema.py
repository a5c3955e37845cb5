"""``edgekit schema``: name -> JSON Schema."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekit.cli.console import Console, emit
from edgekit.errors import ExitCode

EXAMPLES = ("edgekit schema", "edgekit schema recipe > recipe.schema.json")
EXIT_CODES = (ExitCode.OK, ExitCode.INTERNAL, ExitCode.BAD_INPUT)


def run(
    console: Console,
    *,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="What to describe; without it, all names.", show_default=False),
    ] = "",
) -> ExitCode:
    """Print the JSON Schema of a file that edgekit reads or of a JSON document that it prints."""
    with console.working():
        from edgekit.report import json, schema
        from edgekit.report.listing import SchemasResult

        if name:
            text = json.text(schema.schema(name))
    if not name:
        return console.show(SchemasResult(schema.names()))
    emit(text)
    return ExitCode.OK
