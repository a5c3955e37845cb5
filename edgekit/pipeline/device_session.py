"""Artifact x device -> Session: inferences on another machine, through the agent that travels there.

    feeds --check, convert--> batches --device_replay--> outputs --convert--> outputs in the reference's terms

For replaying vectors, not for timing: each ``run_each`` is a connection, a copy and a process there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from edgekit import target as targets
from edgekit.backends.bindings import artifact_from_reference, check_feeds, reference_from_artifact
from edgekit.errors import InputError, MissingBackendError, UnknownNameError
from edgekit.measure import device_replay
from edgekit.measure.device_list import NamedDevice
from edgekit.measure.device_replay import Replayed
from edgekit.measure.devices import DeviceOptions
from edgekit.measure.open_device import open_device
from edgekit.spec import Array, Artifact, Feeds, TensorSpec

_SAME = {"arm64": "aarch64", "amd64": "x86_64"}  # macOS and Windows -> as Linux says it


class DeviceSession:
    """``spec.Session`` on a device; ``seen`` is what the device said of itself, once something ran."""

    def __init__(self, artifact: Artifact, named: NamedDevice) -> None:
        self._artifact, self._named = artifact, named
        if named.options.benchmark_model is not None:
            raise InputError(
                f"{named.name} is driven through benchmark_model",
                why="it gives times and no outputs, so nothing can be compared",
                remedy="name a Python on the device with --python",
                more="docs/devices.md",
            )
        self.seen: Replayed | None = None

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What ``run`` takes, in the reference's names, layouts and types."""
        return tuple(binding.reference for binding in self._artifact.inputs)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What ``run`` gives, likewise."""
        return tuple(binding.reference for binding in self._artifact.outputs)

    @property
    def facts(self) -> Mapping[str, str]:
        """What ran there; empty before something did."""
        return dict(self.seen.facts) if self.seen else {}

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """One batch."""
        return self.run_each([feeds])[0]

    def run_each(self, batches: Sequence[Feeds]) -> list[dict[str, Array]]:
        """Batches of one shape, over one connection and in one process.

        Raises:
            MissingBackendError: the device, its runtime or the processor that the target is for is missing.
            LostDeviceError: it went away.
            BackendCrashError: native code died there.
            InputError: the runtime there refuses the file.
        """
        for feeds in batches:
            check_feeds(feeds, self.inputs)
        fed = [artifact_from_reference(feeds, self._artifact.inputs) for feeds in batches]
        options = options_of(self._named)
        with open_device(self._named.address, options) as device:
            found = device_replay.replay(device, self._artifact, fed, options)
        check_processor(self._artifact, found.machine, device=self._named.name)
        self.seen = found
        return [reference_from_artifact(each, self._artifact.outputs) for each in found.outputs]

    def time_ms(self, feeds: Feeds, *, runs: int) -> tuple[float, ...]:
        """Not here.

        Raises:
            InputError: always; ``bench --device`` measures.
        """
        del feeds, runs
        raise InputError(
            "this session is for replaying, not for timing",
            why="a connection lies between",
            remedy="edgekit bench ARTIFACT --device DEVICE",
        )

    def close(self) -> None:
        """Nothing stays open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def options_of(named: NamedDevice) -> DeviceOptions:
    """How the device is used; on this machine in this environment, unless another Python is named."""
    if named.address.kind == "local" and named.options.python == "python3":
        return replace(named.options, python=sys.executable)
    return named.options


def check_processor(artifact: Artifact, machine: Mapping[str, object], *, device: str) -> None:
    """Whether the device has the processor that the artifact's target is for.

    Raises:
        MissingBackendError: it has another one.
    """
    wanted = _architecture(artifact.target)
    found = str(machine.get("architecture", ""))
    if wanted and _SAME.get(found.lower(), found) != wanted:
        raise MissingBackendError(
            f"{device} is {found or 'an unnamed processor'}, and {artifact.target} is for {wanted}",
            why="another processor would prove another thing",
            remedy=f"name a device that is {wanted}",
        )


def _architecture(target: str) -> str:
    try:
        return targets.load(target).architecture
    except UnknownNameError:  # a target file of the user's own
        return ""
