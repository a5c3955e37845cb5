"""Float model -> a session of ONNX Runtime in this process: hundreds are opened, a worker costs a second.

Only for models that edgekit made of the reference; artifacts run in workers on their runtimes, as ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

import onnx_ir as ir

from edgekit.backends.onnxruntime_float_weights import with_float_weights
from edgekit.backends.worker_process import EngineError
from edgekit.ir import io
from edgekit.spec import Array, Feeds, RunOptions, TensorSpec

_OPENERS = tuple(
    f"edgekit.pipeline.debug.{module}.open_model" for module in ("looking", "restored", "trials")
)


class InProcess:
    """``spec.Session`` as far as debug needs it."""

    facts: Mapping[str, str] = {"runtime": "onnxruntime"}

    def __init__(self, model: ir.Model, options: RunOptions) -> None:
        import onnxruntime

        del options
        self.inputs: tuple[TensorSpec, ...]
        self.outputs: tuple[TensorSpec, ...]
        self.inputs, self.outputs = io.specs(model)
        said = onnxruntime.SessionOptions()
        said.log_severity_level = 3  # errors alone
        said.intra_op_num_threads = 1
        self._session: Any = _guarded(
            lambda: onnxruntime.InferenceSession(io.to_bytes(with_float_weights(model)), said)
        )

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Compute all outputs."""
        names = [spec.name for spec in self.outputs]
        wanted = {spec.name: feeds[spec.name] for spec in self.inputs}
        return dict(zip(names, _guarded(lambda: self._session.run(names, wanted)), strict=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._session


def _guarded(call: Any) -> Any:
    """What ``call`` gives; its exceptions as a worker would report them."""
    try:
        return call()
    except Exception as error:  # onnxruntime's exceptions have no class of their own in common
        raise EngineError("onnxruntime refuses a model", why=str(error), remedy="") from error


@contextmanager
def in_process() -> Iterator[None]:
    """Inside, debug opens its float models in this process."""
    patches = [patch(name, InProcess) for name in _OPENERS]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()
