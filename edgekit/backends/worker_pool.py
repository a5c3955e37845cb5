"""Worker whose model is closed --keep--> idle, its runtime loaded --take--> the next model's worker.

    start of a process + import of NumPy and ONNX Runtime    about 200 ms, paid once
    forget the model, open another                           a few ms

A calibration, a ranking or a search opens one model in memory after another (``onnxruntime.open_model``);
only those come here. A shipped artifact gets a process of its own: what it holds and how fast it is must
not depend on what ran before it.

W1 A worker that raised, died or was interrupted is not kept: nobody knows its state.
W2 Nor one that still holds much memory after its model is gone: it leaves by itself.
W3 Nor one that was started in another environment, with another ``sys.path`` or by another process: a fork
   shares its pipes.
W4 At most ``KEPT`` are idle; they leave with this process, as every worker does.
W5 ``warm`` starts one while its model is still being written; what that raises is raised by ``open`` again.
"""

from __future__ import annotations

import os
import threading

from edgekit.backends.worker_process import WorkerProcess, circumstances
from edgekit.errors import EdgekitError

KEPT = 2  # two sessions stand side by side often (float and quantized); more never did
MOST_HELD_BYTES = 300 * 2**20  # with ONNX Runtime loaded and no model a worker holds 60 to 80 MiB

_kept: list[WorkerProcess] = []
_lock = threading.Lock()


def take(subject: str) -> WorkerProcess:
    """An idle worker for ``subject``, or a new one."""
    now = circumstances()
    with _lock:
        found = next((each for each in _kept if each.circumstances == now), None)
        if found is not None:
            _kept.remove(found)
    if found is None:
        return WorkerProcess(subject)
    try:
        found.collect(doing="getting ready")
    except EdgekitError:  # W2, W5, or it died idle: nobody's model was in it
        found.close()
        return WorkerProcess(subject)
    found.rename(subject)
    return found


def warm(engine: str) -> None:
    """Have a worker for the next ``take`` start now, with the runtime of ``engine`` ("module:Class")."""
    now = circumstances()
    with _lock:
        if len(_kept) < KEPT and all(each.circumstances != now for each in _kept):
            process = WorkerProcess("a worker without a model")
            if process.post({"op": "prepare", "engine": engine}):
                _kept.append(process)


def keep(process: WorkerProcess) -> None:
    """Take ``process`` back: it forgets its model and waits, or ends (W1, W4)."""
    with _lock:
        _kept[:] = [each for each in _kept if each.circumstances[0] == os.getpid()]
        kept = process.trusted and len(_kept) < KEPT
        if kept and process.post({"op": "forget", "most": MOST_HELD_BYTES}):
            _kept.append(process)
            return
    process.close()


def end() -> None:
    """End the idle workers; the next model gets a new one."""
    with _lock:
        ended = [each for each in _kept if each.circumstances[0] == os.getpid()]
        _kept.clear()
    for process in ended:
        process.close()
