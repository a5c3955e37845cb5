"""A model -> a float .tflite file: edgekit and the other converters, alternately, as whole processes.

    .onnx        --edgekit compile-->            .tflite   numerator of every ratio
    .onnx        --onnx2tf, its direct writer--> .tflite
    model.py     --litert-torch-->               .tflite   (it takes PyTorch only)
    Keras model  --TensorFlow's converter-->     .tflite   (it takes TensorFlow only)

Time is wall clock with imports, as a user waits for it. Memory is the largest sum of resident sizes over the
process and its children, sampled, less what compiling a model of one operator takes: that is the interpreter
and its libraries. Processor time is in the raw results. ``EDGEKIT_PEERS`` leads to the peers' environments.

edgekit runs from the checkout, so its modules are compiled to bytecode first, as pip did with the peers' when
it installed them: under ``PYTHONDONTWRITEBYTECODE`` every start would compile them anew (0.25 s).
"""

from __future__ import annotations

import compileall
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx
from onnx import helper

from benchmarks import peers
from benchmarks.litert_latency import folder_of_files
from benchmarks.report import Bar, Report

ROUNDS = {peers.ONNX2TF: 4, peers.LITERT_TORCH: 1, peers.TENSORFLOW: 1}  # the last two take a minute each
TIME_LIMIT = {peers.ONNX2TF: 0.5, peers.LITERT_TORCH: 0.1, peers.TENSORFLOW: 0.1}  # issue 5
MEMORY_LIMIT = 3.0  # issue 5: times the model
SAMPLE_S = 0.01
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Cost:
    """What one run of a command took; ``processor_s`` is of all its threads and children."""

    seconds: float
    processor_s: float
    peak_bytes: int


def run() -> Report:
    """Measure."""
    compileall.compile_dir(peers.ROOT / "edgekit", quiet=1)
    bars: list[Bar] = []
    raw: dict[str, object] = {"versions": peers.versions()}
    with folder_of_files() as folder:
        floor = min(_cost(_compile(_one_operator(folder), folder), folder).peak_bytes for _ in range(3))
        raw["peak_bytes_without_a_model"] = floor
        for model in peers.MODELS:
            print(f"{model.name}: converting", file=sys.stderr, flush=True)
            judged, raw[model.name] = _measure(model, folder, floor)
            bars += judged
    return Report("litert_conversion", tuple(bars), raw)


def _measure(model: peers.Model, folder: Path, floor: int) -> tuple[list[Bar], dict[str, object]]:
    source = peers.write_onnx(model, folder)
    if isinstance(source, peers.Absent):
        raise RuntimeError(source.reason)  # noqa: TRY004  # it is no matter of types
    bars: list[Bar] = []
    facts: dict[str, object] = {"model_bytes": source.stat().st_size, "load": os.getloadavg()[0]}
    peaks: list[int] = []
    for writer, rounds in ROUNDS.items():
        python = peers.interpreter(writer)
        if isinstance(python, peers.Absent):
            facts[writer] = python.reason
            continue
        theirs = _command(writer, python, model, _copy(source, writer), folder)
        commands = {"edgekit": _compile(source, folder), writer: theirs}
        costs: dict[str, list[Cost]] = {who: [] for who in commands}
        try:
            for index in range(rounds):
                for who in sorted(commands, reverse=bool(index % 2)):
                    costs[who].append(_cost(commands[who], folder))
        except RuntimeError as error:  # a peer that cannot convert the model is a result
            facts[writer] = str(error)
            continue
        pairs = list(zip(costs["edgekit"], costs[writer], strict=True))
        ratio = statistics.median(ours.seconds / peer.seconds for ours, peer in pairs)
        bars.append(Bar(f"{model.name}: compile time / {writer}'s", ratio, TIME_LIMIT[writer]))
        facts[writer] = {
            "ratio": ratio,
            "processor_ratio": statistics.median(ours.processor_s / peer.processor_s for ours, peer in pairs),
            "runs": {who: [asdict(each) for each in found] for who, found in costs.items()},
        }
        peaks += [each.peak_bytes for each in costs["edgekit"]]
    if not peaks:
        peaks = [_cost(_compile(source, folder), folder).peak_bytes]
    above = (statistics.median(peaks) - floor) / source.stat().st_size
    facts |= {"peak_bytes": peaks, "peak_of_the_model": statistics.median(peaks) / source.stat().st_size}
    bars.append(Bar(f"{model.name}: peak memory above the interpreter's, model sizes", above, MEMORY_LIMIT))
    return bars, facts


def _copy(source: Path, writer: str) -> Path:
    """A peer's own input: onnx2tf writes the simplified model over the file that it was given."""
    return Path(shutil.copyfile(source, source.with_suffix(f".{writer}.onnx")))


def _compile(source: Path, folder: Path) -> list[str]:
    out = folder / "converted"
    flags = ["--target", "litert-cpu", "-q", "-o", str(out)]
    return [sys.executable, "-m", "edgekit", "compile", str(source), *flags]


def _command(writer: str, python: Path, model: peers.Model, source: Path, folder: Path) -> list[str]:
    out = folder / "converted" / f"{model.name}.tflite"
    if writer == peers.ONNX2TF:
        flags = ["-tb", "flatbuffer_direct", "-n", "-o", str(out.parent)]
        return [str(python), "-m", "onnx2tf", "-i", str(source), *flags]
    if writer == peers.LITERT_TORCH:
        return [str(python), str(peers.HERE / "from_torch.py"), model.name, model.build, str(out)]
    return [str(python), str(peers.HERE / "from_keras.py"), model.name, "float", "none", str(out)]


def _one_operator(folder: Path) -> Path:
    """A model that is nothing: what its compilation holds is not the model's."""
    shape = [1, 4]
    value = helper.make_tensor_value_info
    kind = onnx.TensorProto.FLOAT
    node = helper.make_node("Relu", ["x"], ["y"], name="relu")  # named: canonical as the models are
    graph = helper.make_graph([node], "one", [value("x", kind, shape)], [value("y", kind, shape)])
    path = folder / "one_operator.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def _cost(command: list[str], folder: Path) -> Cost:
    out = folder / "converted"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    environment = peers.environment(EDGEKIT_CACHE=str(folder / "converted" / "cache"))
    with (folder / "words.txt").open("wb") as words:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=words, stderr=words, env=environment, cwd=folder)
        peak = 0
        while True:
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            peak = max(peak, _resident_bytes(process.pid))
            time.sleep(SAMPLE_S)
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)  # it was waited for here, not by Popen
    if process.returncode or not list(out.rglob("*.tflite")):
        last = (folder / "words.txt").read_text("utf-8", "replace").strip()[-500:]
        message = f"exit status {process.returncode}: {last}"
        raise RuntimeError(message)
    return Cost(seconds, used.ru_utime + used.ru_stime, peak)


def _resident_bytes(process: int) -> int:
    total = 0
    for each in _tree(process):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/statm").read_text().split()
            total += (int(fields[1]) - int(fields[2])) * PAGE_BYTES  # without pages of shared files
    return total


def _tree(process: int) -> Iterator[int]:
    yield process
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
            yield from _tree(int(child))
