"""JSON lines on a pipe -> the command line, in this process -> what it did, as JSON lines.

    {"args": [...], "own": [folders that it may write to]}
    -> {"code", "message", "trace", "wrote", "unsafe"}

``trace`` is there for what no verb expected; ``wrote`` are files outside of ``own`` that Python opened for
writing, made, renamed or removed (sys.addaudithook, PEP 578); ``unsafe`` are characters that a terminal would
obey. Run by ``tests.fuzz.drive``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import sys
import traceback
from pathlib import Path
from typing import Any

MEMORY_BYTES = 24 << 30  # of addresses: TensorFlow and ONNX Runtime reserve many, a lying header wants more
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = (
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.truncate",
    "os.chmod",
)
PLACES = {"os.rename": 2, "os.symlink": 2, "os.link": 2}  # how many of the arguments are paths that change

# What a terminal obeys instead of showing: controls, and marks that turn the direction of writing (UAX 9).
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

own: tuple[str, ...] = ()
wrote: list[str] = []
failures: list[str] = []


def watch(event: str, args: tuple[Any, ...]) -> None:
    """The audit hook: it must be quick, and must never raise."""
    if event == "open":
        path, _, flags = args
        if isinstance(path, str | bytes) and isinstance(flags, int) and flags & WRITING:
            _note(path)
    elif event in CHANGES:
        for path in args[: PLACES.get(event, 1)]:
            # a name relative to an open folder (shutil.rmtree's) is judged by the folder, seen before
            if isinstance(path, str | bytes) and (os.path.isabs(path) or args[-1] in (-1, None)):
                _note(path)


def _note(path: str | bytes) -> None:
    text = os.path.abspath(os.fsdecode(path))
    if own and not (text + os.sep).startswith(own):
        wrote.append(text)


def main() -> None:
    """Serve until the pipe is closed."""
    global own
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what native libraries print is no answer
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    from edgekit.cli import failure
    from edgekit.cli import main as cli

    sound = failure.report

    def report(error: Exception, args: Any) -> Any:
        code = sound(error, args)
        if code == 1:
            failures.append("".join(traceback.format_exception(error)))
        return code

    failure.report = report
    sys.addaudithook(watch)
    for line in sys.stdin:
        job = json.loads(line)
        out, err = io.StringIO(), io.StringIO()
        wrote.clear()
        failures.clear()
        mine = [os.path.join(str(Path(each).absolute()), "") for each in job["own"]]
        own = (*mine, "/dev/", "/proc/")
        trace = ""
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = int(cli.run(job["args"]))
            except BaseException as error:  # noqa: BLE001  (this is what is looked for)
                code, trace = -1, "".join(traceback.format_exception(error))
        own = ()
        message = err.getvalue()
        if code == 1 and "internal error" in message:
            trace = trace or (failures[-1] if failures else message)
        said = out.getvalue() + message
        answer = {
            "code": code,
            "message": message[-2000:],
            "trace": trace[-4000:],
            "wrote": wrote[:5],
            "unsafe": sorted(set(UNSAFE.findall(said))),
        }
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
