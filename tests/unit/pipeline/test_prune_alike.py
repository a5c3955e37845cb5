"""Which cut models are the same work, and that their cells share what was measured."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import onnx_ir as ir
import pytest

from edgekit.passes import canonicalize
from edgekit.pipeline.prune.alike import sizes, work
from edgekit.pipeline.prune.speedometer import Speedometer
from edgekit.pipeline.prune.width_search import WidthSearch
from edgekit.pruning.dependency import Dependencies, dependencies
from edgekit.pruning.importance import Order
from edgekit.pruning.remove import remove
from edgekit.spec import Progress, Silent
from tests.unit.litert.litert_models import Model, as_ir


def _blocks(*, stride: int = 1) -> Dependencies:
    """Two residual blocks that are alike, and one behind a stride; each has one inner group of 16."""
    m = Model(seed=0)
    x = m.add("Conv", m.input("x", ("N", 8, 8, 8)), m.weight(8, 8, 3, 3), m.weight(8), pads=[1] * 4)
    for number in range(3):
        if number == 2 and stride > 1:
            x = m.add("MaxPool", x, kernel_shape=[1, 1], strides=[stride, stride])
        y = m.add("Conv", x, m.weight(16, 8, 3, 3), m.weight(16), pads=[1] * 4)
        y = m.add("Conv", m.add("Relu", y), m.weight(8, 16, 3, 3), m.weight(8), pads=[1] * 4)
        x = m.add("Add", x, y)
    return dependencies(canonicalize(as_ir(m.build(m.add("GlobalAveragePool", x)))))


def _inner(found: Dependencies) -> list[Order]:
    return [Order(each, each.channels, (), ()) for each in found.groups if len(each.channels) == 16]


def _work(found: Dependencies, order: Order, many: int) -> Hashable:
    return work(remove(found, order.channels[:many]), sizes(found.model))


def test_blocks_of_a_stage_are_alike() -> None:
    found = _blocks()
    first, second, third = (_work(found, order, 8) for order in _inner(found))
    assert first == second == third
    assert _work(found, _inner(found)[0], 4) != first


def test_a_block_on_smaller_images_is_other_work() -> None:
    """Its weights have the same shapes. Sabotage: where no size is known, nothing is alike."""
    found = _blocks(stride=2)
    first, second, third = (_work(found, order, 8) for order in _inner(found))
    assert first == second != third
    orders = _inner(found)
    unknown = [work(remove(found, order.channels[:8]), {}) for order in orders[:2]]
    assert unknown[0] != unknown[1]


def test_cells_that_are_alike_share_all_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """S6. The block that noise made look best is no better than the other two."""
    found, looks = _blocks(), iter([0.30, 0.06, 0.0, 0.04])
    asked: list[list[str]] = []

    def savings(
        self: Speedometer, models: Mapping[str, ir.Model], progress: Progress, *, stage: str = ""
    ) -> dict[str, tuple[float, ...]]:
        del self, progress, stage
        asked.append(list(models))
        return {name: (next(looks),) for name in models}

    monkeypatch.setattr(Speedometer, "savings", savings)
    monkeypatch.setattr(WidthSearch, "_sensitivity", lambda *_: 1.0)
    monkeypatch.setattr("edgekit.pruning.widths.widths_of", lambda group, **_: (8,))
    speed = Speedometer(found.model, (), None, {}, 0)
    search = WidthSearch(found, tuple(_inner(found)), speed, None, 0, False, Silent())  # type: ignore[arg-type]
    search.measure()
    assert [(round(cell.saving, 6), cell.looks) for cell in search.table] == [(0.12, 3)] * 3
    search._look_again(search.table[1:])
    assert len(asked[1]) == 1
    assert [(round(cell.saving, 6), cell.looks) for cell in search.table] == [(0.10, 4)] * 3
