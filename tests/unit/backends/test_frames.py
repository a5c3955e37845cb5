"""Length-prefixed JSON frames on streams that give and take little at a time."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.backends.frames import read_frame, write_frame


class Dribble(io.BytesIO):
    """Reads and writes at most three bytes at once, as pipes may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(3, size if size is not None and size >= 0 else 3))

    def write(self, data: Any, /) -> int:
        return super().write(bytes(data)[:3])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(JSON, min_size=1, max_size=3))
def test_frames_come_back_in_order(values: list[Any]) -> None:
    stream = Dribble()
    for value in values:
        write_frame(stream, value)
    stream.seek(0)
    assert [read_frame(stream) for _ in values] == values


@pytest.mark.parametrize("kept", [0, 2, 4, 9], ids=["nothing", "half a length", "no body", "half a body"])
def test_a_pipe_that_ends_early_is_an_eof(kept: int) -> None:
    stream = io.BytesIO()
    write_frame(stream, {"op": "run"})
    with pytest.raises(EOFError):
        read_frame(io.BytesIO(stream.getvalue()[:kept]))
