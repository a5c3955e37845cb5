"""Command line -> verb -> exit code. Verbs are modules that are imported on use.

    argv --VERBS--> edgekit.cli.<verb> --parse, call, render--> exit code

``edgekit --help`` is drawn from the table below alone: it imports no verb, no pydantic, no numpy and no
framework (a test looks). typer carries its own copy of click since 0.2x; only typer's public names and
the documented methods of its group are used here.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from edgekit.cli.epilog import exit_codes
from edgekit.errors import ExitCode, UnknownNameError


@dataclass(frozen=True, slots=True)
class Verb:
    """Where a verb lives and its one line in ``edgekit --help``."""

    module: str
    help: str


VERBS: dict[str, Verb] = {
    "export": Verb("edgekit.cli.export", "PyTorch, Keras or ONNX source -> canonical ONNX, proved equal"),
    "prune": Verb("edgekit.cli.prune", "float model x data -> fewer channels, faster as measured"),
    "calibrate": Verb("edgekit.cli.calibrate", "float model x data -> ranges.json"),
    "quantize": Verb("edgekit.cli.quantize", "float model x ranges -> int8 (QDQ) or fp16 ONNX"),
    "compile": Verb("edgekit.cli.compile", "ONNX x targets -> artifacts that run there"),
    "validate": Verb("edgekit.cli.validate", "artifact against its float reference on labelled data"),
    "debug": Verb("edgekit.cli.debug", "where an artifact loses accuracy, layer by layer, and why"),
    "bench": Verb("edgekit.cli.bench", "latencies of artifacts, measured interleaved"),
    "release": Verb("edgekit.cli.release", "recipe -> proved artifacts for every target, in one bundle"),
    "diff": Verb("edgekit.cli.diff", "two releases -> what changed per target, better or worse"),
    "verify": Verb("edgekit.cli.verify", "bundle -> hashes checked, golden vectors replayed"),
    "package": Verb("edgekit.cli.package", "bundle -> wheel, C header, ES module, AAR: what an app takes"),
    "sweep": Verb("edgekit.cli.sweep", "recipes x targets x options -> rows, and the Pareto front of them"),
    "inspect": Verb("edgekit.cli.inspect", "what is inside a model, an artifact or a bundle"),
    "targets": Verb("edgekit.cli.targets", "the deployment targets, and what each one's runtime has"),
    "doctor": Verb("edgekit.cli.doctor", "what this machine can do, and what to install for the rest"),
    "init": Verb("edgekit.cli.init", "write a recipe, or a complete working example"),
    "schema": Verb("edgekit.cli.schema", "JSON Schema of the recipe and of every JSON document"),
    "clean": Verb("edgekit.cli.clean", "remove the cache"),
}

# New objects between two walks of Python's garbage collector, 700 by default: what is imported stays, and the
# walks take 0.04 s. Graphs are cycles, so it is not "never".
NEW_OBJECTS = 100_000

_HELP = """Edge-deployment compilation: one trained model in, proved artifacts for every runtime out.

\b
Start here:
  edgekit init --example digits-cnn my-model
  edgekit release my-model/edgekit.toml -o dist/
"""


class VerbGroup(TyperGroup):
    """The group whose commands are the rows of ``VERBS``, built when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All verbs, in the table's order."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a verb; its module is imported here and nowhere else."""
        del ctx
        if cmd_name not in VERBS:
            return None
        from edgekit.cli.command import build
        from edgekit.cli.log_records import escape_records

        escape_records()
        return build(cmd_name, import_module(VERBS[cmd_name].module))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that ``args`` start with; an unknown one is an error with its neighbours."""
        if args[0] not in VERBS and not args[0].startswith("-"):
            raise UnknownNameError("verb", args[0], VERBS, listing="edgekit --help")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The verbs with their help lines, out of the table."""
        del ctx
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])


def _show_version(wanted: bool) -> None:
    if wanted:
        from edgekit import __version__

        typer.echo(f"edgekit {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Options before the verb."""


def group() -> Any:
    """The whole command line as typer's group."""
    app = typer.Typer(
        name="edgekit",
        cls=VerbGroup,
        rich_markup_mode=None,  # plain help: the same text in a terminal and a log, and no rich import
        pretty_exceptions_enable=False,
        subcommand_metavar="VERB [ARGS]...",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        help=_HELP,
        epilog=exit_codes(ExitCode),
    )
    app.callback()(_root)
    return typer.main.get_command(app)


def run(args: Sequence[str]) -> int:
    """One command line -> its exit code; every error ends here as one message."""
    from edgekit.cli import failure

    commands = group()
    if not args:
        sys.stderr.write(
            commands.get_help(commands.make_context("edgekit", [], resilient_parsing=True)) + "\n"
        )
        return ExitCode.BAD_INPUT
    try:
        code = commands.main(args=list(args), prog_name="edgekit", standalone_mode=False)
    except KeyboardInterrupt:
        return failure.interrupted(args)
    except Exception as error:  # noqa: BLE001 - the outermost boundary: what gets here is shown, never swallowed
        return failure.report(error, args)
    if code == ExitCode.INTERRUPTED and not isinstance(code, ExitCode):
        # typer turns Ctrl-C into this number; a verb that gives it has shown what had arrived
        return failure.interrupted(args)
    return int(code or 0)


def _fill_closed_descriptors() -> None:
    """What the caller closed (``2>&-``) leads nowhere: the next file that is opened would get its number.

    Native code that prints would write into that file then.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free (open(2))
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  until the process ends


def main() -> NoReturn:
    """The entry point: SIGTERM ends a run as cleanly as Ctrl-C does."""
    _fill_closed_descriptors()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    gc.set_threshold(NEW_OBJECTS)
    code = run(sys.argv[1:])
    gc.freeze()  # a process that ends need not look for cycles: 0.12 s of a compilation's 0.95
    sys.exit(code)
