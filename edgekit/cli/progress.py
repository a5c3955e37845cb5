"""Progress of a long stage -> a bar (terminal), timestamped lines (log), JSON lines (machines), or nothing.

All of it goes to stderr. ``shown`` chooses; the clock is handed in, so that tests need not wait.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TextIO

from edgekit.printable import printable
from edgekit.spec import Progress, Silent

_PLAIN_EVERY_S = 5.0  # a line in a log each five seconds: enough to see that it lives
_JSON_EVERY_S = 1.0
_WORTH_SAYING_S = 1.0  # a stage that was shorter ends without a line of its own

Clock = Callable[[], float]


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


@contextlib.contextmanager
def shown(stream: TextIO, *, quiet: bool, log_json: bool) -> Iterator[Progress]:
    """The progress that fits the flags and the stream; the last stage ends with the block."""
    if log_json:
        lines = JsonLines(stream)
        yield lines
        lines.finish()
    elif quiet:
        yield Silent()
    elif stream.isatty():
        with Bars(stream) as bars:
            yield bars
    else:
        plain = PlainLines(stream)
        yield plain
        plain.finish()


@dataclass
class _Stage:
    """The stage that runs now."""

    name: str
    total: int | None
    began: float
    done: int = 0
    last_said: float = field(init=False)

    def __post_init__(self) -> None:
        self.last_said = self.began

    def left_s(self, now: float) -> float | None:
        """Seconds until the end at the pace so far; None before anything is done."""
        if not self.total or not self.done:
            return None
        return (now - self.began) / self.done * (self.total - self.done)


class PlainLines:
    """Timestamped lines: one when a stage begins, one each few seconds, one at the end of a long one."""

    def __init__(
        self, stream: TextIO, *, clock: Clock = time.monotonic, now: Callable[[], str] = _now
    ) -> None:
        self._stream, self._clock, self._now = stream, clock, now
        self._stage: _Stage | None = None

    def stage(self, name: str, *, total: int | None = None) -> None:
        """End the stage before and begin this one."""
        self.finish()
        self._stage = _Stage(name, total, self._clock())
        self._say(name)

    def advance(self, steps: int = 1) -> None:
        """Count, and say so when the last line is some seconds old."""
        stage, now = self._stage, self._clock()
        if stage is None:
            return
        stage.done += steps
        if now - stage.last_said >= _PLAIN_EVERY_S:
            stage.last_said = now
            self._say(f"{stage.name}: {_share(stage, now)}")

    def note(self, text: str) -> None:
        """One line."""
        self._say(text)

    def finish(self) -> None:
        """The current stage is over."""
        stage, self._stage = self._stage, None
        if stage and self._clock() - stage.began >= _WORTH_SAYING_S:
            self._say(f"{stage.name}: done in {self._clock() - stage.began:.1f} s")

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a log on a full disk ends no work
            self._stream.write(f"{self._now()} {printable(text)}\n")
            self._stream.flush()


def _share(stage: _Stage, now: float) -> str:
    if not stage.total:
        return f"{stage.done} done"
    left = stage.left_s(now)
    about = f", about {left:.0f} s left" if left else ""
    return f"{stage.done} of {stage.total} ({100 * stage.done // stage.total} %){about}"


class JsonLines:
    """One JSON object a line: {"time", "event": stage | progress | done | note, ...}."""

    def __init__(
        self, stream: TextIO, *, clock: Clock = time.monotonic, now: Callable[[], str] = _now
    ) -> None:
        self._stream, self._clock, self._now = stream, clock, now
        self._stage: _Stage | None = None

    def stage(self, name: str, *, total: int | None = None) -> None:
        """End the stage before and begin this one."""
        self.finish()
        self._stage = _Stage(name, total, self._clock())
        self._say("stage", stage=name, total=total)

    def advance(self, steps: int = 1) -> None:
        """Count, and say so at most once a second."""
        stage, now = self._stage, self._clock()
        if stage is None:
            return
        stage.done += steps
        if now - stage.last_said >= _JSON_EVERY_S:
            stage.last_said = now
            self._say("progress", stage=stage.name, done=stage.done, total=stage.total)

    def note(self, text: str) -> None:
        """One event."""
        self._say("note", text=text)

    def finish(self) -> None:
        """The current stage is over."""
        stage, self._stage = self._stage, None
        if stage:
            seconds = round(self._clock() - stage.began, 3)
            self._say("done", stage=stage.name, done=stage.done, total=stage.total, seconds=seconds)

    def _say(self, event: str, **facts: Any) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(json.dumps({"time": self._now(), "event": event, **facts}) + "\n")
            self._stream.flush()


class Bars:
    """A bar with count and remaining time for the running stage, a line for each one that took a while."""

    def __init__(self, stream: TextIO, *, clock: Clock = time.monotonic) -> None:
        from rich import progress
        from rich.console import Console

        self._clock = clock
        self._console = Console(file=stream, highlight=False)
        self._display = progress.Progress(
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=30),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(),
            console=self._console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task: progress.TaskID | None = None
        self._name, self._began = "", 0.0

    def __enter__(self) -> Bars:
        self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._display.stop()

    def stage(self, name: str, *, total: int | None = None) -> None:
        """End the stage before and begin this one."""
        self._end()
        self._name, self._began = printable(name), self._clock()
        self._task = self._display.add_task(self._name, total=total)

    def advance(self, steps: int = 1) -> None:
        """Move the bar."""
        if self._task is not None:
            self._display.advance(self._task, steps)

    def note(self, text: str) -> None:
        """One line above the bar."""
        self._console.print(printable(text), markup=False)

    def _end(self) -> None:
        if self._task is None:
            return
        self._display.remove_task(self._task)
        self._task = None
        seconds = self._clock() - self._began
        if seconds >= _WORTH_SAYING_S:
            self._console.print(f"{self._name}  {seconds:.1f} s", style="dim", markup=False)
