"""2,000 random graphs (tests/property/litert_graphs.py) -> LiteRT: right, wrong, refused, or not loaded.

Native code may abort: each batch of graphs runs in a process of its own, and one that dies counts as a file
that LiteRT refuses. Seeds are the numbers of the batches, so that a run can be repeated.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.report import Bar, Report

GRAPHS = 2000
BATCH = 50
WORKERS = 2
TOLERANCE = 1e-4  # of the output's range
FOUND = Path("random-graphs")  # where ``python -m benchmarks.litert_random_graphs`` keeps what is not right


def outcomes(seed: int) -> list[tuple[str, str, bytes]]:
    """(state, reason, model) of one batch; the model only where it is not right."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as with_seed

    from tests.property.litert_graphs import graphs

    found: list[tuple[str, str, bytes]] = []

    @with_seed(seed)
    @settings(
        max_examples=BATCH,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(graphs())
    def draw(model: Any) -> None:
        if len(found) < BATCH:
            state, reason = _outcome(model)
            found.append((state, reason, b"" if state == "right" else model.SerializeToString()))

    draw()
    return found


def _outcome(model: Any) -> tuple[str, str]:
    import numpy as np

    from tests.unit.litert.litert_models import compiled, relative_error, run_litert, run_onnx

    try:
        rejections = compiled(model).lowered.rejections
    except Exception as failure:  # noqa: BLE001  (a fault of the compiler is no refusal)
        return "unloadable", f"{type(failure).__name__}: {failure}"
    if rejections:
        return "refused", f"{rejections[0].rule}: {rejections[0].reason}"
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    (expected,) = run_onnx(model, feeds).values()
    try:
        (found,) = run_litert(model, feeds).values()
        error = relative_error(found, expected)
    except Exception as failure:  # noqa: BLE001  (whatever it is, it is counted and shown)
        return "unloadable", str(failure).splitlines()[0]
    return ("right", "") if error <= TOLERANCE else ("wrong", f"off by {error:.2g} of the range")


def _work(seed: int, connection: Any) -> None:
    connection.send(outcomes(seed))


def _all(batches: Iterable[int]) -> list[tuple[str, str, bytes]]:
    context = multiprocessing.get_context("spawn")
    waiting = list(batches)[::-1]
    running: list[tuple[Any, Any]] = []
    found: list[tuple[str, str, bytes]] = []
    while waiting or running:
        while waiting and len(running) < WORKERS:
            mine, theirs = context.Pipe()
            process = context.Process(target=_work, args=(waiting.pop(), theirs))
            process.start()
            theirs.close()
            running.append((process, mine))
        process, connection = running.pop(0)
        try:
            found += connection.recv()
        except EOFError:
            found.append(("unloadable", f"died with exit code {process.exitcode}", b""))
        process.join()
    return found


def run(count: int = GRAPHS) -> Report:
    """Measure."""
    found = _all(range(-(-count // BATCH)))
    states = Counter(state for state, _, _ in found)
    reasons = Counter(f"{state}: {reason.split('(')[0]}" for state, reason, _ in found if state != "right")
    bars = (
        Bar("graphs drawn", len(found), count, at_most=False),
        Bar("wrong values", states["wrong"], 0),
        Bar("files that LiteRT refuses", states["unloadable"], 0),
    )
    raw: dict[str, object] = {"states": dict(states), "reasons": dict(reasons)}
    for index, (state, reason, model) in enumerate(found):
        if state != "right":
            print(f"{index:5} {state}: {reason}", flush=True)
            if FOUND.is_dir():
                (FOUND / f"{index}.onnx").write_bytes(model)
    print(dict(states), flush=True)
    return Report("litert_random_graphs", bars, raw)


if __name__ == "__main__":
    run(int(sys.argv[1]) if sys.argv[1:] else GRAPHS)
