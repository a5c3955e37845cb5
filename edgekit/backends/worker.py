"""Artifact --open_worker--> Session: a native runtime in a process of its own.

    run:      feeds --check, convert--> shared memory --engine--> shared memory --convert--> outputs
    time_ms:  feeds --check, convert--> shared memory --engine.bind-->  runs x clock(engine.invoke)

A crash of native code becomes a BackendCrashError with the artifact's name and costs nothing in speed,
because the clock runs inside the worker. The worker persists: opening is paid once.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from edgekit.backends import resident, shared_arrays, worker_pool
from edgekit.backends.bindings import artifact_from_reference, check_feeds, reference_from_artifact
from edgekit.backends.worker_process import WorkerProcess, closed_error
from edgekit.errors import InputError, ModelFileError
from edgekit.spec import (
    Artifact,
    Executed,
    Feeds,
    KernelTime,
    Profile,
    RunOptions,
    Session,
    TensorSpec,
    WatchedOptions,
)

if TYPE_CHECKING:
    from edgekit.spec import Array


RESULTS = ("results", "results of the second thread")  # roles of the blocks of shared memory


@dataclass(frozen=True)
class Memory:
    """Resident memory of a worker in bytes (``backends.resident``).

    Attributes:
        baseline_bytes: with the runtime loaded and no artifact: what the others are without.
        loaded_bytes: that opening the artifact added.
        peak_bytes: the most at once since then, loading included.
    """

    baseline_bytes: int | None
    loaded_bytes: int | None
    peak_bytes: int | None


def open_worker(engine: str, artifact: Artifact, options: RunOptions, *, own: bool = True) -> Session:
    """Load ``artifact`` in a worker.

    Args:
        engine: "module:Class" of a ``backends.engine.Engine``; imported in the worker only.
        artifact: what to load; its bindings say how its tensors map to the reference's.
        options: threads, device and settings for the engine.
        own: start a process for it. False: one that had a model before will do, and this one is kept for
            the next (``worker_pool``); for what is neither timed nor shipped.

    Raises:
        ModelFileError: the artifact's file is not there or cannot be read.
        MissingBackendError: the runtime or the device is not here.
        BackendCrashError: the runtime refused the file or died.
    """
    return WorkerSession(engine, artifact, options, own=own)


def call_in_worker(function: str, arguments: Mapping[str, Any], *, subject: str, doing: str) -> Any:
    """Call ``function`` ("module:name") with JSON-ready keyword arguments in a fresh worker.

    For native code that is no inference: a converter, a probe. Returns the function's JSON-ready result.

    Raises:
        BackendCrashError: the function raised, or its process died.
        EdgekitError: what the function raised on purpose, as the same class.
    """
    process = WorkerProcess(subject)
    try:
        return call_in(process, function, arguments, doing=doing)
    finally:
        process.close()


def call_in(process: WorkerProcess, function: str, arguments: Mapping[str, Any], *, doing: str) -> Any:
    """``call_in_worker`` in a process that is there; it lives on."""
    message = {"op": "call", "function": function, "arguments": dict(arguments)}
    return process.request(message, doing=doing)["value"]


def open_in(process: WorkerProcess, engine: str, artifact: Artifact, options: RunOptions) -> Session:
    """``open_worker`` in a process that is there and holds no model; the session's end is its end.

    Raises:
        ModelFileError, MissingBackendError, BackendCrashError: as ``open_worker``; it has ended then, too.
    """
    return WorkerSession(engine, artifact, options, process=process)


class WorkerSession:
    """spec.Session over a worker process. Made by ``open_worker``."""

    def __init__(
        self,
        engine: str,
        artifact: Artifact,
        options: RunOptions,
        *,
        own: bool = True,
        process: WorkerProcess | None = None,
    ) -> None:
        if not artifact.path.is_file():
            raise ModelFileError(
                f"artifact {artifact.path} is missing",
                why="there is nothing to open",
                remedy="compile it again, or check the folder",
            )
        self._artifact = artifact
        self._lock = threading.RLock()
        self._blocks: dict[str, SharedMemory] = {}
        self._reading = {role: threading.Lock() for role in RESULTS}
        watched = options if isinstance(options, WatchedOptions) else WatchedOptions()
        self._subject = subject = f"{artifact.path.name} ({artifact.backend})"
        self._own = own or watched is options
        if resident.is_large(artifact.path):  # beside what it takes, nothing that nobody uses
            if self._own and process is None:
                worker_pool.end()
            gc.collect()  # graphs are cycles: without it the arrays of those that were tried before stay
            resident.given_back()
        if process is not None:
            process.rename(subject)
            self._process = process
        elif self._own:
            self._process = WorkerProcess(subject, limit_s=watched.limit_s)
        else:
            self._process = worker_pool.take(subject)
        message = {
            "op": "open",
            "engine": engine,
            "path": str(artifact.path.absolute()),
            "threads": options.threads,
            "device": options.device,
            "settings": options.settings,
            "cores": watched.cores,
            "lean": watched.lean or not self._own,
            "inputs": [binding.name for binding in artifact.inputs],
            "outputs": [binding.name for binding in artifact.outputs],
        }
        try:
            reply = self._process.request(message, doing="loading it")
        except BaseException:
            self._process.close()
            raise
        self._facts: Mapping[str, str] = MappingProxyType(reply["facts"])
        self._load_ms: float = reply["load_ms"]
        self._import_ms: float | None = reply["import_ms"]
        self._first_ms: float | None = None
        self._ran = False
        self._closed = False

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
        """What really runs: "runtime", "version", "device", "threads", and "kernels" where known."""
        return self._facts

    @property
    def load_ms(self) -> float:
        """How long the engine took to load the file, without the start of the process."""
        return self._load_ms

    @property
    def import_ms(self) -> float | None:
        """How long its process took to load the runtime, before the file; None where the two are one step."""
        return self._import_ms

    @property
    def first_ms(self) -> float | None:
        """The first inference of its process; None until it was timed, and where ``run`` came before."""
        return self._first_ms

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Compute all outputs; the arrays are copies that the caller owns.

        Raises:
            DataError: the feeds do not fit the inputs; nothing was sent.
            BackendCrashError: the runtime raised or died; ``open`` starts a new one.
        """
        arrays = self._converted(feeds)
        self._ran = True
        with self._results_block() as role:
            with self._lock:
                layout = self._handed_over(arrays)
                message = {"op": "run", "feeds": layout, "into": role}
                reply = self._ask(message, doing="running it")
                if "needs" in reply:
                    self._grow(role, reply["needs"])
                    message = {"op": "fetch", "into": role}
                    reply = self._ask(message, doing="reading its outputs")
            # Outside: the worker may compute for another thread while this one copies.
            results = shared_arrays.read(self._blocks[role], reply["outputs"])
        return reference_from_artifact(results, self._artifact.outputs)

    @contextlib.contextmanager
    def _results_block(self) -> Iterator[str]:
        """A block of results that nobody reads. The second one exists only if two threads run at once."""
        first, second = (self._reading[role] for role in RESULTS)
        lock, role = (first, RESULTS[0]) if first.acquire(blocking=False) else (second, RESULTS[1])
        if lock is second:
            second.acquire()
        try:
            yield role
        finally:
            lock.release()

    def time_ms(self, feeds: Feeds, *, runs: int) -> tuple[float, ...]:
        """Milliseconds of ``runs`` consecutive inferences, timed inside the worker, conversion excluded.

        Raises:
            DataError: the feeds do not fit the inputs; nothing was sent.
            InputError: ``runs`` is less than 1.
            BackendCrashError: the runtime raised or died.
        """
        if runs < 1:
            raise InputError(f"runs = {runs}", why="a time needs one run at least", remedy="give runs >= 1")
        arrays = self._converted(feeds)
        with self._lock:
            layout = self._handed_over(arrays)
            message = {"op": "time", "feeds": layout, "runs": runs}
            reply = self._ask(message, doing="timing it")
        samples = tuple(nanoseconds / 1e6 for nanoseconds in reply["ns"])
        if not self._ran:
            self._ran, self._first_ms = True, samples[0]
        return samples

    def peak_memory_bytes(self) -> int | None:
        """The most memory that the worker held since it opened the artifact, less what it held before.

        The runtime itself was loaded before where its engine can (``Engine.prepare``). None where the system
        does not say it (``backends.resident``).
        """
        return self.memory().peak_bytes

    def memory(self) -> Memory:
        """What its process holds, in parts; each None where the system does not say it."""
        reply = self._ask({"op": "memory"}, doing="reading its memory")
        return Memory(reply["baseline"], reply["loaded"], reply["peak"])

    def executed(self) -> tuple[Executed, ...] | None:
        """The operators as the runtime runs them, on the last feeds; None where its engine cannot say."""
        with self._lock:
            rows = self._ask({"op": "executed"}, doing="asking what it runs")["rows"]
        if rows is None:
            return None
        return tuple(Executed(**{**row, "names": tuple(row["names"])}) for row in rows)

    def profile(self, feeds: Feeds, *, runs: int) -> Profile | None:
        """Every kernel with its times over ``runs`` inferences; None where its engine has no profiler.

        Raises:
            DataError: the feeds do not fit the inputs; nothing was sent.
            BackendCrashError: the runtime raised or died.
        """
        arrays = self._converted(feeds)
        with self._lock:
            message = {"op": "profile", "feeds": self._handed_over(arrays), "runs": runs}
            found = self._ask(message, doing="profiling it")["profile"]
        if found is None:
            return None
        kernels = tuple(
            KernelTime(**{**row, "names": tuple(row["names"]), "us": tuple(row["us"])})
            for row in found["kernels"]
        )
        return Profile(
            kernels,
            tuple(found["plain_us"]),
            tuple(found["profiled_us"]),
            found["clock"],
            tuple(found["notes"]),
        )

    def close(self) -> None:
        """End the worker, or keep it for another model; harmless when called twice."""
        idle = self._lock.acquire(
            blocking=False
        )  # else another thread waits for its answer: it gets an error
        try:
            closed, self._closed = self._closed, True
            if not closed:
                end = worker_pool.keep if idle and not self._own else WorkerProcess.close
                end(self._process)
        finally:
            if idle:
                self._lock.release()
        while self._blocks:
            self._blocks.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, message: Mapping[str, Any], *, doing: str) -> dict[str, Any]:
        """Ask the worker; never after ``close``, when it may be another session's."""
        with self._lock:
            if self._closed:
                raise closed_error(self._subject)
            return self._process.request(message, doing=doing)

    def _converted(self, feeds: Feeds) -> dict[str, Array]:
        check_feeds(feeds, self.inputs)
        return artifact_from_reference(feeds, self._artifact.inputs)

    def _handed_over(self, arrays: Mapping[str, Array]) -> list[dict[str, Any]]:
        """Put ``arrays`` into the block that the worker reads; returns their layout there."""
        if not arrays:
            return []
        size = shared_arrays.size_of(arrays)
        if "feeds" not in self._blocks or self._blocks["feeds"].size < size:
            self._grow("feeds", size)
        return shared_arrays.write(self._blocks["feeds"], arrays)

    def _grow(self, role: str, size: int) -> None:
        """Share a new block of ``size`` bytes with the worker in place of the old one."""
        block = shared_arrays.create(size)
        try:
            self._ask({"op": "attach", "role": role, "block": block.name}, doing="sharing memory with it")
        except BaseException:
            shared_arrays.release(block, unlink=True)
            raise
        block.unlink()  # both sides hold it now: no name, nothing to leak
        old = self._blocks.pop(role, None)
        self._blocks[role] = block
        if old is not None:
            old.close()
