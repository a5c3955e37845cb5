"""One file in a process of its own, in a bare loop -> milliseconds of each inference, by the wall clock.

    python bare_loop.py RUNTIME FILE FEEDS.npz    then a number of runs on stdin -> JSON list of ns on stdout

What somebody writes who wants one figure and no tool: open, set the inputs, call, look at the clock, with one
thread. Nothing of edgekit is imported. RUNTIME: onnxruntime (I/O binding), litert (XNNPACK), openvino.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import numpy as np


class BareLoop:
    """What ``edgekit.measure.timer.compare`` times; the process that does the work is ``main``."""

    def __init__(self, runtime: str, file: Path, feeds: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, runtime, str(file), str(feeds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # LiteRT says that it made a delegate
            text=True,
        )
        self._requests = cast("IO[str]", self._process.stdin)
        self._replies = cast("IO[str]", self._process.stdout)

    def time_ms(self, feeds: object, *, runs: int) -> tuple[float, ...]:
        """Milliseconds of ``runs`` inferences; ``feeds`` are the process's own."""
        del feeds
        self._requests.write(f"{runs}\n")
        self._requests.flush()
        return tuple(each / 1e6 for each in json.loads(self._replies.readline()))

    def close(self) -> None:
        """End the process."""
        self._requests.close()
        self._replies.close()
        self._process.wait()


def _onnxruntime(file: str, feeds: dict[str, Any]) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_cpu_input(name, array)
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu")
    return lambda: session.run_with_iobinding(binding)


def _litert(file: str, feeds: dict[str, Any]) -> Callable[[], object]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=file, num_threads=1)
    details = {each["name"]: each for each in interpreter.get_input_details()}
    for name, array in feeds.items():
        interpreter.resize_tensor_input(details[name]["index"], list(array.shape))
    interpreter.allocate_tensors()
    for name, array in feeds.items():
        interpreter.set_tensor(details[name]["index"], array)
    return cast("Callable[[], object]", interpreter.invoke)


def _openvino(file: str, feeds: dict[str, Any]) -> Callable[[], object]:
    import openvino

    core = openvino.Core()
    model = core.read_model(file)
    if model.is_dynamic():
        model.reshape({name: list(array.shape) for name, array in feeds.items()})
    config = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": "1"}
    request = core.compile_model(model, "CPU", config).create_infer_request()
    for name, array in feeds.items():
        request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
    return lambda: request.infer(share_outputs=True)


RUNTIMES = {"onnxruntime": _onnxruntime, "litert": _litert, "openvino": _openvino}


def main(runtime: str, file: str, feeds: str) -> None:
    """Serve until stdin ends."""
    with np.load(feeds) as stored:
        held = dict(stored)  # for as long as the process lives: runtimes read the arrays where they are
    invoke = RUNTIMES[runtime](file, held)
    for line in sys.stdin:
        samples = []
        for _ in range(int(line)):
            begin = time.perf_counter_ns()
            invoke()
            samples.append(time.perf_counter_ns() - begin)
        print(json.dumps(samples), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
