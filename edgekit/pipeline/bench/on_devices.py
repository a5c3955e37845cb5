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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.backends.bindings import artifact_from_reference
from edgekit.errors import EdgekitError, InputError, MissingBackendError
from edgekit.measure import benchmark_model, device_job, machine
from edgekit.measure.device_job import Job, JobArtifact, Recording
from edgekit.measure.device_list import NamedDevice
from edgekit.measure.devices import Device
from edgekit.measure.open_device import open_device
from edgekit.measure.referee import Referee
from edgekit.measure.replicate import MOST_LAUNCHES, Plan, Replicated, said_of
from edgekit.measure.timer import Comparison
from edgekit.pipeline.align import in_terms_of
from edgekit.pipeline.bench.environment import environment_row
from edgekit.pipeline.bench.failures import exit_code_of, failed_row
from edgekit.pipeline.bench.on_this_machine import paths_of, random_feeds, row_of
from edgekit.pipeline.bench.phases import memory_row, phases_row
from edgekit.pipeline.bench.size import size_row
from edgekit.pipeline.bench.sweep import NOT_HERE, Sweep, caveats, check_batch
from edgekit.pipeline.doctor import machine_row
from edgekit.pipeline.open import artifact_at
from edgekit.pipeline.result import BenchResult, BenchRow, DeviceRow, FailedRow
from edgekit.spec import Artifact, Feeds, Progress

# Counters since boot mean nothing by themselves: ``environments`` has what they grew by.
_COUNTED = {
    *("at_end", "at_s", "busy_s", "steal_s", "cpu_s", "own_s", "throttled_s", "throttled_periods"),
    *("thermal_events", "firmware_throttled", "swapped_in_pages", "temperature_limit_c"),
}


@dataclass(frozen=True)
class Outcome:
    """What became of one device: a recording, or the error that kept it from one."""

    device: NamedDevice
    recording: Recording | None
    error: EdgekitError | None = None
    referee: Referee | None = None


@dataclass(frozen=True)
class _Case:
    """One artifact under one group of conditions; ``threads`` None = as the device or the artifact says."""

    name: str
    artifact: Artifact
    feeds: Feeds
    batch: int
    threads: int | None
    cores: tuple[int, ...]
    under: str

    @property
    def key(self) -> str:
        """How the agent calls it."""
        return f"{self.name} at {self.under}" if self.under else self.name


def bench_on_devices(
    artifacts: Sequence[Path],
    *,
    devices: Sequence[NamedDevice],
    baseline: Path | None,
    sweep: Sweep,
    seed: int,
    progress: Progress,
) -> BenchResult:
    """Time every artifact under every group of ``sweep`` on every device, on the same seeded inputs.

    On a device all groups are interleaved: an artifact under other conditions is a process of its own.

    Raises:
        InputError: no artifact, one named twice, or artifacts that do not take the same inputs.
        MissingBackendError: D1.
        LostDeviceError: D1, a device that was lost before anything had arrived.
    """
    paths = paths_of(artifacts, baseline)
    held = {str(path): artifact_at(path) for path in paths}
    against = str(baseline) if baseline else ""
    return measure(held, devices=devices, against=against, sweep=sweep, seed=seed, progress=progress)


def measure(
    artifacts: Mapping[str, Artifact],
    *,
    devices: Sequence[NamedDevice],
    against: str,
    sweep: Sweep,
    seed: int,
    progress: Progress,
) -> BenchResult:
    """``bench_on_devices`` of artifacts by the names that results call them; ``against`` is one, or ""."""
    held = _aligned(artifacts, progress)
    cases, refused = _cases(held, sweep, seed=seed)
    progress.stage(f"measure latency on {', '.join(device.name for device in devices)}")
    groups = [[case for case in cases if (case.batch, case.threads) == group] for group in sweep.groups()]

    def refereed(device: NamedDevice) -> tuple[Job, Referee]:
        keys = [{case.name: case.key for case in group} for group in groups if group]
        plan = Plan(against, sweep.budget_s, seed)
        return _job(cases, sweep, threads=device.threads, seed=seed), Referee(keys, plan)

    outcomes = _all(devices, refereed, progress=progress)
    if len(outcomes) == 1 and outcomes[0].error is not None:
        raise outcomes[0].error  # D1
    rows = [row for each in outcomes for group in groups for row in _rows(each, group, against, seed=seed)]
    listed = tuple(device_row(each) for each in outcomes)
    failures = (*refused, *(row for each in outcomes for row in _failures(each, cases)))
    code = exit_code_of(rows, listed, failures)
    seen = ((each.device.name, each.recording.conditions) for each in outcomes if each.recording is not None)
    environments = tuple(environment_row(each, device=name) for name, each in seen if each is not None)
    return BenchResult(tuple(rows), machine_row(), code, listed, failures, environments)


def _cases(
    held: Mapping[str, Artifact], sweep: Sweep, *, seed: int
) -> tuple[list[_Case], tuple[FailedRow, ...]]:
    """Every artifact under every group of conditions that it takes, and why not the others."""
    cases: list[_Case] = []
    refused: list[FailedRow] = []
    for batch, threads in sweep.groups():
        under, able = sweep.named(batch, threads), dict[str, Artifact]()
        for name, artifact in held.items():
            try:
                check_batch(artifact, batch)
                able[name] = artifact
            except InputError as error:
                refused.append(failed_row(name, error, under=under))
        inputs = [binding.reference for each in list(able.values())[:1] for binding in each.inputs]
        feeds = random_feeds(tuple(inputs), seed=seed, batch=batch)
        cases += [_Case(name, each, feeds, batch, threads, sweep.cores, under) for name, each in able.items()]
    return cases, tuple(refused)


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


def _job(cases: Sequence[_Case], sweep: Sweep, *, threads: int | None, seed: int) -> Job:
    artifacts = tuple(_job_artifact(case, sweep.cores, threads) for case in cases)
    return Job(artifacts, launches=MOST_LAUNCHES, seed=seed)


def _job_artifact(case: _Case, cores: tuple[int, ...], threads: int | None) -> JobArtifact:
    artifact = case.artifact
    return JobArtifact(
        name=case.key,
        files={entry.path: artifact.folder / entry.path for entry in artifact.files},
        hashes={entry.path: entry.sha256 for entry in artifact.files},
        backend=artifact.backend,
        threads=case.threads or threads or artifact.options.threads,
        device=artifact.options.device,
        settings=artifact.options.settings,
        inputs=artifact_from_reference(case.feeds, artifact.inputs),
        cores=cores,
    )


def _all(
    devices: Sequence[NamedDevice],
    job_for: Callable[[NamedDevice], tuple[Job, Referee]],
    *,
    progress: Progress,
) -> list[Outcome]:
    """Every device in a thread of its own. An interrupt ends what runs there and cleans up."""
    opened: list[Device] = []
    with ThreadPoolExecutor(max_workers=max(1, len(devices))) as pool:
        try:
            running = [pool.submit(_one, device, *job_for(device), opened) for device in devices]
            outcomes = []
            for device, future in zip(devices, running, strict=True):
                outcomes.append(future.result())
                progress.note(f"{device.name}: {device_row(outcomes[-1]).status}")
        except BaseException:
            for each in opened:
                each.close()
            raise
    return outcomes


def _one(named: NamedDevice, job: Job, referee: Referee, opened: list[Device]) -> Outcome:
    """Measure on one device; an error of the user's is raised, one of the device's is its outcome."""
    options = named.options
    if named.address.kind == "local" and options.python == "python3":
        options = replace(options, python=sys.executable)  # this environment, as without --device
    try:
        with open_device(named.address, options) as device:
            opened.append(device)
            if options.benchmark_model is not None:
                events = benchmark_model.events(device, job, options.benchmark_model, limit_s=options.limit_s)
                recording = device_job.recorded(events, enough=referee.enough)
            else:
                recording = device_job.record(device, job, options, enough=referee.enough)
            return Outcome(named, recording, referee=referee)
    except InputError:
        raise
    except EdgekitError as error:
        return Outcome(named, None, error)


def _rows(outcome: Outcome, cases: Sequence[_Case], baseline: str, *, seed: int) -> list[BenchRow]:
    """Of the cases of one group that gave samples; a launch that broke off counts in no verdict."""
    recording, referee = outcome.recording, outcome.referee
    if recording is None or referee is None:
        return []
    ran = [case for case in cases if case.key in recording.samples]
    if not ran:
        return []
    run = Replicated(
        launches={case.name: list(recording.samples[case.key].values()) for case in ran},
        warnings={case.name: said_of(recording.settled.get(case.key, [])) for case in ran},
        decisions=referee.decisions({case.name: case.key for case in cases}),
        launch_s=referee.launch_s,
    )
    found = run.comparison(baseline=baseline, seed=seed)
    return [_row(case, found, outcome, launch_s=run.launch_s, judged=baseline != "") for case in ran]


def _row(case: _Case, found: Comparison, outcome: Outcome, *, launch_s: float, judged: bool) -> BenchRow:
    recording = outcome.recording
    assert recording is not None  # noqa: S101  _rows has looked
    facts = recording.facts[case.key]
    row = row_of(found, case.name, facts, launch_s=launch_s, judged=judged)
    peak = recording.peak_bytes.get(case.key)
    threads = int(facts.get("threads", "0"))
    return replace(
        row,
        device=outcome.device.name,
        memory_bytes=peak,
        batch=case.batch,
        threads=threads,
        cores=facts.get("cores", ""),
        throughput_per_s=1000 * case.batch / row.latency.p50_ms,
        phases=phases_row(recording.launches.get(case.key, [])),
        memory=memory_row(recording.launches.get(case.key, []), peak_bytes=peak),
        size=size_row(case.artifact),
        caveats=(
            *caveats(case.cores, threads, facts.get("cores", ""), system=NOT_HERE),
            *_emulated(outcome),
        ),
    )


def emulated(outcome: Outcome) -> str:
    """By what the device's processor is emulated; "" = it is not, as far as anybody says."""
    said = str(outcome.recording.machine.get("emulated", "")) if outcome.recording else ""
    return said or ("as devices.toml says" if outcome.device.options.emulated else "")


def _emulated(outcome: Outcome) -> tuple[str, ...]:
    by = emulated(outcome)
    return (f"emulated by {by}: not a measurement",) if by else ()


def _failures(outcome: Outcome, cases: Sequence[_Case]) -> Iterator[FailedRow]:
    """What failed on one device, under the artifact's own name."""
    by_key = {case.key: case for case in cases}
    for failure in outcome.recording.failures if outcome.recording else ():
        case = by_key.get(failure.artifact)
        name, under = (case.name, case.under) if case else (failure.artifact, "")
        reason = f"at {under}: {failure.what}" if under else failure.what
        yield FailedRow(name, outcome.device.name, failure.kind, reason, failure.remedy)


def device_row(outcome: Outcome) -> DeviceRow:
    """How it went there, and what it said of itself."""
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
    facts["emulated"] = emulated(outcome)
    return DeviceRow(
        outcome.device.name,
        "incomplete" if reason else "complete",
        reason,
        "run it again; what had arrived is in the rows" if reason else "",
        {key.replace("_", " "): value for key, value in facts.items() if value},
        machine.key_of(said) if "cpu" in said else "",
    )


def _word(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return "" if value is None else str(value)
