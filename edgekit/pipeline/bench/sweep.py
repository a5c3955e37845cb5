"""Batches x threads, cores, patience -> the conditions that artifacts are measured under, in groups.

    --batch 1,4 --threads 1,2  ->  (1, 1) (1, 2) (4, 1) (4, 2); within a group all artifacts are interleaved

B1 the batch is the size of every input's first axis, where the artifact leaves it open ·
B2 where one has it fixed at another size, this artifact is refused at this batch, and the others stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekit.backends import affinity
from edgekit.errors import InputError
from edgekit.spec import Artifact

LIMIT_S = 300.0  # for one answer of a process: loading, or one turn of inferences; the agent's REPLY_S
SIBLINGS = Path("/sys/devices/system/cpu")
NOT_HERE = Path("/no such folder")  # of a device's cores this machine's files say nothing


@dataclass(frozen=True)
class Sweep:
    """What the user asks for.

    Attributes:
        batches: each is measured.
        threads: each is measured; () = as the artifact says.
        cores: the only CPUs of every process; () = not pinned.
        limit_s: how long one answer of an artifact's process may take.
        budget_s: how long the launches of a group may take; None = until a difference of 5 % is found, a
            minute at most (``measure.replicate``).
        allow_fallback: operators may run on the CPU beside a GPU.
    """

    batches: tuple[int, ...] = (1,)
    threads: tuple[int, ...] = ()
    cores: tuple[int, ...] = ()
    limit_s: float = LIMIT_S
    budget_s: float | None = None
    allow_fallback: bool = False

    @property
    def first_threads(self) -> int | None:
        """The first number of threads; None = the artifact's own."""
        return self.threads[0] if self.threads else None

    def groups(self) -> Iterator[tuple[int, int | None]]:
        """Batch and threads; None = the artifact's own."""
        for batch in self.batches:
            for threads in self.threads or (None,):
                yield batch, threads

    def named(self, batch: int, threads: int | None) -> str:
        """How a message calls a group; "" where there is only one."""
        parts = [f"batch {batch}"] if len(self.batches) > 1 or batch > 1 else []
        if threads and len(self.threads) > 1:
            parts.append(f"{threads} thread{'s' * (threads > 1)}")
        return ", ".join(parts)


def check_batch(artifact: Artifact, batch: int) -> None:
    """B1, B2.

    Raises:
        InputError: it cannot be run at ``batch``.
    """
    if batch == 1:
        return  # the least that every artifact takes: open sizes become 1, fixed ones stay
    for binding in artifact.inputs:
        for shape in (binding.shape, binding.reference.shape):
            if shape and isinstance(shape[0], int) and shape[0] != batch:
                raise InputError(
                    f"its batch is fixed: the first axis of input {binding.reference.name!r} is {shape[0]}",
                    why=f"batch {batch} needs an axis of open size",
                    remedy="export the model with a dynamic batch (`edgekit export --dynamic "
                    f"{binding.reference.name}:0=batch`) and compile it again, or leave --batch out",
                )


def caveats(cores: tuple[int, ...], threads: int, ran_on: str, *, system: Path = SIBLINGS) -> tuple[str, ...]:
    """What stands against a pinned measurement; () without pinning.

    Args:
        cores: as asked for.
        threads: of the runtime.
        ran_on: the cores that the process's threads may use, as it said; "" = not known.
        system: where the kernel lists which CPUs are one core (sysfs, topology/thread_siblings_list).
    """
    if not cores:
        return ()
    found = []
    if threads > len(cores):
        found.append(
            f"{threads} threads share {len(cores)} core{'s' * (len(cores) > 1)}: they wait for each other"
        )
    outside = set(affinity.read(ran_on)) - set(cores)
    if outside:
        found.append(
            f"the runtime may run on cores {affinity.written(outside)} too: it sets masks of its own"
        )
    for core in cores:
        try:
            listed = (system / f"cpu{core}" / "topology" / "thread_siblings_list").read_text("ascii").strip()
            others = set(affinity.read(listed)) - {core}
        except (OSError, ValueError):
            continue
        if others:
            found.append(
                f"core {core} is one of two hardware threads of a core (with {affinity.written(others)}): "
                "what runs on the other one slows it down"
            )
    return tuple(found)
