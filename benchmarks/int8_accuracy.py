"""int8 with default flags against float and against ONNX Runtime's and NNCF's quantizers, paired.

    edgekit        default flags: "int8", what a release ships that is asked for w8a8, and "ships", what one
                   ships that is asked for nothing; "minmax": w8a8 of plain minimum and maximum, unrestored;
                   "lean": OpenVINO's other placement of w8a8 before any mix, whether it ships or not
    ONNX Runtime   quantize_static: QDQ, per channel, pre-processed; the best of MinMax, Entropy, Percentile
    NNCF           quantize, default preset; the best of its ONNX file (on either runtime) and its OpenVINO
                   file

All see the same calibration samples and are judged on the same test samples by edgekit's harness; the best of
a peer is chosen on the test set, which is to its advantage. Differences are in points of the metric,
positive = worse, with the interval of ``validation.statistics.paired_drop``.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import edgekit
from benchmarks.peers import HERE, Absent
from benchmarks.peers.int8_files import Subject, peers_files, prepare, versions
from benchmarks.report import RESULTS, Bar, Report
from edgekit import recipe as recipes
from edgekit import settings
from edgekit import target as targets
from edgekit.errors import EdgekitError
from edgekit.ir import io
from edgekit.pipeline import artifact, calibrate, variant
from edgekit.pipeline.align import in_terms_of
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.model import canonical_file
from edgekit.pipeline.open import artifact_at, open_artifact
from edgekit.pipeline.prepare import prepare as prepare_plan
from edgekit.pipeline.scheme import Scheme
from edgekit.recipe import QuantizeTable
from edgekit.spec import Precision, Session, Silent
from edgekit.validation.evaluate import Evaluation, evaluate
from edgekit.validation.statistics import Drop, paired_drop

ROOT = HERE.parents[1]
MODELS = {
    "resnet20": ROOT / "benchmarks" / "resnet20",
    **{
        name: ROOT / "models" / name
        for name in (
            "resnet8",
            "mobilenet_cifar",
            "digits_cnn",
            "digits_keras",
            "digits_rnn",
            "digits_lstm_stateful",
            "digits_detector",
            "digits_unet",
            "ds_cnn",
            "spoken_digits",
        )
    },
}
BROKEN = "spoken_digits"  # plain min-max destroys it; its README says why
RUNTIMES = ("onnxruntime-cpu", "openvino-cpu")
MEDIAN_PP, WORST_PP, BREAKS_PP, BEHIND_PP = 0.36, 1.0, 5.0, 0.5
CHOSEN = "EDGEKIT_BENCH_MODELS"  # names, separated by commas: only those


@dataclass
class Row:
    """One model: evaluations by who quantized it and what ran it, and why some are missing."""

    float: Evaluation
    found: dict[tuple[str, str], Evaluation] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    precisions: dict[str, str] = field(default_factory=dict)


def run() -> Report:
    """Measure every model whose data is here; with CHOSEN those, and the others' figures stay."""
    wanted = os.environ.get(CHOSEN, "")
    raw = _kept() if wanted else {}
    skipped: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = Path(os.environ.get("EDGEKIT_PEER_FILES") or folder)
        files.mkdir(parents=True, exist_ok=True)
        for name, home in MODELS.items():
            if wanted and name not in wanted.split(","):
                continue
            if settings.data_dir() is None and name in {"resnet20", BROKEN}:
                skipped[name] = "EDGEKIT_DATA is not set"
                continue
            print(f"{name} ...", file=sys.stderr, flush=True)
            subject = prepare(name, recipes.load(home / "edgekit.toml"), home, files)
            if isinstance(subject, Absent):
                skipped[name] = subject.reason
                continue
            row = measure(subject, home, Path(folder))
            raw[name] = figures(row)
            print(describe(name, row), file=sys.stderr, flush=True)
    return Report("int8_accuracy", tuple(bars(raw)), {**raw, "skipped": skipped, "versions": versions()})


def _kept() -> dict[str, Any]:
    """The models' figures of the run before."""
    path = RESULTS / "int8_accuracy.json"
    found = json.loads(path.read_text("utf-8"))["raw"] if path.is_file() else {}
    return {name: row for name, row in found.items() if name in MODELS}


def measure(subject: Subject, home: Path, folder: Path) -> Row:
    """Everything about one model."""
    row = Row(_evaluated(subject, lambda: edgekit.open(subject.onnx)))
    _released("ships", row, subject, home, folder)
    _released("int8", row, subject, home, folder)
    for runtime in RUNTIMES:
        for label, options in (("int8", {}), ("minmax", plain())):
            if (label, runtime) not in row.found:  # int8: the release's budget let nothing through
                out = folder / f"{subject.name}-{label}-{runtime}"
                opener = partial(_quantized, subject, runtime, out, options)
                _try(row, subject, label, runtime, opener)
    _try(row, subject, "lean", "openvino-cpu", partial(_lean, subject))
    for preset, path in peers_files(subject).items():
        if isinstance(path, Absent):
            row.missing[preset] = path.reason
            continue
        runtime = "onnxruntime-cpu" if path.suffix == ".onnx" else "openvino-cpu"
        _try(row, subject, preset, runtime, partial(_opened, path, subject))
    return row


def plain() -> dict[str, Any]:
    """Keywords of ``edgekit.quantize`` for ranges as they were seen, and nothing restored."""
    options: dict[str, Any] = {"method": "minmax"}
    if "restore" in QuantizeTable.model_fields:
        options["restore"] = "none"
    return options


def _quantized(subject: Subject, runtime: str, out: Path, options: Mapping[str, Any]) -> Session:
    made = edgekit.quantize(
        subject.onnx,
        calibration_data=str(subject.calibration),
        target=runtime,
        precision="w8a8",
        out=out / "int8.onnx",
        **options,
    )
    return open_artifact(edgekit.compile(made, target=runtime, out=out / "compiled"))


def _lean(subject: Subject) -> Session:
    """w8a8-lean with default flags: a candidate of every release for OpenVINO."""
    target, scheme = targets.load("openvino-cpu"), Scheme(Precision.W8A8, "lean", placement="lean")
    cache = Cache(settings.cache_dir())
    canonical = canonical_file(subject.onnx, cache=cache, progress=Silent())
    learning = calibrate.load(canonical, str(subject.calibration), samples=None, seed=0)
    prepared = prepare_plan(
        canonical,
        learning,
        method=QuantizeTable().method,
        restore="auto",
        cache=cache,
        progress=Silent(),
    )
    made = variant.make(canonical, target, scheme, prepared)
    rules = target.placed(scheme.placement)
    return open_artifact(artifact.obtain(made, rules, target.run.options(), stem=subject.name, cache=cache))


def _released(label: str, row: Row, subject: Subject, home: Path, folder: Path) -> None:
    """What a release ships: of all candidates, or of static int8 alone, whose speed then does not matter.

    The recipe's [model] and [data] stand, with the peers' calibration samples; everything else is default,
    but that an undecided budget lets through: it is judged here.
    """
    table = tomllib.loads((home / "edgekit.toml").read_text("utf-8"))
    table["data"]["calibration"]["samples"] = subject.taught
    table["budget"] = {"on_inconclusive": "pass", "never_slower": label == "ships"}
    table["optimize"] = {"quantize": {} if label == "ships" else {"precision": "w8a8"}}
    table["target"] = [{"name": runtime} for runtime in RUNTIMES]
    path = home / f".int8-accuracy-{label}.toml"
    path.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in table.items()), "utf-8")
    try:
        result = edgekit.release(path, out=folder / label, update=True)
    except EdgekitError as error:
        row.missing[label] = str(error)[:300]
        return
    finally:
        path.unlink()
        path.with_name("edgekit.lock").unlink(missing_ok=True)
    for each in result.targets:
        chosen = each.chosen.value if each.chosen else "nothing"
        row.precisions[f"{label}, {each.target}"] = f"{chosen}: {each.reason}"
        if result.bundle is not None and each.chosen is not None:
            opener = partial(edgekit.open, result.bundle, target=each.target)
            _try(row, subject, label, each.target, opener)


def _toml(value: object) -> str:
    """A value of TOML in one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def _opened(path: Path, subject: Subject) -> Session:
    """A peer's file under the float model's names."""
    return open_artifact(in_terms_of(artifact_at(path), *io.specs(io.load(subject.onnx)))[0])


def _try(row: Row, subject: Subject, who: str, runtime: str, opener: Callable[[], Session]) -> None:
    try:
        row.found[who, runtime] = _evaluated(subject, opener)
    except EdgekitError as error:
        row.missing[f"{who}, {runtime}"] = str(error)[:300]


def _evaluated(subject: Subject, opener: Callable[[], Session]) -> Evaluation:
    judging = subject.judging
    assert judging.labels is not None
    with opener() as session:
        return evaluate(
            session,
            metric=subject.metric,
            batches=judging.batches,
            labels=judging.labels,
            count=judging.count,
            output=subject.output or None,
        )


def best(row: Row, peer: str) -> tuple[str, Evaluation] | None:
    """The peer's preset with the highest metric, wherever it runs."""
    theirs = [(f"{who}, {on}", found) for (who, on), found in row.found.items() if who.startswith(peer)]
    return max(theirs, key=lambda each: each[1].value, default=None)


def bars(raw: Mapping[str, Any]) -> list[Bar]:
    """Losses against float, and against each peer's best."""
    found = []
    for label in ("int8", "ships", "lean"):
        drops = {
            f"{name} {runtime}": row["lost"][f"{label}, {runtime}"][0]
            for name, row in raw.items()
            for runtime in RUNTIMES
            if f"{label}, {runtime}" in row["lost"] and (label, name) != ("lean", BROKEN)  # a mix ships there
        }
        if drops:
            found.append(Bar(f"{label}: median points lost", statistics.median(drops.values()), MEDIAN_PP))
        found += [Bar(f"{label}: {who}: points lost", drop, WORST_PP) for who, drop in drops.items()]
        found += [
            Bar(f"{label}: {name} {what}'s best: points behind", value, BEHIND_PP)
            for name, row in raw.items()
            for key, (value, _, _) in row["behind"].items()
            for who, what in (key.split(", ", 1),)
            if who == label and (label, name) != ("lean", BROKEN)
        ]
    lost = raw[BROKEN]["lost"] if BROKEN in raw else {}
    for who in ("ort MinMax, onnxruntime-cpu", *(f"minmax, {runtime}" for runtime in RUNTIMES)):
        if who in lost:
            found.append(Bar(f"{BROKEN}: {who}: points lost", lost[who][0], BREAKS_PP, at_most=False))
    return found


def figures(row: Row) -> dict[str, Any]:
    """Values, losses with intervals, and losses against the peers' best."""
    peers = {peer: found for peer in ("ort", "nncf") if (found := best(row, peer)) is not None}
    ours = {key: found for key, found in row.found.items() if key[0] in {"int8", "ships", "lean"}}
    return {
        "metric": row.float.metric,
        "samples": row.float.count,
        "float": row.float.value,
        "values": {f"{who}, {on}": found.value for (who, on), found in row.found.items()},
        "lost": {
            f"{who}, {on}": _interval(paired_drop(row.float, found)) for (who, on), found in row.found.items()
        },
        "best": {peer: preset for peer, (preset, _) in peers.items()},
        "behind": {
            f"{who}, {on}, {peer}": _interval(paired_drop(theirs, found))
            for (who, on), found in ours.items()
            for peer, (_, theirs) in peers.items()
        },
        "ships": row.precisions,
        "missing": row.missing,
    }


def _interval(drop: Drop) -> list[float]:
    """Value, lower and upper end in points."""
    return [round(value, 3) for value in (drop.value_pp, drop.low_pp, drop.high_pp)]


def describe(name: str, row: Row) -> str:
    """One line for each file."""
    lines = [f"  {name}: float {row.float.metric} {row.float.value:.4f} on {row.float.count}"]
    for (who, on), found in row.found.items():
        lost = _interval(paired_drop(row.float, found))
        lines.append(
            f"    {who}, {on}: {found.value:.4f}, lost {lost[0]:+.2f} [{lost[1]:+.2f}, {lost[2]:+.2f}]"
        )
    lines += [f"    {what}: {why}" for what, why in row.missing.items()]
    return "\n".join(lines)
