"""`edgekit --help` against `import typer`, alternately: how much of the start is ours."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.report import Bar, Report

ROUNDS = 21  # the median of 21 pairs moved by under 2 % between runs
HEAVY = ("onnx", "onnx_ir", "onnxruntime", "torch", "tensorflow", "keras", "openvino", "ai_edge_litert")


def _seconds(*arguments: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def imported_by_help() -> set[str]:
    """Top-level packages that ``python -m edgekit --help`` imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "edgekit", "--help"],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = [line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if "|" in line]
    return {line.split(".")[0] for line in lines}


def run() -> Report:
    """Measure."""
    commands = {"help": ("-m", "edgekit", "--help"), "typer": ("-c", "import typer")}
    for command in commands.values():
        _seconds(*command)
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for index in range(ROUNDS):
        order = list(commands) if index % 2 else list(reversed(commands))
        for name in order:
            seconds[name].append(_seconds(*commands[name]))
    ratios = [a / b for a, b in zip(seconds["help"], seconds["typer"], strict=True)]
    heavy = sorted(imported_by_help() & set(HEAVY))
    return Report(
        "startup",
        (
            Bar("edgekit --help / import typer, median ratio", statistics.median(ratios), 3.0),
            Bar("frameworks imported by --help", len(heavy), 0),
        ),
        {"seconds": seconds, "frameworks": heavy},
    )
