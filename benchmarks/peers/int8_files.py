"""Recipe -> float .onnx, calibration .npz, and the int8 files of ONNX Runtime's and NNCF's quantizers.

EDGEKIT_PEERS/nncf/bin/python  ->  runs static_int8.py for every preset; absent: only ONNX Runtime's own,
                                   in this environment
EDGEKIT_PEER_FILES             ->  where the files stay; one that is there is taken as it is
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers import HERE, Absent, ask, interpreter
from edgekit import dataset
from edgekit.dataset import Dataset, DataSource
from edgekit.recipe import CalibrationTable, Recipe

ORT_PRESETS, NNCF_PRESETS = ("MinMax", "Entropy", "Percentile"), ("onnx", "openvino")
CALIBRATION_SAMPLES = 300  # NNCF's default; ONNX Runtime keeps every activation of every sample in memory


@dataclass(frozen=True)
class Subject:
    """A model with its data, as files that every quantizer takes.

    Attributes:
        onnx: the float model, exported by edgekit.
        calibration: .npz with (n, ...) arrays by input name, pre-processed.
        evaluation: .npz, the same with ``labels``.
        judging: what ``evaluation`` holds, as a stream.
        taught: how many samples ``calibration`` holds.
        output: which output is scored; "" where there is only one.
    """

    name: str
    metric: str
    onnx: Path
    calibration: Path
    evaluation: Path
    judging: Dataset
    taught: int
    output: str = ""


def prepare(name: str, recipe: Recipe, home: Path, folder: Path) -> Subject | Absent:
    """Write the three files of a recipe into ``folder``; a digest of the data is in their names."""
    learning = recipe.data.calibration
    assert learning is not None
    taught = _load(recipe, learning, home, samples=CALIBRATION_SAMPLES)
    judging = _load(recipe, recipe.data.evaluation, home, samples=None)
    state = hashlib.sha256((taught.digest + judging.digest).encode())
    for path in sorted({*home.glob("*.safetensors"), *home.glob("model.py")}):
        state.update(path.read_bytes())
    stem = folder / f"int8-{name}-{state.hexdigest()[:8]}"
    onnx = stem.with_suffix(".onnx")
    calibration, evaluation = (stem.with_name(f"{stem.name}.{kind}.npz") for kind in ("taught", "judged"))
    if not evaluation.is_file():
        np.savez(calibration, **next(taught.batches(taught.count)))
        assert judging.labels is not None
        np.savez(evaluation, labels=judging.labels, **next(judging.batches(judging.count)))
    if not onnx.is_file():
        found = _export(recipe, home, onnx)
        if isinstance(found, Absent):
            return found
    scored = recipe.data.evaluation
    return Subject(name, scored.metric, onnx, calibration, evaluation, judging, taught.count, scored.output)


def _load(recipe: Recipe, table: CalibrationTable, home: Path, *, samples: int | None) -> Dataset:
    return dataset.load(
        DataSource(table.source, split=table.split, samples=samples or table.samples, seed=table.seed),
        inputs=tuple(each.spec() for each in recipe.model.inputs),
        base=home,
        preprocess=recipe.data.preprocess,
    )


def _export(recipe: Recipe, home: Path, out: Path) -> Path | Absent:
    words = []
    for table in recipe.model.inputs:
        words += ["--input", f"{table.name}:{table.dtype}:{'x'.join(str(size) for size in table.shape)}"]
    command = [sys.executable, "-m", "edgekit", "export", f"{home}/{recipe.model.source}", *words, "-q"]
    return ask([*command, "-o", str(out)], out, home)


def peers_files(subject: Subject) -> Mapping[str, Path | Absent]:
    """Preset -> its file: .onnx of "ort MinMax" and so on and "nncf onnx", .xml of the others."""
    found: dict[str, Path | Absent] = {}
    theirs = interpreter("nncf")
    for preset in ORT_PRESETS:
        python = Path(sys.executable) if isinstance(theirs, Absent) else theirs
        found[f"ort {preset}"] = _quantized(python, preset, subject, ".onnx")
    for preset in NNCF_PRESETS:
        suffix = ".onnx" if preset == "onnx" else ".xml"
        found[f"nncf {preset}"] = (
            theirs if isinstance(theirs, Absent) else _quantized(theirs, preset, subject, suffix)
        )
    written = found["nncf onnx"]
    found["nncf onnx as IR"] = written if isinstance(written, Absent) else _beside(written)
    return found


def _quantized(python: Path, preset: str, subject: Subject, suffix: str) -> Path | Absent:
    out = subject.onnx.with_name(f"{subject.onnx.stem}.{preset}{suffix}")
    if out.is_file():
        return out
    script = str(HERE / "static_int8.py")
    command = [str(python), script, preset, str(subject.onnx), str(subject.calibration), str(out)]
    return ask(command, out, subject.onnx.parent)


def _beside(path: Path) -> Path | Absent:
    other = path.with_suffix(".xml")
    return other if other.is_file() else Absent(f"OpenVINO did not convert {path.name}")


def versions() -> dict[str, str]:
    """What the peers' environment holds."""
    python = interpreter("nncf")
    if isinstance(python, Absent):
        return {"nncf": python.reason}
    code = (
        "from importlib.metadata import version\n"
        "for n in ('nncf','onnx','onnxruntime','openvino','torch'): print(n, version(n))"
    )
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    return dict(line.split() for line in done.stdout.splitlines())
