"""Runner x data -> the same runner's outputs, given again in order, when it is closed already.

A runtime keeps its own copy of the weights, arranged for its kernels. Of a large model two of them at once
are twice its size, and so whoever compares runs them one after the other:

    for each side:  open -> run all samples --record--> file without a name -> close
    compare(what was recorded)

Small models run side by side: that is faster, and nothing is written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from edgekit.dataset import Dataset
from edgekit.spec import Array, Feeds, Progress, Session, TensorSpec
from edgekit.validation.evaluate import DEFAULT_BATCH_SIZE
from edgekit.validation.streaming import run_in_batches, stream


@dataclass(eq=False)
class Recorded:
    """A Runner that gives what another one gave, call by call.

    Attributes:
        inputs: what that one took.
        outputs: what it gave.
        facts: of its session.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    facts: Mapping[str, str]
    _file: BinaryIO
    _calls: list[dict[str, tuple[int, np.dtype, tuple[int, ...]]]] = field(default_factory=list)
    _next: int = 0

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """The outputs of the next call."""
        del feeds
        call, self._next = self._calls[self._next], self._next + 1
        found = {}
        for name, (offset, dtype, shape) in call.items():
            self._file.seek(offset)
            count = int(np.prod(shape, dtype=np.int64))
            found[name] = np.frombuffer(self._file.read(count * dtype.itemsize), dtype).reshape(shape).copy()
        return found

    def keep(self, outputs: Mapping[str, Array]) -> None:
        """The outputs of one more call."""
        call = {}
        for name, array in outputs.items():
            call[name] = (self._file.tell(), array.dtype, array.shape)
            self._file.write(array.tobytes())
        self._calls.append(call)


@dataclass(frozen=True)
class _Recording:
    """``session``, and all that it gives is kept."""

    session: Session
    into: Recorded

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.session.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.session.outputs

    def run(self, feeds: Feeds) -> dict[str, Array]:
        found = self.session.run(feeds)
        self.into.keep(found)
        return found


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
            made = Recorded(session.inputs, session.outputs, dict(session.facts), file)
            progress.stage(f"run {name} (large: one model at a time)", total=data.count)
            for _, feeds in stream(data.batches, count=data.count, batch_size=DEFAULT_BATCH_SIZE, exact=True):
                run_in_batches(_Recording(session, made), feeds)
                progress.advance(max(len(each) for each in feeds.values() if each.ndim > 0))
        yield made
