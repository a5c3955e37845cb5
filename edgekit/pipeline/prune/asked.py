"""What `prune` is asked for, and what makes no sense."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgekit.errors import InputError
from edgekit.pruning.importance import Method
from edgekit.pruning.zeros import Pattern


@dataclass(frozen=True)
class Asked:
    """What the caller wants.

    Attributes:
        keep: part of every group's channels that stays; or
        speedup: how many times faster on every target; or
        zeros: which weights become zero (``prune.zeros``). One of the three.
        targets: where it is measured.
        threads: inside an operator; None = the target's own.
        threads_of: likewise, by target.
        importance: what decides which channels go.
        repair: "layers": each layer by least squares; "blocks": and then all of them together (``refine``).
        recover: epochs of distillation after the layers' repair, in place of ``refine``; 0 = none.
        require_speedup: zeros that save no time on a target are a failure there.
    """

    keep: float | None = None
    speedup: float | None = None
    zeros: Pattern | None = None
    targets: tuple[str, ...] = ("onnxruntime-cpu",)
    threads: int | None = None
    threads_of: Mapping[str, int] = field(default_factory=dict)
    importance: Method = "obs"
    repair: Literal["layers", "blocks"] = "blocks"
    recover: int = 0
    samples: int | None = None
    seed: int = 0
    require_speedup: bool = False


def check(asked: Asked) -> None:
    """Raise InputError where what is asked for makes no sense."""
    if sum(each is not None for each in (asked.keep, asked.speedup, asked.zeros)) != 1:
        raise InputError(
            "prune needs one of --speedup, --keep, --sparsity and --pattern",
            why="the first two remove channels, the others make single weights zero",
            remedy="--speedup 1.5, or --keep 0.7, or --sparsity 0.5, or --pattern 2:4",
        )
    if asked.zeros is not None and not 0 < asked.zeros.part < 1:
        raise InputError(
            f"--sparsity {asked.zeros.part:g} is no part of the weights",
            why="it lies between 0 and 1",
            remedy="--sparsity 0.5 makes every other weight zero",
        )
    if asked.require_speedup and asked.zeros is None:
        raise InputError(
            "--require-speedup goes with --sparsity or --pattern",
            why="--speedup is measured and required anyway, and --keep promises no speed",
            remedy="leave it out",
        )
    if asked.recover and asked.zeros is not None:
        raise InputError(
            "--recover goes with --speedup or --keep",
            why="zeros are chosen layer by layer; then the weights beside them are refined together anyway",
            remedy="leave it out",
        )
    if asked.keep is not None and not 0 < asked.keep < 1:
        raise InputError(
            f"--keep {asked.keep:g} is no part of the channels",
            why="it lies between 0 and 1",
            remedy="--keep 0.7 keeps seven of ten",
        )
    if asked.speedup is not None and not asked.speedup > 1:
        raise InputError(
            f"--speedup {asked.speedup:g} is not faster",
            why="1 is the float model's speed",
            remedy="--speedup 1.5",
        )
