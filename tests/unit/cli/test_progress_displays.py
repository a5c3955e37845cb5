"""Progress as lines, JSON lines, bars and silence; the clock is a number that the test moves."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

import pytest

from edgekit.cli import progress
from edgekit.spec import Silent


@dataclass
class Clock:
    time: float = 0.0

    def __call__(self) -> float:
        return self.time


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def plain() -> tuple[progress.PlainLines, io.StringIO, Clock]:
    stream, clock = io.StringIO(), Clock()
    return progress.PlainLines(stream, clock=clock, now=lambda: "T"), stream, clock


def test_plain_lines_begin_and_end_a_stage() -> None:
    shown, stream, clock = plain()
    shown.stage("calibrate", total=256)
    clock.time = 3.0
    shown.stage("compile")
    shown.note("a note")
    clock.time = 3.5
    shown.finish()
    assert stream.getvalue().splitlines() == [
        "T calibrate",
        "T calibrate: done in 3.0 s",
        "T compile",
        "T a note",  # and no end for half a second
    ]


def test_plain_lines_are_throttled_and_estimate_the_rest() -> None:
    shown, stream, clock = plain()
    shown.stage("calibrate", total=100)
    for step in range(100):
        clock.time = 0.1 * (step + 1)
        shown.advance()
    lines = stream.getvalue().splitlines()
    assert lines[1:] == ["T calibrate: 50 of 100 (50 %), about 5 s left", "T calibrate: 100 of 100 (100 %)"]


def test_plain_lines_without_a_total() -> None:
    shown, stream, clock = plain()
    shown.advance()  # before any stage: nothing to say
    shown.stage("measure")
    clock.time = 6.0
    shown.advance(7)
    assert stream.getvalue().splitlines()[-1] == "T measure: 7 done"


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines() -> None:
    stream, clock = io.StringIO(), Clock()
    shown = progress.JsonLines(stream, clock=clock, now=lambda: "T")
    shown.advance()
    shown.stage("calibrate", total=4)
    shown.advance()  # at once: throttled
    clock.time = 1.5
    shown.advance(2)
    shown.note('a "note"\nof two lines')
    shown.finish()
    assert events(stream) == [
        {"time": "T", "event": "stage", "stage": "calibrate", "total": 4},
        {"time": "T", "event": "progress", "stage": "calibrate", "done": 3, "total": 4},
        {"time": "T", "event": "note", "text": 'a "note"\nof two lines'},
        {"time": "T", "event": "done", "stage": "calibrate", "done": 3, "total": 4, "seconds": 1.5},
    ]


def test_bars_draw_on_a_terminal_and_leave_a_line_for_a_long_stage() -> None:
    stream, clock = Terminal(), Clock()
    with progress.Bars(stream, clock=clock) as shown:
        shown.advance()
        shown.stage("calibrate [x]", total=4)
        shown.advance(4)
        shown.note("[not markup]")
        clock.time = 2.0
        shown.stage("short")
    text = stream.getvalue()
    assert "calibrate [x]  2.0 s" in text
    assert "[not markup]" in text
    assert "short  " not in text


@pytest.mark.parametrize(
    ("stream", "flags", "kind"),
    [
        (io.StringIO(), {"quiet": False, "log_json": False}, progress.PlainLines),
        (io.StringIO(), {"quiet": False, "log_json": True}, progress.JsonLines),
        (io.StringIO(), {"quiet": True, "log_json": False}, Silent),
        (Terminal(), {"quiet": False, "log_json": False}, progress.Bars),
        (Terminal(), {"quiet": True, "log_json": False}, Silent),
        (Terminal(), {"quiet": False, "log_json": True}, progress.JsonLines),
    ],
    ids=["log", "machine", "quiet", "terminal", "quiet terminal", "machine on a terminal"],
)
def test_the_display_that_fits(stream: io.StringIO, flags: dict[str, bool], kind: type) -> None:
    with progress.shown(stream, **flags) as shown:
        assert isinstance(shown, kind)


def test_a_failed_stage_is_not_said_to_be_done() -> None:
    stream = io.StringIO()

    def failing() -> None:
        with progress.shown(stream, quiet=False, log_json=True) as shown:
            shown.stage("calibrate")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert [event["event"] for event in events(stream)] == ["stage"]
