"""Samples that are kept from the first whole pass on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit import dataset
from edgekit.dataset import DataSource
from edgekit.dataset.held import Held
from edgekit.dataset.stream import Sample
from edgekit.spec import TensorSpec

X = TensorSpec("x", "float32", ("n", 2))
BYTES = 5 * 2 * 4


class Counted:
    def __init__(self) -> None:
        self.read = 0

    def __call__(self) -> Iterator[Sample]:
        buffer = np.zeros(2, np.float32)
        for value in range(5):
            self.read += 1
            buffer[:] = value
            yield {"x": buffer}


@pytest.mark.parametrize(("most_bytes", "read"), [(BYTES, 5), (BYTES - 1, 15)], ids=["small", "too large"])
def test_what_fits_is_read_once(most_bytes: int, read: int) -> None:
    source = Counted()
    samples = Held(source, most_bytes)
    for _ in range(3):
        assert [sample["x"].tolist() for sample in samples()] == [[value, value] for value in range(5)]
    assert source.read == read


def test_a_pass_that_is_given_up_keeps_nothing() -> None:
    source = Counted()
    samples = Held(source, BYTES)
    passing = iter(samples())
    next(passing)
    assert len(list(samples())) == 5
    assert source.read == 6
    assert len(list(samples())) == 5
    assert source.read == 6


def test_nobody_writes_into_what_is_kept() -> None:
    samples = Held(Counted(), BYTES)
    list(samples())
    sample = next(iter(samples()))
    with pytest.raises(ValueError, match="read-only"):
        sample["x"][0] = 7
    sample["x"] = np.zeros(2)  # the mapping is the caller's own
    assert next(iter(samples()))["x"].dtype == np.float32


@pytest.mark.parametrize(("held_bytes", "calls"), [(dataset.HELD_BYTES, 2), (0, 5)], ids=["held", "streamed"])
def test_a_users_code_runs_once_for_all_passes(tmp_path: Path, held_bytes: int, calls: int) -> None:
    """Once to count, once to read: both while it is loaded."""
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "from pathlib import Path\n"
        "def batches():\n"
        "    with (Path(__file__).parent / 'calls').open('a') as file:\n"
        "        file.write('x')\n"
        "    for value in range(3):\n"
        "        yield {'x': np.full((1, 2), value, np.float32)}\n"
    )
    data = dataset.load(DataSource("own.py:batches"), inputs=(X,), base=tmp_path, held_bytes=held_bytes)
    for _ in range(3):
        assert [batch["x"].shape for batch in data.batches(2)] == [(2, 2), (1, 2)]
    assert len((tmp_path / "calls").read_text()) == calls
