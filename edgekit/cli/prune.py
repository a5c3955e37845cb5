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
    "edgekit prune model.onnx --calibration-data train.npz --pattern 2:4 -o sparse.onnx",
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
    sparsity: Annotated[
        float | None,
        typer.Option("--sparsity", help="Or: the part of the weights that becomes zero, channels staying."),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option("--pattern", help="Or: N of M weights behind each other stay, as 2:4."),
    ] = None,
    require_speedup: Annotated[
        bool,
        typer.Option("--require-speedup", help="Exit 4 where zeros save no time on a target."),
    ] = False,
    targets: flags.Targets = None,
    threads: flags.Threads = None,
    importance: Annotated[
        Literal["obs", "activation", "taylor", "magnitude"],
        typer.Option(
            "--importance",
            help="obs: what is left of a channel's part when others are solved anew for it; activation: its "
            "share of what is read; taylor: by gradients, of the labels where the calibration data has any, "
            "else of the model's own answers (needs PyTorch); magnitude: its weights alone.",
        ),
    ] = "obs",
    repair: Annotated[
        Literal["layers", "blocks"],
        typer.Option(
            "--repair",
            help="layers: each solved by least squares; blocks: then all together by gradients, a few "
            "minutes; needs PyTorch, and says so where it is missing.",
        ),
    ] = "blocks",
    recover: Annotated[
        int,
        typer.Option(
            "--recover",
            min=0,
            help="Epochs of distillation from the float model (and labels, if any); needs PyTorch.",
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
    """Remove channels or zero weights, solve those that stay anew, and measure what the target gives back.

    Zeros count for size; where a target has kernels that leave them out, the gain is measured.
    """
    reports = parse_reports(report or (), verb="prune")
    with console.working() as progress:
        from edgekit.pipeline.prune import run
        from edgekit.pipeline.prune.asked import Asked
        from edgekit.pipeline.prune.judging import Judging
        from edgekit.pruning.zeros import asked_pattern

        result = run.prune(
            model,
            calibration_data=calibration_data,
            out=out,
            asked=Asked(
                keep=keep,
                speedup=speedup,
                zeros=asked_pattern(sparsity, pattern),
                targets=tuple(targets or ("onnxruntime-cpu",)),
                threads=threads,
                importance=importance,
                repair=repair,
                recover=recover,
                samples=samples,
                seed=seed,
                require_speedup=require_speedup,
            ),
            judging=Judging(eval_data, metric, max_drop, expected),
            progress=progress,
            preprocess=preprocess,
            cache_dir=cache_dir,
        )
    return console.show(result, reports=reports)
