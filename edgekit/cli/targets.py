"""``edgekit targets``: the shipped target tables -> a list, or one in full. Imports no framework."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekit.cli.console import Console
from edgekit.errors import ExitCode, InputError, UnknownNameError

EXAMPLES = ("edgekit targets", "edgekit targets --here", "edgekit targets show litert-cpu")
EXIT_CODES = (ExitCode.OK, ExitCode.INTERNAL, ExitCode.BAD_INPUT)


def run(
    console: Console,
    *,
    action: Annotated[
        str, typer.Argument(metavar="show", help="`show` for one target in full.", show_default=False)
    ] = "",
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A target's name, or a target file.", show_default=False)
    ] = "",
    here: Annotated[
        bool,
        typer.Option("--here", help="Ask each runtime and device whether it is usable here, and why not."),
    ] = False,
) -> ExitCode:
    """List the deployment targets, or show what one target's runtime really has."""
    if action not in {"", "show"}:
        raise UnknownNameError("word", action, ("show",), listing="edgekit targets --help")
    if action and not name:
        raise InputError("`edgekit targets show` needs a name", remedy="`edgekit targets` lists all")
    from edgekit import target as targets
    from edgekit.report.listing import TargetResult, TargetsResult, TargetSummary

    if action:
        found = targets.load(name)
        return console.show(TargetResult(found.name, found.model_dump(mode="json", by_alias=True)))
    rows = [
        TargetSummary(
            each.name, each.summary, each.backend, each.ladder, each.extension, each.extra, each.marked
        )
        for each in map(targets.load, targets.names())
    ]
    if not here:
        return console.show(TargetsResult(tuple(rows)))
    with console.working():
        from edgekit.pipeline.doctor import targets_here

        usable = targets_here()
    return console.show(TargetsResult(tuple(rows), usable))
