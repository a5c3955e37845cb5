"""A device's recording after each launch -> whether the verdicts are in, for every group of conditions.

The device knows nothing of verdicts: it launches until edgekit hangs up (``device_job.record``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from edgekit.measure.device_job import Recording
from edgekit.measure.replicate import Plan, Replication
from edgekit.measure.sequential import Decision


class Referee:
    """One ``Replication`` for each group; the launches of all groups are the same."""

    def __init__(
        self,
        groups: Sequence[Mapping[str, str]],
        plan: Plan,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin.

        Args:
            groups: of each, what results call an artifact -> what the job calls it under these conditions.
            plan: the baseline is one of the former names.
            clock: seconds; the time of the first launch counts from here.
        """
        self._clock, self._begin = clock, clock()
        self._runs = [(dict(group), Replication(list(group), plan)) for group in groups]

    def enough(self, recording: Recording) -> bool:
        """Take the launch that has just ended, and say whether it was the last one."""
        index, elapsed_s = recording.ended - 1, self._clock() - self._begin
        failed = {each.artifact for each in recording.failures}
        for keys, run in self._runs:
            launches = {
                name: recording.samples[key][index]
                for name, key in keys.items()
                if key not in failed and index in recording.samples.get(key, {})
            }
            run.take(launches, elapsed_s=elapsed_s)
        return all(run.over() for _, run in self._runs)

    def decisions(self, group: Mapping[str, str]) -> dict[str, Decision]:
        """By candidate, of one of the groups."""
        return next((run.decisions() for keys, run in self._runs if keys == dict(group)), {})

    @property
    def launch_s(self) -> float:
        """How long a launch takes."""
        return max((run.launch_s for _, run in self._runs), default=0.0)
