"""`verify`: bundle -> re-hashed, and replayed on every runtime that is here, or on a device.

On a device every target of the bundle is replayed that has its runtime there and is for its processor; others
are "not run", with the reason. Where none could be, the first reason is the error: nothing was verified.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgekit import target as targets_
from edgekit.bundle import verify as bundles
from edgekit.bundle.check import Check
from edgekit.bundle.sign import Origin
from edgekit.errors import MissingBackendError, UnknownNameError
from edgekit.measure.device_list import NamedDevice
from edgekit.measure.device_ssh import option_arguments
from edgekit.pipeline.device_session import DeviceSession
from edgekit.pipeline.open import open_artifact
from edgekit.pipeline.proof import Place, open_at, where
from edgekit.pipeline.result import VerifyResult, VerifyRow
from edgekit.pipeline.result.verify import DeviceFacts
from edgekit.spec import Artifact, Progress, Session

_FACTS = ("emulated", "cpu", "architecture", "features", "os", "python")


def verify(
    bundle: Path,
    *,
    targets: tuple[str, ...],
    progress: Progress,
    origin: Origin | None = None,
    device: NamedDevice | None = None,
) -> VerifyResult:
    """Check ``bundle``, a folder or an archive; a difference is in the result's exit code (8).

    Args:
        bundle: its path.
        targets: that must be replayed; none = all that can be.
        progress: is told what runs.
        origin: who must have signed; None = corruption is found, and no forgery.
        device: where to replay; None = here.

    Raises:
        InputError: there is no such bundle, or the key of ``origin`` is none.
        MissingBackendError: a target that was asked for by name cannot run, or none can on the device.
        LostDeviceError: the device went away.
    """
    if device is not None:
        return _on_device(bundle, device, targets=targets, progress=progress, origin=origin)

    def opened(artifact: Artifact) -> Session:
        progress.note(f"replaying golden vectors on {artifact.target}")
        place = _place(artifact)
        return open_artifact(artifact) if place is None else open_at(artifact, place)

    def stand_in(artifact: Artifact) -> str:
        place = _place(artifact)
        return "" if place is None else place.caveat

    progress.stage(f"verify {bundle}")
    found = bundles.verify(
        bundle, open_artifact=opened, targets=targets or None, origin=origin, stand_in=stand_in
    )
    return _result(found, bundle)


def _place(artifact: Artifact) -> Place | None:
    """Where it can run here; None where the target is a file of the user's own: the manifest says all."""
    try:
        target = targets_.load(artifact.target)
    except UnknownNameError:
        return None
    return where(target, artifact.options)


def _on_device(
    bundle: Path,
    device: NamedDevice,
    *,
    targets: tuple[str, ...],
    progress: Progress,
    origin: Origin | None,
) -> VerifyResult:
    sessions: list[DeviceSession] = []
    option_arguments(device.options.ssh_options)  # a wrong one is no difference of the bundle

    def opened(artifact: Artifact) -> Session:
        progress.note(f"replaying golden vectors of {artifact.target} on {device.name}")
        sessions.append(DeviceSession(artifact, device))
        return sessions[-1]

    progress.stage(f"verify {bundle} on {device.name}")
    found = bundles.verify(bundle, open_artifact=opened, targets=targets or None, origin=origin)
    seen = [each.seen for each in sessions if each.seen is not None]
    not_run = [each for each in found.checks if each.name == "golden" and each.status == "not_run"]
    if not seen and found.ok and not_run:
        raise MissingBackendError(
            f"nothing was replayed on {device.name}: {not_run[0].subject}: {not_run[0].detail}",
            why="without a replay there the device is not verified",
            remedy="name a bundle with a target for this device, or the Python there that has its runtime: "
            "--python PATH",
            more="docs/devices.md",
        )
    said = seen[0].machine if seen else {}
    facts = {name: _words(said[name]) for name in _FACTS if said.get(name)}
    return replace(_result(found, bundle), device=DeviceFacts(device.name, facts))


def _result(found: bundles.Verification, bundle: Path) -> VerifyResult:
    said = [check for check in found.checks if check.name == "signature"]
    return VerifyResult(
        bundle,
        _rows(found.checks),
        found.exit_code,
        first_difference=found.first_difference,
        origin=said[0].detail if said else "",
    )


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _rows(checks: tuple[Check, ...]) -> tuple[VerifyRow, ...]:
    return tuple(VerifyRow(each.name, each.subject, each.status, each.detail) for each in checks)
