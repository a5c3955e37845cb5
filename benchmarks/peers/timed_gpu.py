"""A reference model in PyTorch or ONNX Runtime on an NVIDIA GPU, as their own users run it -> milliseconds.

    eager            model(x)
    compile          torch.compile(model)(x), and with mode "reduce-overhead" (CUDA graphs) or "max-autotune"
    onnxruntime      session.run of the float .onnx, all defaults: arrays in, arrays out
    onnxruntime-io   the same with inputs and outputs bound to the device

Each in a process of its own. Time runs from the call until the GPU is done; inputs lie on the device and
outputs stay there, but for ``onnxruntime``. TF32 is as each of them has it by default. Images in fp16 are
channels-last where the kind says so, which is what PyTorch's own guide recommends.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import user_code
from edgekit.spec import Array


@dataclass(frozen=True)
class Kind:
    """How a peer runs: ``how`` is of the table above, or a mode of torch.compile."""

    how: str
    half: bool = False
    channels_last: bool = False

    @property
    def label(self) -> str:
        """For tables."""
        words = [self.how, "fp16" if self.half else "fp32", *(["nhwc"] if self.channels_last else [])]
        return " ".join(words)


class TimedGpu:
    """What ``edgekit.measure.timer.compare`` times; ``error`` and ``labels`` as the suite wants them.

    Raises:
        RuntimeError: the peer is not here, or fails; the text is its reason.
    """

    def __init__(
        self,
        kind: Kind,
        source: tuple[Path, str],
        onnx: Path,
        samples: Mapping[str, Array],
        *,
        limit_s: float,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._end, other = context.Pipe()
        self._process = context.Process(
            target=_serve,
            args=(kind, (str(source[0]), source[1]), str(onnx), dict(samples), other),
            daemon=True,
        )
        self._process.start()
        other.close()
        try:
            if not self._end.poll(limit_s):
                raise RuntimeError(f"not ready after {limit_s:.0f} s")
            found = self._end.recv()
        except EOFError:
            raise RuntimeError("its process died") from None
        finally:
            if not self._process.is_alive():
                self._process.join()
        if isinstance(found, str):
            raise RuntimeError(found)  # noqa: TRY004  the reason that the process sent
        self.outputs: Array = found

    def time_ms(self, feeds: object, *, runs: int) -> tuple[float, ...]:
        """Milliseconds of ``runs`` inferences; ``feeds`` are the process's own."""
        del feeds
        self._end.send(runs)
        return tuple(self._end.recv())

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def _serve(
    kind: Kind, source: tuple[str, str], onnx: str, samples: dict[str, Array], end: Connection
) -> None:
    try:
        if kind.how.startswith("onnxruntime"):
            invoke, outputs = _onnxruntime(kind, onnx, samples)
        else:
            invoke, outputs = _torch(kind, Path(source[0]), source[1], samples)
        invoke()
    except Exception as error:  # noqa: BLE001  a peer that fails is a result
        end.send(f"{type(error).__name__}: {error}"[:300])
        return
    end.send(outputs)
    while runs := end.recv():
        taken = []
        for _ in range(runs):
            start = time.perf_counter_ns()
            invoke()
            taken.append((time.perf_counter_ns() - start) / 1e6)
        end.send(taken)


def _torch(
    kind: Kind, path: Path, build: str, samples: Mapping[str, Array]
) -> tuple[Callable[[], object], Array]:
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("PyTorch finds no NVIDIA GPU here")
    with user_code.importable(path.parent, forget=False):
        model: Any = getattr(user_code.load_file(path), build)().eval().cuda()
    if kind.half:
        model = model.half()
    if kind.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if kind.how != "eager":
        model = torch.compile(model, mode=None if kind.how == "compile" else kind.how)

    def on_device(index: int) -> dict[str, Any]:
        found = {}
        for name, array in samples.items():
            tensor = torch.from_numpy(array[index : index + 1]).cuda()
            if kind.half and tensor.is_floating_point():
                tensor = tensor.half()
            if kind.channels_last and tensor.dim() == 4:
                tensor = tensor.to(memory_format=torch.channels_last)
            found[name] = tensor
        return found

    count = len(next(iter(samples.values())))
    with torch.inference_mode():
        outputs = [
            _first(model(**on_device(index))).float().cpu().numpy() for index in [0, 0, 0, *range(count)]
        ][3:]
    fixed = on_device(0)

    def invoke() -> None:
        with torch.inference_mode():
            model(**fixed)
        torch.cuda.synchronize()

    return invoke, np.concatenate(outputs)


def _first(result: Any) -> Any:
    if isinstance(result, Mapping):
        return next(iter(result.values()))
    return result[0] if isinstance(result, tuple | list) else result


def _onnxruntime(kind: Kind, path: str, samples: Mapping[str, Array]) -> tuple[Callable[[], object], Array]:
    import onnxruntime

    onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CUDAExecutionProvider"])
    if session.get_providers()[0] != "CUDAExecutionProvider":
        raise RuntimeError("ONNX Runtime's CUDA provider is not here")
    count = len(next(iter(samples.values())))
    outputs = np.concatenate(
        [
            session.run(None, {name: array[index : index + 1] for name, array in samples.items()})[0]
            for index in range(count)
        ]
    )
    feeds = {name: array[:1] for name, array in samples.items()}
    if kind.how == "onnxruntime":
        return lambda: session.run(None, feeds), outputs
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", 0))
    for each in session.get_outputs():
        binding.bind_output(each.name, "cuda")
    return lambda: session.run_with_iobinding(binding), outputs
