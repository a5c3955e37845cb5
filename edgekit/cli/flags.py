"""Flags that more than one verb has, each declared once as an annotated type."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Float ONNX model.", show_default=False)]
OutFile = Annotated[Path, typer.Option("-o", "--out", help="File to write; replaced in one step.")]
CalibrationData = Annotated[
    str,
    typer.Option(
        "--calibration-data", help=".npz, .npy, folder of images, shipped set, or file.py:callable."
    ),
]
Preprocess = Annotated[
    Path | None,
    typer.Option(
        "--preprocess",
        metavar="FILE",
        help="Steps from a raw sample to the model's input: a recipe, or a .json or .toml of steps.",
    ),
]
Method = Annotated[
    str,
    typer.Option(
        "--method",
        help="Ranges of activations: minmax, moving-average, percentile:99.99, entropy, mse or auto.",
    ),
]
Metric = Annotated[
    str,
    typer.Option(
        "--metric",
        help="Task metric: top1, top5, accuracy, token_accuracy, f1, f1_binary, auc, mae, rmse, map, miou, "
        "psnr, perplexity, or your own as file.py:callable (docs/validation.md).",
    ),
]
EvalData = Annotated[
    str, typer.Option("--eval-data", help="Labelled data: holds the result against the float model.")
]
MaxDrop = Annotated[
    float | None,
    typer.Option("--max-drop", min=0, help="Largest loss of the metric in percentage points; else exit 3."),
]
Expected = Annotated[
    float | None,
    typer.Option(
        "--expected",
        help="What the float model scores on this data; far below it, the data is wrong: exit 2.",
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        "--samples", min=1, help="At most so many samples, drawn with a fixed seed; all by default."
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every draw.")]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target", metavar="NAME", help="A name of `edgekit targets`, or a target file; repeatable."
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads inside an operator; the target's own default is 1."),
]
Sizes = Annotated[
    list[str] | None,
    typer.Option(
        "--size",
        metavar="NAME=NUMBER",
        help="A number for an open size of the inputs (batch=1); repeatable. The artifacts take no other.",
    ),
]
CacheDir = Annotated[
    Path | None,
    typer.Option("--cache-dir", help="Cache folder in place of EDGEKIT_CACHE or the platform's."),
]
AllowFallback = Annotated[
    bool,
    typer.Option(
        "--allow-fallback",
        help="On a GPU, let operators that its provider lacks run on the CPU; they are listed with their "
        "share of the time. Without it they are an error (docs/gpu.md).",
    ),
]
Reports = Annotated[
    list[str] | None,
    typer.Option(
        "--report",
        metavar="FORMAT[:PATH]",
        help="Also write json, markdown, html, junit, sarif or csv; without PATH to edgekit-VERB.EXT here; "
        "repeatable.",
    ),
]
