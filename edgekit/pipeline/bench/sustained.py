"""`bench --sustained` and `--energy`: an artifact, without a pause, on devices -> minutes, factor, joules.

    artifact --agent on each device, all at the same time--> Recording (turns) --> rows

This machine is a device too (``LocalDevice``): one program measures everywhere. An interrupt (Ctrl-C) ends
the agents, and what had arrived is the result, with exit code 130.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit.backends.bindings import artifact_from_reference
from edgekit.errors import EdgekitError, ExitCode, InputError
from edgekit.measure import device_job, energy, sustained
from edgekit.measure.device_address import Address
from edgekit.measure.device_job import Job, JobArtifact, Recording
from edgekit.measure.device_list import NamedDevice
from edgekit.measure.devices import Device, DeviceOptions
from edgekit.measure.open_device import open_device
from edgekit.measure.sustained import Plan, Turn
from edgekit.pipeline.bench.environment import environment_row
from edgekit.pipeline.bench.failures import exit_code_of
from edgekit.pipeline.bench.on_devices import Outcome, device_row
from edgekit.pipeline.bench.on_this_machine import random_feeds
from edgekit.pipeline.bench.sweep import Sweep, check_batch
from edgekit.pipeline.doctor import machine_row
from edgekit.pipeline.open import artifact_at
from edgekit.pipeline.proof import describe
from edgekit.pipeline.result import (
    BenchResult,
    EnergyRow,
    FactorRow,
    FailedRow,
    MinuteRow,
    SustainedResult,
    SustainedRow,
)
from edgekit.spec import Progress

ENERGY_S = 10.0  # a battery's gauge moves about once a second, RAPL a thousand times
SPARE_S = 300.0  # for copying and loading, beyond the minutes themselves
_LOOK_S = 0.2  # between two looks at what has arrived
_HERE = NamedDevice("", Address("local", "local"), DeviceOptions())


@dataclass(frozen=True)
class _Ran:
    """What all devices gave, and whether the user ended it."""

    outcomes: Sequence[Outcome]
    interrupted: bool


def sustain(
    artifact: Path,
    *,
    plan: Plan,
    devices: Sequence[NamedDevice],
    sweep: Sweep,
    seed: int,
    progress: Progress,
) -> SustainedResult:
    """Run ``artifact`` for ``plan`` on every device; () = on this machine.

    Raises:
        InputError: fewer than two minutes, or a device that is driven by benchmark_model.
        EdgekitError: the only device is not there, or nothing had arrived when it was interrupted.
    """
    if plan.minutes < sustained.LEAST_MINUTES:
        raise InputError(
            f"--sustained of {plan.minutes} minute is too short",
            why="the last minutes are compared with the first",
            remedy=f"--sustained {sustained.LEAST_MINUTES}m or more; 10m shows most of what heat does",
        )
    if len(list(sweep.groups())) > 1:
        raise InputError(
            "--sustained runs under one set of conditions",
            why="what runs second runs on a machine that the first has heated",
            remedy="give one number to --batch and to --threads",
        )
    progress.stage(f"run for {plan.minutes} minutes", total=plan.minutes)
    job = _job([artifact], plan, sweep, seed=seed)
    ran = _run(devices or (_HERE,), job, plan=plan, progress=progress)
    recordings = [(each.device.name, each.recording) for each in ran.outcomes if each.recording is not None]
    rows = tuple(
        _row(name, recording, str(artifact), plan=plan, seed=seed, interrupted=ran.interrupted)
        for name, recording in recordings
        if recording.turns.get(str(artifact))
    )
    if ran.interrupted and not rows:
        raise KeyboardInterrupt
    listed = tuple(device_row(each) for each in ran.outcomes) if devices else ()
    failures = tuple(row for name, recording in recordings for row in _failures(name, recording))
    code = exit_code_of((), listed, failures)
    if not devices and any(row.incomplete for row in rows) and code is ExitCode.OK:
        code = ExitCode.INCONCLUSIVE
    seen = ((name, recording.conditions) for name, recording in recordings)
    return SustainedResult(
        rows,
        machine_row(),
        plan.minutes,
        plan.minute_s,
        ExitCode.INTERRUPTED if ran.interrupted else code,
        listed,
        failures,
        tuple(environment_row(each, device=name) for name, each in seen if each is not None),
    )


def check_alone(artifacts: Sequence[Path], *, given: Mapping[str, object]) -> None:
    """What --sustained does not go with.

    Args:
        artifacts: to run.
        given: other flags by name; true where they were given.

    Raises:
        InputError: several artifacts or none, or another flag.
    """
    if len(artifacts) != 1:
        raise InputError(
            f"--sustained runs one artifact, and {len(artifacts) or 'none'} is named",
            why="what runs second runs on a machine that the first has heated",
            remedy="one after the other, with a pause between them",
        )
    if others := [name for name, value in given.items() if value]:
        raise InputError(
            f"--sustained and {others[0]} do not go together",
            why="it is another measurement with a result of its own",
            remedy=f"leave {others[0]} out, or measure that in a run of its own",
        )


def with_energy(
    result: BenchResult,
    *,
    devices: Sequence[NamedDevice],
    sweep: Sweep,
    seed: int,
    progress: Progress,
    plan: Plan | None = None,
) -> BenchResult:
    """``result`` with the energy of an inference of each of its artifacts, one after the other.

    Measured after the latencies, under the first conditions of ``sweep``: a rest, then ``ENERGY_S`` without
    a pause.
    """
    plan = plan or Plan(minutes=1, minute_s=ENERGY_S)
    names = list(dict.fromkeys(row.artifact for row in result.rows))
    if not names:
        return result
    progress.stage("measure energy")
    job = _job([Path(name) for name in names], plan, sweep, seed=seed)
    ran = _run(devices or (_HERE,), job, plan=plan, progress=progress)
    if ran.interrupted:
        raise KeyboardInterrupt
    rows = tuple(row for each in ran.outcomes for name in names for row in _energy_or_why(name, each))
    return replace(result, energy=rows)


def _energy_or_why(artifact: str, outcome: Outcome) -> tuple[EnergyRow, ...]:
    """A row in any case: an artifact that did not run, or a device that went, has its reason."""
    recording, device = outcome.recording, outcome.device.name
    if recording is not None and (rows := energy_rows(artifact, device, recording)):
        return rows
    failures = [each for each in recording.failures if each.artifact == artifact] if recording else []
    reason, remedy = "nothing had arrived", "run it again"
    if failures:
        reason, remedy = failures[0].what, failures[0].remedy or remedy
    elif outcome.error is not None:
        reason, remedy = outcome.error.what, outcome.error.remedy or remedy
    return (EnergyRow(artifact, device, "", "", None, None, None, 0.0, 0, f"not measured: {reason}", remedy),)


def energy_rows(artifact: str, device: str, recording: Recording) -> tuple[EnergyRow, ...]:
    """One row for each meter, or one that says why there is none."""
    turns, rest = recording.turns.get(artifact, []), recording.idle.get(artifact, [])
    if not turns:
        return ()
    runs = sum(turn.runs for turn in turns)
    seconds = sum(turn.seconds for turn in turns)
    readings = [*rest[-1:], *(turn.reading for turn in turns)]
    found = energy.spent(readings, idle=rest)
    if not found:
        reason, remedy = energy.why_none(readings)
        return (EnergyRow(artifact, device, "", "", None, None, None, seconds, runs, reason, remedy),)
    return tuple(
        EnergyRow(
            artifact,
            device,
            each.meter,
            each.scope,
            each.per_inference(runs),
            each.watts,
            each.idle_watts,
            each.seconds,
            runs,
        )
        for each in found
    )


def _job(paths: Sequence[Path], plan: Plan, sweep: Sweep, *, seed: int) -> Job:
    """As the agent wants it, under the first conditions of ``sweep``; every artifact gets its own inputs."""
    batch, threads = next(sweep.groups())
    return Job(
        tuple(_job_artifact(path, batch, threads, sweep.cores, seed=seed) for path in paths), sustained=plan
    )


def _job_artifact(
    path: Path, batch: int, threads: int | None, cores: tuple[int, ...], *, seed: int
) -> JobArtifact:
    artifact = artifact_at(path)
    check_batch(artifact, batch)
    inputs = tuple(binding.reference for binding in artifact.inputs)
    return JobArtifact(
        name=str(path),
        files={entry.path: artifact.folder / entry.path for entry in artifact.files},
        hashes={entry.path: entry.sha256 for entry in artifact.files},
        backend=artifact.backend,
        threads=threads or artifact.options.threads,
        device=artifact.options.device,
        settings=artifact.options.settings,
        inputs=artifact_from_reference(random_feeds(inputs, seed=seed, batch=batch), artifact.inputs),
        cores=cores,
    )


def _run(devices: Sequence[NamedDevice], job: Job, *, plan: Plan, progress: Progress) -> _Ran:
    """Every device in a thread of its own; progress is told by this one.

    Raises:
        InputError: a device without the agent.
        EdgekitError: of the only device.
    """
    for named in devices:
        if named.options.benchmark_model is not None:
            raise InputError(
                f"{named.name} is driven by benchmark_model, which runs no minutes",
                why="--sustained and --energy need the agent",
                remedy="name a Python of the device with --python",
            )
    opened: list[Device] = []
    heard: deque[tuple[str, Mapping[str, Any]]] = deque()
    limit_s = len(job.artifacts) * plan.seconds + SPARE_S
    interrupted = False
    with ThreadPoolExecutor(max_workers=len(devices)) as pool:
        running = [pool.submit(_one, each, job, limit_s, opened, heard.append) for each in devices]
        try:
            _follow(running, heard, progress)
        except KeyboardInterrupt:
            interrupted = True
            while wait(running, timeout=_LOOK_S).not_done:  # one that was still connecting is closed later
                for device in opened:
                    device.close()
    outcomes = [each.result() for each in running]
    if len(outcomes) == 1 and outcomes[0].error is not None and not interrupted:
        raise outcomes[0].error
    return _Ran(outcomes, interrupted)


def _follow(
    running: Sequence[Future[Outcome]], heard: deque[tuple[str, Mapping[str, Any]]], progress: Progress
) -> None:
    """Until all have ended; a minute counts when the first device begins the next one."""
    begun = 0
    while True:
        open_ones = wait(running, timeout=_LOOK_S).not_done
        while heard:
            _, event = heard.popleft()
            if event["event"] == "turn" and event["minute"] > begun:
                progress.advance(event["minute"] - begun)
                begun = event["minute"]
        if not open_ones:
            return


def _one(
    named: NamedDevice,
    job: Job,
    limit_s: float,
    opened: list[Device],
    hear: Callable[[tuple[str, Mapping[str, Any]]], None],
) -> Outcome:
    options = replace(named.options, limit_s=max(named.options.limit_s, limit_s))
    if named.address.kind == "local" and options.python == "python3":
        options = replace(options, python=sys.executable)  # this environment
    try:
        with open_device(named.address, options) as device:
            opened.append(device)
            kept = device_job.record(device, job, options, follow=lambda event: hear((named.name, event)))
            return Outcome(named, kept)
    except InputError:
        raise
    except EdgekitError as error:
        return Outcome(named, None, error)


def _row(
    device: str, recording: Recording, artifact: str, *, plan: Plan, seed: int, interrupted: bool
) -> SustainedRow:
    turns = recording.turns[artifact]
    found = sustained.factor(turns, minute_s=plan.minute_s, seed=seed)
    facts = recording.facts[artifact]
    return SustainedRow(
        artifact=artifact,
        device=device,
        ran_on=describe(facts),
        facts=facts,
        minutes=_minutes(turns, recording, artifact, minute_s=plan.minute_s),
        factor=FactorRow(found.value, found.low, found.high) if found else None,
        verdict=sustained.held(found),
        incomplete="interrupted" if interrupted else recording.incomplete,
        energy=energy_rows(artifact, device, recording),
    )


def _minutes(
    turns: Sequence[Turn], recording: Recording, artifact: str, *, minute_s: float
) -> tuple[MinuteRow, ...]:
    """With the power of each minute, from the reading that ended the one before."""
    rows = []
    last = recording.idle.get(artifact, [])[-1:]
    for minute in sustained.minutes(turns, minute_s=minute_s):
        readings = [turn.reading for turn in turns if turn.minute == minute.index]
        power = energy.spent([*last, *readings])
        last = readings[-1:]
        rows.append(
            MinuteRow(
                minute.index,
                minute.whole,
                minute.runs,
                minute.p50_ms,
                minute.p95_ms,
                minute.per_s,
                minute.frequency_mhz,
                minute.temperature_c,
                power[0].watts if power else None,
            )
        )
    return tuple(rows)


def _failures(device: str, recording: Recording) -> list[FailedRow]:
    return [
        FailedRow(each.artifact, device, each.kind, each.what, each.remedy) for each in recording.failures
    ]
