"""Artifact x batches x device -> outputs: what the device's runtime computes, and what it says of itself.

    put(agent.py, job.json, files, batches) -> [install] -> run -> E1, E2, E13 ... E7 (``agent``) -> Replayed

Nothing is timed. Q1 all batches came back · Q2 the agent named a failure: the runtime is missing, refuses the
file or dies · Q3 it ended, or was lost, before that.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.errors import BackendCrashError, EdgekitError, InputError, MissingBackendError
from edgekit.measure import agent
from edgekit.measure.device_job import AGENT, JOB, Event, events_of, installed, npz
from edgekit.measure.devices import SILENCE_S, Device, DeviceOptions, LostDeviceError
from edgekit.npz_file import read_npz
from edgekit.spec import Array, Artifact

Batch = Mapping[str, Array]
_ERRORS: Mapping[str, type[EdgekitError]] = {
    "missing": MissingBackendError,
    "crash": BackendCrashError,
    "timeout": LostDeviceError,
}


@dataclass
class Replayed:
    """What came back from one device.

    Attributes:
        machine: its facts; "emulated" says by what where it is no machine of its own.
        facts: of the session: runtime, version, device, threads, and what was placed where.
        outputs: of each batch, by the artifact's own output names.
    """

    machine: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    outputs: list[dict[str, Array]] = field(default_factory=list)


def replay(device: Device, artifact: Artifact, batches: Sequence[Batch], options: DeviceOptions) -> Replayed:
    """Run ``batches`` (arrays in the artifact's own names, layouts and types, all of one shape) there.

    Raises:
        MissingBackendError: Python, NumPy or the runtime is missing there.
        LostDeviceError: Q3.
        BackendCrashError: native code died there.
        InputError: the runtime there refuses the file.
    """
    device.put(_files(artifact, batches))
    python = installed(device, options) if options.install else options.python
    lines = device.lines([python, AGENT, "run", JOB], silence_s=SILENCE_S, limit_s=options.limit_s)
    found = _taken(events_of(lines), artifact)
    if options.emulated:
        found.machine["emulated"] = found.machine.get("emulated") or "as devices.toml says"
    return found


def _taken(events: Iterable[Event], artifact: Artifact) -> Replayed:
    found, pieces, done = Replayed(), [], False
    for event in events:
        match event["event"]:
            case "start":
                found.machine.update(event["machine"])
            case "opened":
                found.facts.update(event["facts"])
            case "outputs":
                pieces.append(base64.b64decode(event["npz"]))
                if event["last"]:
                    found.outputs.append(_arrays(b"".join(pieces), artifact))
                    pieces.clear()
            case "failed":  # Q2
                raise _ERRORS.get(event["kind"], InputError)(
                    event["what"],
                    why=f"so says the device's agent of {artifact.path.name}",
                    remedy=event["remedy"] or "edgekit bench ARTIFACT --device DEVICE says more",
                )
            case "summary":
                done = True
            case _:  # signs of life
                pass
    if not done:
        raise LostDeviceError(
            "the agent ended before it was done",
            why=f"{len(found.outputs)} batches of {artifact.path.name} had come back",
            remedy="run it again",
        )
    return found


def _arrays(content: bytes, artifact: Artifact) -> dict[str, Array]:
    stored = read_npz(io.BytesIO(content))
    return {binding.name: stored[f"arr_{index}"] for index, binding in enumerate(artifact.outputs)}


def _files(artifact: Artifact, batches: Sequence[Batch]) -> dict[str, Path | bytes]:
    names = [binding.name for binding in artifact.inputs]
    files: dict[str, Path | bytes] = {AGENT: Path(agent.__file__)}
    files.update({f"a0/{entry.path}": artifact.folder / entry.path for entry in artifact.files})
    fed = [f"a0/edgekit-batch-{index}.npz" for index in range(len(batches))]
    files.update({file: npz(batch[name] for name in names) for file, batch in zip(fed, batches, strict=True)})
    job = {
        "replay": True,
        "life_line": True,
        "remove": True,
        "artifacts": [
            {
                "name": artifact.path.name,
                "file": f"a0/{artifact.files[0].path}",
                "sha256": {f"a0/{entry.path}": entry.sha256 for entry in artifact.files},
                "feeds": fed[0],
                "batches": fed,
                "backend": artifact.backend,
                "threads": artifact.options.threads,
                "device": artifact.options.device,
                "settings": [list(pair) for pair in artifact.options.settings],
                "inputs": [
                    {
                        "name": name,
                        "dtype": batches[0][name].dtype.name,
                        "shape": list(batches[0][name].shape),
                    }
                    for name in names
                ],
                "outputs": [binding.name for binding in artifact.outputs],
            }
        ],
    }
    files[JOB] = json.dumps(job).encode()
    return files
