"""A /proc and a /sys of files, for a machine that this one is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.measure import agent
from edgekit.measure.conditions import Conditions, Reading, reading_of
from edgekit.measure.machine import of_facts

OWN = 10  # this process in the fake


@dataclass
class Fake:
    """Two cores; time that passes in seconds of each kind for both together."""

    folder: Path
    busy_s: float = 1000.0
    idle_s: float = 1000.0
    steal_s: float = 0.0
    processes: dict[int, tuple[str, int, float]] = field(default_factory=lambda: {OWN: ("python", 1, 0.0)})

    @property
    def proc(self) -> Path:
        return self.folder / "proc"

    @property
    def sys(self) -> Path:
        return self.folder / "sys"

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def works(self, seconds: float, *, own: float, others: Mapping[str, float], steal: float = 0.0) -> None:
        """Let ``seconds`` pass on two cores, of which this process takes ``own`` CPU seconds."""
        used = own + sum(others.values())
        self.busy_s += used
        self.steal_s += steal
        self.idle_s += 2 * seconds - used - steal
        self.processes[OWN] = ("python", 1, self.processes[OWN][2] + own)
        for pid, (name, more) in enumerate(others.items(), start=500):
            self.processes[pid] = (name, 1, self.processes.get(pid, (name, 1, 0.0))[2] + more)

    def flush(self) -> None:
        """Write times as the kernel would, the load split over both cores."""
        tick = agent.ticks_per_second()

        def core(index: int) -> str:
            half = [round(each / 2 * tick) for each in (self.busy_s, self.idle_s, self.steal_s)]
            return f"cpu{index} {half[0]} 0 0 {half[1]} 0 0 0 {half[2]} 0 0"

        # core 2 is not this process's: whatever happens there must not count
        foreign = f"cpu2 {round(self.busy_s * 77 * tick)} 0 0 1 0 0 0 0 0 0"
        self.write({"proc/stat": "\n".join(["cpu 9 9 9 9 9 9 9 9 9 9", core(0), core(1), foreign, "intr 1"])})
        for pid, (name, parent, seconds) in self.processes.items():
            fields = ["S", str(parent), *["0"] * 9, str(round(seconds * tick)), "0", "0", "0", *["0"] * 9]
            self.write({f"proc/{pid}/stat": f"{pid} ({name}) {' '.join(fields)}"})

    def read(self, *, at_s: float, deep: bool = False) -> Reading:
        """A reading at a time that the test chooses; ``deep`` looks at processes, as first and last do."""
        self.flush()
        table = agent.processes(self.proc) if deep else None
        said = agent.state(self.proc, self.sys, cores=[0, 1], table=table, root=OWN)
        return reading_of({**said, "at_s": at_s})

    def conditions(
        self, readings: list[Reading], busiest: list[tuple[str, float]] | None = None
    ) -> Conditions:
        return Conditions(tuple(readings), tuple(busiest or ()), of_facts(agent.machine(self.proc, self.sys)))
