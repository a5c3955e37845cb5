"""Engines for worker tests; imported inside the worker only. What they do is chosen by settings."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import MissingBackendError, UnknownNameError
from edgekit.spec import RunOptions

Array = npt.NDArray[np.generic]


class FakeEngine:
    """y = x repeated ``repeat`` times along axis 0; ``do`` says what else happens in ``invoke``."""

    def __init__(
        self, path: Path, options: RunOptions, input_names: list[str], output_names: list[str]
    ) -> None:
        settings = dict(options.settings)
        self._do = settings.get("do", "")
        self._repeat = int(settings.get("repeat", "1"))
        self._input, self._output = input_names[0], output_names[0]
        self._x: Array = np.zeros(0)
        self._y: Array = np.zeros(0)
        self._placed: npt.NDArray[Any] | None = None
        self.facts = {
            "runtime": "fake",
            "threads": str(options.threads),
            "content": path.read_text(),
            "modules": " ".join(sorted(sys.modules)),
            "ORT_DISABLE_TELEMETRY": os.environ.get("ORT_DISABLE_TELEMETRY", ""),
        }
        self._invoked = False
        if self._do == "sleep in open":
            time.sleep(60)
        if self._do.startswith("read "):  # megabytes, in pieces that the heap holds, of which the last stays
            self._kept = [b"x" * 2**16 for _ in range(16 * int(self._do.split()[1]))].pop()
        if self._do == "missing":
            raise MissingBackendError("no such device", why="none", remedy="buy one", more="shop")
        if self._do == "unknown":
            raise UnknownNameError("setting", "speling", ["spelling"], listing="edgekit targets")
        if self._do == "refuse":
            raise ValueError("line one\nline two of the runtime")

    def bind(self, feeds: Mapping[str, Array]) -> None:
        self._x, self._placed = feeds[self._input], None

    def place(self, results: Mapping[str, Array]) -> bool:
        if not self._do.startswith("place"):
            return False
        self._placed = results[self._output]
        return True

    def invoke(self) -> None:
        if self._do == "segfault":
            os.write(2, b"native code says: index 7 out of bounds\n")
            ctypes.string_at(0)
        if self._do == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._do == "print":
            os.write(1, b"native printf on descriptor 1\n")
            print("python print")
            sys.stdout.flush()
        self._invoked = True
        if self._do == "only batch 8" and len(self._x) != 8:
            raise RuntimeError(f"batch {len(self._x)}")
        if self._do == "sleep":
            time.sleep(60)
        if self._do == "raise":
            raise RuntimeError("kernel refuses this shape")
        if self._do == "read-stdin":
            assert os.read(0, 1) == b""
        self._y = np.concatenate([self._x] * self._repeat)
        if self._do == "place, but another shape":
            self._y = self._y[: max(1, int(self._x.flat[0]))]
        if self._placed is not None:
            if self._placed.shape != self._y.shape:
                raise RuntimeError("another shape than it was placed for")
            self._placed[...] = self._y
            self._y = np.full_like(self._y, np.nan)  # whoever fetches it now is wrong

    def fetch(self) -> dict[str, Array]:
        return {self._output: self._y}


def add(left: int, right: int) -> int:
    return left + right


def take_more_than_there_is() -> None:
    """Ask for a gibibyte where 256 MiB are left: as a machine whose memory is used up."""
    import resource

    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + (256 << 20), resource.RLIM_INFINITY))
    np.ones(1 << 30, np.uint8)


def vanish() -> None:
    os._exit(3)


class OwnClockEngine(FakeEngine):
    """A runtime that says itself how long it took: 5 ms at first, then 123 us, whatever a clock says."""

    def invoke(self) -> None:
        self._took_ns = 123_000.4 if self._invoked else 5_000_000.0
        super().invoke()

    def took_ns(self) -> float:
        return self._took_ns
