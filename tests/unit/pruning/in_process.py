"""Models on ONNX Runtime in this process: what pruning is handed as ``open_model``, without a worker each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnx_ir as ir

from edgekit.ir import io
from edgekit.spec import Array, BatchStream, Feeds, RunOptions, TensorSpec


class InProcess:
    """A session that counts itself."""

    opened = 0

    def __init__(self, model: ir.Model, options: RunOptions) -> None:
        import onnxruntime

        del options
        wanted = onnxruntime.SessionOptions()
        wanted.intra_op_num_threads = 1
        wanted.log_severity_level = 3
        content = io.to_bytes(model)
        self._session: Any = onnxruntime.InferenceSession(content, wanted, ["CPUExecutionProvider"])
        self._taken = {each.name for each in self._session.get_inputs()}
        self.inputs, self.outputs = io.specs(model)
        type(self).opened += 1

    @property
    def facts(self) -> Mapping[str, str]:
        return {}

    def run(self, feeds: Feeds) -> dict[str, Array]:
        taken = {name: array for name, array in feeds.items() if name in self._taken}
        return dict(zip((s.name for s in self.outputs), self._session.run(None, taken), strict=True))

    def time_ms(self, feeds: Feeds, *, runs: int) -> tuple[float, ...]:
        raise NotImplementedError

    def close(self) -> None:
        del self._session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def stream(spec: TensorSpec, *, count: int, seed: int = 0) -> BatchStream:
    """``count`` seeded samples for one input."""
    shape = [dim if isinstance(dim, int) else 1 for dim in spec.shape[1:]]
    data = np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)

    def batches(size: int) -> Iterator[dict[str, Array]]:
        for first in range(0, count, size):
            yield {spec.name: data[first : first + size]}

    return batches
