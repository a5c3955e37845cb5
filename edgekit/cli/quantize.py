"""``edgekit quantize``: model.onnx x data -> q.onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgekit.cli import flags
from edgekit.cli.console import Console
from edgekit.errors import ExitCode
from edgekit.spec import Precision

EXAMPLES = (
    "edgekit quantize model.onnx --calibration-data train.npz -o q.onnx",
    "edgekit quantize model.onnx --calibration-data photos/ --preprocess edgekit.toml -o q.onnx",
    "edgekit quantize model.onnx --ranges ranges.json --target litert-cpu -o q.onnx",
    "edgekit quantize model.onnx --calibration-data train.npz --eval-data test.npz --max-drop 1.0 -o q.onnx",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.INTERNAL,
    ExitCode.BAD_INPUT,
    ExitCode.ACCURACY_GATE,
    ExitCode.BACKEND_MISSING,
    ExitCode.INCONCLUSIVE,
    ExitCode.INTERRUPTED,
)


def run(
    console: Console,
    *,
    model: flags.Model,
    out: flags.OutFile,
    calibration_data: flags.CalibrationData = "",
    ranges: Annotated[
        Path | None, typer.Option("--ranges", help="What `edgekit calibrate` wrote, in place of data.")
    ] = None,
    target: Annotated[
        str, typer.Option("--target", metavar="NAME", help="A name of `edgekit targets`, or a target file.")
    ] = "portable",
    precision: Annotated[Precision, typer.Option("--precision", help="What to make.")] = Precision.AUTO,
    preprocess: flags.Preprocess = None,
    method: flags.Method = "minmax",
    restore: Annotated[
        Literal["auto", "none", "adaround"],
        typer.Option(
            "--restore",
            help="auto: equalize channels, migrate scales, correct biases where that pays; adaround: learn "
            "the rounding of weights too.",
        ),
    ] = "auto",
    eval_data: flags.EvalData = "",
    metric: flags.Metric = "top1",
    expected: flags.Expected = None,
    max_drop: flags.MaxDrop = None,
    cache_dir: flags.CacheDir = None,
) -> ExitCode:
    """Quantize a float model for a target, with what its runtime really has as integer kernels."""
    with console.working() as progress:
        from edgekit.pipeline import quantize

        result = quantize.quantize(
            model,
            calibration_data=calibration_data,
            ranges=ranges,
            out=out,
            target=target,
            precision=precision,
            method=method,
            restore=restore,
            eval_data=eval_data,
            metric=metric,
            max_drop_pp=max_drop,
            progress=progress,
            preprocess=preprocess,
            cache_dir=cache_dir,
            expected=expected,
        )
    return console.show(result)
