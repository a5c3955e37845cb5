"""A model of 3.06 GB through every verb: what each process tree holds at most, in sizes of the model.

    make_model --> large.onnx + data --export--> canonical form --> every other verb
    model.py (PyTorch, as large) --export--> its canonical form

Every command is a process of its own with an empty cache, watched from the outside (``large.watch_memory``):
held is anonymous and shared memory of the process and its workers, mapped files are counted beside it. The
size is that of the float weights, also where a verb reads their int8 form. The files go below TMPDIR: about
25 GB.

EDGEKIT_BENCH_MODELS=export,quantize-w8 runs these steps alone (and what makes their input) and keeps the rows
of the others. EDGEKIT_LARGE_WIDTH=640 takes a model of 300 MB, to try the suite, under another name.
EDGEKIT_LARGE_FOLDER=folder keeps the files there, and what a former run made as an input is not made again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import peers
from benchmarks.large import label, make_model
from benchmarks.large.watch_memory import Peak, watch
from benchmarks.report import RESULTS, Bar, Report

MOST = 2.5  # issue 11: sizes of the model
LIMIT_BYTES = 10 * 10**9  # a run that holds more is stopped: the machine has neighbours
CHOSEN, WIDTH, KEPT = "EDGEKIT_BENCH_MODELS", "EDGEKIT_LARGE_WIDTH", "EDGEKIT_LARGE_FOLDER"
HOME = Path(__file__).parent / "large"

Arguments = Callable[[Path], list[str]]


@dataclass(frozen=True)
class Step:
    """One command on files of the work folder.

    Attributes:
        name: of the bar.
        arguments: of ``edgekit``, given the folder.
        after: steps that make its input.
        refused: it ends with this exit status, and says why; 0 = it succeeds.
        judged: on labelled samples, which the float model labels first.
    """

    name: str
    arguments: Arguments
    after: tuple[str, ...] = ("export",)
    refused: int = 0
    judged: bool = False


def _compile(target: str, source: str = "canonical.onnx") -> Arguments:
    return lambda at: ["compile", f"{at}/{source}", "--target", target, "-o", f"{at}/{Path(source).stem}"]


def _quantize(precision: str, *more: str) -> Arguments:
    return lambda at: [
        *("quantize", f"{at}/canonical.onnx", "--precision", precision, "-o", f"{at}/{precision}.onnx"),
        *(each.format(at=at) for each in more),
    ]


_RANGES, _DATA = ("--ranges", "{at}/ranges.json"), ("--calibration-data", "{at}/images.npz")
_RUNTIME = ("--target", "onnxruntime-cpu")
_ARTIFACT = "canonical/canonical-0-onnxruntime-cpu-fp32.onnx"
STEPS = (
    Step("export", lambda at: ["export", f"{at}/large.onnx", "-o", f"{at}/canonical.onnx"], ()),
    Step("compile-onnxruntime", _compile("onnxruntime-cpu")),
    Step("compile-openvino", _compile("openvino-cpu")),
    Step("compile-litert", _compile("litert-cpu")),
    Step(
        "calibrate",
        lambda at: ["calibrate", f"{at}/canonical.onnx", *_filled(at, _DATA), "-o", f"{at}/ranges.json"],
    ),
    Step("quantize-w8a8", _quantize("w8a8", *_RANGES), ("export", "calibrate")),
    Step("quantize-w8", _quantize("w8", *_RUNTIME)),
    Step("quantize-w4", _quantize("w4", *_RUNTIME)),
    Step("quantize-dynamic", _quantize("dynamic", *_RUNTIME)),
    Step("compile-onnxruntime-w8a8", _compile("onnxruntime-cpu", "w8a8.onnx"), ("quantize-w8a8",)),
    Step("compile-openvino-w8a8", _compile("openvino-cpu", "w8a8.onnx"), ("quantize-w8a8",)),
    Step("compile-litert-w8a8", _compile("litert-cpu", "w8a8.onnx"), ("quantize-w8a8",)),
    Step("inspect", lambda at: ["inspect", f"{at}/large.onnx"], ()),
    Step(
        "export-torch",
        lambda at: [
            *("export", f"{at}/model.py:{'build' if _width() == make_model.WIDTH else 'build_small'}"),
            *("--input", "image:float32:batchx3x32x32", "-o", f"{at}/of-torch.onnx"),
        ],
        (),
    ),
    Step(
        "prune-sparsity",
        lambda at: [
            *("prune", f"{at}/canonical.onnx", "--sparsity", "0.5", *_filled(at, _DATA)),
            *("-o", f"{at}/sparse.onnx"),
        ],
    ),
    Step(
        "prune-channels",
        lambda at: [
            *("prune", f"{at}/canonical.onnx", "--keep", "0.75", "--repair", "layers", *_filled(at, _DATA)),
            *("-o", f"{at}/narrow.onnx"),
        ],
    ),
    Step(
        "validate",
        lambda at: [
            *("validate", f"{at}/{_ARTIFACT}", "--reference", f"{at}/canonical.onnx"),
            *("--data", f"{at}/{label.NAME}", "--max-drop", "100"),
        ],
        ("export", "compile-onnxruntime"),
        judged=True,
    ),
    Step("quantize-from-data", _quantize("w8a8", *_DATA, *_RUNTIME)),
    Step("release", lambda at: ["release", f"{at}/edgekit.toml", "-o", f"{at}/dist"], (), judged=True),
    Step("verify", lambda at: ["verify", f"{at}/dist/large-1.0.0"], ("release",)),
)


def run() -> Report:
    """Measure."""
    width, chosen = _width(), os.environ.get(CHOSEN, "")
    wanted = chosen.split(",") if chosen else [each.name for each in STEPS]
    suite = "large_model" if width == make_model.WIDTH else "large_model_tried"
    known = _known(suite) if chosen else {}
    with _folder() as folder:
        source = _made(folder, width)
        size = sum(path.stat().st_size for path in folder.glob(f"{source.name}*"))
        for step in (each for each in STEPS if each.name in _needed(wanted)):
            done = folder / f"{step.name}.done"
            if done.exists() and step.name not in wanted:
                continue
            if step.judged and not (folder / label.NAME).exists():
                words = [sys.executable, "-m", "benchmarks.large.label", str(folder)]
                subprocess.run(words, env=peers.environment(), check=True)
            peak = _measured(step, folder)
            done.touch()
            row = {name: value for name, value in asdict(peak).items() if name != "words"}
            # read again: another run may have measured other steps meanwhile
            known = {**(_known(suite) if chosen else known), step.name: row}
            print(
                f"{step.name}: {peak.held_bytes / size:.2f} model sizes held, {peak.total_bytes / size:.2f} "
                f"with mapped files, {peak.seconds:.0f} s",
                flush=True,
            )
            _report(suite, known, size).write()  # a step may take minutes: what is measured is kept
    return _report(suite, known, size)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Where the files go: EDGEKIT_LARGE_FOLDER, which stays, or a temporary one."""
    kept = os.environ.get(KEPT, "")
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        yield Path(kept).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="edgekit-large-") as work:
        yield Path(work)


def _made(folder: Path, width: int) -> Path:
    """The model and its data in ``folder``; they are made unless a former run left them."""
    source = folder / "large.onnx"
    if not source.exists():  # written last
        source = make_model.write(folder, width=width)
    make_model.write_data(folder)
    for name in ("model.py", "edgekit.toml"):
        shutil.copy(HOME / name, folder)
    return source


def _report(suite: str, known: dict[str, dict[str, float]], size: int) -> Report:
    rows = [each.name for each in STEPS if each.name in known]
    bars = [Bar(f"{name}: held, model sizes", known[name]["held_bytes"] / size, MOST) for name in rows]
    return Report(suite, tuple(bars), {"model_bytes": size, "steps": known})


def _measured(step: Step, folder: Path) -> Peak:
    """Run ``step``.

    Raises:
        RuntimeError: it did not end as it should.
    """
    cache = folder / f"cache-{step.name}"
    command = [sys.executable, "-m", "edgekit", *step.arguments(folder), "-q"]
    if step.name == "inspect":
        command.remove("-q")
    peak = watch(
        command,
        log=folder / f"{step.name}.txt",
        environment=peers.environment(EDGEKIT_CACHE=str(cache), TMPDIR=str(folder)),
        cwd=folder,
        limit_bytes=LIMIT_BYTES,
    )
    shutil.rmtree(cache, ignore_errors=True)
    if peak.status != step.refused:
        raise RuntimeError(f"{step.name} ended with {peak.status}: {peak.words}")
    return peak


def _needed(wanted: list[str]) -> set[str]:
    found: set[str] = set()
    rest = list(wanted)
    for name in rest:  # grows while it is read
        found.add(name)
        rest += next(each.after for each in STEPS if each.name == name)
    return found


def _known(suite: str) -> dict[str, dict[str, float]]:
    path = RESULTS / f"{suite}.json"
    found: dict[str, dict[str, float]] = json.loads(path.read_text())["raw"]["steps"] if path.exists() else {}
    return found


def _filled(at: Path, words: tuple[str, ...]) -> list[str]:
    return [each.format(at=at) for each in words]


def _width() -> int:
    return int(os.environ.get(WIDTH, str(make_model.WIDTH)))
