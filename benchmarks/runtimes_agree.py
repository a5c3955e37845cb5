"""One QDQ file of each quantized CNN on three CPU runtimes: how many output steps they lie apart.

    |a - b| / step     for each pair of runtimes: at most 1 on 95 % of the values, at most 5 on 99.9 %
    labels             equal wherever the float model's margin (best score - second) is above twice the
                       largest error that any of the runtimes makes against float

The file is ``portable``'s, so that all three run the same plan with the same scales. A value of exactly one
step may come out as 1.00001 in float32, so a hundredth of a step is allowed. Every test sample is used.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

import edgekit
from benchmarks.int8_accuracy import MODELS
from benchmarks.peers import Absent
from benchmarks.peers.int8_files import Subject, prepare
from benchmarks.report import Bar, Report
from edgekit import recipe as recipes
from edgekit import settings
from edgekit.spec import Artifact, Session
from edgekit.validation.streaming import fixed_batch

CNNS = ("resnet20", "resnet8", "mobilenet_cifar", "digits_cnn", "digits_keras", "ds_cnn")
RUNTIMES = ("onnxruntime-cpu", "openvino-cpu", "litert-cpu")
ROUNDING = 0.01  # of a step: outputs are float32 multiples of it

Floats = npt.NDArray[np.float64]


def run() -> Report:
    """Compare every CNN whose data is here."""
    bars: list[Bar] = []
    raw: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = Path(os.environ.get("EDGEKIT_PEER_FILES") or folder)
        files.mkdir(parents=True, exist_ok=True)
        for name in CNNS:
            if name == "resnet20" and settings.data_dir() is None:
                raw[name] = "skipped: EDGEKIT_DATA is not set"
                continue
            print(f"{name} ...", file=sys.stderr, flush=True)
            home = MODELS[name]
            subject = prepare(name, recipes.load(home / "edgekit.toml"), home, files)
            if isinstance(subject, Absent):
                raw[name] = f"skipped: {subject.reason}"
                continue
            found, figures = compare(subject, Path(folder) / name)
            bars += found
            raw[name] = figures
    return Report("runtimes_agree", tuple(bars), raw)


def compare(subject: Subject, folder: Path) -> tuple[list[Bar], dict[str, object]]:
    """Quantize once, compile for each runtime, and compare outputs pair by pair."""
    quantized = edgekit.quantize(
        subject.onnx,
        calibration_data=str(subject.calibration),
        target="portable",
        precision="w8a8",
        out=folder / "int8.onnx",
    )
    with edgekit.open(subject.onnx) as session:
        truth = scores(session, subject)
    outputs: dict[str, Floats] = {}
    kernels: dict[str, str] = {}
    step = 0.0
    for runtime in RUNTIMES:
        artifact = edgekit.compile(quantized, target=runtime, out=folder / runtime)
        step = step or output_step(artifact)
        with edgekit.open(artifact) as session:
            outputs[runtime] = scores(session, subject)
            kernels[runtime] = str(session.facts.get("kernels", ""))
    worst = max(float(np.abs(each - truth).max()) for each in outputs.values())
    decided = margin(truth) > 2 * worst
    bars: list[Bar] = []
    figures: dict[str, object] = {
        "samples": len(truth),
        "step": step,
        "largest_error_against_float_in_steps": worst / step,
        "samples_with_a_larger_margin": int(decided.sum()),
        "kernels": kernels,
    }
    for first, second in itertools.combinations(RUNTIMES, 2):
        apart = np.abs(outputs[first] - outputs[second]) / step
        pair = f"{subject.name}, {first} and {second}"
        bars += [
            Bar(f"{pair}: steps on 95 %", float(np.quantile(apart, 0.95)), 1 + ROUNDING),
            Bar(f"{pair}: steps on 99.9 %", float(np.quantile(apart, 0.999)), 5 + ROUNDING),
            Bar(
                f"{pair}: decided labels that differ", differing(outputs[first], outputs[second], decided), 0
            ),
        ]
        figures[f"{first} and {second}"] = {
            "median": float(np.median(apart)),
            "equal": float(np.mean(apart < ROUNDING)),
            "largest": float(apart.max()),
            "labels_that_differ": differing(outputs[first], outputs[second], np.full(len(truth), True)),
        }
    return bars, figures


def scores(session: Session, subject: Subject) -> Floats:
    """Outputs (N, classes) of all test samples."""
    name = session.outputs[0].name
    parts = [session.run(feeds)[name] for feeds in subject.judging.batches(fixed_batch(session) or 32)]
    return np.concatenate(parts).astype(np.float64)


def output_step(artifact: Artifact) -> float:
    """The quantization step of the one output."""
    (step,) = artifact.output_steps.values()
    return float(step)


def margin(truth: Floats) -> Floats:
    """Best score minus the second (N,)."""
    ordered = np.sort(truth, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])


def differing(one: Floats, other: Floats, counted: npt.NDArray[np.bool_]) -> int:
    """How many of the counted samples have different labels."""
    return int((one.argmax(axis=1) != other.argmax(axis=1))[counted].sum())
