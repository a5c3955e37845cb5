"""Tasks x workers -> replies: who does what when, whoever the workers are.

    ready --assign--> (worker, task) --crew--> reply --then--> more tasks

T1  a worker does one task at a time
T2  a bench goes to a worker that announces the bench's device; a device that is reached over ssh or adb is
one thing, however many workers could reach it: one bench at a time
T3  a bench that is measured on the worker's own machine runs alone there: it begins when nothing runs on
that host, and nothing begins beside it. Compile tasks of the host come first, so that the host is
emptied once and not for every row; a host that only benches never waits
T4  a worker that is lost costs its task alone: the task begins again elsewhere, ``retries`` times, then ends
as lost
T5  what nobody can do (no worker announces the device, or it does not answer) waits ``wait_s``, then ends
as missing; the clock starts again when somebody comes
T6  compile tasks go to workers that announce ``compile`` or none of the devices: a board that is measured
does not compile unless it says that it may
T7  a task that takes longer than ``task_s`` is ended with its worker's process and ends as timed out; it does
not begin again

The two crews (``processes``, ``dask_cluster``) only carry tasks; every rule is here, and ``assign`` is a
function of values.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from edgekit.spec import Progress

COMPILE = "compile"
LOCAL = "local"
"""Resources: who compiles, and the device of a matrix that names none."""
WAIT_S = 60.0  # a worker that restarts, or a board that boots, is back within it
RETRIES = (
    2  # a machine that is taken away twice is bad luck; a task that ends three workers is a bug of its own
)
POLL_S = 0.2  # how long a look for replies may take before workers are looked at again
ASK_AGAIN_S = 5.0  # a device that did not answer is asked again after that
_WORKER = "dask worker ADDRESS --nthreads 1"
_AGAIN = "run the same command again"
_AFTER_LOSS = f"its log says why; with fewer --jobs each has more memory; {_AGAIN}"
_AFTER_LIMIT = f"give it longer (--limit SECONDS), or find out why it hangs; {_AGAIN}"

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """One thing to do.

    Attributes:
        id: unique in a sweep; says in messages what is done.
        document: what ``work.run`` takes, JSON-ready.
        device: whom a bench measures; "" = it is a compile task.
        alone: whether it is measured on the worker's own machine (T3).
    """

    id: str
    document: Document
    device: str = ""
    alone: bool = False


@dataclass(frozen=True)
class Worker:
    """Who is there.

    Attributes:
        host: the machine, as far as its address tells.
        resources: what it announces.
    """

    host: str
    resources: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Reply:
    """How a task ended.

    Attributes:
        how: "done"; "lost" with its workers (T4), "missing" (T5) or "timed out" (T7): then ``document`` is
            empty.
        reason: in words, where it was not done.
        remedy: what to do about it.
        worker: who did it last.
    """

    how: Literal["done", "lost", "missing", "timed out"]
    document: Document = field(default_factory=dict)
    reason: str = ""
    remedy: str = ""
    worker: str = ""


class Crew(Protocol):
    """Workers of some kind: they carry a task there and its reply back."""

    def workers(self) -> Mapping[str, Worker]:
        """Who is there now; one that died is gone, and one in its place has another name."""

    def start(self, worker: str, task: Task) -> None:
        """Begin; at once, without waiting for anything."""

    def replies(self, wait_s: float) -> Sequence[tuple[str, Document]]:
        """Worker and reply of what was done since; waits so long for the first."""

    def stop(self, worker: str) -> None:
        """End what it does, and its process with it: no reply comes of that; the worker may be gone then."""

    def last_words(self, worker: str) -> str:
        """What a lost worker left, for messages."""

    def close(self) -> None:
        """End what runs."""


@dataclass(frozen=True)
class Limits:
    """T4, T5 and T7; ``task_s`` = None: for ever."""

    wait_s: float = WAIT_S
    retries: int = RETRIES
    task_s: float | None = None


def able(task: Task, worker: Worker, devices: Collection[str]) -> bool:
    """T2 and T6: whether ``worker`` may do ``task``."""
    if task.device:
        return task.device in worker.resources
    return COMPILE in worker.resources or not worker.resources & set(devices)


def assign(
    ready: Sequence[Task],
    workers: Mapping[str, Worker],
    running: Mapping[str, Task],
    *,
    devices: Collection[str],
) -> list[tuple[str, Task]]:
    """Which task begins where now: T1, T2, T3, T6. ``running``: worker -> its task."""
    begun: dict[str, Task] = dict(running)
    found: list[tuple[str, Task]] = []

    def on(host: str) -> list[Task]:
        return [task for name, task in begun.items() if name in workers and workers[name].host == host]

    def begin(task: Task, where: Sequence[str]) -> None:
        for name in where:
            worker = workers[name]
            beside = on(worker.host)
            if name in begun or not able(task, worker, devices):
                continue
            if any(each.alone for each in beside) or (task.alone and beside):
                continue
            found.append((name, task))
            begun[name] = task
            return

    compiles = [task for task in ready if not task.device]
    for task in compiles:
        begin(task, list(workers))
    taken = {task.id for _, task in found}
    waiting = [task for task in compiles if task.id not in taken]
    for task in ready:
        if not task.device:
            continue
        if not task.alone and any(each.device == task.device for each in begun.values()):
            continue
        # a host where compile tasks wait that it could do is not emptied yet
        begin(
            task,
            [
                name
                for name, worker in workers.items()
                if not (task.alone and any(_could(each, worker.host, workers, devices) for each in waiting))
            ],
        )
    return found


def _could(task: Task, host: str, workers: Mapping[str, Worker], devices: Collection[str]) -> bool:
    return any(worker.host == host and able(task, worker, devices) for worker in workers.values())


Then = Callable[[Task, Reply], Sequence[Task]]
"""What follows from a reply: more tasks."""


class Schedule:
    """The rules with their memory: what is ready, what runs, who was tried, since when somebody is away."""

    def __init__(
        self,
        crew: Crew,
        *,
        devices: Collection[str],
        limits: Limits,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._crew, self._devices, self._limits = crew, frozenset(devices), limits
        self._progress, self._clock = progress, clock
        self._ready: list[Task] = []
        self._running: dict[str, Task] = {}
        self._began: dict[str, float] = {}  # by worker
        self._lost: Counter[str] = Counter()
        self._away_since: dict[str, float] = {}
        self._not_before: dict[str, float] = {}
        self._said: dict[str, Document] = {}  # by a device's worker, that could not reach it
        self.lost = 0

    def run(self, tasks: Sequence[Task], then: Then) -> None:
        """Do ``tasks`` and what follows from them, until nothing is left."""
        self._ready += tasks
        while self._ready or self._running:
            overdue = self._overdue()  # first: who was stopped is no worker any more
            workers = self._crew.workers()
            for task, reply in [*overdue, *self._bury(workers), *self._expire(workers)]:
                self._ready += then(task, reply)
            now = self._clock()
            able_now = [task for task in self._ready if self._not_before.get(task.id, 0.0) <= now]
            for name, task in assign(able_now, workers, self._running, devices=self._devices):
                self._ready.remove(task)
                self._running[name] = task
                self._began[name] = now
                self._crew.start(name, task)
            for name, document in self._crew.replies(POLL_S if self._ready or self._running else 0.0):
                done = self._running.pop(name, None)
                if done is None:
                    continue  # it had been given up for lost, and somebody else does it
                if document.get("away"):
                    self._put_off(done, document)
                    continue
                self._away_since.pop(done.device, None)
                self._ready += then(done, Reply("done", document, worker=name))

    def _bury(self, workers: Mapping[str, Worker]) -> list[tuple[Task, Reply]]:
        """T4."""
        ended = []
        for name in [name for name in self._running if name not in workers]:
            task = self._running.pop(name)
            words = self._crew.last_words(name)
            self._lost[task.id] += 1
            self.lost += 1
            if self._lost[task.id] <= self._limits.retries:
                self._progress.note(f"{task.id}: worker {name} was lost{words}; it begins again")
                self._ready.insert(0, task)
                continue
            said = f"its worker was lost {self._lost[task.id]} times, the last was {name}{words}"
            ended.append((task, Reply("lost", reason=said, remedy=_AFTER_LOSS, worker=name)))
        return ended

    def _expire(self, workers: Mapping[str, Worker]) -> list[tuple[Task, Reply]]:
        """T5: for devices, and for compile tasks while nobody compiles (device "")."""
        now, ended = self._clock(), []
        for device in {task.device for task in self._ready}:
            waiting = [task for task in self._ready if task.device == device]
            here = any(able(waiting[0], worker, self._devices) for worker in workers.values())
            if here and not any(task.id in self._not_before for task in waiting):
                self._away_since.pop(device, None)
                continue
            since = self._away_since.setdefault(device, now)
            if now - since < self._limits.wait_s:
                continue
            for task in waiting:
                self._ready.remove(task)
                reason, remedy = self._missing(device, here=here)
                ended.append((task, Reply("missing", reason=reason, remedy=remedy)))
        return ended

    def _overdue(self) -> list[tuple[Task, Reply]]:
        """T7."""
        limit = self._limits.task_s
        if limit is None:
            return []
        ended, now = [], self._clock()
        for name in [name for name in self._running if now - self._began[name] > limit]:
            task = self._running.pop(name)
            self._crew.stop(name)
            reason = f"timed out: {task.id} took more than {limit:g} s"
            ended.append((task, Reply("timed out", reason=reason, remedy=_AFTER_LIMIT, worker=name)))
        return ended

    def _put_off(self, task: Task, document: Document) -> None:
        """T5: a device that its worker could not reach."""
        self._away_since.setdefault(task.device, self._clock())
        if task.id not in self._not_before:
            self._progress.note(f"{task.id}: {document.get('away')}; it is asked again")
        self._said[task.device] = document
        self._not_before[task.id] = self._clock() + min(ASK_AGAIN_S, self._limits.wait_s / 4)
        self._ready.append(task)

    def _missing(self, device: str, *, here: bool) -> tuple[str, str]:
        """What to say of it, and what to do."""
        waited = f"within {self._limits.wait_s:g} s"
        if not device:
            return f"no worker that compiles was there {waited}", f"start one: `{_WORKER}`; {_AGAIN}"
        if here:
            said = self._said.get(device, {})
            remedy = f"{said['remedy']}; then {_AGAIN}" if said.get("remedy") else _AGAIN
            return f"device {device} did not answer {waited}: {said.get('away', '')}", remedy
        start = f'`{_WORKER} --resources "{device}=1"`'
        return f"no worker announced device {device} {waited}", f"start it: {start}; {_AGAIN}"
