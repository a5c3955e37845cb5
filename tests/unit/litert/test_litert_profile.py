"""XNNPACK's kernels x the file's operators (P1 to P3), and a library that is not the known one (N1 to N3)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgekit.backends.litert import native_profiler
from edgekit.backends.litert.native_profiler import Event, NativeModel
from edgekit.backends.litert.profile import kernels_of
from edgekit.backends.litert.tables import Operator, Tensor
from edgekit.errors import MissingBackendError


def tensor(name: str, *, dtype: str = "float32", stored: int = 0) -> Tensor:
    return Tensor((0, 0), name, dtype, (1, 4, 4, 8), (), (), (), 0, stored)


def operator(name: str, output: str) -> Operator:
    return Operator(name, 1, (tensor("in"), tensor("w", stored=100)), (tensor(output),))


def events(*tags: str, us: int = 10) -> list[Event]:
    return [Event(tag, True, place, us) for place, tag in enumerate(tags)]


CONV, DEPTHWISE = "Convolution (NHWC, F32) IGEMM", "Convolution (NHWC, F32) DWConv"
DENSE, ADD, CONVERT = "Fully Connected (NC, F32) GEMM", "Add (ND)", "Convert (NC)"
OPERATORS = (
    operator("CONV_2D", "a"),
    operator("DEPTHWISE_CONV_2D", "b"),
    operator("ADD", "c"),
    operator("CONV_2D", "d"),
)


def names(*tags: str, parts: list[set[int]] | None = None) -> list[list[str]]:
    rows, _ = kernels_of([events(*tags)], OPERATORS, parts if parts is not None else [{0, 1, 2, 3}])
    return [row["names"] for row in rows]


def test_kernels_are_named_in_order() -> None:
    assert names(CONV, DEPTHWISE, ADD, DENSE) == [["a"], ["b"], ["c"], ["d"]]


def test_what_xnnpack_adds_stays_unnamed() -> None:
    assert names(CONVERT, CONV, DEPTHWISE, ADD, DENSE) == [[], ["a"], ["b"], ["c"], ["d"]]  # P2


def test_an_operator_that_xnnpack_fuses_takes_no_kernel() -> None:
    assert names(CONV, DEPTHWISE, DENSE) == [["a"], ["b"], ["d"]]


def test_nothing_is_guessed() -> None:
    """P1: a kernel is missing, or of another kind."""
    for tags in ((CONV, DEPTHWISE, ADD), (DEPTHWISE, CONV, ADD, DENSE)):
        rows, notes = kernels_of([events(*tags)], OPERATORS, [{0, 1, 2, 3}])
        assert all(row["names"] == [] for row in rows)
        assert "cannot be told apart" in notes[0]


def test_operators_outside_the_delegate_are_named_by_index() -> None:
    found = [
        Event(CONV, True, 0, 10),
        Event("DEPTHWISE_CONV_2D", False, 1, 20),
        Event(ADD, True, 0, 1),
        Event(DENSE, True, 1, 5),
    ]
    rows, notes = kernels_of([found], OPERATORS, [{0}, {2, 3}])
    assert [(row["names"], row["outside"]) for row in rows] == [
        (["a"], False),
        (["b"], True),  # P3
        (["c"], False),
        (["d"], False),
    ]
    assert not notes


def test_another_partition_than_the_interpreters_is_said() -> None:
    rows, notes = kernels_of([events(CONV, DEPTHWISE, ADD, DENSE)], OPERATORS, [{0, 1}, {2, 3}])
    assert all(row["names"] == [] for row in rows)
    assert "1 parts to XNNPACK, the interpreter 2" in notes[0]


def test_builtin_kernels_alone_have_fallen_back_from_nothing() -> None:
    found = [Event("CONV_2D", False, 0, 10)]
    (row,), _ = kernels_of([found], OPERATORS[:1], [])
    assert (row["names"], row["outside"], row["operator"]) == (["a"], False, "CONV_2D")


def test_each_inference_is_a_sample() -> None:
    rows, notes = kernels_of([events(CONV, us=3), events(CONV, us=5)], OPERATORS[:1], [{0}])
    assert rows[0]["us"] == [3.0, 5.0]
    rows, notes = kernels_of([events(CONV, us=3), events(ADD, us=5)], OPERATORS[:1], [{0}])
    assert rows[0]["us"] == [3.0]
    assert "differ from inference to inference" in notes[0]


@dataclass
class Library:
    """A libLiteRt.so whose functions succeed and do nothing, but for those given."""

    own: dict[str, Any] = field(default_factory=dict)
    lacks: str = ""

    def __getattr__(self, name: str) -> Any:
        if name == self.lacks:
            raise AttributeError(name)

        def function(*_: object) -> int:
            return 0

        return self.own.get(name, function)


def opened(monkeypatch: pytest.MonkeyPatch, library: Library) -> NativeModel:
    monkeypatch.setattr(native_profiler, "_library", lambda: library)
    return NativeModel(Path("m.tflite"), threads=1, builtin=False)


def test_a_library_without_a_function_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingBackendError, match="profiler cannot be used") as caught:
        opened(monkeypatch, Library(lacks="LiteRtCompiledModelGetProfiler"))
    assert "no function LiteRtCompiledModelGetProfiler" in caught.value.why  # N1


def test_a_status_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> int:
        return 3

    with pytest.raises(MissingBackendError) as caught:
        opened(monkeypatch, Library({"LiteRtCreateCompiledModel": fails}))
    assert "LiteRtCreateCompiledModel returned status 3" in caught.value.why  # N2


def test_a_file_with_a_state_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> int:
        return 5

    with pytest.raises(MissingBackendError, match="does not take this file"):
        opened(monkeypatch, Library({"LiteRtCreateModelFromFile": unsupported}))


def test_the_body_of_a_loop_is_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four events: WHILE, an operator of its body (subgraph 1), the delegate's, and none of an operator."""
    kinds = ((2, 0), (2, 1), (8, 0), (1, 0))

    def counts(_: object, count: Any) -> int:
        count._obj.value = len(kinds)
        return 0

    def writes(_: object, count: int, room: Any) -> int:
        ctypes.memset(room, 0, count * ctypes.sizeof(native_profiler._Event))
        held = (native_profiler._Event * count).from_buffer(room)
        for place, (kind, subgraph) in enumerate(kinds):
            held[place].kind, held[place].subgraph, held[place].index = kind, subgraph, place
            held[place].source = -1
        return 0

    own = {"LiteRtGetNumProfilerEvents": counts, "LiteRtGetProfilerEvents": writes}
    assert [(each.index, each.delegated) for each in opened(monkeypatch, Library(own)).stop()] == [
        (0, False),
        (2, True),
    ]


@pytest.mark.parametrize("size", [88, 96, 112])
def test_events_of_another_size_are_refused(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def counts(_: object, count: Any) -> int:
        count._obj.value = 20
        return 0

    def writes(_: object, count: int, room: Any) -> int:
        ctypes.memset(room, 1, count * size)
        return 0

    model = opened(
        monkeypatch, Library({"LiteRtGetNumProfilerEvents": counts, "LiteRtGetProfilerEvents": writes})
    )
    with pytest.raises(MissingBackendError) as caught:
        model.stop()
    assert "not 104 each" in caught.value.why  # N3
