"""A process of ``processes``: a task on each line of stdin -> a reply on each line of stdout.

Descriptor 1 is moved away before anything is imported that prints; the parent's end ends the process in the
middle of a task too, because a thread waits for the hang-up of the pipe (``backends.worker_main``).
"""

from __future__ import annotations

import io
import json
import os
import select
import signal
import sys
import threading


def main() -> None:
    """Serve until the parent closes the pipe or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business; it closes the pipe
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
    os._exit(0)  # native libraries crash in their exit handlers often enough; nothing is left to flush


def _exit_with_parent(descriptor: int) -> None:
    """Wait until nobody holds the other end of the pipe, then end the process whatever it is doing."""
    if not hasattr(select, "poll"):  # Windows: the end of the loop must do
        return
    hang_up = select.poll()
    hang_up.register(descriptor, 0)  # POLLHUP is always reported
    hang_up.poll()
    os._exit(0)
