"""Lines of a command as they arrive, and both limits. T numbers are those of line_process."""

from __future__ import annotations

import pytest

from edgekit.measure.line_process import LineProcess

SAYS_THEN_WAITS = ["sh", "-c", "echo one; echo two; printf half; exec sleep 600"]


def test_lines_arrive_before_the_command_ends_and_silence_is_an_error() -> None:
    """T1: what is no whole line yet is none."""
    with LineProcess(SAYS_THEN_WAITS) as process:
        lines = process.lines(silence_s=0.5, limit_s=60)
        assert [next(lines), next(lines)] == ["one", "two"]
        with pytest.raises(TimeoutError, match="silent for"):
            next(lines)


def test_a_command_that_never_ends_is_over_after_its_limit() -> None:
    """T2: although it is never silent."""
    chatty = ["sh", "-c", "while :; do echo x; sleep 0.05; done"]
    with LineProcess(chatty) as process, pytest.raises(TimeoutError, match="not done after"):
        list(process.lines(silence_s=60, limit_s=0.5))
    assert process.ended()


def test_the_end_of_a_command_is_the_end_of_its_lines() -> None:
    """T3, with its exit code and the end of what it said."""
    with LineProcess(["sh", "-c", "echo one; echo oh >&2; exit 3"]) as process:
        assert list(process.lines(silence_s=60, limit_s=60)) == ["one"]
        assert process.wait() == 3
        assert process.said() == "oh"


def test_standard_input_stays_open_until_the_end() -> None:
    with LineProcess(["sh", "-c", "echo ready; cat; echo gone >&2"]) as process:
        lines = process.lines(silence_s=60, limit_s=60)
        assert next(lines) == "ready"
        assert not process.ended()
    assert process.ended()


def test_what_is_fed_arrives_whole() -> None:
    with LineProcess(["wc", "-c"]) as process:
        process.feed([b"x" * 300_000, b"y" * 5])
        assert [line.strip() for line in process.lines(silence_s=60, limit_s=60)] == ["300005"]
