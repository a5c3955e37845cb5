"""Address -> Device: a folder on some machine, files into it, a command in it, and nothing left behind.

    with open_device(address, options) as device:  # open_device.py
        device.put({"job.json": ..., "a0/m.tflite": ...})
        for line in device.lines(["python3", "agent.py", "run", "job.json"], ...): ...

Three machines: this one (``device_local``), one over the system's ssh (``device_ssh``), one over adb
(``device_adb``). Nothing is installed on any of them, and the folder goes whatever happens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from edgekit.errors import EdgekitError, ExitCode

FOLDER_PREFIX = "edgekit-"
SILENCE_S = 30.0  # the agent shows life every 2 s; 15 missing signs are no accident
LIMIT_S = 900.0  # all of one device's run, unless the user says otherwise


@dataclass(frozen=True)
class DeviceOptions:
    """How to use a device.

    Attributes:
        python: the interpreter there; its environment has NumPy and the runtime.
        ssh_options: ``KEY=VALUE`` as ssh -o takes them; what edgekit itself sets goes first and stands.
        install: make a virtual environment in the folder with what is needed, by the device's own pip.
        benchmark_model: LiteRT's benchmark_model built for the device, for one without Python.
        limit_s: for all of it.
        emulated: whoever set it up says that no processor of the kind is there; its times are no measurement.
    """

    python: str = "python3"
    ssh_options: tuple[str, ...] = ()
    install: bool = False
    benchmark_model: Path | None = None
    limit_s: float = LIMIT_S
    emulated: bool = False


class LostDeviceError(EdgekitError):
    """A device went away, fell silent or took too long; what had arrived is kept by whoever was reading."""

    exit_code = ExitCode.INCONCLUSIVE


class Device(Protocol):
    """A machine with a fresh folder on it."""

    @property
    def folder(self) -> str:
        """The folder, once ``put`` made it."""

    def put(self, files: Mapping[str, Path | bytes]) -> None:
        """Copy files into a fresh folder; names are relative POSIX paths.

        Raises:
            MissingBackendError: there is no such device, or it lacks what edgekit needs to begin.
            LostDeviceError: it went away.
        """

    def lines(self, command: Sequence[str], *, silence_s: float, limit_s: float) -> Iterator[str]:
        """Lines of a command's standard output as they arrive; it runs in the folder.

        Raises:
            MissingBackendError: the command is not there.
            LostDeviceError: the connection broke, or a limit was passed.
            EdgekitError: the command failed by itself.
        """

    def close(self) -> None:
        """Remove the folder and end the connection; harmless when called twice."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...
