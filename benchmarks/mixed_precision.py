"""Budgeted mixed precision against NNCF's quantize_with_accuracy_control: time of the whole job, accuracy.

    float model, calibration data, labelled data, largest drop  ->  a model inside the budget
                                                                ->  its answers on data of no search

Both sides start with the same float ONNX in memory or on disk, the same arrays and the same criterion: the
drop on the labelled samples is at most ``max_drop``. edgekit calibrates, places, ranks, searches with ONNX
Runtime (two threads); NNCF does its job with OpenVINO (all threads). Imports are in neither time; edgekit's
workers, which import the runtime, are in its own. Jobs run one after the other in one run.

Which result is more accurate is asked on the subject's ``held_out`` samples: each search took what looked
best on its labelled ones, so there both look better than they are, by a luck that differs.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from benchmarks.peers import ENVIRONMENTS, environment
from benchmarks.report import RESULTS, Bar, Report
from edgekit import dataset, recipe, target
from edgekit.backends import worker_pool
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.onnxruntime_lowering import lowered
from edgekit.frontends.source import SourceRequest, load
from edgekit.ir import cost, io, macs
from edgekit.passes import canonicalize
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.mixed import mix
from edgekit.pipeline.model import Canonical, canonical_file
from edgekit.pipeline.prepare import prepare
from edgekit.pipeline.scheme import Scheme
from edgekit.pipeline.variant import make
from edgekit.quantization.mixed import Trial
from edgekit.spec import Array, Precision, RunOptions, Silent

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
    """A model with its recipe's data, the budget in points that int8 alone misses, and more such data."""

    name: str
    max_drop_pp: float
    held_out: str


SUBJECTS = (
    Subject("spoken_digits", 1.0, "spectra.py:held_out"),
    Subject("mobilenet_v3_small", 1.0, "../photographs.py:held_out"),
)


@dataclass(frozen=True)
class Data:
    """What both jobs get.

    Attributes:
        name: of the model's input.
        learning: what is calibrated on, as edgekit takes it.
        calibration: the same as an array (n, ...).
        images: (n, ...) that the searches judge on.
        labels: (n,) of them.
        held_out: (n, ...) that neither search sees, on disk.
        truth: (n,) labels of those; None where the float model's answers are it, as in the recipe.
    """

    name: str
    learning: dataset.Dataset
    calibration: Array
    images: Array
    labels: npt.NDArray[np.int64]
    held_out: Path
    truth: npt.NDArray[np.int64] | None


@dataclass(frozen=True)
class Job:
    """What one side needed and gave; answers are labels, on the evaluation data and on what was held out."""

    seconds: float
    processor_seconds: float
    answers: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]
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
    with tempfile.TemporaryDirectory() as name:
        return _measured(subject, Path(name))


def _measured(subject: Subject, folder: Path) -> tuple[list[Bar], dict[str, object]]:
    python = Path(os.environ.get(ENVIRONMENTS, "")) / "nncf" / "bin" / "python"
    model, data = _subject(subject, folder)
    ours = _edgekit(model, data, subject.max_drop_pp)
    reference = _answers(model, data.name, data.images)
    held_out = np.load(data.held_out, mmap_mode="r")
    whole = _answers(model, data.name, held_out)
    truth = whole if data.truth is None else data.truth
    figures: dict[str, object] = {
        "max_drop_pp": subject.max_drop_pp,
        "float": _accuracy(reference, data.labels),
        "float, held out": _accuracy(whole, truth),
        "held out": len(truth),
        "edgekit": _row(ours, data, truth),
    }
    if not python.is_file():
        return [], {**figures, "nncf": f"skipped: no {python}"}
    theirs = _nncf(model, data, subject.max_drop_pp, python)
    difference = _difference_pp(theirs.held_out, ours.held_out, truth)
    figures |= {
        "nncf": _row(theirs, data, truth),
        "nncf minus edgekit on the samples searched on, pp": _difference_pp(
            theirs.answers, ours.answers, data.labels
        ),
        "nncf minus edgekit on those held out, pp": difference,
    }
    where = f"on {len(truth)} samples that neither searched on"
    lost = round(100 * (_accuracy(reference, data.labels) - _accuracy(ours.answers, data.labels)), 6)
    return [
        Bar(f"{subject.name}: wall time of the job, of NNCF's", ours.seconds / theirs.seconds, 0.25),
        Bar(f"{subject.name}: points below NNCF's result {where}", difference[0], 0.0),
        Bar(f"{subject.name}: points lost", lost, subject.max_drop_pp),  # 100 * (1.0 - 0.99) is a bit above 1
    ], figures


def _subject(subject: Subject, folder: Path) -> tuple[ir.Model, Data]:
    home = MODELS / subject.name
    plan = recipe.load(home / "edgekit.toml")
    specs = tuple(table.spec() for table in plan.model.inputs)
    model = canonicalize(load(SourceRequest(plan.model.source, base=home, inputs=specs)).model)
    assert plan.data.calibration is not None
    assert plan.data.evaluation is not None
    sources = (plan.data.calibration.source, plan.data.evaluation.source, subject.held_out)
    sets = [
        dataset.load(dataset.DataSource(each), inputs=specs, base=home, preprocess=plan.data.preprocess)
        for each in sources
    ]
    name = specs[0].name
    images = [np.stack([sample[name] for sample in each.samples()]) for each in sets[:2]]
    held_out = np.lib.format.open_memmap(
        folder / "held_out.npy", "w+", np.float32, (sets[2].count, *images[0].shape[1:])
    )
    for index, sample in enumerate(sets[2].samples()):
        held_out[index] = sample[name]
    held_out.flush()
    labels, truth = (
        None if each.labels is None else np.asarray(each.labels, np.int64).reshape(-1) for each in sets[1:]
    )
    assert labels is not None
    return model, Data(name, sets[0], images[0], images[1], labels, folder / "held_out.npy", truth)


def _edgekit(model: ir.Model, data: Data, max_drop_pp: float) -> Job:
    """Calibrate, place, rank, search: what a release does for a mixed candidate without restoring."""
    with tempfile.TemporaryDirectory() as name:
        io.save(model, Path(name) / "float.onnx")
        cache = Cache(Path(name) / "cache")
        canonical = canonical_file(Path(name) / "float.onnx", cache=cache, progress=Silent())
        return _timed(canonical, data, max_drop_pp, cache)


def _timed(canonical: Canonical, data: Data, max_drop_pp: float, cache: Cache) -> Job:
    rules = target.load(TARGET)
    worker_pool.end()  # the start of every process is in the time
    begin, used = time.perf_counter(), sum(os.times()[:4])
    prepared = prepare(
        canonical, data.learning, method="minmax", restore="none", cache=cache, progress=Silent()
    )
    right = _answers(canonical.model, data.name, data.images) == data.labels

    def made_of(scheme: Scheme) -> ir.Model:
        return lowered(make(canonical, rules, scheme, prepared).model, Precision.W8A8)

    def evaluate(scheme: Scheme) -> Trial:
        lost = right.astype(float) - (_answers(made_of(scheme), data.name, data.images) == data.labels)
        drop, error = (
            100 * float(lost.mean()),
            100 * max(float(lost.std()), len(lost) ** -0.5) / len(lost) ** 0.5,
        )
        return Trial(drop <= max_drop_pp + 1e-9, drop, error)

    ready = time.perf_counter() - begin
    scheme, result = mix(
        prepared,
        rules,
        Scheme(Precision.W8A8),
        overrides=(),
        data=data.learning,
        evaluate=evaluate,
        limit=max_drop_pp,
        progress=Silent(),
    )
    seconds = time.perf_counter() - begin
    worker_pool.end()  # only of processes that ended the system says what they used
    used = sum(os.times()[:4]) - used
    facts: dict[str, object] = {
        "said": result.said,
        "reached": result.reached,
        "kept": [each.operator for each in result.kept],
        "trials": [[len(each.kept), round(each.trial.drop, 4)] for each in result.trials],
        "seconds of calibration": ready,
        "share of multiply-accumulates in float": sum(each.macs for each in result.kept)
        / max(sum(macs.macs(node) or 0 for node in cost.with_open_sizes(canonical.model).graph), 1),
    }
    if scheme is not None:
        made = made_of(scheme)
    else:  # nothing has to be kept, or only float holds the budget
        made = made_of(Scheme(Precision.W8A8)) if result.reached else canonical.model
    held_out = np.load(data.held_out, mmap_mode="r")
    return Job(
        seconds, used, _answers(made, data.name, data.images), _answers(made, data.name, held_out), facts
    )


def _answers(model: ir.Model, name: str, images: Array) -> npt.NDArray[np.int64]:
    with open_model(model, OPTIONS) as session:
        output = session.outputs[0].name
        found = [
            session.run({name: np.ascontiguousarray(images[start : start + BATCH])})[output].argmax(axis=1)
            for start in range(0, len(images), BATCH)
        ]
    return np.concatenate(found).astype(np.int64)


def _nncf(model: ir.Model, data: Data, max_drop_pp: float, python: Path) -> Job:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        io.save(model, folder / "float.onnx")
        np.save(folder / "calibration.npy", data.calibration)
        np.savez(folder / "evaluation.npz", x=data.images, labels=data.labels)
        files = [folder / "float.onnx", folder / "calibration.npy", folder / "evaluation.npz", data.held_out]
        subprocess.run(
            [str(python), str(PEER), *map(str, files), data.name, str(max_drop_pp / 100), name],
            env={**environment(CI="true"), "OMP_NUM_THREADS": str(OPTIONS.threads)},
            check=True,
            timeout=TIMEOUT_S,
        )
        found = json.loads((folder / "nncf.json").read_text())
    answers, held_out = (np.asarray(found.pop(key), np.int64) for key in ("answers", "held_out"))
    return Job(found.pop("seconds"), found.pop("processor_seconds"), answers, held_out, found)


def _accuracy(answers: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> float:
    return float(np.mean(answers == labels))


def _difference_pp(
    theirs: npt.NDArray[np.int64], ours: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]
) -> tuple[float, float, float]:
    """Points that NNCF's model is better by, on the same samples: value and 95 % interval."""
    each = (theirs == labels).astype(float) - (ours == labels)
    rng = np.random.default_rng(0)
    means = each[rng.integers(0, len(each), (RESAMPLES, len(each)))].mean(axis=1)
    low, high = np.percentile(100 * means, [2.5, 97.5])
    return 100 * float(each.mean()), float(low), float(high)


def _row(job: Job, data: Data, truth: npt.NDArray[np.int64]) -> dict[str, object]:
    return {
        "seconds": job.seconds,
        "processor_seconds": job.processor_seconds,
        "accuracy": _accuracy(job.answers, data.labels),
        "accuracy, held out": _accuracy(job.held_out, truth),
        **job.facts,
    }
