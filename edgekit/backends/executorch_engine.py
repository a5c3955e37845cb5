""".pte file -> a method of ExecuTorch's runtime, inside the worker.

    bind:    feeds as tensors over the same memory
    invoke:  the method: the delegates and what lies between them
    fetch:   outputs as arrays

A program of this target lets XNNPACK compute. Kernels outside of the delegate are an error when the file
is opened, unless the setting ``executorch.portable`` is "allow"; facts "delegates" and "outside" say what is
there. Threads are those of the process's one pool. The pip runtime writes an ETDump on request: what really
ran (``executed``, ``profile``) comes from a second method that writes one (``executorch_trace``).

Source: docs.pytorch.org/executorch, "Runtime Python API reference" and "ETDump".
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import drafts
from edgekit.backends import profiling
from edgekit.backends.executorch_file import XNNPACK, Calls, calls_of
from edgekit.backends.executorch_program import LARGEST, checked, imported
from edgekit.backends.executorch_trace import Event, events_of, executed_in, kernels_of
from edgekit.backends.installed import installed_version
from edgekit.errors import EdgekitError, InputError, MissingBackendError, ModelFileError
from edgekit.spec import PORTABLE, Profile, RunOptions

if TYPE_CHECKING:
    from edgekit.spec import Array

_METHOD = "forward"


class ExecuTorchEngine:
    """``backends.engine.Engine`` for ``.pte`` files on the CPU."""

    def __init__(
        self, path: Path, options: RunOptions, input_names: list[str], output_names: list[str]
    ) -> None:
        settings = checked(dict(options.settings))
        calls = calls_of(path)  # before native code sees the file
        hold_to_delegate(path, calls, allowed=settings[PORTABLE] == "allow")
        self._torch, self._native = _loaded()
        native = self._native
        if not native._is_available(XNNPACK):
            raise MissingBackendError(
                "this ExecuTorch is built without XNNPACK",
                why="the target's artifacts are computed by it",
                remedy='pip install --force-reinstall "executorch"',
            )
        native._unsafe_reset_threadpool(options.threads)
        self._path, self._largest = path, int(settings[LARGEST])
        self._inputs, self._outputs = input_names, output_names
        self._program = self._opened(path)
        self._method = self._program.load_method(_METHOD)
        self._feeds: list[Any] = []
        self._results: Sequence[Any] = ()
        self.facts = {
            "runtime": "executorch",
            "version": installed_version("executorch"),
            "device": options.device,
            "threads": str(native._threadpool_get_thread_count()),
            "delegates": ", ".join(f"{name} {many}" for name, many in calls.delegates.items()),
            "outside": calls.portable or "nothing",
        }

    @classmethod
    def prepare(cls) -> None:
        """Load the runtime."""
        _loaded()

    def bind(self, feeds: Mapping[str, Array]) -> None:
        """The arrays are used in place."""
        self._feeds = [self._torch.from_numpy(feeds[name]) for name in self._inputs]

    def place(self, results: Mapping[str, Array]) -> bool:
        """Outputs are allocated by the runtime."""
        return False

    def invoke(self) -> None:
        """One inference.

        Raises:
            InputError: an open size is larger than the file's bound.
        """
        try:
            self._results = self._method(self._feeds)
        except RuntimeError as error:
            if any(max(each.shape, default=0) > self._largest for each in self._feeds):
                raise InputError(
                    f"ExecuTorch refuses the inputs: an open size may be {self._largest} at most",
                    why=str(error),
                    remedy=f"feed smaller batches, or raise {LARGEST} in [run.settings] of a target file",
                ) from error
            raise

    def fetch(self) -> dict[str, Array]:
        """Copies of the outputs."""
        return {
            name: each.detach().numpy().copy()
            for name, each in zip(self._outputs, self._results, strict=True)
        }

    def executed(self) -> list[dict[str, Any]]:
        """What ran in one inference, by the runtime's own events."""
        _, recorded = self._traced(0)
        return [asdict(row) for row in executed_in(recorded[0])]

    def profile(self, runs: int) -> dict[str, Any]:
        """Every kernel with its times, from a second method that runs in turn with this one."""
        times, recorded = self._traced(runs)
        clock = "ExecuTorch's ETDump; whole microseconds inside XNNPACK"
        kernels = kernels_of(recorded[-runs:])
        return asdict(Profile(kernels, tuple(times[0]), tuple(times[1]), clock))

    def _traced(self, runs: int) -> tuple[tuple[list[float], list[float]], list[list[Event]]]:
        """Plain and traced times of ``runs`` inferences in turn, and the events of all, one at least."""
        if not self._feeds:
            raise EdgekitError("the engine has no feeds: 'time' or 'run' comes first")
        program = self._opened(self._path, trace=True)
        method = program.load_method(_METHOD)
        for _ in range(profiling.WARM_UP if runs else 1):
            method(self._feeds)
        times = profiling.in_turn(self.invoke, lambda: method(self._feeds), runs)
        with drafts.temporary("edgekit-profile-") as folder:
            written = folder / "events.etdp"
            program.write_etdump_result_to_file(str(written), str(folder / "debug.bin"))
            if not written.is_file():
                raise EdgekitError("this ExecuTorch is built without its event tracer")
            return times, events_of(written)

    def _opened(self, path: Path, *, trace: bool = False) -> Any:
        try:
            return self._native._load_program(
                str(path),
                enable_etdump=trace,
                debug_buffer_size=0,
                program_verification=self._native.Verification.InternalConsistency,
            )
        except RuntimeError as error:
            raise ModelFileError(
                f"{path.name} is not a readable ExecuTorch program",
                why=str(error),
                remedy="compile it again, or copy it again and compare its hash",
            ) from error


def hold_to_delegate(path: Path, calls: Calls, *, allowed: bool) -> None:
    """Refuse a file in which XNNPACK computes nothing, or not everything.

    Raises:
        ModelFileError: kernels lie outside of the delegate, and nobody has allowed it.
    """
    if XNNPACK in calls.delegates and not (calls.kernels and not allowed):
        return
    what = "nothing of it" if XNNPACK not in calls.delegates else f"not all of it: {calls.portable}"
    if XNNPACK not in calls.delegates and allowed and calls.kernels:
        return
    raise ModelFileError(
        f"XNNPACK computes {what} in {path.name}",
        why="ExecuTorch's portable kernels are single loops without vectors, many times slower",
        remedy="compile it with edgekit, or write allow_fallback = true in its [[target]] table",
        more="docs/executorch.md",
    )


def _loaded() -> tuple[Any, Any]:
    """PyTorch, and the module of ExecuTorch's native functions.

    ``portable_lib`` gives the same names, and imports the compiler for the class of one warning: 4 of 6
    seconds. On Windows it also sets the path of libraries.
    """
    torch = imported("torch")  # first: the native module takes its libraries from there
    package = "executorch.extension.pybindings"
    return torch, imported(f"{package}.{'portable_lib' if sys.platform == 'win32' else '_C'}")
