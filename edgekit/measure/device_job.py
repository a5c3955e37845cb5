"""Job x Device -> Recording: the agent's lines as they arrive, kept whatever happens afterwards.

    put(agent.py, job.json, artifacts, feeds) -> [install] -> run -> E1 ... E7 (``agent``) -> Recording

R1 all rounds of all artifacts arrived: complete · R2 an artifact failed: it is named, the others stand ·
R3 the device was lost: the samples until then stand, ``incomplete`` says why · R4 it was never reached: an
error · R5 a line that is not the agent's (a login banner) is passed over.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from edgekit.errors import EdgekitError, MissingBackendError
from edgekit.measure import agent
from edgekit.measure.conditions import Conditions, Reading, reading_of
from edgekit.measure.devices import SILENCE_S, Device, DeviceOptions, LostDeviceError
from edgekit.measure.launch import Launch
from edgekit.measure.machine import of_facts
from edgekit.measure.replicate import backwards
from edgekit.measure.sustained import Plan, Turn
from edgekit.spec import Array, to_json

Enough = Callable[["Recording"], bool]
FailureKind = Literal["missing", "error", "crash", "timeout"]
Event = Mapping[str, Any]
AGENT = "agent.py"
JOB = "job.json"
INSTALL_SILENCE_S = 600.0  # pip says nothing while it downloads and unpacks


@dataclass(frozen=True)
class JobArtifact:
    """One artifact in its own terms.

    Attributes:
        name: as results call it.
        files: path by name within the artifact's folder, the main file first.
        hashes: SHA-256 by the same names; the agent checks what arrived.
        backend: "onnxruntime", "litert" or "openvino".
        device: "cpu", "cuda" or "gpu".
        settings: as ``spec.RunOptions``.
        inputs: name and array of each input, in the artifact's names, layouts and types.
        cores: the only CPUs that it may run on; () = all.
    """

    name: str
    files: Mapping[str, Path]
    hashes: Mapping[str, str]
    backend: str
    threads: int
    device: str
    settings: tuple[tuple[str, str], ...]
    inputs: Mapping[str, Array]
    cores: tuple[int, ...] = ()


@dataclass(frozen=True)
class Job:
    """What a device is to measure; with ``sustained`` one artifact after the other, without rounds.

    Attributes:
        rounds: of each launch.
        launches: at most; whoever records may hang up earlier.
        seed: of the order within launches.
    """

    artifacts: tuple[JobArtifact, ...]
    rounds: int = agent.ROUNDS
    round_ms: float = agent.ROUND_MS
    sustained: Plan | None = None
    launches: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Failure:
    """An artifact that did not run to its end on a device."""

    artifact: str
    kind: FailureKind
    what: str
    remedy: str = ""


@dataclass
class Recording:
    """What arrived from one device.

    Attributes:
        machine: its facts, those at the end under "at_end".
        facts: by artifact: runtime, version, threads, kernels.
        launches: by artifact, what each of its processes said of its start.
        samples: by artifact and launch, samples in milliseconds by round, in the order in which they arrived.
        ended: launches that ran to their end.
        settled: by artifact, what each of its warm-ups complained about; "" = nothing.
        peak_bytes: by artifact, peak memory less what was held before; absent where not known.
        failures: R2.
        incomplete: R3, "" = complete.
        readings: of the machine since the rounds began (``conditions.Reading``).
        busiest: others' processes that used most of the CPU, with seconds.
        idle: by artifact, readings before its first turn.
        turns: by artifact, of a sustained run.
    """

    machine: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    launches: dict[str, list[Launch]] = field(default_factory=dict)
    samples: dict[str, dict[int, list[tuple[float, ...]]]] = field(default_factory=dict)
    ended: int = 0
    settled: dict[str, list[str]] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    incomplete: str = ""
    done: bool = False
    readings: list[Reading] = field(default_factory=list)
    busiest: tuple[tuple[str, float], ...] = ()
    idle: dict[str, list[Reading]] = field(default_factory=dict)
    turns: dict[str, list[Turn]] = field(default_factory=dict)

    @property
    def rounds(self) -> dict[str, list[tuple[float, ...]]]:
        """By artifact, all its rounds."""
        return {
            name: [each for index in sorted(launches) for each in launches[index]]
            for name, launches in self.samples.items()
        }

    @property
    def conditions(self) -> Conditions | None:
        """What the machine went through; None where the rounds did not begin."""
        if len(self.readings) < 2:
            return None
        return Conditions(tuple(self.readings), self.busiest, of_facts(self.machine))

    def take(self, event: Event) -> None:
        """Keep what one event says."""
        name = event.get("artifact", "")
        match event["event"]:
            case "start":
                self.machine.update(event["machine"])
            case "opened":
                self.facts[name] = dict(event["facts"])
                self.launches.setdefault(name, []).append(_launch(event))
            case "warm":
                warning = "" if event["settled"] else "the median did not settle during warm-up"
                self.settled.setdefault(name, []).append(warning)
            case "block":
                rounds = self.samples.setdefault(name, {}).setdefault(event["launch"], [])
                rounds.append(tuple(each / 1e6 for each in event["ns"]))
            case "failed":
                self.failures.append(Failure(name, event["kind"], event["what"], event["remedy"]))
            case "summary" | "launched":
                self.ended += 1
                self.machine["at_end"] = event["machine"]
                self.readings.append(reading_of(event["machine"]))
                self.busiest = tuple((name, seconds) for name, seconds in event.get("busiest", ()))
                self.peak_bytes.update({k: v for k, v in event["peak_bytes"].items() if v is not None})
                self.done = event["event"] == "summary"
            case "rounds":
                self.readings = [reading_of(event["machine"])]
            case "idle":
                self.idle.setdefault(name, []).append(reading_of(event["machine"]))
            case "turn":
                self.turns.setdefault(name, []).append(_turn(event))
            case "alive":
                if self.readings and "machine" in event:
                    self.readings.append(reading_of(event["machine"]))
            case _:  # what a newer agent may add
                pass


def record(
    device: Device,
    job: Job,
    options: DeviceOptions,
    *,
    follow: Callable[[Event], None] | None = None,
    enough: Enough | None = None,
) -> Recording:
    """Measure ``job`` on ``device``, until ``enough`` says so after a launch; ``follow`` hears every event.

    Raises:
        MissingBackendError: Python, NumPy or every runtime is missing there and nothing was measured.
        LostDeviceError: the device was lost before the agent said anything.
        EdgekitError: the agent could not start.
    """
    device.put(_files(job))
    python = installed(device, options) if options.install else options.python
    lines = device.lines([python, AGENT, "run", JOB], silence_s=SILENCE_S, limit_s=options.limit_s)
    with contextlib.closing(cast("Generator[str]", lines)):  # whoever stops reading hangs up
        return recorded(_heard(events_of(lines), follow), enough=enough)


def _heard(events: Iterable[Event], follow: Callable[[Event], None] | None) -> Iterator[Event]:
    for event in events:
        if follow is not None:
            follow(event)
        yield event


def recorded(events: Iterable[Event], *, enough: Enough | None = None) -> Recording:
    """R1 to R3 of events that may break off; after "launched" ``enough`` may end them."""
    kept = Recording()
    try:
        for event in events:
            kept.take(event)
            if event["event"] in {"launched", "summary"} and enough is not None and enough(kept):
                kept.done = True
                break
    except EdgekitError as error:
        if not kept.machine:  # R4: not even the agent's first line
            raise
        kept.incomplete = f"{error.what} ({error.why})" if error.why else error.what
    else:
        kept.incomplete = "" if kept.done else "the agent ended before it was done"
    return kept


def _turn(event: Event) -> Turn:
    return Turn(
        minute=event["minute"],
        seconds=event["seconds"],
        runs=event["runs"],
        samples_ms=tuple(each / 1e6 for each in event["ns"]),
        reading=reading_of(event["machine"]),
    )


def _launch(event: Event) -> Launch:
    return Launch(
        import_ms=event.get("import_ms"),
        load_ms=event["load_ms"],
        first_ms=event["first_ms"],
        baseline_bytes=event.get("baseline_bytes"),
        loaded_bytes=event.get("loaded_bytes"),
    )


def _files(job: Job) -> dict[str, Path | bytes]:
    files: dict[str, Path | bytes] = {AGENT: Path(agent.__file__)}
    for index, artifact in enumerate(job.artifacts):
        files.update({f"a{index}/{name}": path for name, path in artifact.files.items()})
        files[f"a{index}/{_FEEDS}"] = npz(artifact.inputs.values())
    files[JOB] = json.dumps(_document(job)).encode()
    return files


_FEEDS = "edgekit-feeds.npz"
_DRAWN = 1000  # launches whose order is in the job; later ones alternate


def npz(arrays: Iterable[Array]) -> bytes:
    """As the agent reads them: arr_0, arr_1, ..."""
    held = io.BytesIO()
    np.savez(held, *arrays)
    return held.getvalue()


def _document(job: Job) -> dict[str, Any]:
    return {
        "rounds": job.rounds,
        "launches": job.launches,
        "backwards": [backwards(index, seed=job.seed) for index in range(min(job.launches, _DRAWN))],
        "round_ms": job.round_ms,
        "life_line": True,
        "remove": True,
        "sustained": to_json(job.sustained),
        "artifacts": [
            {
                "name": each.name,
                "file": f"a{index}/{next(iter(each.files))}",
                "sha256": {f"a{index}/{name}": digest for name, digest in each.hashes.items()},
                "feeds": f"a{index}/{_FEEDS}",
                "backend": each.backend,
                "threads": each.threads,
                "device": each.device,
                "cores": list(each.cores),
                "settings": [list(pair) for pair in each.settings],
                "inputs": [
                    {"name": name, "dtype": array.dtype.name, "shape": list(array.shape)}
                    for name, array in each.inputs.items()
                ],
            }
            for index, each in enumerate(job.artifacts)
        ],
    }


def installed(device: Device, options: DeviceOptions) -> str:
    """The interpreter of the environment that the agent made."""
    command = [options.python, AGENT, "install", JOB]
    for event in events_of(device.lines(command, silence_s=INSTALL_SILENCE_S, limit_s=options.limit_s)):
        if event["event"] == "installed":
            return str(event["python"])
        if event["event"] == "failed":
            raise MissingBackendError(
                "the runtime could not be installed on the device",
                why=event["what"],
                remedy="install it there yourself, and name that Python with --python",
                more="docs/devices.md",
            )
    raise LostDeviceError("the device ended while it installed", why="its pip gave no result")


def events_of(lines: Iterable[str]) -> Iterator[Event]:
    """The agent's lines as events; R5."""
    for line in lines:
        if not line.startswith("{"):
            continue  # R5
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("edgekit") == agent.PROTOCOL:
            yield event
