"""A worker process as the parent sees it: request -> reply, or an error that names what the worker held.

Started with ``subprocess``, not ``multiprocessing``: a user's script needs no ``__main__`` guard, and
nothing of the parent but its ``sys.path`` is carried over. ``python -m`` would put the working folder in
front of that path, where a user's ``onnx.py`` would be taken for the package, so a one-line program takes
the parent's path as its arguments instead.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping
from typing import IO, Any, cast

from edgekit import errors, settings
from edgekit.backends.frames import read_frame, write_frame
from edgekit.errors import BackendCrashError, EdgekitError, InputError, TargetRefusalError
from edgekit.spec import Rejection

_BOOT = "import sys; sys.path[:] = sys.argv[1:]; from edgekit.backends.worker_main import main; main()"

# NumPy's own BLAS would start a thread for each core in every worker; no engine computes with it.
_ONE_BLAS_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

_CLOSE_SECONDS = 2.0  # an idle worker leaves within milliseconds; a busy one is not waited for
_TAIL_BYTES, _TAIL_LINES, _LINE_CHARACTERS = 8192, 12, 300  # what an error quotes from the worker's log
_TERMINAL_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


_SHORT_OF_MEMORY = re.compile(
    r"MemoryError|bad_alloc|bad allocation|[Oo]ut of memory|Cannot allocate memory|Failed to allocate memory"
)
"""Python, C++, GPUs, errno, ONNX Runtime's arena. LiteRT's "failed to allocate tensors" is a shape."""


class EngineError(BackendCrashError):
    """The engine raised an error of its own; its worker lives on. ``why`` is the runtime's whole message."""


class WorkerMemoryError(BackendCrashError):
    """The worker had too little memory, or was killed as the system does then; no artifact is to blame."""


class WorkerTimeoutError(BackendCrashError):
    """The worker did not answer within its limit and was ended."""


class WorkerProcess:
    """One child process and the two pipes to it; safe to use from several threads.

    Attributes:
        subject: what the worker holds, for messages: "digits-1.0.0-portable-w8a8.onnx (onnxruntime)".
        limit_s: how long one reply may take; None = for ever.
        circumstances: ``circumstances()`` when it was started.
        trusted: nothing was raised in it so far.

    ``request`` asks and waits; ``post`` and ``collect`` are its two halves, for what nobody needs at once.
    """

    def __init__(self, subject: str, *, limit_s: float | None = None) -> None:
        self.subject = subject
        self.limit_s = limit_s
        self.circumstances = circumstances()
        self.trusted = True
        self._lock = threading.Lock()
        self._quoted_from = 0
        # Not "with": the files live as long as the process does; the finalizer closes all three.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            bufsize=0,
            # Ours last: CI=1, which is common, would turn OpenVINO's telemetry on; only "true" keeps it off.
            env={**settings.child_environment(), **settings.QUIET_NATIVE_ENVIRONMENT, **_ONE_BLAS_THREAD},
        )
        self._requests = cast("IO[bytes]", self._process.stdin)
        self._replies = cast("IO[bytes]", self._process.stdout)
        self._finalizer = weakref.finalize(self, _end, self._process, self._log)

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    @property
    def closed(self) -> bool:
        """Whether the worker has been ended, by ``close`` or by a crash."""
        return not self._finalizer.alive

    def rename(self, subject: str) -> None:
        """It holds something else from now on; an error quotes nothing that was said before."""
        self.subject = subject
        self._quoted_from = os.fstat(self._log.fileno()).st_size

    def request(self, message: Mapping[str, Any], *, doing: str) -> dict[str, Any]:
        """Send one message and wait for its reply; ``doing`` says in an error what was going on.

        Raises:
            BackendCrashError: the worker died.
            WorkerTimeoutError: it did not answer within ``limit_s``.
            EngineError: the engine raised an error of its own.
            EdgekitError: what the engine raised on purpose, as the same class.
            InputError: the worker is closed.
        """
        return self._exchange(message, doing)

    def post(self, message: Mapping[str, Any]) -> bool:
        """Send a message whose reply ``collect`` waits for later; False: nobody can be asked."""
        if self.closed or not self._lock.acquire(blocking=False):
            return False
        try:
            write_frame(self._requests, message)
        except BrokenPipeError:
            return False
        finally:
            self._lock.release()
        return True

    def collect(self, *, doing: str) -> dict[str, Any]:
        """The reply to what was posted; raises as ``request`` does."""
        return self._exchange(None, doing)

    def _exchange(self, message: Mapping[str, Any] | None, doing: str) -> dict[str, Any]:
        with self._lock:
            if self.closed:
                raise closed_error(self.subject)
            try:
                if message is not None:
                    write_frame(self._requests, message)
                self._await_reply(doing)
                reply = cast("dict[str, Any]", read_frame(self._replies))
            except (EOFError, BrokenPipeError) as error:
                raise self._crash(doing) from error
            except (OSError, ValueError) as error:
                if self.closed:  # by another thread, a moment before this one came to its pipe
                    raise self._crash(doing) from error
                self.kill()
                raise
            except BaseException:  # Ctrl-C between question and answer: the pipe is out of step for good
                self.kill()
                raise
        if "error" in reply:
            self.trusted = False
            raise self._raised(reply["error"], doing)
        return reply

    def close(self) -> None:
        """End the worker: it leaves when its pipe closes, and is killed when it does not."""
        self._finalizer()

    def kill(self) -> None:
        """End the worker at once."""
        self._process.kill()
        self.close()

    def _await_reply(self, doing: str) -> None:
        if self.limit_s is None or select.select([self._replies], [], [], self.limit_s)[0]:
            return
        raise WorkerTimeoutError(  # the caller ends the worker
            f"the worker process of {self.subject} gave no answer within {self.limit_s:g} s while {doing}",
            why="it hangs, or its work takes longer than that",
            remedy="give it more time (`edgekit bench --timeout SECONDS`)",
        )

    def _crash(self, doing: str) -> BackendCrashError:
        if self.closed:  # by another thread, and the log with it
            return BackendCrashError(
                f"the session of {self.subject} was closed while {doing}",
                why="another thread closed it",
                remedy="close a session when nothing runs in it",
            )
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_CLOSE_SECONDS)
        code, log = self._process.poll(), self._log_tail()
        what = f"the worker process of {self.subject} {_ending(code)} while {doing}"
        self.kill()
        if code == -signal.SIGKILL or _SHORT_OF_MEMORY.search(log):
            return _short_of_memory(what, log)
        return BackendCrashError(
            what,
            why=f"its last words:\n{log}" if log else "it left no message",
            remedy="check the artifact (`edgekit verify`) and free memory; if it happens again, report a bug",
            more="edgekit doctor",
        )

    def _raised(self, parts: Mapping[str, Any], doing: str) -> EdgekitError:
        """The error that the engine raised, as its own class where it is one of edgekit's."""
        kind = getattr(errors, parts["type"], None)
        if isinstance(kind, type) and issubclass(kind, EdgekitError):
            error = kind.__new__(kind)  # not kind(...): a subclass may build its text from other arguments
            EdgekitError.__init__(
                error, parts["what"], why=parts["why"], remedy=parts["remedy"], more=parts["more"]
            )
            if isinstance(error, TargetRefusalError):
                error.rejections = tuple(Rejection(**each) for each in parts["rejections"])
            return error
        message = _plain(parts["what"])
        what = f"{self.subject} failed while {doing}: {message.splitlines()[0][:_LINE_CHARACTERS]}"
        if _SHORT_OF_MEMORY.search(message):
            return _short_of_memory(what, message)
        return EngineError(
            what,
            why=message,
            remedy="the runtime refused the artifact or its input; `edgekit inspect` shows what it holds",
        )

    def _log_tail(self) -> str:
        """The end of the worker's standard error. pread: the child shares the file's offset."""
        descriptor = self._log.fileno()
        start = max(self._quoted_from, os.fstat(descriptor).st_size - _TAIL_BYTES)
        lines = _plain(os.pread(descriptor, _TAIL_BYTES, start).decode(errors="replace")).splitlines()
        return "\n".join(line[:_LINE_CHARACTERS] for line in lines[-_TAIL_LINES:])


def _short_of_memory(what: str, said: str) -> WorkerMemoryError:
    """SIGKILL too: nobody else sends it to a worker, and the system's out-of-memory killer does (proc(5))."""
    return WorkerMemoryError(
        what,
        why=f"memory was probably short{f': {said}' if said else ' (the system kills a process then)'}",
        remedy="close other programs, give fewer samples or targets at once, or take a larger machine",
        more="docs/faults.md",
    )


def closed_error(subject: str) -> InputError:
    """What is raised when a session is used after its end."""
    return InputError(
        f"the session of {subject} is closed",
        why="its worker process has ended",
        remedy="open the artifact again",
    )


def circumstances() -> tuple[object, ...]:
    """What a worker takes from the process that starts it."""
    return (os.getpid(), tuple(sys.path), tuple(sorted(settings.environment().items())))


def _end(process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(_CLOSE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    log.close()


def _ending(code: int | None) -> str:
    if code is None:
        return "closed its pipe"
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _plain(text: str) -> str:
    return _TERMINAL_COLOUR.sub("", text).strip() or "(no message)"
