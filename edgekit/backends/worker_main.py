"""The worker process: requests on a pipe -> one engine -> replies on a pipe.

    {"op": "open", "engine": "module:Class", ...} -> {"facts": {...}, "import_ms": ..., "load_ms": ...}
    {"op": "attach", "role": role, "block": name} -> {}
    {"op": "run", "feeds": layout, "into": role} -> {"outputs": layout} or {"needs": bytes}
    {"op": "fetch", "into": role} -> {"outputs": layout} or {"needs": bytes}
    {"op": "time", "feeds": layout, "runs": n} -> {"ns": [...]}
    {"op": "memory"} -> {"baseline", "loaded", "peak": bytes or null where the system does not say}
    {"op": "executed"} -> {"rows": [...]} or {"rows": null} where the engine cannot say
    {"op": "profile", "feeds": layout, "runs": n} -> {"profile": {...}}, null where the engine has no profiler
    {"op": "prepare", "engine": "module:Class"} -> {}: the runtime alone
    {"op": "forget", "most": bytes} -> {}: the engine and the blocks go, the runtime stays; or it leaves
    {"op": "call", "function": "module:name", "arguments": {...}} -> {"value": ...}
    anything that raises -> {"error": {"type", "what", "why", "remedy", "more"}}

Roles name the blocks of shared memory: "feeds", and those of results, so that one can be read while the
engine fills another.

Native code prints where it likes: descriptor 1 is moved away before any of it is loaded, so that the pipe
carries frames only, and standard error goes to a file that the parent quotes from. The parent's end ends the
worker, in the middle of a computation too: a thread waits for the hang-up of the pipe (poll(2), POLLHUP).
Only NumPy and what the engine itself needs are imported here.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import os
import select
import signal
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

from edgekit.backends import affinity, resident, shared_arrays
from edgekit.backends.engine import Engine
from edgekit.backends.frames import read_frame, write_frame
from edgekit.errors import EdgekitError, TargetRefusalError
from edgekit.spec import RunOptions, to_json
from edgekit.write_errors import explained

Layout = list[dict[str, Any]]


def main() -> None:
    """Serve until the parent closes the pipe or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business; it closes the pipe
    requests, replies = _take_pipes()
    threading.Thread(target=_exit_with_parent, args=(requests.fileno(),), daemon=True).start()
    server = _Server()
    while True:
        try:
            message = read_frame(requests)
        except EOFError:
            break
        write_frame(replies, server.answer(message))
    os._exit(0)  # native libraries crash in their exit handlers often enough; nothing is left to flush


def _take_pipes() -> tuple[io.FileIO, io.FileIO]:
    """Move the protocol off descriptors 0 and 1, where native code could read and write."""
    requests, replies = io.FileIO(os.dup(0), "r"), io.FileIO(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _exit_with_parent(descriptor: int) -> None:
    """Wait until nobody holds the other end of the pipe, then end the process whatever it is doing."""
    if not hasattr(select, "poll"):  # Windows: the end of the request loop must do
        return
    hang_up = select.poll()
    hang_up.register(descriptor, 0)  # POLLHUP is always reported
    hang_up.poll()
    os._exit(0)


class _Server:
    """One engine and the blocks of shared memory that it is fed from and read into."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._blocks: dict[str, SharedMemory] = {}
        self._meter: resident.Meter | None = None
        self._loaded: int | None = None
        self._large = False
        self._seen: dict[str, tuple[Layout, Layout]] = {}  # of feeds and results, by block of results
        self._in_place = True
        self._operations = {
            "open": self._open,
            "prepare": self._prepare,
            "attach": self._attach,
            "run": self._run,
            "fetch": self._fetch,
            "time": self._time,
            "memory": self._memory,
            "executed": self._executed,
            "profile": self._profile,
            "call": self._call,
            "forget": self._forget,
        }

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._operations[message["op"]](message)
        except Exception as error:  # noqa: BLE001 - the edge of the process: an error becomes a reply
            with contextlib.suppress(OSError):  # the log's own disk may be full
                traceback.print_exc()
            return {"error": _described(error)}

    def _open(self, message: dict[str, Any]) -> dict[str, Any]:
        affinity.pin(message["cores"])  # first: a thread has the mask of the one that starts it
        engine_class = _imported(message["engine"])
        options = RunOptions(
            message["threads"], message["device"], tuple((name, value) for name, value in message["settings"])
        )
        import_ms = _prepared(engine_class)
        gc.collect()
        meter = getattr(engine_class, "meter", resident.Meter)
        self._meter = meter()
        path = Path(message["path"])
        self._large = resident.is_large(path)
        begin = time.perf_counter_ns()
        with self._lean(message["lean"]):
            engine: Engine = engine_class(path, options, message["inputs"], message["outputs"])
        load_ms = (time.perf_counter_ns() - begin) / 1e6
        gc.freeze()  # what is loaded now stays: later collections need not look at it
        self._engine = engine
        self._loaded = self._meter.held_bytes()
        if (self._loaded or 0) >= resident.LARGE_BYTES:  # what was read is freed, and glibc keeps it
            resident.given_back()
        facts = {**engine.facts, **({"cores": affinity.text()} if message["cores"] else {})}
        return {"facts": facts, "import_ms": import_ms, "load_ms": load_ms}

    def _lean(self, wanted: bool = True) -> contextlib.AbstractContextManager[None]:
        """What reading a large file frees goes back at once: where nobody tells what the loading took."""
        return resident.frees_at_once() if wanted and self._large else contextlib.nullcontext()

    def _prepare(self, message: dict[str, Any]) -> dict[str, Any]:
        _prepared(_imported(message["engine"]))
        return {}

    def _attach(self, message: dict[str, Any]) -> dict[str, Any]:
        block = shared_arrays.attach(message["block"])
        old = self._blocks.pop(message["role"], None)
        self._blocks[message["role"]] = block
        self._seen.pop(message["role"], None)
        if old is not None:
            old.close()
        return {}

    def _run(self, message: dict[str, Any]) -> dict[str, Any]:
        """Feeds like earlier ones have outputs like theirs, as a rule: those are written in place."""
        feeds, role = message["feeds"], message["into"]
        engine = self._bound(feeds)
        seen = self._seen.get(role)
        if self._in_place and seen is not None and seen[0] == feeds:
            if self._ran_in_place(engine, role, seen[1]):
                return {"outputs": seen[1]}
            self._in_place = False  # another shape once, another shape again
            engine = self._bound(feeds)
        engine.invoke()
        reply = self._fetch(message)
        if "outputs" in reply:
            self._seen[role] = (feeds, reply["outputs"])
        return reply

    def _ran_in_place(self, engine: Engine, role: str, results: Layout) -> bool:
        if not engine.place(shared_arrays.views(self._blocks[role], results)):
            return False
        try:
            engine.invoke()
        except Exception:  # noqa: BLE001 - where it is not the shape, the caller's own attempt says so
            return False
        return True

    def _fetch(self, message: dict[str, Any]) -> dict[str, Any]:
        arrays = self._opened().fetch()
        size = shared_arrays.size_of(arrays)
        block = self._blocks.get(message["into"])
        if block is None or block.size < size:
            return {"needs": size}
        return {"outputs": shared_arrays.write(block, arrays)}

    def _time(self, message: dict[str, Any]) -> dict[str, Any]:
        engine = self._bound(message["feeds"])
        invoke, clock = engine.invoke, time.perf_counter_ns
        own: Callable[[], float] | None = getattr(engine, "took_ns", None)
        samples = [0] * message["runs"]
        gc.collect()
        gc.disable()  # as timeit does: a collection is not part of an inference
        try:
            for index in range(len(samples)):
                begin = clock()
                invoke()
                passed = clock() - begin
                samples[index] = passed if own is None else round(own())
        finally:
            gc.enable()
        return {"ns": samples}

    def _memory(self, message: dict[str, Any]) -> dict[str, Any]:
        """What the runtime held, what opening added, and the most since then; None: not known."""
        del message
        meter = self._meter
        return {
            "baseline": meter.before if meter else None,
            "loaded": self._loaded,
            "peak": meter.taken_bytes() if meter else None,
        }

    def _executed(self, message: dict[str, Any]) -> dict[str, Any]:
        del message
        describe = getattr(self._opened(), "executed", None)
        with self._lean():  # it may open the model once more
            return {"rows": describe() if describe else None}

    def _profile(self, message: dict[str, Any]) -> dict[str, Any]:
        engine = self._bound(message["feeds"])
        profile = getattr(engine, "profile", None)
        return {"profile": profile(message["runs"]) if profile else None}

    def _call(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"value": _imported(message["function"])(**message["arguments"])}

    def _forget(self, message: dict[str, Any]) -> dict[str, Any]:
        """Leave where more than ``most`` bytes stay: a process that ends gives all of them back."""
        self._engine, self._meter, self._loaded = None, None, None
        self._seen.clear()
        self._in_place = True
        gc.unfreeze()
        gc.collect()  # first: a block cannot be closed while an array looks into it
        while self._blocks:
            self._blocks.popitem()[1].close()
        held = resident.given_back()
        if held is None or held > message["most"]:
            os._exit(0)
        return {}

    def _bound(self, layout: list[dict[str, Any]]) -> Engine:
        """The engine with copies of the feeds as its inputs: a block may go while the engine keeps them."""
        engine = self._opened()
        engine.bind(shared_arrays.read(self._blocks["feeds"], layout) if layout else {})
        return engine

    def _opened(self) -> Engine:
        if self._engine is None:
            raise EdgekitError("the worker has no engine: 'open' comes first")
        return self._engine


def _prepared(engine_class: Any) -> float | None:
    """Load the runtime: milliseconds; None where the engine does it together with the file."""
    prepare = getattr(engine_class, "prepare", None)
    if prepare is None:
        return None
    begin = time.perf_counter_ns()
    prepare()
    return (time.perf_counter_ns() - begin) / 1e6


def _imported(address: str) -> Any:
    module, _, name = address.partition(":")
    return getattr(importlib.import_module(module), name)


def _described(error: Exception) -> dict[str, Any]:
    if isinstance(error, OSError):
        error = explained(error) or error
    if isinstance(error, EdgekitError):
        parts = {"what": error.what, "why": error.why, "remedy": error.remedy, "more": error.more}
        if isinstance(error, TargetRefusalError):
            return {"type": type(error).__name__, **parts, "rejections": to_json(error.rejections)}
    else:
        parts = {"what": f"{type(error).__name__}: {error}", "why": "", "remedy": "", "more": ""}
    return {"type": type(error).__name__, **parts}
