"""`bench` here, where artifacts crash, hang, are refused or have no runtime: each is named, the others stand.

F numbers are those of pipeline/bench/failures.py, B numbers those of pipeline/bench/sweep.py. The engine
is the worker tests' fake one: what it does is the content of the artifact's file.
"""

from __future__ import annotations

import csv as reader
import gzip
import io
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.backends import registry
from edgekit.backends.base import file_entries
from edgekit.backends.worker import WorkerSession
from edgekit.errors import EdgekitError, ExitCode, InputError, MissingBackendError, ModelFileError
from edgekit.pipeline.bench import on_this_machine as bench_module
from edgekit.pipeline.bench.failures import exit_code_of, kind_of
from edgekit.pipeline.bench.size import size_row
from edgekit.pipeline.bench.sweep import Sweep, caveats, check_batch
from edgekit.pipeline.result import BenchResult, DeviceRow, FailedRow
from edgekit.report import csv, render
from edgekit.spec import Artifact, IoBinding, Precision, RunOptions, Session, Silent, TensorSpec
from tests.unit.backends.test_worker_session import FOLDER, artifact_in


class FakeBackend:
    """Opens what the worker tests open; a file that says "no runtime" has none."""

    def open(self, artifact: Artifact, options: RunOptions) -> Session:
        if dict(artifact.options.settings)["do"] == "no runtime":
            raise MissingBackendError("fake is not installed", why="none here", remedy="pip install fake")
        return WorkerSession("fake_engine:FakeEngine", artifact, options)


def _artifact_at(path: Path) -> Artifact:
    if not path.exists():
        raise InputError(f"{path} does not exist", why="", remedy="")
    do = path.read_text()
    if do == "unreadable":
        raise ModelFileError(f"{path.name} is not readable", why="truncated", remedy="copy it again")
    found = artifact_in(path.parent, name=path.name)
    path.write_text(do)
    options = RunOptions(settings=(("do", "" if do == "fixed" else do), ("repeat", "1")))
    if do == "fixed":
        (binding,) = found.inputs
        spec = TensorSpec("x", "float32", (1, 3))
        found = replace(found, inputs=(replace(binding, reference=spec, shape=(1, 3)),))
    return replace(found, options=options)


@pytest.fixture(autouse=True)
def _fake_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(bench_module, "artifact_at", _artifact_at)
    monkeypatch.setattr(registry, "backend", lambda name: FakeBackend())


def _files(folder: Path, **content: str) -> list[Path]:
    for name, do in content.items():
        (folder / name).write_text(do)
    return [folder / name for name in content]


def _bench(paths: list[Path], *, baseline: Path | None = None, sweep: Sweep | None = None) -> BenchResult:
    return bench_module.bench(
        paths, baseline=baseline, sweep=sweep or Sweep(budget_s=1.0), seed=0, progress=Silent()
    )


@dataclass(frozen=True)
class Case:
    """What one of three artifacts does, and what its row says."""

    do: str
    kind: str
    code: ExitCode
    says: str
    limit_s: float = 60.0

    def __str__(self) -> str:
        return self.do


CASES = [
    Case("segfault", "crash", ExitCode.INTERNAL, "killed by SIGSEGV while timing it"),  # F1
    Case("kill", "crash", ExitCode.INTERNAL, "killed by SIGKILL"),
    Case("raise", "error", ExitCode.BAD_INPUT, "kernel refuses this shape"),  # F2
    Case("refuse", "error", ExitCode.BAD_INPUT, "line one"),
    Case("unreadable", "error", ExitCode.BAD_INPUT, "is not readable (truncated)"),
    Case("no runtime", "missing", ExitCode.BACKEND_MISSING, "fake is not installed"),  # F3
    Case("missing", "missing", ExitCode.BACKEND_MISSING, "no such device"),
    Case(
        "sleep", "timeout", ExitCode.INCONCLUSIVE, "no answer within 10 s while timing it", limit_s=10.0
    ),  # F4
    Case("sleep in open", "timeout", ExitCode.INCONCLUSIVE, "while loading it", limit_s=10.0),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_fails_is_named_and_the_others_stand(case: Case, tmp_path: Path) -> None:
    paths = _files(tmp_path, first="", bad=case.do, last="")
    found = _bench(paths, sweep=Sweep(limit_s=case.limit_s, budget_s=1.0))
    assert [Path(row.artifact).name for row in found.rows] == ["first", "last"]
    assert all(row.latency.runs >= 20 for row in found.rows)
    (failed,) = found.failures
    assert Path(failed.artifact).name == "bad"
    assert (failed.kind, failed.device) == (case.kind, "")
    assert case.says in failed.reason
    assert failed.remedy
    assert found.exit_code is case.code


def test_where_nothing_fails_nothing_is_said(tmp_path: Path) -> None:
    found = _bench(_files(tmp_path, first="", last=""))
    assert found.failures == ()
    assert found.exit_code is ExitCode.OK


def test_one_that_crashes_alone_is_a_result_too(tmp_path: Path) -> None:
    found = _bench(_files(tmp_path, bad="segfault"))
    assert found.rows == ()
    assert [each.kind for each in found.failures] == ["crash"]
    assert found.exit_code is ExitCode.INTERNAL
    for form in ("json", "markdown", "html", "junit", "sarif", "csv"):
        assert "bad" in render(found, form) or form == "csv"


def test_several_failures_are_all_named_and_the_gravest_counts(tmp_path: Path) -> None:
    found = _bench(_files(tmp_path, a="segfault", b="no runtime", c="", d="raise"))
    assert [Path(row.artifact).name for row in found.rows] == ["c"]
    assert {Path(each.artifact).name: each.kind for each in found.failures} == {
        "a": "crash",
        "b": "missing",
        "d": "error",
    }
    assert found.exit_code is ExitCode.INTERNAL


def test_without_its_baseline_nothing_is_judged(tmp_path: Path) -> None:
    paths = _files(tmp_path, base="segfault", other="")
    found = _bench(paths, baseline=paths[0])
    (row,) = found.rows
    assert (row.verdict, row.ratio) == ("undecided", None)
    assert found.exit_code is ExitCode.INTERNAL


def test_the_text_and_the_checks_name_it(tmp_path: Path) -> None:
    found = _bench(_files(tmp_path, good="", bad="segfault"))
    assert "bad: crash: the worker process of bad (fake) was killed by SIGSEGV" in render(found, "markdown")
    document = json.loads(render(found, "json"))
    assert document["exit_code"] == 1
    assert document["failures"][0]["kind"] == "crash"
    assert document["rows"][0]["phases"]["launches"] >= 1
    assert 'errors="1"' in render(found, "junit")


def test_a_path_that_is_not_there_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        _bench([*_files(tmp_path, good=""), tmp_path / "slip"])


def test_a_fixed_batch_is_refused_and_its_other_batches_stand(tmp_path: Path) -> None:  # B2
    found = _bench(_files(tmp_path, fixed="fixed", free=""), sweep=Sweep(batches=(1, 4), budget_s=1.0))
    assert [(Path(row.artifact).name, row.batch) for row in found.rows] == [
        ("fixed", 1),
        ("free", 1),
        ("free", 4),
    ]
    (failed,) = found.failures
    assert Path(failed.artifact).name == "fixed"
    assert failed.reason.startswith("at batch 4: its batch is fixed: the first axis of input 'x' is 1")
    assert "--dynamic x:0=batch" in failed.remedy
    assert found.exit_code is ExitCode.BAD_INPUT


def test_the_batch_arrives_at_the_engine_and_throughput_counts_samples(tmp_path: Path) -> None:  # B1
    found = _bench(_files(tmp_path, free=""), sweep=Sweep(batches=(1, 8), threads=(1, 2), budget_s=1.0))
    assert [(row.batch, row.threads) for row in found.rows] == [(1, 1), (1, 2), (8, 1), (8, 2)]
    for row in found.rows:
        assert row.throughput_per_s == pytest.approx(1000 * row.batch / row.latency.p50_ms)


def test_an_engine_that_takes_one_batch_only_fails_at_the_others(tmp_path: Path) -> None:
    found = _bench(_files(tmp_path, picky="only batch 8"), sweep=Sweep(batches=(2, 8), budget_s=1.0))
    assert [row.batch for row in found.rows] == [8]
    (failed,) = found.failures
    assert failed.kind == "error"
    assert failed.reason.startswith("at batch 2: ")
    assert "batch 2" in failed.reason.removeprefix("at batch 2: ")


def test_open_sizes_other_than_the_first_axis_stay_1() -> None:
    spec = TensorSpec("x", "float32", ("n", "rows", 3))
    fixed = TensorSpec("f", "int64", (2, 3))
    found = bench_module.random_feeds((spec, fixed), seed=0, batch=5)
    assert {name: array.shape for name, array in found.items()} == {"x": (5, 1, 3), "f": (2, 3)}
    with pytest.raises(ModelFileError, match="input 'huge' of the model has 4611686018427387904 elements"):
        bench_module.random_feeds((TensorSpec("huge", "float32", (2**62,)),), seed=0)


def test_a_download_is_what_gzip_makes_of_each_file(tmp_path: Path) -> None:
    """Zeros shrink, noise does not; gzip of the same level is the reference."""
    zeros, noise = bytes(1 << 20), np.random.default_rng(0).bytes(1 << 20)
    for name, content in (("zeros", zeros), ("noise", noise)):
        (tmp_path / name).write_bytes(content)
        artifact = replace(_ANY, folder=tmp_path, files=file_entries(tmp_path, (name,)))
        found = size_row(artifact)
        assert found.file_bytes == 1 << 20
        assert found.download_bytes == pytest.approx(len(gzip.compress(content, 9)), abs=16)
    both = replace(_ANY, folder=tmp_path, files=file_entries(tmp_path, ("zeros", "noise")))
    assert size_row(both).files == 2
    assert size_row(both).download_bytes > 1 << 20
    (tmp_path / "zeros").write_bytes(noise)  # the same path with other content is measured again
    os.utime(tmp_path / "zeros", ns=(1, 1))
    assert size_row(both).download_bytes > 2 << 20


def test_one_that_crashed_is_not_tried_under_other_conditions(tmp_path: Path) -> None:
    found = _bench(_files(tmp_path, bad="segfault", good=""), sweep=Sweep(batches=(1, 2), budget_s=1.0))
    assert [each.kind for each in found.failures] == ["crash"]
    assert [row.batch for row in found.rows] == [1, 2]


def _taking(shape: tuple[Any, ...]) -> Artifact:
    spec = TensorSpec("x", "float32", shape)
    return replace(_ANY, inputs=(IoBinding(spec, "x", "float32", shape),))


_ANY = Artifact(
    folder=Path(),
    files=(),
    target="t",
    backend="b",
    precision=Precision.FP32,
    options=RunOptions(),
    inputs=(),
    outputs=(),
)


@pytest.mark.parametrize("shape", [("n", 3), (None, 3), (4, 3), ()], ids=str)
def test_batches_that_an_input_takes(shape: tuple[Any, ...]) -> None:
    check_batch(_taking(shape), 4)


@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (8,)], ids=str)
def test_batches_that_it_does_not_take(shape: tuple[Any, ...]) -> None:
    with pytest.raises(InputError, match="its batch is fixed"):
        check_batch(_taking(shape), 4)


def test_pinning_says_what_stands_against_it(tmp_path: Path) -> None:
    for core, siblings in ((0, "0-1"), (1, "0-1"), (2, "2")):
        (tmp_path / f"cpu{core}" / "topology").mkdir(parents=True)
        (tmp_path / f"cpu{core}" / "topology" / "thread_siblings_list").write_text(siblings)
    assert caveats((), 8, "", system=tmp_path) == ()
    assert caveats((2,), 1, "2", system=tmp_path) == ()
    assert caveats((7,), 1, "7", system=tmp_path) == ()  # the kernel says nothing of it
    (shared,) = caveats((2,), 2, "2", system=tmp_path)
    assert shared.startswith("2 threads share 1 core")
    (outside,) = caveats((2,), 1, "0-2", system=tmp_path)
    assert "may run on cores 0-1 too" in outside
    (sibling,) = caveats((0,), 1, "0", system=tmp_path)
    assert "with 1" in sibling


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        ((), ExitCode.OK),
        (("timeout",), ExitCode.INCONCLUSIVE),
        (("missing", "timeout"), ExitCode.BACKEND_MISSING),
        (("error", "missing"), ExitCode.BAD_INPUT),
        (("timeout", "crash", "error"), ExitCode.INTERNAL),
    ],
)
def test_exit_codes(kinds: tuple[Any, ...], code: ExitCode) -> None:
    assert exit_code_of((), (), [FailedRow("a", "", kind, "why") for kind in kinds]) is code


def test_lost_devices_count_too() -> None:
    assert exit_code_of((), [DeviceRow("d", "missing")]) is ExitCode.BACKEND_MISSING
    assert exit_code_of((), [DeviceRow("d", "incomplete")]) is ExitCode.INCONCLUSIVE
    assert exit_code_of((), [DeviceRow("d", "complete")]) is ExitCode.OK


def test_an_error_that_is_none_of_a_runtime_is_one_of_the_file() -> None:
    assert kind_of(EdgekitError("x")) == "error"


def test_csv_has_the_conditions_and_the_parts(tmp_path: Path) -> None:
    text = csv.render(_bench(_files(tmp_path, good=""), sweep=Sweep(batches=(2,), budget_s=1.0)))
    (found,) = reader.DictReader(io.StringIO(text))
    assert found["batch"] == "2"
    assert float(found["throughput_per_s"]) > 0
    assert float(found["load_ms"]) > 0
    assert int(found["file_bytes"]) == 0
    assert int(found["download_bytes"]) == 20  # gzip's header, its checksum and the end of a stream
