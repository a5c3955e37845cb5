"""24 rows on one process, on a Dask cluster of four workers, and on one that loses a worker: the same rows.

One cache for all: what a run has measured counts for the next, so that verdicts compare to the letter.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import ExitCode, InputError, MissingBackendError
from edgekit.pipeline.result import SweepResult
from edgekit.pipeline.result.sweep import SweepRow
from edgekit.pipeline.sweep import run as sweeping
from edgekit.pipeline.sweep.kept import Kept
from edgekit.pipeline.sweep.rows import Row
from edgekit.pipeline.sweep.run import Where, sweep
from edgekit.pipeline.sweep.schedule import Limits, Reply, Schedule, Task
from edgekit.spec import Silent
from tests.unit.sweep import tiny

TODAY = date(2026, 1, 1)
BOTH = "compile=1 local=1"


@dataclass(frozen=True)
class Work:
    """A matrix, a cache, and the run on one process that others are held against."""

    matrix: Path
    cache: Path
    out: Path
    result: SweepResult

    def run(self, out: Path, where: Where, **options: Any) -> SweepResult:
        """The same matrix again, by the locks of the first run."""
        shutil.copytree(self.out / "locks", out / "locks")
        return _sweep(self.matrix, out, where, self.cache, **options)


def _sweep(matrix: Path, out: Path, where: Where, cache: Path, **options: Any) -> SweepResult:
    return sweep(matrix, out=out, where=where, cache_dir=cache, progress=Silent(), today=TODAY, **options)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("sweep")
    matrix, out = tiny.write(folder / "work"), folder / "one"
    result = _sweep(matrix, out, Where(jobs=1), folder / "cache")
    return Work(matrix, folder / "cache", out, result)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tiny.Cluster]:
    pytest.importorskip("distributed", reason="extra dask is not installed")
    with tiny.cluster(tmp_path_factory.mktemp("dask") / "cluster", [BOTH] * 4) as found:
        yield found


def _files(out: Path) -> dict[str, str]:
    """Digest of every artifact, sidecar and lock."""
    paths = [*out.glob("rows/*/*"), *out.glob("locks/*")]
    kept = [path for path in paths if path.name not in {"row.json", "bench.json"}]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def _verdicts(result: SweepResult) -> list[tuple[object, ...]]:
    return [
        (row.id, row.status, row.exit_code, row.reason, row.artifact and row.artifact.gates, row.front)
        for row in result.rows
    ]


def test_one_process(work: Work) -> None:
    rows = work.result.rows
    assert len(rows) == 24
    assert {row.status for row in rows if row.target == "litert-cpu"} == {"fail"}, "a budget of 100 bytes"
    assert {row.status for row in rows if row.target != "litert-cpu"} == {"pass"}
    assert work.result.exit_code is ExitCode.LATENCY_OR_SIZE_GATE
    for row in rows:
        assert row.artifact is not None
        assert row.artifact.latency is not None, "failing rows are measured too"
        assert row.artifact.memory_bytes
        assert (row.artifact.ratio is None) == (row.precision == "fp32")
    assert any(row.front for row in rows)
    assert all(row.artifact and row.artifact.status == "pass" for row in rows if row.front)


def test_a_dask_cluster_gives_the_same_bytes_and_verdicts(
    work: Work, cluster: tiny.Cluster, tmp_path: Path
) -> None:
    result = work.run(tmp_path / "dask", Where(scheduler=cluster.address))
    assert _files(tmp_path / "dask") == _files(work.out)
    assert _verdicts(result) == _verdicts(work.result)
    assert not result.lost


def test_a_worker_that_is_killed_costs_its_task_alone(
    work: Work, cluster: tiny.Cluster, tmp_path: Path
) -> None:
    out, killed = tmp_path / "dask", threading.Event()

    def kill() -> None:
        while len(list(out.glob("store/cache/*/*"))) < 3:  # all four are at it
            time.sleep(0.01)
        cluster.workers["w0"].send_signal(signal.SIGKILL)
        killed.set()

    threading.Thread(target=kill, daemon=True).start()
    result = work.run(out, Where(scheduler=cluster.address))
    assert killed.is_set(), "the sweep was over before"
    assert result.lost == 1
    assert cluster.workers["w0"].wait(10) == -signal.SIGKILL
    assert _files(out) == _files(work.out)
    assert _verdicts(result) == _verdicts(work.result)


def test_a_device_that_stays_away_ends_its_rows_and_no_others(
    work: Work, cluster: tiny.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, write = list[tuple[str, str]](), Kept.write

    def watched(self: Kept, row: Row, key: str, found: SweepRow) -> None:
        kept.append((row.device.name, found.status))
        write(self, row, key, found)

    monkeypatch.setattr(Kept, "write", watched)
    matrix = work.matrix.with_name("devices.toml")
    head = tiny.MATRIX.replace('"models/one.toml", ', "").replace("[1, 2, 3]", "[1]")
    matrix.write_text(
        f'{head}[[device]]\nname = "board"\ntargets = ["litert-*"]\n'
        '[[device]]\nname = "local"\ntargets = ["onnxruntime-*"]\n'
    )
    result = _sweep(matrix, tmp_path / "o", Where(scheduler=cluster.address, wait_s=1), work.cache)
    by = {
        row.device: {each.status for each in result.rows if each.device == row.device} for row in result.rows
    }
    assert by == {"board": {"missing"}, "local": {"pass"}}, "its budget would be missed, too"
    assert result.exit_code is ExitCode.BACKEND_MISSING
    assert set(kept) == {("board", "missing"), ("local", "pass")}, (
        "killed between two writes, it was the first"
    )
    away = next(row for row in result.rows if row.device == "board")
    assert away.reason == "device missing: no worker announced device board within 1 s"
    assert "--resources" in away.remedy
    assert away.artifact is not None, "what was made stands"
    assert not away.front
    cluster.add("board", "board=1")  # within the time that the next run waits
    again = _sweep(matrix, tmp_path / "o", Where(scheduler=cluster.address, wait_s=300), work.cache)
    assert {row.device: row.status for row in again.rows} == {"board": "fail", "local": "pass"}
    assert {row.device: row.before for row in again.rows} == {"board": False, "local": True}
    # without a cluster nobody is the board, and nobody waits for it
    here = _sweep(matrix, tmp_path / "here", Where(jobs=1), work.cache)
    missing = [row.remedy for row in here.rows if row.status == "missing"]
    assert missing
    assert "--scheduler" in missing[0]


def test_a_device_over_ssh_that_does_not_answer(work: Work, tmp_path: Path) -> None:
    """Nobody listens there: the machine says so at once, and its rows end alone."""
    matrix = work.matrix.with_name("ssh.toml")
    head = tiny.MATRIX.replace('"models/one.toml", ', "").replace("[1, 2, 3]", "[1]")
    matrix.write_text(
        f'{head}[[device]]\nname = "board"\ntargets = ["litert-*"]\naddress = "ssh://nobody@127.0.0.1:1"\n'
        '[[device]]\nname = "local"\ntargets = ["onnxruntime-*"]\n'
    )
    result = _sweep(matrix, tmp_path / "o", Where(jobs=1, wait_s=0.2), work.cache)
    by = {row.device: row for row in result.rows}
    assert {row.device: row.status for row in result.rows} == {"board": "missing", "local": "pass"}
    assert result.exit_code is ExitCode.BACKEND_MISSING
    away = by["board"]
    assert away.reason.startswith("device missing: device board did not answer within 0.2 s: ")
    assert "ssh" in away.reason
    assert away.remedy.endswith("run the same command again")
    assert len(away.remedy) > len("run the same command again"), "what ssh said has a remedy of its own"
    assert away.artifact is not None, "what was made stands"


@pytest.mark.parametrize("nanny", [True, False], ids=["nanny", "no nanny"])
def test_t7_a_task_over_its_limit_is_ended_with_its_worker(cluster: tiny.Cluster, nanny: bool) -> None:
    from edgekit.pipeline.sweep.dask_cluster import DaskCluster

    device = "fed" if nanny else "bare"
    cluster.add(device, f"{device}=1", nanny=nanny)
    crew, ended = DaskCluster(cluster.address, devices={device}), dict[str, Reply]()

    def run(*sleeps_s: float, limit_s: float | None) -> None:
        def then(task: Task, reply: Reply) -> tuple[Task, ...]:
            ended[task.id] = reply
            return ()

        tasks = [
            Task(f"{each:g} s", {"kind": "nothing", "of": "", "sleep_s": each}, device=device)
            for each in sleeps_s
        ]
        limits = Limits(wait_s=300.0 if nanny or limit_s is None else 1.0, retries=0, task_s=limit_s)
        Schedule(crew, devices={device}, limits=limits, progress=Silent()).run(tasks, then)

    try:
        run(0.0, limit_s=None)  # it is there, and has imported edgekit
        (first,) = [name for name, each in crew.workers().items() if device in each.resources]
        run(3600.0, limit_s=2.0)
        run(0.1, limit_s=None if nanny else 60.0)
        assert ended["3600 s"].reason == "timed out: 3600 s took more than 2 s"
        assert ended["0.1 s"].how == ("done" if nanny else "missing"), "who comes in its place is its nanny's"
        assert first not in crew.workers()
        if not nanny:
            assert cluster.workers[device].wait(60) == 1, "its process has ended"
    finally:
        crew.close()
        cluster.workers[device].terminate()


def test_what_is_done_is_not_done_again(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object, **__: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(sweeping, "Processes", nobody)
    again = _sweep(work.matrix, work.out, Where(jobs=1), work.cache)
    assert all(row.before for row in again.rows)
    assert _verdicts(again) == _verdicts(work.result)
    # sabotage: one artifact of another byte, and that row is not done
    row = next(row for row in again.rows if row.artifact)
    assert row.artifact is not None
    path = work.out / row.folder / row.artifact.file
    kept = path.read_bytes()
    path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(AssertionError, match="a worker was started"):
        _sweep(work.matrix, work.out, Where(jobs=1), work.cache)
    path.write_bytes(kept)
    monkeypatch.undo()
    # data that changed is other rows
    data = work.matrix.parent / "models" / "two.npz"
    kept = data.read_bytes()
    monkeypatch.setattr(sweeping, "Processes", nobody)
    data.write_bytes(kept + b" ")
    with pytest.raises(AssertionError, match="a worker was started"):
        _sweep(work.matrix, work.out, Where(jobs=1), work.cache)
    data.write_bytes(kept)


def test_a_run_that_was_killed_is_resumed(work: Work, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(work.out / "locks", out / "locks")
    program = (
        "import sys; from pathlib import Path; from datetime import date; from edgekit.spec import Silent\n"
        "from edgekit.pipeline.sweep.run import Where, sweep\n"
        "sweep(Path(sys.argv[1]), out=Path(sys.argv[2]), where=Where(jobs=1), cache_dir=Path(sys.argv[3]),\n"
        "      progress=Silent(), today=date(2026, 1, 1))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tiny.REPO), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(work.matrix), str(out), str(work.cache)], env=environment
    )
    while len(list(out.glob("rows/*/row.json"))) < 3:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(list(out.glob("rows/*/row.json")))
    assert done < 24, "it was over before"
    result = _sweep(work.matrix, out, Where(jobs=1), work.cache)
    assert sum(row.before for row in result.rows) >= done - 1  # the last one may have been half-way
    assert _files(out) == _files(work.out)
    assert _verdicts(result) == _verdicts(work.result)


def test_a_row_that_cannot_be_made_is_a_row(work: Work, tmp_path: Path) -> None:
    shutil.copytree(work.matrix.parent, tmp_path / "w")
    recipe = tmp_path / "w" / "models" / "two.toml"
    recipe.write_text(recipe.read_text().replace('"two.npz"', '"gone.npz"'))
    matrix = tmp_path / "w" / "matrix.toml"
    matrix.write_text(
        tiny.MATRIX.replace("[1, 2, 3]", "[1]").replace(
            "[options]", 'targets = ["onnxruntime-cpu"]\n[options]'
        )
    )
    result = _sweep(matrix, tmp_path / "o", Where(jobs=1), work.cache)
    assert {row.recipe: row.status for row in result.rows} == {"one": "pass", "two": "error"}
    bad = next(row for row in result.rows if row.recipe == "two")
    assert bad.exit_code is ExitCode.BAD_INPUT
    assert "gone.npz" in bad.reason
    assert bad.remedy, "what an error message would say"
    assert result.exit_code is ExitCode.BAD_INPUT


def test_out_may_not_be_what_a_builder_reads(work: Work, tmp_path: Path) -> None:
    recipe = work.matrix.parent / "models" / "built.toml"
    text = (work.matrix.parent / "models" / "one.toml").read_text()
    recipe.write_text(text.replace('source = "one.onnx"', 'source = "model.py:build"'))
    matrix = work.matrix.with_name("built.toml")
    matrix.write_text('schema = 1\nrecipes = ["models/built.toml"]\n')
    with pytest.raises(InputError, match=r"lies in the folder of model\.py:build"):
        _sweep(matrix, work.matrix.parent / "models" / "out", Where(jobs=1), work.cache)
    recipe.unlink()


def test_a_scheduler_that_is_none(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="extra dask is not installed")
    from edgekit.pipeline.sweep import dask_cluster

    monkeypatch.setattr(dask_cluster, "_CONNECT_S", 0.5)
    with pytest.raises(InputError, match="is no address"):
        _sweep(work.matrix, tmp_path / "o", Where(scheduler="127.0.0.1:1"), work.cache)
    with pytest.raises(MissingBackendError, match="no Dask scheduler answers"):
        _sweep(work.matrix, tmp_path / "o", Where(scheduler="tcp://127.0.0.1:1"), work.cache)


def test_the_rows_on_disk_say_what_the_result_says(work: Work) -> None:
    for row in work.result.rows:
        document: Mapping[str, Any] = json.loads((work.out / row.folder / "row.json").read_text())
        assert document["row"]["id"] == row.id
        bench = json.loads((work.out / row.folder / "bench.json").read_text())
        assert len(bench["timed"]) == (1 if row.precision == "fp32" else 2)
        assert all(len(each["latency"]["raw_ms"]) >= 10 for each in bench["timed"].values()), (
            "samples are kept"
        )
