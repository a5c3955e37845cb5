"""A .tflite file, in a process of its own -> milliseconds of each inference: its thread's, the clock's.

One thread computes and nothing is waited for, so the time that the thread computed is the latency on a
machine that does nothing else; the wall clock also counts what other programs took. Every file, whoever wrote
it, is opened in the same way: the runtime's default kernels (XNNPACK), one thread, inputs set once.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np


class TimedFile:
    """What ``edgekit.measure.timer.compare`` times. ``waited_ms`` has every sample's wall time."""

    def __init__(self, path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._end, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(str(path), other), daemon=True)
        self._process.start()
        other.close()
        self.waited_ms: list[float] = []
        try:
            self.operators: Mapping[str, int] = self._end.recv()
        except EOFError:
            self._process.join()
            message = f"the runtime died while it loaded the file (exit status {self._process.exitcode})"
            raise RuntimeError(message) from None
        if "error" in self.operators:
            raise RuntimeError(self.operators["error"])

    def time_ms(self, feeds: object, *, runs: int) -> tuple[float, ...]:
        """Milliseconds of ``runs`` inferences; ``feeds`` are the process's own."""
        del feeds
        self._end.send(runs)
        computed, waited = self._end.recv()
        self.waited_ms += waited
        return tuple(computed)

    def close(self) -> None:
        """End the process."""
        self._end.send(0)
        self._process.join()


def _serve(path: str, end: Connection) -> None:
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(path, num_threads=1)
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], _feed(detail))
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        end.send({"error": str(error)[:300]})
        return
    end.send(dict(Counter(each["op_name"] for each in interpreter._get_ops_details())))
    while runs := end.recv():
        computed, waited = [], []
        for _ in range(runs):
            wall, thread = time.perf_counter_ns(), time.thread_time_ns()
            interpreter.invoke()
            computed.append((time.thread_time_ns() - thread) / 1e6)
            waited.append((time.perf_counter_ns() - wall) / 1e6)
        end.send((computed, waited))


def _feed(detail: Mapping[str, Any]) -> Any:
    """Ones for ids and masks; noise for an image, over the whole range of an integer one."""
    shape, dtype = detail["shape"], detail["dtype"]
    if dtype in (np.int32, np.int64):
        return np.ones(shape, dtype)
    rng = np.random.default_rng(0)
    if dtype == np.float32:
        return rng.standard_normal(shape, np.float32)
    return rng.integers(-128, 128, shape).astype(dtype)
