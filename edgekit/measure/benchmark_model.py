"""LiteRT's benchmark_model on a device without Python -> the events of the agent.

    round: ./benchmark_model --graph=F --num_threads=N ... -> "count=50 first=... median=..." -> E4

Source of the output: google-ai-edge/LiteRT tflite/tools/benchmark/benchmark_model.cc and
benchmark_tflite_model.cc (LogMsg lines, in microseconds; prefixes differ between builds). The tool prints no
single samples, so a launch, which is a process, is one round of one sample: its median, or its mean where an
older tool has no median. Their order is drawn, as everywhere. The tool feeds random values of its own.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError, InputError
from edgekit.measure.device_job import Event, Job, JobArtifact
from edgekit.measure.devices import Device, LostDeviceError
from edgekit.measure.replicate import backwards

TOOL = "benchmark_model"
RUNS = 50  # the tool's own default
LEAST_S, MOST_S = 0.3, 10.0  # of one round
_QUOTED = 400  # characters of what the tool said before it failed
SILENCE_S = 180.0  # the tool says nothing while it runs

_COUNT = re.compile(
    r"count=(?P<count>\d+) first=(?P<first>\S+).*? avg=(?P<avg>\S+)(?:.*? median=(?P<median>\S+))?"
)
_TIMINGS = re.compile(r"Init: (?P<init>[^,]+), First inference: (?P<first>[^,]+), Warmup")
_PEAK = (
    re.compile(r"peak memory footprint \(MB\) via periodic monitoring: ([0-9.]+)"),
    re.compile(r"Memory footprint delta from the start of the tool \(MB\): init=\S+ overall=([0-9.]+)"),
    re.compile(r"Peak memory footprint \(MB\): init=\S+ overall=([0-9.]+)"),  # up to TensorFlow 2.4
)
_FACTS = {
    "board": "getprop ro.product.model",
    "os": "getprop ro.build.version.release",
    "architecture": "getprop ro.product.cpu.abi",
    "governor": "cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
}


@dataclass(frozen=True)
class Run:
    """What one process of the tool said, in microseconds."""

    typical_us: float
    init_us: float
    first_us: float
    peak_bytes: int | None


def parse(text: str) -> Run:
    """The tool's output.

    Raises:
        ValueError: it has no steady-state line or no timings.
    """
    counts = [each for each in map(_COUNT.search, text.splitlines()) if each]  # the warm-up's comes first
    timings = _TIMINGS.search(text)
    if not counts or not timings:
        raise ValueError(f"no timings in: {text.strip()[-300:]}")
    last = counts[-1]
    peaks = [float(each[1]) for each in (pattern.search(text) for pattern in _PEAK) if each]
    return Run(
        typical_us=float(last["median"] or last["avg"]),
        init_us=float(timings["init"]),
        first_us=float(timings["first"]),
        peak_bytes=round(peaks[0] * 1e6) if peaks and peaks[0] > 0 else None,
    )


def events(device: Device, job: Job, tool: Path, *, limit_s: float) -> Iterator[Event]:
    """Copy, run, and say what the agent would say.

    Raises:
        InputError: there is no such tool.
        LostDeviceError, MissingBackendError: as ``devices.Device``.
    """
    if not tool.is_file():
        raise InputError(
            f"{tool} is no file",
            why="it is to run on the device in Python's place",
            remedy="give the path of LiteRT's benchmark_model, built for the device's processor",
        )
    refused = {each.name: why for each in job.artifacts if (why := _refusal(each))}
    able = [each for each in job.artifacts if each.name not in refused]
    files: dict[str, Path | bytes] = {TOOL: tool}
    graphs = {each.name: f"a{index}/{next(iter(each.files))}" for index, each in enumerate(able)}
    files.update({graphs[each.name]: next(iter(each.files.values())) for each in able})
    device.put(files)
    _said(device, f"chmod 755 {TOOL}", limit_s=limit_s)
    yield {"event": "start", "machine": _facts(device, limit_s=limit_s)}
    for name, (kind, reason, remedy) in refused.items():
        yield _failed(name, kind, reason, remedy)
    yield from _launches(device, job, able, graphs, limit_s=limit_s)


def _refusal(artifact: JobArtifact) -> tuple[str, str, str] | None:
    """Kind, reason and remedy where the tool cannot do what the artifact's row would say."""
    if artifact.backend != "litert":
        return "missing", f"{TOOL} runs .tflite files only", "compile it for litert-cpu"
    batch = max((each.shape[0] for each in artifact.inputs.values() if each.ndim), default=1)
    if batch > 1:
        remedy = "measure batch 1, or give the device a Python, with which edgekit's agent runs"
        return "error", f"{TOOL} runs the file's own shapes, so nothing would be of batch {batch}", remedy
    return None


def _launches(
    device: Device, job: Job, able: list[JobArtifact], graphs: Mapping[str, str], *, limit_s: float
) -> Iterator[Event]:
    alive, peaks = list(able), dict[str, int | None]()
    for index in range(job.launches):
        for artifact in tuple(alive[::-1] if backwards(index, seed=job.seed) else alive):
            try:
                found = parse(_said(device, _command(artifact, graphs[artifact.name]), limit_s=limit_s))
            except (LostDeviceError, InputError):
                raise
            except (EdgekitError, ValueError) as error:
                alive.remove(artifact)
                crashed = isinstance(error, EdgekitError) and re.search(r"exit code 1[2-5]\d\b", error.what)
                yield _failed(artifact.name, "crash" if crashed else "error", str(error), "")
                continue
            yield _opened(artifact, found)
            peaks[artifact.name] = found.peak_bytes
            yield {
                "event": "block",
                "artifact": artifact.name,
                "launch": index,
                "round": 0,
                "ns": [round(found.typical_us * 1e3)],
            }
        last = index == job.launches - 1 or not alive
        yield {"event": "summary" if last else "launched", "peak_bytes": peaks, "machine": {}}
        if last:
            return


def _command(artifact: JobArtifact, graph: str) -> str:
    builtin = dict(artifact.settings).get("kernels") == "builtin"
    flags = {
        "graph": graph,
        "num_threads": artifact.threads,
        "num_runs": RUNS,
        "min_secs": LEAST_S,
        "max_secs": MOST_S,
        "use_xnnpack": "false" if builtin else "true",
        "report_peak_memory_footprint": "true",
    }
    # the mask in hexadecimal without 0x: toybox (Android) and util-linux both take it
    pinned = ["taskset", f"{sum(1 << core for core in artifact.cores):x}"] if artifact.cores else []
    line = [*pinned, f"./{TOOL}", *(f"--{name}={value}" for name, value in flags.items())]
    return shlex.join(line) + " 2>&1"


def _said(device: Device, line: str, *, limit_s: float) -> str:
    """What a line of shell printed; where it failed, the error says what it had printed."""
    said: list[str] = []
    try:
        for each in device.lines(["sh", "-c", line], silence_s=SILENCE_S, limit_s=limit_s):
            said.append(each)  # noqa: PERF402 - kept where the iteration breaks off
    except LostDeviceError:
        raise
    except EdgekitError as error:
        raise type(error)(
            error.what, why="\n".join(said)[-_QUOTED:] or error.why, remedy=error.remedy
        ) from error
    return "\n".join(said)


def _facts(device: Device, *, limit_s: float) -> dict[str, Any]:
    """Of Android's properties; one that is not there is ""."""
    line = "; ".join(f"echo {name}=$({command} 2>/dev/null)" for name, command in _FACTS.items())
    pairs = [each.partition("=") for each in _said(device, line, limit_s=limit_s).splitlines()]
    return {name: value for name, mark, value in pairs if mark and name in _FACTS}


def _opened(artifact: JobArtifact, found: Run) -> Event:
    facts = {"runtime": TOOL, "version": "", "threads": str(artifact.threads)}
    facts["samples"] = f"medians of {RUNS} runs or more, one for each process"
    return {
        "event": "opened",
        "artifact": artifact.name,
        "facts": facts,
        "load_ms": found.init_us / 1e3,
        "first_ms": found.first_us / 1e3,
    }


def _failed(artifact: str, kind: str, what: str, remedy: str) -> Event:
    return {"event": "failed", "artifact": artifact, "kind": kind, "what": what, "remedy": remedy}
