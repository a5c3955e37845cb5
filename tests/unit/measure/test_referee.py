"""A device's launches as they arrive -> whether it is enough."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgekit.measure.device_job import Recording, recorded
from edgekit.measure.referee import Referee
from edgekit.measure.replicate import LAUNCHES, Plan


def events(
    slower: float, *, fails: str = "", at: int = 0, launches: int = 100, lost_in: int = 100
) -> Iterator[dict[str, Any]]:
    """An agent's lines of "a" and "b"; ``b`` takes ``slower`` times as long."""
    yield {"event": "start", "machine": {"cpu": "a board"}}
    for launch in range(launches):
        for name, cost in (("a", 1000), ("b", round(1000 * slower * (1 + 0.001 * (launch % 3))))):
            if fails == name and launch >= at:
                if launch == at:
                    yield {"event": "failed", "artifact": name, "kind": "crash", "what": "x", "remedy": ""}
                continue
            yield {"event": "warm", "artifact": name, "launch": launch, "runs": 1, "settled": launch > 0}
            for index in range(4):
                yield {"event": "block", "artifact": name, "launch": launch, "round": index, "ns": [cost]}
        if launch == lost_in:
            return
        yield {
            "event": "launched",
            "launch": launch,
            "peak_bytes": {"a": launch},
            "machine": {"load": launch},
        }


def measured(source: Iterator[dict[str, Any]], *, baseline: str = "a") -> tuple[Recording, Referee]:
    now = iter(range(10_000))
    referee = Referee([{"a": "a", "b": "b"}], Plan(baseline), clock=lambda: float(next(now)))
    return recorded(source, enough=referee.enough), referee


def test_a_verdict_hangs_up() -> None:
    found, referee = measured(events(2.0))
    assert referee.decisions({"a": "a", "b": "b"})["b"].verdict == "slower"
    assert found.ended < 10
    assert found.incomplete == ""
    assert found.peak_bytes["a"] == found.ended - 1
    assert found.machine["at_end"] == {"load": found.ended - 1}


def test_without_a_baseline_five_launches_are_enough() -> None:
    found, referee = measured(events(2.0), baseline="")
    assert found.ended == LAUNCHES
    assert referee.decisions({"a": "a", "b": "b"}) == {}


def test_nobody_waits_for_an_artifact_that_failed() -> None:
    found, _ = measured(events(1.0, fails="b", at=2))
    assert found.ended == LAUNCHES
    assert len(found.samples["b"]) == 2
    assert [each.artifact for each in found.failures] == ["b"]


def test_a_device_that_is_lost_keeps_its_pairs_and_its_samples() -> None:
    """The launch that broke off is in the samples, and in no pair."""
    found, referee = measured(events(1.0, lost_in=3))
    assert found.incomplete == "the agent ended before it was done"
    assert len(found.samples["a"]) == 4
    assert referee.decisions({"a": "a", "b": "b"})["b"].pairs == 3


def test_every_group_must_be_decided() -> None:
    now = iter(range(10_000))
    groups = [{"a": "a", "b": "b"}, {"a": "a at batch 4", "b": "b at batch 4"}]
    referee = Referee(groups, Plan("a"), clock=lambda: float(next(now)))
    found = recorded(events(2.0), enough=referee.enough)
    assert found.ended >= LAUNCHES  # the second never ran
    assert referee.decisions(groups[1]) == {}


def test_settling_is_told_of_each_launch() -> None:
    found, _ = measured(events(2.0))
    assert found.settled["a"][0] == "the median did not settle during warm-up"
    assert not any(found.settled["a"][1:])
