"""A worker session: what it computes, what it survives, and that it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgekit.backends import worker_main, worker_process
from edgekit.backends.base import file_entries
from edgekit.backends.worker import WorkerSession, call_in_worker, open_worker
from edgekit.backends.worker_process import EngineError, WorkerMemoryError, WorkerTimeoutError
from edgekit.errors import (
    BackendCrashError,
    DataError,
    InputError,
    MissingBackendError,
    ModelFileError,
    UnknownNameError,
)
from edgekit.spec import Artifact, IoBinding, Precision, RunOptions, TensorSpec, WatchedOptions

FOLDER = Path(__file__).parent
Open = Callable[..., WorkerSession]
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def artifact_in(folder: Path, *, name: str = "model.bin") -> Artifact:
    (folder / name).write_text("content of the artifact")
    x, y = TensorSpec("x", "float32", ("batch", 3)), TensorSpec("y", "float32", ("batch", 3))
    return Artifact(
        folder=folder,
        files=file_entries(folder, (name,)),
        target="fake",
        backend="fake",
        precision=Precision.FP32,
        options=RunOptions(),
        inputs=(IoBinding(x, "x_inside", "float32", x.shape),),
        outputs=(IoBinding(y, "y_inside", "float32", y.shape),),
    )


@pytest.fixture
def open_fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    monkeypatch.syspath_prepend(str(FOLDER))

    def opener(do: str = "", *, repeat: int = 1, threads: int = 1) -> WorkerSession:
        options = RunOptions(threads=threads, settings=(("do", do), ("repeat", str(repeat))))
        return WorkerSession("fake_engine:FakeEngine", artifact_in(tmp_path), options)

    return opener


def blocks_in_shm() -> set[str]:
    """Names of Python's shared memory blocks; other processes' blocks have one for a moment, so wait."""
    return {path.name for path in Path("/dev/shm").glob("psm_*")}


def is_alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], *, seconds: float = 20) -> bool:
    for _ in range(int(seconds * 50)):
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_run_goes_through_the_engine_and_back(open_fake: Open) -> None:
    with open_fake(threads=3) as session:
        y = session.run({"x": X})["y"]
        np.testing.assert_array_equal(y, X)
        y[0, 0] = 99  # a copy: the next result does not know
        np.testing.assert_array_equal(session.run({"x": X})["y"], X)
        assert session.facts["threads"] == "3"
        assert session.facts["content"] == "content of the artifact"
        assert [spec.name for spec in session.inputs] == ["x"]
        assert [spec.name for spec in session.outputs] == ["y"]
        assert session.load_ms >= 0


def test_blocks_grow_with_the_batch_and_with_outputs_of_unknown_size(open_fake: Open) -> None:
    with open_fake(repeat=5) as session:
        for batch in (1, 400, 3):
            x = np.random.default_rng(batch).normal(size=(batch, 3)).astype(np.float32)
            np.testing.assert_array_equal(session.run({"x": x})["y"], np.concatenate([x] * 5))


def test_an_engine_writes_its_outputs_in_place(open_fake: Open) -> None:
    """What it would give to ``fetch`` is NaN: only what lies in the block is right."""
    with open_fake("place", repeat=2) as session:
        results = []
        for number in (1, 2, 3, 4):
            for batch in (2, 2, 5):
                x = np.full((batch, 3), number, np.float32)
                results.append((x, session.run({"x": x})["y"]))
    for x, y in results:  # copies: later runs did not touch them
        np.testing.assert_array_equal(y, np.concatenate([x, x]))


def test_outputs_whose_size_depends_on_the_values_are_fetched(open_fake: Open) -> None:
    with open_fake("place, but another shape") as session:
        for many in (2, 2, 3, 1, 3, 2):
            x = np.full((4, 3), many, np.float32)
            np.testing.assert_array_equal(session.run({"x": x})["y"], x[:many])


@pytest.mark.parametrize("do", ["", "place"])
def test_threads_get_their_own_results(open_fake: Open, do: str) -> None:
    with open_fake(do) as session, ThreadPoolExecutor(4) as threads:
        feeds = [np.full((1 + number % 3, 1000), number, np.float32)[:, :3] for number in range(200)]
        for x, found in zip(feeds, threads.map(lambda x: session.run({"x": x}), feeds), strict=True):
            np.testing.assert_array_equal(found["y"], x)


def test_a_view_that_is_not_contiguous_arrives_as_it_looks(open_fake: Open) -> None:
    wide = np.arange(24, dtype=np.float32).reshape(3, 8)
    with open_fake() as session:
        np.testing.assert_array_equal(session.run({"x": wide.T[::2][:, :]})["y"], wide.T[::2])


def test_time_ms_gives_one_positive_sample_for_each_run(open_fake: Open) -> None:
    with open_fake() as session:
        samples = session.time_ms({"x": X}, runs=7)
    assert len(samples) == 7
    assert min(samples) > 0


def test_time_ms_refuses_zero_runs(open_fake: Open) -> None:
    with open_fake() as session, pytest.raises(InputError, match="runs = 0"):
        session.time_ms({"x": X}, runs=0)


def test_the_worker_imports_no_framework_and_no_ir(open_fake: Open) -> None:
    with open_fake() as session:
        modules = set(session.facts["modules"].split())
    heavy = {
        "onnx",
        "onnx_ir",
        "pydantic",
        "torch",
        "tensorflow",
        "onnxruntime",
        "openvino",
        "edgekit.target",
    }
    assert modules & heavy == set()


def test_the_worker_runs_with_telemetry_off(open_fake: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    with open_fake() as session:
        assert session.facts["ORT_DISABLE_TELEMETRY"] == "1"


def test_prints_of_native_code_do_not_reach_the_protocol(open_fake: Open) -> None:
    with open_fake("print") as session:
        for _ in range(3):
            np.testing.assert_array_equal(session.run({"x": X})["y"], X)


def test_native_code_that_reads_standard_input_finds_nothing(open_fake: Open) -> None:
    with open_fake("read-stdin") as session:
        np.testing.assert_array_equal(session.run({"x": X})["y"], X)


def test_a_module_of_the_working_folder_does_not_shadow_ours(
    open_fake: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    monkeypatch.chdir(tmp_path)
    with open_fake() as session:
        np.testing.assert_array_equal(session.run({"x": X})["y"], X)


def test_a_segfault_names_the_artifact_and_quotes_its_last_words(open_fake: Open) -> None:
    with open_fake("segfault") as session:
        with pytest.raises(BackendCrashError) as caught:
            session.run({"x": X})
        assert "model.bin (fake) was killed by SIGSEGV while running it" in caught.value.what
        assert "native code says: index 7 out of bounds" in caught.value.why
        with pytest.raises(InputError, match="closed"):
            session.run({"x": X})


def test_kill_9_is_reported_and_leaves_nothing(open_fake: Open) -> None:
    before = blocks_in_shm()
    with open_fake() as session:
        session.run({"x": X})
        os.kill(session.pid, signal.SIGKILL)
        with pytest.raises(WorkerMemoryError, match="SIGKILL") as caught:
            session.run({"x": X})
    assert "memory was probably short" in caught.value.why
    assert wait_until(lambda: blocks_in_shm() <= before)


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for what it holds")
def test_a_worker_without_memory_says_so_and_no_artifact_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    with pytest.raises(WorkerMemoryError, match="MemoryError: Unable to allocate") as caught:
        call_in_worker("fake_engine:take_more_than_there_is", {}, subject="m.bin", doing="converting it")
    assert not isinstance(caught.value, EngineError), "that would be the artifact's fault"
    assert "give fewer samples" in caught.value.remedy


@pytest.mark.parametrize(
    ("said", "memory"),
    [
        ("std::bad_alloc", True),
        ("Failed to allocate memory for requested buffer of size 12", True),
        ("Failed to allocate tensors!", False),
        ("shape mismatch", False),
    ],
)
def test_which_words_of_a_runtime_are_about_memory(said: str, memory: bool) -> None:
    assert bool(worker_process._SHORT_OF_MEMORY.search(said)) is memory


def test_a_crash_during_timing_says_so(open_fake: Open) -> None:
    with open_fake("kill") as session, pytest.raises(BackendCrashError, match="SIGKILL while timing it"):
        session.time_ms({"x": X}, runs=2)


def test_an_exception_of_the_engine_leaves_the_worker_alive(open_fake: Open) -> None:
    with open_fake("raise") as session:
        for _ in range(2):
            with pytest.raises(EngineError, match=r"model\.bin.*kernel refuses this shape"):
                session.run({"x": X})
        assert is_alive(session.pid)


def test_an_exception_while_loading_carries_the_whole_message(open_fake: Open) -> None:
    with pytest.raises(EngineError, match="while loading it: ValueError: line one") as caught:
        open_fake("refuse")
    assert "line two of the runtime" in caught.value.why


def test_errors_of_ours_cross_the_pipe_as_themselves(open_fake: Open) -> None:
    with pytest.raises(MissingBackendError) as missing:
        open_fake("missing")
    assert str(missing.value).splitlines()[1:] == ["  why:  none", "  next: buy one", "  more: shop"]
    with pytest.raises(UnknownNameError, match="unknown setting 'speling'"):
        open_fake("unknown")


def test_a_missing_artifact_is_refused_before_a_worker_starts(tmp_path: Path) -> None:
    artifact = artifact_in(tmp_path)
    artifact.path.unlink()
    with pytest.raises(ModelFileError, match="is missing"):
        open_worker("fake_engine:FakeEngine", artifact, RunOptions())


def test_wrong_feeds_are_refused_before_anything_is_sent(open_fake: Open) -> None:
    with open_fake("kill") as session:  # would die on any request
        with pytest.raises(DataError, match="'x' is missing"):
            session.run({})
        with pytest.raises(DataError, match="float64, not float32"):
            session.time_ms({"x": X.astype(np.float64)}, runs=1)
        assert is_alive(session.pid)


def test_close_ends_the_worker_and_may_be_called_twice(open_fake: Open) -> None:
    session = open_fake()
    pid = session.pid
    session.close()
    session.close()
    assert not is_alive(pid)
    with pytest.raises(InputError, match="is closed"):
        session.run({"x": X})


def test_a_session_that_nobody_closes_ends_with_its_last_reference(open_fake: Open) -> None:
    session = open_fake()
    session.run({"x": X})
    pid = session.pid
    del session
    assert not is_alive(pid)


def test_no_name_stays_in_shared_memory_while_a_session_is_open(open_fake: Open) -> None:
    before = blocks_in_shm()
    with open_fake() as session:
        session.run({"x": X})
        assert wait_until(lambda: blocks_in_shm() <= before)


def test_sigint_does_not_reach_the_engine(open_fake: Open) -> None:
    with open_fake() as session:
        os.kill(session.pid, signal.SIGINT)
        np.testing.assert_array_equal(session.run({"x": X})["y"], X)


# Ctrl-C may be ignored where the suite runs in a shell's background: the script takes the default back.
SCRIPT = """
    import os, signal, sys, time
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[:0] = [{folder!r}, {here!r}]
    import numpy as np
    from pathlib import Path
    from test_worker_session import artifact_in, X
    from edgekit.backends.worker import WorkerSession
    from edgekit.spec import RunOptions
    session = WorkerSession(
        "fake_engine:FakeEngine", artifact_in(Path({folder!r})), RunOptions(settings=(("do", {do!r}),))
    )
    if {do!r} == "":
        session.run({{"x": X}})
    print(session.pid, flush=True)
    {then}
"""


def start_script(folder: Path, *, then: str, do: str = "") -> subprocess.Popen[str]:
    """A user's script without a __main__ guard."""
    code = textwrap.dedent(SCRIPT).format(folder=str(folder), here=str(FOLDER), do=do, then=then)
    script = folder / "script.py"
    script.write_text(code)
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def worker_of(script: subprocess.Popen[str]) -> int:
    assert script.stdout is not None
    line = script.stdout.readline()
    if not line:
        raise AssertionError(script.communicate()[1])
    return int(line)


@pytest.mark.parametrize("do", ["", "sleep"], ids=["idle", "in a long computation"])
def test_the_parents_death_ends_the_worker(tmp_path: Path, do: str) -> None:
    before = blocks_in_shm()
    script = start_script(tmp_path, then='session.run({"x": X}); time.sleep(60)', do=do)
    worker = worker_of(script)
    time.sleep(0.2)
    script.kill()
    script.communicate()
    assert wait_until(lambda: not is_alive(worker))
    assert wait_until(lambda: blocks_in_shm() <= before)


def test_ctrl_c_shows_one_interruption_and_none_of_the_worker(tmp_path: Path) -> None:
    script = start_script(tmp_path, then='session.run({"x": X})', do="sleep")
    worker = worker_of(script)
    time.sleep(0.3)  # the request is under way; the assertion holds either way
    os.killpg(script.pid, signal.SIGINT)
    _, errors = script.communicate(timeout=30)
    assert errors.count("KeyboardInterrupt") == 1
    assert "worker_main" not in errors
    assert "resource_tracker" not in errors
    assert wait_until(lambda: not is_alive(worker))


def test_a_script_that_forgets_to_close_ends_quietly(tmp_path: Path) -> None:
    script = start_script(tmp_path, then="pass")
    output, errors = script.communicate(timeout=60)
    assert (script.returncode, errors) == (0, "")
    assert wait_until(lambda: not is_alive(int(output)))


def test_threads_may_share_a_session(open_fake: Open) -> None:
    def one(number: int) -> bool:
        x = np.full((number % 7 + 1, 3), number, np.float32)
        return np.array_equal(session.run({"x": x})["y"], x)

    with open_fake() as session, ThreadPoolExecutor(4) as pool:
        assert all(pool.map(one, range(60)))


def test_the_server_refuses_to_compute_before_it_was_given_an_engine() -> None:
    reply = worker_main._Server().answer({"op": "fetch"})
    assert reply["error"]["type"] == "EdgekitError"
    assert "has no engine" in reply["error"]["what"]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (None, "closed its pipe"),
        (3, "ended with exit status 3"),
        (-11, "was killed by SIGSEGV"),
        (-99, "was killed by signal 99"),
    ],
)
def test_how_a_worker_ended_is_said(code: int | None, says: str) -> None:
    assert worker_process._ending(code) == says


def test_call_in_worker_returns_and_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))

    def call(function: str, **arguments: int) -> object:
        return call_in_worker(f"fake_engine:{function}", arguments, subject="the sum (fake)", doing="adding")

    assert call("add", left=2, right=3) == 5
    with pytest.raises(EngineError, match=r"the sum \(fake\) failed while adding: TypeError"):
        call("add", left=2)
    with pytest.raises(BackendCrashError, match="ended with exit status 3 while adding"):
        call("vanish")


def test_a_worker_that_hangs_is_ended_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    options = WatchedOptions(settings=(("do", "sleep"),), limit_s=5.0)
    session = WorkerSession("fake_engine:FakeEngine", artifact_in(tmp_path), options)
    with pytest.raises(
        WorkerTimeoutError, match=r"model\.bin \(fake\) gave no answer within 5 s while timing"
    ):
        session.time_ms({"x": X}, runs=1)
    with pytest.raises(ProcessLookupError):
        os.kill(session.pid, 0)
    with pytest.raises(InputError, match="is closed"):
        session.time_ms({"x": X}, runs=1)


def test_a_worker_that_hangs_while_it_opens_is_ended_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    options = WatchedOptions(settings=(("do", "sleep in open"),), limit_s=1.0)
    with pytest.raises(WorkerTimeoutError, match="while loading it"):
        WorkerSession("fake_engine:FakeEngine", artifact_in(tmp_path), options)


def test_one_that_answers_in_time_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    options = WatchedOptions(settings=(("do", ""),), limit_s=60.0)
    with WorkerSession("fake_engine:FakeEngine", artifact_in(tmp_path), options) as session:
        assert len(session.time_ms({"x": X}, runs=3)) == 3


def _own_clock(folder: Path) -> WorkerSession:
    """Its first inference takes 5 ms, the others 123 us, by a clock of its own."""
    return WorkerSession("fake_engine:OwnClockEngine", artifact_in(folder), RunOptions())


def test_the_first_inference_is_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    with _own_clock(tmp_path) as session:
        before = (session.first_ms, session.import_ms)  # an engine without ``prepare``
        assert before == (None, None)
        assert session.load_ms > 0
        assert session.time_ms({"x": X}, runs=2) == (5.0, 0.123)
        assert session.time_ms({"x": X}, runs=1) == (0.123,)
        assert session.first_ms == 5.0


def test_after_run_the_first_inference_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: the first sample that was timed is not the first inference."""
    monkeypatch.syspath_prepend(str(FOLDER))
    with _own_clock(tmp_path) as session:
        session.run({"x": X})
        assert session.time_ms({"x": X}, runs=1) == (0.123,)
        assert session.first_ms is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's heap, and /proc")
@pytest.mark.parametrize(("megabytes", "stays"), [(100, False), (40, True)], ids=["large", "sabotage: small"])
def test_what_a_large_file_took_while_it_was_read_is_given_back(
    open_fake: Open, megabytes: int, stays: bool
) -> None:
    """ONNX Runtime frees the weights of a file for those that its kernels keep; the heap would hold them."""
    with open_fake(f"read {megabytes}") as session:
        held = int(Path(f"/proc/{session.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        before = session.memory().baseline_bytes
        assert before is not None
        assert (held - before > 0.8 * megabytes * 2**20) == stays
        assert stays or held - before < 20 * 2**20
