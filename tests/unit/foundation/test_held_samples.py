"""Samples that are kept from the first pass on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from edgekit import dataset
from edgekit.dataset import Dataset, DataSource
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


def _values(samples: Iterable[Sample]) -> list[float]:
    return [float(sample["x"][0]) for sample in samples]


def test_a_pass_that_ends_early_keeps_what_it_has_read() -> None:
    """H1: the next one reads from the start, gives what is kept, and keeps the rest."""
    source = Counted()
    samples = Held(source, BYTES)
    assert _values(islice(samples(), 2)) == [0, 1]
    assert _values(islice(samples(), 2)) == [0, 1]
    assert source.read == 2
    assert _values(samples()) == [0, 1, 2, 3, 4]
    assert source.read == 7
    assert _values(samples()) == [0, 1, 2, 3, 4]
    assert source.read == 7


def test_who_takes_all_without_asking_for_the_end_reads_them_once() -> None:
    """As pruning does: eight batches of 32 are 256 samples, and nobody looks for a ninth."""
    source = Counted()
    data = Dataset("d", "", "", count=5, seed=0, samples=Held(source, BYTES, count=5))
    for _ in range(3):
        assert sum(len(batch["x"]) for batch in islice(data.batches(2), 3)) == 5
        assert len(list(islice(data.batches(5), 1))) == 1
    assert source.read == 5


@pytest.mark.parametrize("most_bytes", [BYTES, BYTES - 1], ids=["small", "too large"])
def test_passes_beside_each_other_give_the_same(most_bytes: int) -> None:
    """One is ahead of the other, and the other ahead of it, when what is kept becomes too much."""
    samples = Held(Counted(), most_bytes)
    first, second = samples(), samples()
    found = [_values(islice(first, 3)), _values(islice(second, 4)), _values(first), _values(second)]
    assert found == [[0, 1, 2], [0, 1, 2, 3], [3, 4], [4]]
    assert _values(samples()) == [0, 1, 2, 3, 4]


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
