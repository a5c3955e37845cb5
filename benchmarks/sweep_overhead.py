"""Time that `edgekit sweep` takes beside the work: at most 50 ms a task, on processes and on a Dask cluster.

    overhead a task = (wall time x workers - tasks x duration) / tasks

Worker time in which no task ran, so an idle worker counts too. Every task sleeps for so long that the
processor is free; its document is as long as one with a recipe. Tasks follow each other as in a sweep: one
"prepare" and then as many as there are workers, benches on the device's worker. ``ideal`` is the same on
threads of one process, without any schedule: what the clock and the machine cost. The three are taken in
turns, ``REPEATS`` times; the median is judged.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks.report import Bar, Report
from edgekit.pipeline.sweep.dask_cluster import DaskCluster
from edgekit.pipeline.sweep.processes import Processes
from edgekit.pipeline.sweep.schedule import COMPILE, LOCAL, Crew, Limits, Reply, Schedule, Task
from edgekit.spec import Silent

TASKS = 200
WORKERS = 4
SLEEP_S = 0.1
REPEATS = 5
LIMIT_MS = 50.0  # issue 11
_RECIPE = "x" * 4000  # characters of a recipe in a task


def run() -> Report:
    """Crews are started once and warm, as in a long sweep."""
    found: dict[str, list[float]] = {"ideal": [], "processes": [], "dask": []}
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=WORKERS,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        memory_limit=None,
        resources={COMPILE: 1, LOCAL: 1},
    ) as cluster:
        crews: dict[str, Crew] = {
            "processes": Processes(WORKERS, resources={COMPILE, LOCAL}),
            "dask": DaskCluster(cluster.scheduler_address, devices={LOCAL}),
        }
        try:
            for crew in crews.values():
                _swept(crew, tasks=2 * WORKERS)  # imports
            for _ in range(REPEATS):
                found["ideal"].append(_overhead_ms(_ideal()))
                for name, crew in crews.items():
                    found[name].append(_overhead_ms(_swept(crew, tasks=TASKS)))
        finally:
            for crew in crews.values():
                crew.close()
    median = {name: statistics.median(values) for name, values in found.items()}
    return Report(
        suite="sweep_overhead",
        bars=tuple(
            Bar(f"{name}: ms a task beside the work", median[name], LIMIT_MS)
            for name in ("processes", "dask")
        ),
        raw={
            "tasks": TASKS,
            "workers": WORKERS,
            "sleep_s": SLEEP_S,
            "overhead_ms": found,
            "median_ms": median,
        },
    )


def _overhead_ms(wall_s: float) -> float:
    return 1000 * (wall_s * WORKERS - TASKS * SLEEP_S) / TASKS


def _ideal() -> float:
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        list(pool.map(time.sleep, [SLEEP_S] * TASKS))
    return time.monotonic() - began


def _swept(crew: Crew, *, tasks: int) -> float:
    """Wall time of so many tasks that follow from one; that one is not counted."""
    document = {"kind": "nothing", "sleep_s": SLEEP_S, "recipe": _RECIPE}
    began = 0.0

    def then(task: Task, reply: Reply) -> Sequence[Task]:
        nonlocal began
        assert reply.how == "done", reply
        if task.id != "first":
            return ()
        began = time.monotonic()
        return [Task(f"task {place}", document) for place in range(tasks)]

    schedule = Schedule(crew, devices={LOCAL}, limits=Limits(), progress=Silent())
    schedule.run([Task("first", document)], then)
    return time.monotonic() - began
