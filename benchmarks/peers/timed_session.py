"""A file on ONNX Runtime or OpenVINO, in a process of its own -> milliseconds of each inference.

What counts is the time that the whole process computed: with one thread that is the latency on a machine that
does nothing else, whichever of the runtime's threads did it. Every file, whoever wrote it, is opened alike.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from edgekit.spec import Array

OPENVINO = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": "1",
    "INFERENCE_NUM_THREADS": "1",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    "INFERENCE_PRECISION_HINT": "f32",
}


class TimedSession:
    """What ``edgekit.measure.timer.compare`` times; without ``feeds`` open sizes are 1, values are noise."""

    def __init__(
        self,
        path: Path,
        runtime: str,
        settings: Mapping[str, str],
        feeds: Mapping[str, Array] | None = None,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._end, other = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(str(path), runtime, dict(settings), dict(feeds or {}), other), daemon=True
        )
        self._process.start()
        other.close()
        try:
            why = self._end.recv()
        except EOFError:
            why = "the runtime died while it loaded the file"
        if why:
            raise RuntimeError(why)

    def time_ms(self, feeds: object, *, runs: int) -> tuple[float, ...]:
        """Milliseconds of ``runs`` inferences; ``feeds`` are the process's own."""
        del feeds
        self._end.send(runs)
        return tuple(self._end.recv())

    def close(self) -> None:
        """End the process."""
        self._end.send(0)
        self._process.join()


def _serve(
    path: str, runtime: str, settings: dict[str, str], feeds: dict[str, Array], end: Connection
) -> None:
    try:
        invoke = (_onnxruntime if runtime == "onnxruntime" else _openvino)(path, settings, feeds)
        invoke()
    except Exception as error:  # noqa: BLE001  a file that the runtime refuses is a result
        end.send(str(error)[:300] or "no message")
        return
    end.send("")
    while runs := end.recv():
        taken = []
        for _ in range(runs):
            start = time.process_time_ns()
            invoke()
            taken.append((time.process_time_ns() - start) / 1e6)
        end.send(taken)


def _onnxruntime(path: str, settings: Mapping[str, str], feeds: Mapping[str, Array]) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for name, value in settings.items():
        options.add_session_config_entry(name, value)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for each in session.get_inputs():
        shape = [size if isinstance(size, int) else 1 for size in each.shape]
        given = feeds.get(each.name)
        binding.bind_cpu_input(
            each.name, _feed(shape, words="int64" in each.type) if given is None else given
        )
    for each in session.get_outputs():
        binding.bind_output(each.name, "cpu")
    return lambda: session.run_with_iobinding(binding)


def _openvino(path: str, settings: Mapping[str, str], feeds: Mapping[str, Array]) -> Callable[[], object]:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    if feeds:
        model.reshape({name: list(array.shape) for name, array in feeds.items()})
    if model.is_dynamic():
        model.reshape(
            {
                port: [size.get_length() if size.is_static else 1 for size in port.partial_shape]
                for port in model.inputs
            }
        )
    request = core.compile_model(model, "CPU", {**OPENVINO, **settings}).create_infer_request()
    for port in request.get_compiled_model().inputs:
        words = port.element_type.get_type_name() == "i64"
        given = feeds.get(port.any_name)
        array = _feed(list(port.shape), words=words) if given is None else given
        request.set_tensor(port, openvino.Tensor(array))
    return lambda: request.infer(share_outputs=True)


def _feed(shape: list[int], *, words: bool) -> Array:
    """Ones for ids and masks, noise for an image."""
    if words:
        return np.ones(shape, np.int64)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
