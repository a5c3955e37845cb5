"""``edgekit prune``: model.onnx x data -> pruned.onnx."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from edgekit.cli import flags
from edgekit.cli.console import Console
from edgekit.cli.reports import parse_reports
from edgekit.errors import ExitCode

EXAMPLES = (
    "edgekit prune model.onnx --calibration-data train.npz --speedup 1.5 -o pruned.onnx",
    "edgekit prune model.onnx --calibration-data train.npz --speedup 1.5 --target litert-cpu -o pruned.onnx",
    "edgekit prune model.onnx --calibration-data train.npz --keep 0.7 -o pruned.onnx",
    "edgekit prune model.onnx --calibration-data a.npz --keep 0.5 --eval-data b.npz --max-drop 1 -o p.onnx",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.INTERNAL,
    ExitCode.BAD_INPUT,
    ExitCode.ACCURACY_GATE,
    ExitCode.LATENCY_OR_SIZE_GATE,
    ExitCode.TARGET_REFUSES,
    ExitCode.BACKEND_MISSING,
    ExitCode.INCONCLUSIVE,
    ExitCode.INTERRUPTED,
)


def run(
    console: Console,
    *,
    model: flags.Model,
    out: flags.OutFile,
    calibration_data: flags.CalibrationData,
    speedup: Annotated[
        float | None,
        typer.Option(
            "--speedup", help="How many times faster on every target, measured end to end; else exit 4."
        ),
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option("--keep", help="In place of --speedup: the part of each group's channels that stays."),
    ] = None,
    targets: flags.Targets = None,
    threads: flags.Threads = None,
    importance: Annotated[
        Literal["obs", "activation", "magnitude"],
        typer.Option(
            "--importance",
            help="obs: what is left of a channel's part when others are solved anew for it; activation: its "
            "share of what is read; magnitude: its weights alone.",
        ),
    ] = "obs",
    recover: Annotated[
        int,
        typer.Option(
            "--recover", min=0, help="Epochs of distillation from the float model, no labels; needs PyTorch."
        ),
    ] = 0,
    samples: flags.Samples = None,
    seed: flags.Seed = 0,
    preprocess: flags.Preprocess = None,
    eval_data: flags.EvalData = "",
    metric: flags.Metric = "top1",
    expected: flags.Expected = None,
    max_drop: flags.MaxDrop = None,
    cache_dir: flags.CacheDir = None,
    report: flags.Reports = None,
) -> ExitCode:
    """Remove channels, solve the weights that stay anew, and measure what that gives on the target."""
    reports = parse_reports(report or (), verb="prune")
    with console.working() as progress:
        from edgekit.pipeline import prune

        result = prune.prune(
            model,
            calibration_data=calibration_data,
            out=out,
            asked=prune.Asked(
                keep=keep,
                speedup=speedup,
                targets=tuple(targets or ("onnxruntime-cpu",)),
                threads=threads,
                importance=importance,
                recover=recover,
                samples=samples,
                seed=seed,
            ),
            judging=prune.Judging(eval_data, metric, max_drop, expected),
            progress=progress,
            preprocess=preprocess,
            cache_dir=cache_dir,
        )
    return console.show(result, reports=reports)
