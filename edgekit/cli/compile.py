"""``edgekit compile``: model.onnx x targets -> artifacts with sidecars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import flags
from edgekit.cli.console import Console
from edgekit.errors import ExitCode

EXAMPLES = ("edgekit compile q.onnx --target onnxruntime-cpu --target litert-cpu -o artifacts/",)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.INTERNAL,
    ExitCode.BAD_INPUT,
    ExitCode.TARGET_REFUSES,
    ExitCode.BACKEND_MISSING,
    ExitCode.INTERRUPTED,
)


def run(
    console: Console,
    *,
    model: Annotated[
        Path, typer.Argument(metavar="MODEL.onnx", help="Float or QDQ ONNX model.", show_default=False)
    ],
    target: flags.Targets,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUTDIR", help="Folder for the artifacts.")],
    name: Annotated[
        str, typer.Option("--name", help="First part of the file names; the model's file name by default.")
    ] = "",
    version: Annotated[str, typer.Option("--version", help="Second part of the file names.")] = "",
    threads: flags.Threads = None,
    cache_dir: flags.CacheDir = None,
) -> ExitCode:
    """Compile a model for one or more targets, each file with a JSON sidecar that says how to open it."""
    with console.working() as progress:
        from edgekit.pipeline import compile

        result = compile.compile(
            model,
            targets=tuple(target or ()),
            out=out,
            name=name,
            version=version,
            threads=threads,
            progress=progress,
            cache_dir=cache_dir,
        )
    return console.show(result)
