"""``edgekit compile``: model.onnx x targets -> artifacts with sidecars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import flags
from edgekit.cli.console import Console
from edgekit.cli.parse import one_of, parse_sizes
from edgekit.errors import ExitCode

EXAMPLES = (
    "edgekit compile q.onnx --target onnxruntime-cpu --target litert-cpu -o artifacts/",
    "edgekit compile q.onnx --target qnn-check --target nnapi-check -o artifacts/",
)
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
    size: flags.Sizes = None,
    io_dtype: Annotated[
        str,
        typer.Option(
            "--io-dtype",
            metavar="TYPE",
            help="Element type of the file's own inputs and outputs: float32, int8 or uint8 (the integers "
            "for quantized models on LiteRT).",
        ),
    ] = "float32",
    io_layout: Annotated[
        str,
        typer.Option(
            "--io-layout",
            metavar="auto|model",
            help="auto: image inputs channels-last where the compiler likes; model: the model's own axes.",
        ),
    ] = "auto",
    allow_fallback: flags.AllowFallback = False,
    cache_dir: flags.CacheDir = None,
) -> ExitCode:
    """Compile a model for one or more targets, each file with a JSON sidecar that says how to open it.

    Of several targets, one that refuses the model or whose compiler is not here is named with its reasons;
    the others' files are written all the same. The exit code is then the gravest of the targets'.
    """
    with console.working() as progress:
        from edgekit.backends.base import IO_DTYPES, IO_LAYOUTS, IoForm
        from edgekit.pipeline import compile

        io = IoForm(one_of("--io-dtype", io_dtype, IO_DTYPES), one_of("--io-layout", io_layout, IO_LAYOUTS))
        result = compile.compile(
            model,
            targets=tuple(target or ()),
            out=out,
            name=name,
            version=version,
            threads=threads,
            progress=progress,
            cache_dir=cache_dir,
            io=io,
            sizes=parse_sizes(size or ()),
            allow_fallback=allow_fallback,
        )
        if allow_fallback:
            from edgekit.pipeline.fallback import with_placements

            result = with_placements(result)
    return console.show(result)
