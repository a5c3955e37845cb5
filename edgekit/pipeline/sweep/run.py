"""`sweep`: MATRIX.toml -> rows, made and measured wherever workers are, and a Pareto report over all of them.

    matrix --rows--> prepare (a model)  ->  make (a row without its device)  ->  bench (a row)  ->  row.json
                     one lock for all        candidates, proved                  on its device

A row that fails is a row with its reason; the sweep goes on. What is done stays done (``kept``): a run that
was killed is resumed by the same command.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from edgekit import drafts
from edgekit.errors import UnknownNameError
from edgekit.measure import device_address, device_list
from edgekit.pipeline.gravest import gravest
from edgekit.pipeline.result.sweep import SweepResult
from edgekit.pipeline.sweep import kept as keeping
from edgekit.pipeline.sweep import matrix_file, store
from edgekit.pipeline.sweep.collect import Collected
from edgekit.pipeline.sweep.front import with_front
from edgekit.pipeline.sweep.matrix_file import DeviceTable, Matrix
from edgekit.pipeline.sweep.processes import Processes
from edgekit.pipeline.sweep.rows import Planned, planned, sources
from edgekit.pipeline.sweep.schedule import COMPILE, LOCAL, Crew, Limits, Schedule
from edgekit.pipeline.write import write_text
from edgekit.spec import Progress

Render = Callable[[SweepResult], Mapping[str, bytes]]
"""Result -> report file name -> content; handed down, because reports stand above the pipeline."""
MOST_JOBS = 8  # by default: each process holds a model, its data and a framework
_TOKEN = "an edgekit sweep\n"  # noqa: S105  what workers look for, to know the store


@dataclass(frozen=True)
class Where:
    """Who does it.

    Attributes:
        scheduler: address of a Dask scheduler; "" = processes of this machine.
        jobs: how many processes; None = as many as cores, ``MOST_JOBS`` at most.
        store: folder or URL through which artifacts travel; "" = OUT/store.
        wait_s: in place of the matrix's; None = the matrix's.
        limit_s: likewise, of one task.
    """

    scheduler: str = ""
    jobs: int | None = None
    store: str = ""
    wait_s: float | None = None
    limit_s: float | None = None


def sweep(
    path: Path,
    *,
    out: Path,
    where: Where,
    update: bool = False,
    cache_dir: Path | None = None,
    progress: Progress,
    render: Render | None = None,
    today: date | None = None,
) -> SweepResult:
    """Run all rows of the matrix that are not done yet, and report on all.

    Args:
        path: the matrix.
        out: folder of rows, locks, reports and (unless told otherwise) the store.
        where: who does it.
        update: do every row again, and choose again instead of following locks.
        cache_dir: of workers; by default each has its own (EDGEKIT_CACHE).
        progress: told about each row.
        render: gives the reports that are written into ``out``.
        today: the day that waivers are held against.

    Raises:
        InputError: the matrix, a recipe or a target is wrong, or ``out`` lies in a source's folder.
        MissingBackendError: Dask is not installed, or its scheduler does not answer.
        OutputError: ``out`` or the store cannot be written.
    """
    day = today or datetime.now(UTC).date()
    matrix = matrix_file.load(path)
    plan = planned(matrix, path=path, today=day)
    held = sources(matrix, base=path.resolve().parent)
    keeping.check_outside(out, held, flag="-o")
    if where.store and "://" not in where.store:
        keeping.check_outside(Path(where.store), held, flag="--store")
    address = where.store or str((out / "store").resolve())
    devices = _devices(matrix, path)
    shared = store.opened(address if "://" in address else str(Path(address).resolve()))
    base = {
        "store": shared.name,
        "token": _token(shared, out),
        "cache": str(cache_dir.resolve()) if cache_dir else None,
        "today": day.isoformat(),
        "folder": str(path.resolve().parent),
        "rounds": matrix.run.rounds,
    }
    collected = Collected(
        plan.rows,
        kept=keeping.Kept(out, rounds=matrix.run.rounds),
        store=shared,
        base=base,
        devices=devices,
        unreachable=_unreachable(plan, devices) if not where.scheduler else {},
        update=update,
        progress=progress,
    )
    tasks = collected.begin()
    lost = 0
    said = "everything was done before"
    if tasks:
        limits = Limits(
            wait_s=matrix.run.wait_s if where.wait_s is None else where.wait_s,
            retries=matrix.run.retries,
            task_s=matrix.run.limit_s if where.limit_s is None else where.limit_s,
        )
        with _crew(where, matrix, devices) as (crew, said):
            schedule = Schedule(
                crew, devices={each.name for each in matrix.devices}, limits=limits, progress=progress
            )
            schedule.run(tasks, collected.then)
            lost = schedule.lost
    rows = with_front(collected.rows())
    result = SweepResult(
        matrix=str(path),
        out=out,
        scheduler=said,
        rows=rows,
        exit_code=gravest(row.exit_code for row in rows),
        left_out=plan.left_out,
        findings=collected.findings(),
        machines=collected.machines,
        lost=lost,
    )
    for name, content in (render(result) if render else {}).items():
        write_text(out / name, content.decode())
    return result


@contextmanager
def _crew(
    where: Where, matrix: Matrix, devices: Mapping[str, Mapping[str, Any] | None]
) -> Iterator[tuple[Crew, str]]:
    """The workers, ended afterwards whatever happens; and who they are, in words."""
    names = {each.name for each in matrix.devices}
    crew: Crew
    if where.scheduler:
        from edgekit.pipeline.sweep.dask_cluster import DaskCluster

        crew = DaskCluster(where.scheduler, devices=names)
        said = f"Dask cluster at {where.scheduler}, {len(crew.workers())} workers at the beginning"
    else:
        jobs = where.jobs or min(MOST_JOBS, os.cpu_count() or 1)
        near = {name for name in names if name == LOCAL or devices[name] is not None}
        crew = Processes(jobs, resources={COMPILE, *near})
        said = f"{jobs} process{'es' * (jobs > 1)} of this machine"
    try:
        yield crew, said
    finally:
        crew.close()


def _devices(matrix: Matrix, path: Path) -> dict[str, Mapping[str, Any] | None]:
    """How each device is reached; None = the worker is it.

    Raises:
        RecipeError: devices.toml is needed and missing, or wrong.
        UnknownNameError: it has no such name.
    """
    found: dict[str, Mapping[str, Any] | None] = {}
    for each in matrix.devices:
        found[each.name] = _entry(each, path.resolve().parent / device_list.FILE) if each.address else None
    return found


def _entry(device: DeviceTable, file: Path) -> Mapping[str, Any]:
    if device_address.is_address(device.address):
        device_address.parse(device.address)  # a wrong one is refused before anything runs
        entry = device_list.DeviceEntry(name=device.name, address=device.address)
    else:
        known = device_list.entries(file)
        if device.address not in known:
            raise UnknownNameError("device", device.address, known, listing=f"cat {file}")
        entry = known[device.address].model_copy(update={"name": device.name})
    return entry.model_dump(mode="json")


def _unreachable(plan: Planned, devices: Mapping[str, Mapping[str, Any] | None]) -> dict[str, str]:
    """Without a cluster: devices that are workers of one, and why they are missing."""
    return {
        row.device.name: f"device {row.device.name} is a worker of a Dask cluster (it has no address)"
        for row in plan.rows
        if row.device.name != LOCAL and devices[row.device.name] is None
    }


def _token(shared: store.Store, out: Path) -> str:
    """A blob that every worker must see: then it sees the same store."""
    out.mkdir(parents=True, exist_ok=True)
    with drafts.folder(out / "token") as folder:
        path = folder / "token"
        path.write_text(_TOKEN + hashlib.sha256(str(out.resolve()).encode()).hexdigest(), "utf-8")
        return shared.put(path)
