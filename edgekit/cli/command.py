"""Verb module -> typer command: the verb's own flags, then those that every verb has.

A verb module holds

    EXAMPLES    command lines for its help page
    EXIT_CODES  the exit codes it can give
    run(console, ...) -> ExitCode   its flags as typed parameters; the docstring is the help text

The common flags are the parameters of ``console.open_console``: declared once, appended to each verb here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import typer

from edgekit.cli.console import open_console
from edgekit.cli.epilog import examples, exit_codes


def build(verb: str, module: ModuleType) -> Any:
    """The typer command of a verb module."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(
        name=verb,
        help=inspect.getdoc(module.run),
        epilog=f"{examples(module.EXAMPLES)}\n\n{exit_codes(module.EXIT_CODES)}",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )(with_common_flags(module.run))
    return typer.main.get_command(app)


def with_common_flags(verb: Callable[..., int]) -> Callable[..., int]:
    """``verb(console, **own)`` -> a function whose signature is its own flags and the common ones."""
    own = list(inspect.signature(verb, eval_str=True).parameters.values())[1:]
    common = list(inspect.signature(open_console, eval_str=True).parameters.values())

    def call(**values: Any) -> int:
        flags = {parameter.name: values.pop(parameter.name) for parameter in common}
        return verb(open_console(**flags), **values)

    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own, *common)]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it (PEP 362)
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    return call
