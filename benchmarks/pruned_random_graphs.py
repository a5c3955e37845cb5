"""2,000 random graphs (tests/property/prunable_graphs.py): channels of zeros removed, outputs compared.

Each graph is checked by onnx, run by ONNX Runtime, and its parameters are counted against the prediction.
Seeds are the numbers of the batches, so that a run can be repeated.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.report import Bar, Report

GRAPHS = 2000
BATCH = 100


def outcomes(seed: int) -> list[tuple[float, int]]:
    """(difference in ULP of the largest output, channels that went) of one batch; inf where it broke."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as with_seed

    from edgekit.pruning.dependency import dependencies
    from tests.property.prunable_graphs import prunable_graphs
    from tests.property.test_pruned_random_graphs import difference_ulp
    from tests.unit.litert.litert_models import as_ir
    from tests.unit.pruning.zeroed import some_of_every_group

    found: list[tuple[float, int]] = []

    @with_seed(seed)
    @settings(
        max_examples=BATCH,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(prunable_graphs())
    def draw(model: Any) -> None:
        if len(found) >= BATCH:
            return
        gone = len(some_of_every_group(dependencies(as_ir(model)), seed=seed))
        try:
            found.append((difference_ulp(model, seed=seed), gone))
        except Exception as failure:  # noqa: BLE001  (whatever it is, it is counted and shown)
            print(f"batch {seed}: {str(failure).splitlines()[0]}", flush=True)
            found.append((float("inf"), gone))

    draw()
    return found


def run(count: int = GRAPHS) -> Report:
    """Measure."""
    from tests.property.test_pruned_random_graphs import LARGEST_ULP

    found: list[tuple[float, int]] = []
    batch = 0
    while len(found) < count:
        found += outcomes(batch)
        batch += 1
    largest = sorted((ulp for ulp, _ in found), reverse=True)
    raw: dict[str, object] = {
        "graphs": len(found),
        "channels_removed": sum(gone for _, gone in found),
        "graphs_that_lost_channels": sum(gone > 0 for _, gone in found),
        "largest_ulp": largest[:10],
    }
    print(raw, flush=True)
    bars = (
        Bar("graphs drawn", len(found), count, at_most=False),
        Bar("wrong or broken graphs", sum(not ulp <= LARGEST_ULP for ulp in largest), 0),
    )
    return Report("pruned_random_graphs", bars, raw)


if __name__ == "__main__":
    run(int(sys.argv[1]) if sys.argv[1:] else GRAPHS)
