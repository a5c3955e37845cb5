"""measure.roofline, measure.bandwidth: where kernels stand, by hand; what a broken count does."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.measure import bandwidth
from edgekit.measure.roofline import ABOVE, Roof, central, standing

ROOF = Roof(
    {"float32": 100.0, "int8": 1000.0}, ((1 << 16, 80.0), (1 << 20, 40.0), (1 << 30, 10.0)), threads=1
)


def test_compute_bound() -> None:
    # 10 MOP at 100 GOP/s are 100 us; 40 kB at 80 GB/s are 0.5 us
    found = standing(us=200.0, operations=10_000_000, moved_bytes=40_000, dtype="float32", roof=ROOF)
    assert (found.gops, found.gbs, found.intensity) == (50.0, 0.2, 250.0)
    assert (found.fraction, found.bound) == (0.5, "compute")


def test_memory_bound() -> None:
    # 1 GiB at 10 GB/s takes 107,374 us
    found = standing(us=214_748.0, operations=1000, moved_bytes=1 << 30, dtype="float32", roof=ROOF)
    assert found.fraction == pytest.approx(0.5, rel=1e-4)
    assert found.bound == "memory"


def test_the_type_decides_the_peak() -> None:
    floats = standing(us=200.0, operations=10_000_000, moved_bytes=8, dtype="float32", roof=ROOF)
    integers = standing(us=200.0, operations=10_000_000, moved_bytes=8, dtype="int8", roof=ROOF)
    assert floats.fraction == pytest.approx(0.5)
    assert integers.fraction == pytest.approx(0.05)
    assert integers.bound == "overhead"


def test_overhead_bound_is_below_a_tenth_of_the_roof() -> None:
    above = standing(us=990.0, operations=10_000_000, moved_bytes=8, dtype="float32", roof=ROOF)
    below = standing(us=1010.0, operations=10_000_000, moved_bytes=8, dtype="float32", roof=ROOF)
    assert (above.bound, below.bound) == ("compute", "overhead")


def test_no_rate_below_the_clock() -> None:
    found = standing(us=9.0, operations=1000, moved_bytes=1000, dtype="int8", roof=ROOF)
    assert (found.gops, found.gbs, found.fraction) == (None, None, None)


def test_unknown_counts_are_unknown() -> None:
    found = standing(us=100.0, operations=None, moved_bytes=1000, dtype="int8", roof=ROOF)
    assert (found.gops, found.fraction, found.bound) == (None, None, "")
    assert found.gbs == pytest.approx(0.01)


def test_a_type_without_a_peak_has_the_memory_alone() -> None:
    found = standing(us=100.0, operations=10**9, moved_bytes=1 << 20, dtype="int16", roof=ROOF)
    assert found.bound == "memory"
    assert found.fraction == pytest.approx((1 << 20) / 40e3 / 100)


def test_a_wrong_count_is_above_the_roof() -> None:
    """Sabotage: a hundred times the MACs."""
    right = standing(us=110.0, operations=10_000_000, moved_bytes=8, dtype="float32", roof=ROOF)
    wrong = standing(us=110.0, operations=1_000_000_000, moved_bytes=8, dtype="float32", roof=ROOF)
    assert 0 < (right.fraction or 0) < 1
    assert (wrong.fraction or 0) > ABOVE


def test_bandwidth_falls_with_the_working_set() -> None:
    """A measured dip is no roof: what a larger set reached, a smaller one could."""
    roof = Roof({}, ((100, 80.0), (200, 20.0), (400, 30.0)), threads=1)
    assert [roof.gbs(size) for size in (50, 100, 150, 200, 300, 400, 1000)] == [80, 80, 80, 30, 30, 30, 30]
    assert Roof({}, (), threads=1).gbs(100) is None


def test_central_is_the_mean_of_the_middle_half() -> None:
    assert central([1000.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -500.0]) == 3.5
    assert central([7.0]) == 7.0
    assert central([]) == 0.0


@pytest.mark.parametrize("threads", [1, 2])
def test_bandwidth_is_measured_up_to_the_room(threads: int, tmp_path: Path) -> None:
    found = bandwidth.measured(threads=threads, memory_bytes=4 << 20, sys=tmp_path)
    assert [size for size, _ in found] == [1 << 16, 1 << 18, 1 << 20]
    assert all(rate > 0 for _, rate in found)


def test_the_last_cache_is_the_largest(tmp_path: Path) -> None:
    for index, text in enumerate(("48K\n", "2M\n", "30720K\n")):
        folder = tmp_path / f"devices/system/cpu/cpu0/cache/index{index}"
        folder.mkdir(parents=True)
        (folder / "size").write_text(text)
    assert bandwidth.last_cache_bytes(sys=tmp_path) == 30 << 20
    assert bandwidth.last_cache_bytes(sys=tmp_path / "none") == 0
