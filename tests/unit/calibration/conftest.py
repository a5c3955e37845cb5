"""A session in this process instead of a worker: the stages only know the protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import onnx_ir as ir
import pytest

from edgekit import settings
from edgekit.ir import io
from edgekit.spec import Array, Feeds, RunOptions, Session, TensorSpec


class LocalSession:
    """ONNX Runtime in this process; remembers whether it was closed and how large its batches were."""

    def __init__(self, model: ir.Model) -> None:
        settings.silence_native_libraries()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            io.to_bytes(model), options, providers=["CPUExecutionProvider"]
        )
        self._specs = io.specs(model)
        self.closed = False
        self.batch_sizes: list[int] = []

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._specs[0]

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._specs[1]

    @property
    def facts(self) -> Mapping[str, str]:
        return {}

    def run(self, feeds: Feeds) -> dict[str, Array]:
        self.batch_sizes.append(len(next(iter(feeds.values()))))
        names = [spec.name for spec in self.outputs]
        return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))

    def time_ms(self, feeds: Feeds, *, runs: int) -> tuple[float, ...]:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Opener:
    """``open_model`` that keeps the sessions that it opened."""

    def __init__(self) -> None:
        self.sessions: list[LocalSession] = []

    def __call__(self, model: ir.Model, options: RunOptions) -> Session:
        assert options == RunOptions()
        self.sessions.append(LocalSession(model))
        return self.sessions[-1]


@pytest.fixture
def opener() -> Opener:
    return Opener()


Open = Callable[[ir.Model, RunOptions], Session]
