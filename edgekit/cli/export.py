"""``edgekit export``: SOURCE -> model.onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import flags
from edgekit.cli.console import Console
from edgekit.cli.parse import parse_dynamic, parse_input
from edgekit.errors import ExitCode

EXAMPLES = (
    "edgekit export model.py:build --input image:float32:1x3x224x224 --dynamic image:0=batch -o model.onnx",
    "edgekit export model.keras -o model.onnx",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.INTERNAL,
    ExitCode.BAD_INPUT,
    ExitCode.ACCURACY_GATE,
    ExitCode.BACKEND_MISSING,
    ExitCode.INTERRUPTED,
)


def run(
    console: Console,
    *,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="file.py:callable, package.module:callable, .pt2, TorchScript .pt, .keras, .h5, "
            "SavedModel folder, .onnx or .tflite.",
            show_default=False,
        ),
    ],
    out: flags.OutFile,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME:DTYPE:SIZES",
            help="An input of a callable; SIZES as 1x3x224x224 or batch,3,224,224; repeatable.",
        ),
    ] = None,
    dynamic: Annotated[
        list[str] | None,
        typer.Option(
            "--dynamic", metavar="NAME:AXIS=SIZE", help="A dynamic axis: image:0=batch; repeatable."
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights", help="Checkpoint for a callable: .pt, .pth, .th, .safetensors, .weights.h5, .h5."
        ),
    ] = None,
    opset: Annotated[int | None, typer.Option("--opset", min=1, help="ONNX opset; 21 by default.")] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance", help="Largest difference from the framework, as a part of the output's range."
        ),
    ] = 1e-4,
    trust_source: Annotated[
        bool,
        typer.Option("--trust-source", help="Allow a source that runs code on loading (pickle, Lambda)."),
    ] = False,
    calibration_data: flags.CalibrationData = "",
    cache_dir: flags.CacheDir = None,
) -> ExitCode:
    """Write the canonical ONNX form of a trained model, proved to compute what its framework computes."""
    specs = tuple(map(parse_input, inputs or ()))
    axes = parse_dynamic(dynamic or ())
    with console.working() as progress:
        from edgekit.pipeline import export

        result = export.export(
            source,
            out=out,
            inputs=specs,
            weights=weights,
            dynamic=axes,
            opset=opset,
            tolerance=tolerance,
            trust_source=trust_source,
            calibration_data=calibration_data,
            progress=progress,
            cache_dir=cache_dir,
        )
    return console.show(result)
