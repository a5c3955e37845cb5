"""Workers that wait for the next model: W1 to W4, and that no session reaches another's model."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.backends import resident, worker_pool
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.worker import WorkerSession
from edgekit.errors import BackendCrashError, InputError
from edgekit.spec import RunOptions, WatchedOptions
from tests.unit.backends.test_worker_session import FOLDER, X, artifact_in, is_alive, wait_until

Open = Callable[..., WorkerSession]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    monkeypatch.syspath_prepend(str(FOLDER))
    worker_pool.end()

    def opener(do: str = "", *, repeat: int = 1, own: bool = False) -> WorkerSession:
        options = RunOptions(settings=(("do", do), ("repeat", str(repeat))))
        return WorkerSession("fake_engine:FakeEngine", artifact_in(tmp_path), options, own=own)

    yield opener
    worker_pool.end()


def test_the_next_model_gets_the_worker_of_the_last(opened: Open) -> None:
    with opened(repeat=1) as first:
        assert first.run({"x": X})["y"].shape == (2, 3)
    with opened(repeat=3) as second:  # larger outputs than the blocks of the first had room for
        assert second.pid == first.pid
        np.testing.assert_array_equal(second.run({"x": X})["y"], np.concatenate([X] * 3))
        np.testing.assert_array_equal(second.run({"x": 2 * X})["y"], np.concatenate([2 * X] * 3))


def test_an_artifact_has_a_process_of_its_own_and_ends_it(opened: Open) -> None:
    with opened():
        pass
    with opened(own=True) as shipped, opened() as model:
        assert shipped.pid != model.pid
    assert not is_alive(shipped.pid)
    assert is_alive(model.pid)


@pytest.mark.parametrize("large", [True, False])
def test_beside_a_large_artifact_no_worker_waits(
    large: bool, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what this process has freed went back before. Sabotage: beside a small one both stay."""
    with opened() as model:
        pass
    freed: list[str] = []
    monkeypatch.setattr(resident, "LARGE_BYTES", 1 if large else 2**40)
    monkeypatch.setattr(gc, "collect", lambda: freed.append("collected"))
    monkeypatch.setattr(resident, "given_back", lambda: freed.append("given back"))
    with opened(own=True):
        assert is_alive(model.pid) != large
        assert freed == ["collected", "given back"] * large


def test_so_has_one_with_a_time_limit_or_cores(tmp_path: Path, opened: Open) -> None:
    with opened() as model:
        pass
    watched = WatchedOptions(limit_s=60.0)
    with WorkerSession("fake_engine:FakeEngine", artifact_in(tmp_path), watched, own=False) as session:
        assert session.pid != model.pid
    assert not is_alive(session.pid)


def test_a_closed_session_does_not_reach_the_next_model(opened: Open) -> None:
    first = opened()
    first.close()
    with opened(repeat=2) as second:
        assert second.pid == first.pid
        with pytest.raises(InputError, match=r"the session of model\.bin \(fake\) is closed"):
            first.run({"x": X})
        first.close()
        assert second.run({"x": X})["y"].shape == (4, 3)


@pytest.mark.parametrize("do", ["raise", "segfault"])
def test_a_worker_that_failed_is_not_kept(opened: Open, do: str) -> None:  # W1
    with opened(do) as failed, pytest.raises(BackendCrashError):
        failed.run({"x": X})
    assert not is_alive(failed.pid)
    with opened() as after:
        assert after.pid != failed.pid


def test_a_worker_that_another_thread_waits_for_is_ended(opened: Open) -> None:  # W1
    session = opened("sleep")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(session.run, {"x": X})
        assert wait_until(session._process._lock.locked)
        session.close()
        with pytest.raises(BackendCrashError, match="was closed while"):
            waiting.result()
    assert not is_alive(session.pid)


def test_a_worker_that_holds_on_to_memory_leaves(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "MOST_HELD_BYTES", 1)  # W2
    with opened() as first:
        pass
    with opened() as second:
        assert second.pid != first.pid
        assert not is_alive(first.pid)


def test_a_worker_that_died_while_it_waited_is_replaced(opened: Open) -> None:
    with opened() as first:
        pass
    os.kill(first.pid, 9)
    with opened() as second:
        assert second.pid != first.pid
        assert second.run({"x": X})["y"].shape == (2, 3)


def test_another_environment_or_path_needs_another_worker(
    opened: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # W3
    with opened() as first:
        pass
    with monkeypatch.context() as patched:
        patched.setenv("EDGEKIT_SOMETHING", "else")
        with opened() as second:
            assert second.pid != first.pid
    with monkeypatch.context() as patched:
        patched.syspath_prepend(str(tmp_path))
        with opened() as third:
            assert third.pid not in {first.pid, second.pid}
    with opened() as fourth:
        assert fourth.pid == first.pid


def test_of_three_at_once_two_are_kept(opened: Open) -> None:  # W4
    sessions = [opened(), opened(), opened()]
    for each in sessions:
        each.close()
    assert [is_alive(each.pid) for each in sessions] == [True, True, False]


def test_a_worker_can_start_before_its_model_is_there(opened: Open) -> None:  # W5
    worker_pool.warm("fake_engine:FakeEngine")
    worker_pool.warm("fake_engine:FakeEngine")  # one waits already
    waiting = [each.pid for each in worker_pool._kept]
    assert len(waiting) == 1
    with opened() as session:
        assert session.pid == waiting[0]
        assert session.run({"x": X})["y"].shape == (2, 3)


def test_what_a_start_ahead_raises_is_raised_by_open(opened: Open) -> None:  # W5
    worker_pool.warm("no_such_engine:Engine")
    with opened() as session:
        assert session.run({"x": X})["y"].shape == (2, 3)


def test_an_error_quotes_nothing_that_an_earlier_model_said(opened: Open) -> None:
    with opened("print") as first:
        first.run({"x": X})
    with opened("kill") as second, pytest.raises(BackendCrashError) as caught:
        second.run({"x": X})
    assert second.pid == first.pid
    assert "python print" not in str(caught.value.why)


def test_models_in_memory_share_a_worker() -> None:
    worker_pool.end()
    found, pids = [], []
    for factor in (2.0, 3.0):
        with open_model(scaled(factor), RunOptions()) as session:
            found.append(float(session.run({"x": np.ones((1, 4), np.float32)})["y"][0, 0]))
            pids.append(session.pid)  # type: ignore[attr-defined]
    assert found == [2.0, 3.0]
    assert pids[0] == pids[1]


def scaled(factor: float) -> ir.Model:
    float32, shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([1, 4])
    x, y = ir.val("x", shape=shape, type=float32), ir.val("y", shape=shape, type=float32)
    by = ir.val("by", const_value=ir.tensor(np.full((4,), factor, np.float32), name="by"))
    node = ir.node("Mul", [x, by], outputs=[y])
    graph = ir.Graph([x], [y], nodes=[node], initializers=[by], opset_imports={"": 21})
    return ir.Model(graph, ir_version=10)
