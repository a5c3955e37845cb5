"""Who does what when: the rules T1 to T7, on a crew that exists on paper; each is seen to refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from edgekit.pipeline.sweep.schedule import Document, Limits, Reply, Schedule, Task, Worker, able, assign
from edgekit.spec import Silent

BOARD = {"board"}


def _compile(name: str) -> Task:
    return Task(name, {"kind": "make", "of": name})


def _bench(name: str, device: str = "board", *, alone: bool = True) -> Task:
    return Task(name, {"kind": "bench", "of": name}, device=device, alone=alone)


def _names(found: Sequence[tuple[str, Task]]) -> list[tuple[str, str]]:
    return [(worker, task.id) for worker, task in found]


def test_t1_a_worker_does_one_task_at_a_time() -> None:
    workers = {"a": Worker("h")}
    assert _names(assign([_compile("1"), _compile("2")], workers, {}, devices=())) == [("a", "1")]
    assert assign([_compile("2")], workers, {"a": _compile("1")}, devices=()) == []


def test_t2_a_bench_goes_to_its_device_alone() -> None:
    workers = {"a": Worker("h1"), "pi": Worker("h2", frozenset(BOARD))}
    assert _names(assign([_bench("b")], workers, {}, devices=BOARD)) == [("pi", "b")]
    assert assign([_bench("b", "other")], workers, {}, devices={"board", "other"}) == []


def test_t2_two_equal_boards_measure_at_a_time_and_one_board_over_ssh_does_not() -> None:
    workers = {"x": Worker("h1", frozenset(BOARD)), "y": Worker("h2", frozenset(BOARD))}
    tasks = [_bench("1"), _bench("2")]
    assert len(assign(tasks, workers, {}, devices=BOARD)) == 2
    over_ssh = [_bench("1", alone=False), _bench("2", alone=False)]
    assert _names(assign(over_ssh, workers, {}, devices=BOARD)) == [("x", "1")]


def test_t3_nothing_runs_beside_a_bench_on_its_host() -> None:
    both = frozenset({"compile", "board"})
    workers = {"a": Worker("h", both), "b": Worker("h", both)}
    running = {"a": _bench("1")}
    assert assign([_compile("2")], workers, running, devices=BOARD) == []
    assert assign([_bench("2")], workers, running, devices=BOARD) == []
    assert assign([_bench("2")], workers, {"a": _compile("1")}, devices=BOARD) == []
    # the same on two hosts: nobody is disturbed
    workers["b"] = Worker("elsewhere", both)
    assert _names(assign([_compile("2")], workers, running, devices=BOARD)) == [("b", "2")]
    assert _names(assign([_bench("2")], workers, {"a": _compile("1")}, devices=BOARD)) == [("b", "2")]


def test_t3_a_bench_over_ssh_disturbs_nobody_here() -> None:
    both = frozenset({"compile", "board"})
    workers = {"a": Worker("h", both), "b": Worker("h", both)}
    assert assign([_bench("2", alone=False)], workers, {"a": _compile("1")}, devices=BOARD)


def test_t3_compile_tasks_of_the_host_come_first() -> None:
    both = frozenset({"compile", "board"})
    workers = {"a": Worker("h", both)}
    assert _names(assign([_bench("b"), _compile("c")], workers, {}, devices=BOARD)) == [("a", "c")]
    # a host that only benches waits for nobody
    workers = {"a": Worker("h"), "pi": Worker("h2", frozenset(BOARD))}
    tasks = [_bench("b"), _compile("1"), _compile("2")]
    assert _names(assign(tasks, workers, {}, devices=BOARD)) == [("a", "1"), ("pi", "b")]


@pytest.mark.parametrize(
    ("resources", "may"),
    [(set(), True), ({"gpu"}, True), ({"board"}, False), ({"board", "compile"}, True)],
    ids=["nothing said", "something else", "a device", "a device that compiles"],
)
def test_t6_who_compiles(resources: set[str], may: bool) -> None:
    assert able(_compile("c"), Worker("h", frozenset(resources)), BOARD) is may


@dataclass
class OnPaper:
    """A crew whose workers answer at once; ``dies`` says which task ends its worker how often.

    ``slow`` never answer; who is stopped is gone, and another is there.
    """

    known: dict[str, Worker]
    dies: dict[str, int] = field(default_factory=dict)
    away: dict[str, int] = field(default_factory=dict)
    began: list[tuple[str, str]] = field(default_factory=list)
    ready: list[tuple[str, Document]] = field(default_factory=list)
    now: float = 0.0
    most: int = 0
    slow: frozenset[str] = frozenset()
    stopped: list[str] = field(default_factory=list)

    def workers(self) -> Mapping[str, Worker]:
        return dict(self.known)

    def start(self, worker: str, task: Task) -> None:
        self.began.append((worker, task.id))
        if self.dies.get(task.id, 0):
            self.dies[task.id] -= 1
            self.known[f"{worker}'"] = self.known.pop(worker)
            return
        if self.away.get(task.id, 0):
            self.away[task.id] -= 1
            self.ready.append((worker, {"away": "no route to host"}))
            return
        if task.id not in self.slow:
            self.ready.append((worker, {"did": task.id}))

    def replies(self, wait_s: float) -> Sequence[tuple[str, Document]]:
        self.now += max(wait_s, 0.001)
        found, self.ready = self.ready, []
        self.most = max(self.most, len(found))
        return found

    def stop(self, worker: str) -> None:
        self.stopped.append(worker)
        self.known[f"{worker}'"] = self.known.pop(worker)

    def last_words(self, worker: str) -> str:
        return f" (signal 9 of {worker})"

    def close(self) -> None: ...


def _run(crew: OnPaper, tasks: list[Task], **limits: float) -> dict[str, Reply]:
    ended: dict[str, Reply] = {}

    def then(task: Task, reply: Reply) -> Sequence[Task]:
        assert task.id not in ended, "ended twice"
        ended[task.id] = reply
        return [_bench(f"bench {task.id}")] if not task.device else []

    schedule_of = Schedule(
        crew,
        devices=BOARD,
        limits=Limits(limits.get("wait_s", 10.0), int(limits.get("retries", 2)), limits.get("task_s")),
        progress=Silent(),
        clock=lambda: crew.now,
    )
    schedule_of.run(tasks, then)
    return ended


def test_what_follows_runs_too() -> None:
    crew = OnPaper({"a": Worker("h"), "pi": Worker("h2", frozenset(BOARD))})
    ended = _run(crew, [_compile("1"), _compile("2")])
    assert {name: each.how for name, each in ended.items()} == dict.fromkeys(
        ("1", "2", "bench 1", "bench 2"), "done"
    )
    assert {worker for worker, task in crew.began if task.startswith("bench")} == {"pi"}


def test_t4_a_lost_worker_costs_its_task_alone() -> None:
    crew = OnPaper({"a": Worker("h"), "pi": Worker("h2", frozenset(BOARD))}, dies={"1": 2})
    ended = _run(crew, [_compile("1"), _compile("2")])
    assert all(each.how == "done" for each in ended.values())
    assert [task for _, task in crew.began].count("1") == 3
    assert [task for _, task in crew.began].count("2") == 1


def test_t4_a_task_that_ends_every_worker_is_given_up() -> None:
    crew = OnPaper({"a": Worker("h"), "pi": Worker("h2", frozenset(BOARD))}, dies={"1": 99})
    ended = _run(crew, [_compile("1"), _compile("2")])
    assert ended["1"].how == "lost"
    assert "lost 3 times" in ended["1"].reason
    assert "signal 9" in ended["1"].reason
    assert ended["2"].how == ended["bench 2"].how == "done"


def test_t5_a_device_that_stays_away_ends_its_rows_and_no_others() -> None:
    crew = OnPaper({"a": Worker("h")})
    ended = _run(crew, [_compile("1")], wait_s=7.0)
    assert ended["1"].how == "done"
    away = ended["bench 1"]
    assert (away.how, away.reason) == ("missing", "no worker announced device board within 7 s")
    assert away.remedy == (
        'start it: `dask worker ADDRESS --nthreads 1 --resources "board=1"`; run the same command again'
    )
    assert 7.0 <= crew.now < 8.5


def test_t5_a_device_that_comes_back_in_time_is_used() -> None:
    crew = OnPaper({"a": Worker("h"), "pi": Worker("h2", frozenset(BOARD))}, away={"bench 1": 2})
    assert _run(crew, [_compile("1")], wait_s=20.0)["bench 1"].how == "done"
    crew = OnPaper({"a": Worker("h"), "pi": Worker("h2", frozenset(BOARD))}, away={"bench 1": 10_000})
    ended = _run(crew, [_compile("1")], wait_s=20.0)["bench 1"]
    assert ended.how == "missing"
    assert "did not answer within 20 s: no route to host" in ended.reason
    assert ended.remedy == "run the same command again"


def test_t5_nobody_compiles() -> None:
    ended = _run(OnPaper({"pi": Worker("h2", frozenset(BOARD))}), [_compile("1")], wait_s=3.0)
    assert ended["1"].reason == "no worker that compiles was there within 3 s"


def test_t7_a_task_over_its_limit_ends_with_its_worker_and_the_rest_goes_on() -> None:
    known = {"a": Worker("h"), "pi": Worker("h2", frozenset(BOARD))}
    crew = OnPaper(known, slow=frozenset({"1"}))
    ended = _run(crew, [_compile("1"), _compile("2")], task_s=5.0)
    late = ended["1"]
    assert (late.how, late.reason, late.worker) == ("timed out", "timed out: 1 took more than 5 s", "a")
    assert "--limit" in late.remedy
    assert ended["2"].how == ended["bench 2"].how == "done"
    assert crew.stopped == ["a"]
    assert [task for _, task in crew.began].count("1") == 1, "it would be too long again"
    assert 5.0 <= crew.now < 6.5
    # what takes less is let be
    crew = OnPaper({"a": Worker("h"), "pi": Worker("h2", frozenset(BOARD))})
    assert all(each.how == "done" for each in _run(crew, [_compile("1")], task_s=5.0).values())
    assert crew.stopped == []


def test_the_host_is_what_keeps_benches_apart() -> None:
    """Sabotage: workers whose hosts were told apart wrongly would measure beside each other."""
    workers = {"x": Worker("h", frozenset(BOARD)), "y": Worker("h", frozenset(BOARD))}
    tasks = [_bench("1"), _bench("2")]
    assert len(assign(tasks, workers, {}, devices=BOARD)) == 1
    workers["y"] = Worker("taken for another", frozenset(BOARD))
    assert len(assign(tasks, workers, {}, devices=BOARD)) == 2
