"""Runner x data -> the same runner's outputs, given again in order, when it is closed already.

A runtime keeps its own copy of the weights, arranged for its kernels. Of a large model two of them at once
are twice its size, and so whoever compares runs them one after the other:

    for each side:  open -> run all samples --record--> file without a name -> close
    compare(what was recorded)

Small models run side by side: that is faster, and nothing is written.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO

import numpy as np

from edgekit.dataset import Dataset
from edgekit.spec import Array, Feeds, Progress, Session, TensorSpec
from edgekit.validation.evaluate import DEFAULT_BATCH_SIZE
from edgekit.validation.streaming import run_in_batches, stream


class Recorded:
    """A Runner that gives what a session gave while it was open, call by call.

    Attributes:
        inputs: what the session takes.
        outputs: what it gives.
        facts: of it.
    """

    def __init__(self, session: Session, file: BinaryIO) -> None:
        self.inputs: tuple[TensorSpec, ...] = session.inputs
        self.outputs: tuple[TensorSpec, ...] = session.outputs
        self.facts: Mapping[str, str] = dict(session.facts)
        self._session: Session | None = session
        self._file = file
        self._calls: list[dict[str, tuple[int, np.dtype, tuple[int, ...]]]] = []
        self._next = 0

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """The outputs of the session, which are kept; once it is closed, those of its next call."""
        if self._session is not None:
            outputs = self._session.run(feeds)
            self._keep(outputs)
            return outputs
        call, self._next = self._calls[self._next], self._next + 1
        return {name: self._read(*place) for name, place in call.items()}

    def session_is_closed(self) -> None:
        """From here on calls are given again."""
        self._session = None

    def _keep(self, outputs: Mapping[str, Array]) -> None:
        call = {}
        for name, array in outputs.items():
            call[name] = (self._file.tell(), array.dtype, array.shape)
            self._file.write(array.tobytes())
        self._calls.append(call)

    def _read(self, offset: int, dtype: np.dtype, shape: tuple[int, ...]) -> Array:
        self._file.seek(offset)
        content = self._file.read(math.prod(shape) * dtype.itemsize)
        return np.frombuffer(content, dtype).reshape(shape).copy()


@contextmanager
def running(
    opened: Callable[[], AbstractContextManager[Session]],
    data: Dataset,
    *,
    alone: bool,
    name: str,
    progress: Progress,
) -> Iterator[Session | Recorded]:
    """The session while the block lasts; where it is to be ``alone``, it has run on ``data`` and is closed.

    Args:
        opened: opens it.
        data: what ``compare`` will run it on, in batches of DEFAULT_BATCH_SIZE.
        alone: whether no other may be open beside it.
        name: how progress calls it.
        progress: where ``alone``, a step for each sample.

    Raises:
        DataError: the data does not fit.
        EngineError: it cannot be opened, or it fails.
        OSError: the folder of temporary files has no room.
    """
    if not alone:
        with opened() as session:
            yield session
        return
    with tempfile.TemporaryFile(prefix="edgekit-") as file:
        with opened() as session:
            made = Recorded(session, file)
            progress.stage(f"run {name} (large: one model at a time)", total=data.count)
            for _, feeds in stream(data.batches, count=data.count, batch_size=DEFAULT_BATCH_SIZE, exact=True):
                run_in_batches(made, feeds)
                progress.advance(max(len(each) for each in feeds.values() if each.ndim > 0))
        made.session_is_closed()
        yield made
