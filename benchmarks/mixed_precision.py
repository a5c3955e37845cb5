"""Budgeted mixed precision against NNCF's quantize_with_accuracy_control: time of the whole job, accuracy.

    float model, calibration data, labelled data, largest drop  ->  a model inside the budget

Both sides start with the same float ONNX in memory or on disk, the same arrays and the same criterion: the
drop on the labelled samples is at most ``max_drop``. edgekit calibrates, places, ranks, searches with ONNX
Runtime (two threads); NNCF does its job with OpenVINO (all threads). Imports are in neither time; edgekit's
workers, which import the runtime, are in its own. Jobs run one after the other in one run.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from benchmarks.peers import ENVIRONMENTS, environment
from benchmarks.report import RESULTS, Bar, Report
from edgekit import dataset, recipe, target
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.onnxruntime_lowering import lowered
from edgekit.calibration.collect import collect
from edgekit.frontends.source import SourceRequest, load
from edgekit.ir import cost, io, macs
from edgekit.passes import canonicalize
from edgekit.quantization import mixed, sensitivity
from edgekit.quantization.apply import apply
from edgekit.quantization.place import place
from edgekit.spec import Array, Precision, Range, Rejection, RunOptions

MODELS = Path(__file__).parents[1] / "models"
PEER = Path(__file__).parent / "peers" / "nncf_control.py"
TARGET = "onnxruntime-cpu"
OPTIONS = RunOptions(threads=2)
BATCH = 8
TIMEOUT_S = 3600
RESAMPLES = 2000
CHOSEN = "EDGEKIT_BENCH_MODELS"  # names, separated by commas: only those


@dataclass(frozen=True)
class Subject:
    """A model with its recipe's data, and the budget in points that int8 alone misses."""

    name: str
    max_drop_pp: float


SUBJECTS = (Subject("spoken_digits", 1.0), Subject("mobilenet_v3_small", 1.0))


@dataclass(frozen=True)
class Data:
    """Name of the input, images (n, ...) for calibration, images and labels for evaluation."""

    name: str
    calibration: Array
    images: Array
    labels: npt.NDArray[np.int64]

    def calibrating(self, size: int) -> Iterator[dict[str, Array]]:
        """Batches of the calibration data."""
        for start in range(0, len(self.calibration), size):
            yield {self.name: self.calibration[start : start + size]}


@dataclass(frozen=True)
class Job:
    """What one side needed and gave; ``answers`` are labels on the evaluation data."""

    seconds: float
    processor_seconds: float
    answers: npt.NDArray[np.int64]
    facts: dict[str, object]


def run() -> Report:
    """Measure every subject; with CHOSEN those, and the others' figures stay."""
    wanted = os.environ.get(CHOSEN, "").split(",")
    bars, raw = _kept(wanted) if wanted != [""] else ([], {})
    for subject in SUBJECTS:
        if wanted != [""] and subject.name not in wanted:
            continue
        found, figures = measured(subject)
        raw[subject.name] = {"load average": os.getloadavg(), **figures}
        bars += found
    return Report("mixed_precision", tuple(bars), raw)


def _kept(wanted: list[str]) -> tuple[list[Bar], dict[str, object]]:
    """The bars and figures of the run before, but for the subjects in ``wanted``."""
    path = RESULTS / "mixed_precision.json"
    found = json.loads(path.read_text("utf-8")) if path.is_file() else {"bars": [], "raw": {}}
    bars = [Bar(each["name"], each["measured"], each["limit"], each["at_most"]) for each in found["bars"]]
    return (
        [bar for bar in bars if bar.name.split(":")[0] not in wanted],
        {name: facts for name, facts in found["raw"].items() if name not in wanted},
    )


def measured(subject: Subject) -> tuple[list[Bar], dict[str, object]]:
    """Both jobs; without the peer there is no bar, and the figures say so."""
    python = Path(os.environ.get(ENVIRONMENTS, "")) / "nncf" / "bin" / "python"
    model, data = _subject(subject)
    ours = _edgekit(model, data, subject.max_drop_pp)
    reference = _answers(model, data)
    figures: dict[str, object] = {
        "max_drop_pp": subject.max_drop_pp,
        "float": _accuracy(reference, data),
        "edgekit": _row(ours, data),
    }
    if not python.is_file():
        return [], {**figures, "nncf": f"skipped: no {python}"}
    theirs = _nncf(model, data, subject.max_drop_pp, python)
    difference = _difference_pp(theirs, ours, data)
    figures |= {"nncf": _row(theirs, data), "nncf minus edgekit, pp": difference}
    return [
        Bar(f"{subject.name}: wall time of the job, of NNCF's", ours.seconds / theirs.seconds, 0.25),
        Bar(f"{subject.name}: points below NNCF's result", difference[0], 0.0),
        Bar(f"{subject.name}: points lost", _lost_pp(ours, reference, data), subject.max_drop_pp),
    ], figures


def _subject(subject: Subject) -> tuple[ir.Model, Data]:
    home = MODELS / subject.name
    plan = recipe.load(home / "edgekit.toml")
    specs = tuple(table.spec() for table in plan.model.inputs)
    model = canonicalize(load(SourceRequest(plan.model.source, base=home, inputs=specs)).model)
    assert plan.data.calibration is not None
    assert plan.data.evaluation is not None
    sets = [
        dataset.load(
            dataset.DataSource(each.source), inputs=specs, base=home, preprocess=plan.data.preprocess
        )
        for each in (plan.data.calibration, plan.data.evaluation)
    ]
    images = [np.stack([sample[specs[0].name] for sample in each.samples()]) for each in sets]
    labels = np.asarray(sets[1].labels, np.int64).reshape(-1)
    return model, Data(specs[0].name, images[0], images[1], labels)


def _edgekit(model: ir.Model, data: Data, max_drop_pp: float) -> Job:
    """Calibrate, place, rank, search: what a release does for a mixed candidate."""
    begin, used = time.perf_counter(), sum(os.times()[:4])
    count = len(data.calibration)
    found = collect(model, open_model=open_model, batches=data.calibrating, count=count, method="minmax")
    reference = _accuracy(_answers(model, data), data)
    seen: dict[frozenset[str], npt.NDArray[np.int64]] = {}

    def evaluate(kept: frozenset[str]) -> mixed.Trial:
        seen[kept] = _answers(_quantized(model, found.tensors, kept), data)
        drop = 100 * (reference - _accuracy(seen[kept], data))
        return mixed.Trial(drop <= max_drop_pp + 1e-9, drop)

    plan = place(model, target.load(TARGET), found.tensors)
    calibrated = time.perf_counter() - begin
    ranked = sensitivity.rank(model, plan, open_model=open_model, batches=data.calibrating, options=OPTIONS)
    ranking = time.perf_counter() - begin - calibrated
    sized = cost.with_open_sizes(model)
    order = mixed.order(plan, ranked.damages, macs={n.name or "": macs.macs(n) or 0 for n in sized.graph})
    result = mixed.keep_fewest(order, evaluate=evaluate, limit=max_drop_pp)
    seconds, used = time.perf_counter() - begin, sum(os.times()[:4]) - used
    kept = frozenset(result.keep_float)
    facts: dict[str, object] = {
        "said": result.said,
        "reached": result.reached,
        "kept": [each.operator for each in result.kept],
        "operators": len(plan.operators),
        "trials": [[len(each.kept), round(each.trial.drop, 4)] for each in result.trials],
        "seconds of calibration, ranking": [calibrated, ranking],
        "forward passes of the ranking": ranked.passes * ranked.samples,
        "share of multiply-accumulates in float": sum(each.macs for each in result.kept)
        / max(sum(order.macs.values()), 1),
    }
    answers = seen[kept] if result.reached else _answers(model, data)
    return Job(seconds, used, answers, facts)


def _quantized(model: ir.Model, ranges: Mapping[str, Range], kept: frozenset[str]) -> ir.Model:
    reasons = {name: Rejection(name, mixed.RULE, "", "") for name in kept}
    plan = place(model, target.load(TARGET), ranges, keep_float=reasons)
    return lowered(apply(model, plan), Precision.W8A8)


def _answers(model: ir.Model, data: Data) -> npt.NDArray[np.int64]:
    with open_model(model, OPTIONS) as session:
        name = session.outputs[0].name
        found = [
            session.run({data.name: data.images[start : start + BATCH]})[name].argmax(axis=1)
            for start in range(0, len(data.images), BATCH)
        ]
    return np.concatenate(found).astype(np.int64)


def _nncf(model: ir.Model, data: Data, max_drop_pp: float, python: Path) -> Job:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        io.save(model, folder / "float.onnx")
        np.save(folder / "calibration.npy", data.calibration)
        np.savez(folder / "evaluation.npz", x=data.images, labels=data.labels)
        words = [folder / "float.onnx", folder / "calibration.npy", folder / "evaluation.npz", data.name]
        subprocess.run(
            [str(python), str(PEER), *map(str, words), str(max_drop_pp / 100), name],
            env={**environment(CI="true"), "OMP_NUM_THREADS": str(OPTIONS.threads)},
            check=True,
            timeout=TIMEOUT_S,
        )
        found = json.loads((folder / "nncf.json").read_text())
    answers = np.asarray(found.pop("answers"), np.int64)
    return Job(found.pop("seconds"), found.pop("processor_seconds"), answers, found)


def _accuracy(answers: npt.NDArray[np.int64], data: Data) -> float:
    return float(np.mean(answers == data.labels))


def _lost_pp(job: Job, reference: npt.NDArray[np.int64], data: Data) -> float:
    lost = 100 * (_accuracy(reference, data) - _accuracy(job.answers, data))
    return round(lost, 6)  # 100 * (1.0 - 0.99) is 1.0000000000000009, and four of 400 samples are the budget


def _difference_pp(theirs: Job, ours: Job, data: Data) -> tuple[float, float, float]:
    """Points that NNCF's model is better by, on the same samples: value and 95 % interval."""
    each = (theirs.answers == data.labels).astype(float) - (ours.answers == data.labels)
    rng = np.random.default_rng(0)
    means = each[rng.integers(0, len(each), (RESAMPLES, len(each)))].mean(axis=1)
    low, high = np.percentile(100 * means, [2.5, 97.5])
    return 100 * float(each.mean()), float(low), float(high)


def _row(job: Job, data: Data) -> dict[str, object]:
    return {
        "seconds": job.seconds,
        "processor_seconds": job.processor_seconds,
        "accuracy": _accuracy(job.answers, data),
        **job.facts,
    }
