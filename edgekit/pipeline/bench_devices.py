"""`bench --device`: artifacts x devices -> latencies as they were on the devices, one row for each pair.

    artifact --align, seeded feeds, its own layout--> Job --agent on the device--> Recording --> rows

Devices work at the same time, each on its own; the artifacts on one device are interleaved. No runtime of
this machine is needed: a board may have one that this machine lacks.

D1 one device is named and it is not there: its error · D2 several: the others' rows stand, exit code 6 ·
D3 a device was lost: what had arrived stands, exit code 7 · D4 an artifact failed: it is named, the others
stand; exit code 1 where native code died, 2 where the runtime refused the file, 6 where it is missing, 7
where it took too long.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.backends.bindings import artifact_from_reference
from edgekit.errors import EdgekitError, ExitCode, InputError, MissingBackendError
from edgekit.measure import benchmark_model, device_job
from edgekit.measure.device_job import Job, JobArtifact, Recording
from edgekit.measure.device_list import NamedDevice
from edgekit.measure.devices import Device
from edgekit.measure.open_device import open_device
from edgekit.measure.timer import summarize
from edgekit.pipeline.align import in_terms_of
from edgekit.pipeline.bench import exit_code_of, paths_of, random_feeds, row_of
from edgekit.pipeline.doctor import machine_row
from edgekit.pipeline.environment import environment_row
from edgekit.pipeline.open import artifact_at
from edgekit.pipeline.proof import describe
from edgekit.pipeline.result import BenchResult, BenchRow, DeviceRow, FailedRow
from edgekit.spec import Artifact, Feeds, Progress

_OF_FAILURE = {
    "crash": ExitCode.INTERNAL,
    "error": ExitCode.BAD_INPUT,
    "missing": ExitCode.BACKEND_MISSING,
    "timeout": ExitCode.INCONCLUSIVE,
}
# What a run has several of: the first of these that it has is its exit code.
_GRAVEST_FIRST = (
    ExitCode.INTERNAL,
    ExitCode.BAD_INPUT,
    ExitCode.BACKEND_MISSING,
    ExitCode.LATENCY_OR_SIZE_GATE,
    ExitCode.INCONCLUSIVE,
)

# Counters since boot mean nothing by themselves: ``environments`` has what they grew by.
_COUNTED = {
    *("at_end", "at_s", "busy_s", "steal_s", "cpu_s", "own_s", "throttled_s", "throttled_periods"),
    *("thermal_events", "firmware_throttled", "swapped_in_pages", "temperature_limit_c"),
}


@dataclass(frozen=True)
class _Outcome:
    """What became of one device: a recording, or the error that kept it from one."""

    device: NamedDevice
    recording: Recording | None
    error: EdgekitError | None = None


def bench_on_devices(
    artifacts: Sequence[Path],
    *,
    devices: Sequence[NamedDevice],
    baseline: Path | None,
    threads: int | None,
    seed: int,
    progress: Progress,
) -> BenchResult:
    """Time every artifact at batch 1 on every device, on the same seeded inputs.

    Raises:
        InputError: no artifact, one named twice, or artifacts that do not take the same inputs.
        MissingBackendError: D1.
        LostDeviceError: D1, a device that was lost before anything had arrived.
    """
    paths = paths_of(artifacts, baseline)
    held = _aligned({str(path): artifact_at(path) for path in paths}, progress)
    first = next(iter(held.values()))
    feeds = random_feeds(tuple(binding.reference for binding in first.inputs), seed=seed)
    progress.stage(f"measure latency on {', '.join(device.name for device in devices)}")
    outcomes = _all(
        devices, lambda device: _job(held, feeds, threads=threads or device.threads), progress=progress
    )
    if len(outcomes) == 1 and outcomes[0].error is not None:
        raise outcomes[0].error  # D1
    against = str(baseline) if baseline else str(paths[0])
    rows = [row for each in outcomes for row in _rows(each, against, judged=baseline is not None, seed=seed)]
    listed = tuple(_device_row(each) for each in outcomes)
    failures = tuple(
        FailedRow(failure.artifact, each.device.name, failure.kind, failure.what, failure.remedy)
        for each in outcomes
        if each.recording is not None
        for failure in each.recording.failures
    )
    code = _exit_code(rows, listed, failures)
    seen = ((each.device.name, each.recording.conditions) for each in outcomes if each.recording is not None)
    environments = tuple(environment_row(each, device=name) for name, each in seen if each is not None)
    return BenchResult(tuple(rows), machine_row(), code, listed, failures, environments)


def _aligned(held: Mapping[str, Artifact], progress: Progress) -> dict[str, Artifact]:
    """All artifacts in terms of the first; as ``bench`` does it with open sessions."""
    first = next(iter(held.values()))
    inputs = [binding.reference for binding in first.inputs]
    outputs = [binding.reference for binding in first.outputs]
    found = {}
    for name, artifact in held.items():
        aligned, notes = in_terms_of(artifact, inputs, outputs)
        for note in notes:
            progress.note(f"{name}: {note}")
        own = {binding.reference.name: binding.reference.dtype for binding in aligned.inputs}
        wanted = {spec.name: spec.dtype for spec in inputs}
        if own != wanted:
            raise InputError(
                f"{name} takes {own}, and {next(iter(held))} takes {wanted}",
                why="they are measured on the same inputs",
                remedy="name artifacts of one model",
            )
        found[name] = aligned
    return found


def _job(held: Mapping[str, Artifact], feeds: Feeds, *, threads: int | None) -> Job:
    return Job(tuple(_job_artifact(name, artifact, feeds, threads) for name, artifact in held.items()))


def _job_artifact(name: str, artifact: Artifact, feeds: Feeds, threads: int | None) -> JobArtifact:
    return JobArtifact(
        name=name,
        files={entry.path: artifact.folder / entry.path for entry in artifact.files},
        hashes={entry.path: entry.sha256 for entry in artifact.files},
        backend=artifact.backend,
        threads=threads or artifact.options.threads,
        device=artifact.options.device,
        settings=artifact.options.settings,
        inputs=artifact_from_reference(feeds, artifact.inputs),
    )


def _all(
    devices: Sequence[NamedDevice], job_for: Callable[[NamedDevice], Job], *, progress: Progress
) -> list[_Outcome]:
    """Every device in a thread of its own. An interrupt ends what runs there and cleans up."""
    opened: list[Device] = []
    with ThreadPoolExecutor(max_workers=max(1, len(devices))) as pool:
        try:
            running = [pool.submit(_one, device, job_for(device), opened) for device in devices]
            outcomes = []
            for device, future in zip(devices, running, strict=True):
                outcomes.append(future.result())
                progress.note(f"{device.name}: {_device_row(outcomes[-1]).status}")
        except BaseException:
            for each in opened:
                each.close()
            raise
    return outcomes


def _one(named: NamedDevice, job: Job, opened: list[Device]) -> _Outcome:
    """Measure on one device; an error of the user's is raised, one of the device's is its outcome."""
    options = named.options
    if named.address.kind == "local" and options.python == "python3":
        options = replace(options, python=sys.executable)  # this environment, as without --device
    try:
        with open_device(named.address, options) as device:
            opened.append(device)
            if options.benchmark_model is not None:
                events = benchmark_model.events(device, job, options.benchmark_model, limit_s=options.limit_s)
                return _Outcome(named, device_job.recorded(events))
            return _Outcome(named, device_job.record(device, job, options))
    except InputError:
        raise
    except EdgekitError as error:
        return _Outcome(named, None, error)


def _rows(outcome: _Outcome, baseline: str, *, judged: bool, seed: int) -> list[BenchRow]:
    recording = outcome.recording
    if recording is None or not recording.rounds:
        return []
    found = summarize(recording.rounds, recording.warnings, baseline=baseline, seed=seed)
    return [
        replace(
            row_of(found, name, describe(recording.facts[name]), judged=judged),
            device=outcome.device.name,
            memory_bytes=recording.peak_bytes.get(name),
        )
        for name in recording.rounds
    ]


def _device_row(outcome: _Outcome) -> DeviceRow:
    if outcome.recording is None:
        error = outcome.error
        what = f"{error.what} ({error.why})" if error and error.why else str(error.what if error else "")
        missing = isinstance(error, MissingBackendError)
        return DeviceRow(
            outcome.device.name, "missing" if missing else "incomplete", what, error.remedy if error else ""
        )
    reason = outcome.recording.incomplete
    said = outcome.recording.machine
    facts = {key: _word(value) for key, value in said.items() if key not in _COUNTED}
    at_end = said.get("at_end", {})
    facts.update({f"{key} at the end": _word(value) for key, value in at_end.items() if key not in _COUNTED})
    return DeviceRow(
        outcome.device.name,
        "incomplete" if reason else "complete",
        reason,
        "run it again; what had arrived is in the rows" if reason else "",
        {key.replace("_", " "): value for key, value in facts.items() if value},
    )


def _word(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return "" if value is None else str(value)


def _exit_code(
    rows: Sequence[BenchRow], devices: Sequence[DeviceRow], failures: Sequence[FailedRow]
) -> ExitCode:
    codes = {exit_code_of(rows), *(_OF_FAILURE[each.kind] for each in failures)}
    if any(each.status == "missing" for each in devices):
        codes.add(ExitCode.BACKEND_MISSING)
    if any(each.status == "incomplete" for each in devices):
        codes.add(ExitCode.INCONCLUSIVE)
    return next((code for code in _GRAVEST_FIRST if code in codes), ExitCode.OK)
