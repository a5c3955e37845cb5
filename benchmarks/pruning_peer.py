"""resnet20 on CIFAR-10: edgekit prune against Torch-Pruning at equal measured latency, with the same data.

Both sides have the same float model and the same 2,000 images without labels. edgekit goes first; its speed
on the slowest target is what the peer has to reach, by the smallest of RATIOS that does (measured by the same
alternating timer on the same runtimes), and the peer then distils for as many seconds of processor time as
edgekit's whole job took by the clock, search and timing included. The best of its two importances and two
scopes on the test images counts. All of that is in its favour, and so is this: where no ratio is as fast, the
largest is taken, which is slower than what edgekit made. Points are of 2,000 test images. The peer lives in
an environment of its own (README.md).

EDGEKIT_BENCH_MODELS=repaired or recovered measures one of the two alone and keeps the other's rows.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from bisect import bisect_left
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import edgekit
from benchmarks.peers import Absent, environment, interpreter
from benchmarks.report import RESULTS, Bar, Report
from edgekit import settings
from edgekit import target as targets
from edgekit.dataset import DataSource, load
from edgekit.ir import io
from edgekit.pipeline import steps
from edgekit.pipeline.prune.speedometer import Speedometer, slowest
from edgekit.spec import Silent, TensorSpec

HOME = Path(__file__).parent / "resnet20"
SCRIPT = Path(__file__).parent / "peers" / "torch_pruning_prune.py"
PEER = "torch-pruning"
TARGETS = ("onnxruntime-cpu", "litert-cpu")
IMPORTANCES = ("magnitude", "taylor")
SCOPES = ("global", "local")
RATIOS = tuple(round(0.3 + 0.05 * step, 2) for step in range(14))  # to 0.95; steps of 8 channels are coarser
AS_FAST = 0.98  # of edgekit's speed: the noise of two measurements
CHOSEN = "EDGEKIT_BENCH_MODELS"  # names, separated by commas: only those
TIMEOUT_S = 3600
AT_ONCE = 2


@dataclass(frozen=True)
class Asked:
    """A speed, and epochs of edgekit's recovery."""

    speedup: float
    recover: int


ASKED = {"repaired": Asked(1.5, 0), "recovered": Asked(1.8, 60)}


def run() -> Report:
    """Measure."""
    folder, python = settings.data_dir(), interpreter(PEER)
    if folder is None:
        return Report("pruning_peer", (), {"skipped": "EDGEKIT_DATA does not name the data"})
    if isinstance(python, Absent):
        return Report("pruning_peer", (), {"skipped": python.reason})
    known = _known()
    chosen = os.environ.get(CHOSEN, ",".join(ASKED)).split(",")
    with tempfile.TemporaryDirectory() as work:
        subject = _subject(folder / "cifar10", Path(work))
        for name, asked in ASKED.items():
            if name in chosen:
                known[name] = _compared(subject, asked, python)
                print(name, json.dumps(known[name]), flush=True)
    bars = tuple(
        Bar(f"{name}: points lost beyond Torch-Pruning's best", _points(row) - _points(row, "peer_pp"), 0.0)
        for name, row in known.items()
    )
    return Report("pruning_peer", bars, {"resnet20": known})


def _points(row: Mapping[str, object], name: str = "edgekit_pp") -> float:
    return float(str(row[name]))


def _known() -> dict[str, dict[str, object]]:
    """Rows of the last run: what is not chosen stays."""
    path = RESULTS / "pruning_peer.json"
    if not path.exists():
        return {}
    found: dict[str, dict[str, object]] = json.loads(path.read_text())["raw"].get("resnet20", {})
    return found


@dataclass(frozen=True)
class Subject:
    """The float model as a file, and where its data is."""

    model: Path
    work: Path
    speed: Speedometer

    def points_lost(self, candidate: Path) -> float:
        """Against the float model, on the test images."""
        found = edgekit.validate(
            candidate,
            reference=self.model,
            data=str(self.work / "test.npz"),
            preprocess=HOME / "edgekit.toml",
            max_drop_pp=100.0,
        )
        assert found.accuracy is not None
        return found.accuracy.drop_pp


def _subject(folder: Path, work: Path) -> Subject:
    for name, file in (("train", "cifar10_calib_2000"), ("test", "cifar10_test_2000")):
        with np.load(folder / f"{file}.npz") as held:
            labels = {"labels": held["y"].astype(np.int64)} if name == "test" else {}
            np.savez(work / f"{name}.npz", allow_pickle=False, image=held["x"], **labels)
    model = edgekit.export(
        f"{HOME / 'model.py'}:build",
        out=work / "model.onnx",
        inputs=[TensorSpec("image", "float32", ("batch", 3, 32, 32))],
    )
    reference = io.load(model)
    data = load(
        DataSource(str(work / "train.npz")),
        inputs=io.specs(reference)[0],
        base=work,
        preprocess=steps.read(HOME / "edgekit.toml"),
    )
    np.save(work / "images.npy", np.stack([sample["image"] for sample in data.samples()]))
    feeds = next(iter(data.batches(1)))
    speed = Speedometer(reference, tuple(targets.load(name) for name in TARGETS), None, feeds, 0)
    return Subject(model, work, speed)


def _compared(subject: Subject, asked: Asked, python: Path) -> dict[str, object]:
    begin = time.perf_counter()
    result = edgekit.prune(
        subject.model,
        calibration_data=str(subject.work / "train.npz"),
        out=subject.work / "pruned.onnx",
        speedup=asked.speedup,
        recover=asked.recover,
        targets=TARGETS,
        preprocess=HOME / "edgekit.toml",
    )
    seconds = time.perf_counter() - begin
    faster = slowest(result.speeds)
    ways = [(importance, scope) for importance in IMPORTANCES for scope in SCOPES]
    ratios = [_ratio(subject, python, way, faster) for way in ways]
    with ThreadPoolExecutor(AT_ONCE) as pool:  # each on one thread, and their seconds are the processor's
        made = pool.map(lambda way, ratio: _made(subject, python, way, ratio, seconds=seconds), ways, ratios)
    peers = {
        ", ".join(way): {"ratio": ratio, **_judged(subject, _canonical(file))}
        for way, ratio, file in zip(ways, ratios, made, strict=True)
    }
    return {
        "edgekit_pp": subject.points_lost(result.path),
        "edgekit_times_faster": faster,
        "seconds": seconds,
        "peer_pp": min(float(str(row["pp"])) for row in peers.values()),
        "peers": peers,
    }


def _ratio(subject: Subject, python: Path, way: tuple[str, str], faster: float) -> float:
    """The smallest that is as fast, or the largest."""

    def is_fast(ratio: float) -> bool:
        made = _canonical(_made(subject, python, way, ratio, seconds=0.0))
        return slowest(subject.speed.speeds(io.load(made), Silent())) >= AS_FAST * faster

    return RATIOS[min(bisect_left(RATIOS, True, key=is_fast), len(RATIOS) - 1)]


def _judged(subject: Subject, made: Path) -> dict[str, object]:
    rows = subject.speed.speeds(io.load(made), Silent())
    return {
        "pp": subject.points_lost(made),
        "times_faster": {row.target: 1 / row.ratio.value for row in rows},
        **json.loads(made.with_suffix(".json").read_text()),
    }


def _made(subject: Subject, python: Path, way: tuple[str, str], ratio: float, *, seconds: float) -> Path:
    out = subject.work / f"{'-'.join(way)}.onnx"
    command = [str(python), str(SCRIPT), str(HOME / "model.py"), str(subject.work / "images.npy"), str(out)]
    done = subprocess.run(
        [*command, f"{ratio:.4f}", *way, f"{seconds:.1f}"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"Torch-Pruning failed: {done.stderr[-2000:]}")
    return out


def _canonical(made: Path) -> Path:
    return Path(str(edgekit.export(str(made), out=made.with_suffix(".canonical.onnx")))).rename(made)
