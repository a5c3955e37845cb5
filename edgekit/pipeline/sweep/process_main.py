"""A process of ``processes``: a task on each line of stdin -> a reply on each line of stdout.

    the parent ends, or closes the pipe --hang-up (poll(2), POLLHUP)--> interrupt --> drafts removed, exit
                               SIGTERM -------------------------------> interrupt

Descriptor 1 is moved away before anything is imported that prints. An interrupt unwinds the task, so that
what it was just writing is gone; native code that does not let go within ``CLEAN_S`` is ended in its middle.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import signal
import sys
import threading
import time
from types import FrameType

CLEAN_S = 3.0  # removing drafts and temporary files takes milliseconds; a runtime's own process up to 2 s


def main() -> None:
    """Serve until the parent closes the pipe or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business; it closes the pipe
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.suppress(KeyboardInterrupt):
        _serve()
    os._exit(0)  # native libraries crash in their exit handlers often enough; nothing is left to flush


def _serve() -> None:
    tasks = io.FileIO(os.dup(0), "r")
    replies = io.TextIOWrapper(io.FileIO(os.dup(1), "w"), encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    threading.Thread(target=_exit_with_parent, args=(tasks.fileno(),), daemon=True).start()
    from edgekit.pipeline.sweep import work

    for line in io.TextIOWrapper(io.BufferedReader(tasks), encoding="utf-8"):
        replies.write(json.dumps(work.run(json.loads(line))) + "\n")
        replies.flush()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Once: a second signal must not end the clearing up."""
    del frame
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _exit_with_parent(descriptor: int) -> None:
    """Wait until nobody holds the other end of the pipe, then end the process whatever it is doing."""
    if not hasattr(select, "poll"):  # Windows: the end of the loop must do
        return
    hang_up = select.poll()
    hang_up.register(descriptor, 0)  # POLLHUP is always reported
    hang_up.poll()
    os.kill(os.getpid(), signal.SIGTERM)  # to the main thread, out of a system call too
    time.sleep(CLEAN_S)
    os._exit(0)
