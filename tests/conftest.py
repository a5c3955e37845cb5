"""Tests of one process import PyTorch and TensorFlow in any order: see ``frontends.triton_first``.

Modules with slow tests go first, then those with many tests: what is long must not begin when the other
processes have nothing left to do. `make test` hands modules out in this order.
"""

from __future__ import annotations

from collections import Counter

import pytest

from edgekit.frontends.triton_first import load_triton_first

load_triton_first()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order modules; within one, tests stay as they are."""
    tests = Counter(each.path for each in items)
    slow = {each.path for each in items if each.get_closest_marker("slow")}
    items.sort(key=lambda each: (each.path not in slow, -tests[each.path]))  # stable
