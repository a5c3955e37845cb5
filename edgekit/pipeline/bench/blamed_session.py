"""Session -> the same session, whose errors say whose they are.

A clock that interleaves several sessions gives back one error; this one carries the name of its candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from edgekit.errors import EdgekitError
from edgekit.pipeline.bench.failures import CandidateError
from edgekit.spec import Array, Feeds, Session, TensorSpec


class BlamedSession:
    """spec.Session over another one.

    Attributes:
        name: of the candidate.
        inner: what does the work.
    """

    def __init__(self, name: str, inner: Session) -> None:
        self.name, self.inner = name, inner

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """As ``inner``."""
        return self.inner.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """As ``inner``."""
        return self.inner.outputs

    @property
    def facts(self) -> Mapping[str, str]:
        """As ``inner``."""
        return self.inner.facts

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """As ``inner``.

        Raises:
            CandidateError: what ``inner`` raised, with the name.
        """
        try:
            return self.inner.run(feeds)
        except EdgekitError as error:
            raise CandidateError(self.name, error) from error

    def time_ms(self, feeds: Feeds, *, runs: int) -> tuple[float, ...]:
        """As ``inner``.

        Raises:
            CandidateError: what ``inner`` raised, with the name.
        """
        try:
            return self.inner.time_ms(feeds, runs=runs)
        except EdgekitError as error:
            raise CandidateError(self.name, error) from error

    def close(self) -> None:
        """As ``inner``."""
        self.inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
