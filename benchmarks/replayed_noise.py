"""benchmarks/noise/recorded.json -> launches of A and B as they might have been.

    pair i of a recording -> its rounds (drawn with replacement, both sides together), log ratios scaled
    -> sides swapped or not -> B times ``1 + slow_down``

Pairs come in the order in which they were recorded, from a drawn start, so that drift of the machine stays.
Which of the two processes is A is drawn, because in a run it is a name and nothing else; that makes the two
sides one population. The figure of a pair, as ``bench`` takes it from eight rounds, has another standard
deviation in each recording; it is brought to 10 %:

    M1 less than that: the pair's own ratio (its median over all recorded rounds) is stretched; the rounds
       about it stay as they were
    M2 more than that: the log ratio of every round is shrunk
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.measure.replicate import ROUNDS, log_ratio
from edgekit.measure.timer import Rounds

FILE = Path(__file__).parent / "noise" / "recorded.json"
SPREAD = 0.10  # standard deviation of process pairs, issue 7

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Recorded:
    """Pairs of processes of one file: medians of rounds, ``a`` and ``b``: (pairs, rounds)."""

    name: str
    a: Floats
    b: Floats

    @property
    def ratios(self) -> Floats:
        """Of each pair, as ``bench`` takes it: (pairs,)."""
        found: Floats = np.median(np.log(self.a / self.b), axis=1)
        return found

    @property
    def spread(self) -> float:
        """Standard deviation of ``ratios`` about 0: which side is which means nothing."""
        return float(np.sqrt(np.mean(self.ratios**2)))


def recordings(path: Path = FILE) -> list[Recorded]:
    """What was recorded, by file."""
    models = json.loads(path.read_text())["models"]
    return [
        Recorded(
            f"{each['file']} ({each['runtime']})",
            np.array([pair["a"] for pair in each["pairs"]]),
            np.array([pair["b"] for pair in each["pairs"]]),
        )
        for each in models
    ]


def normal(rng: np.random.Generator, *, pairs: int = 4000) -> Recorded:
    """Pairs whose ratios are normal, rounds with 3 % of noise: no recording, the textbook's case."""
    level = np.exp(rng.normal(0, SPREAD / 2**0.5, (2, pairs, 1)))
    a, b = level * np.exp(rng.normal(0, 0.03, (2, pairs, 12)))
    return Recorded("normal", a, b)


def launches(
    recorded: Recorded, rng: np.random.Generator, *, slow_down: float, spread: float = SPREAD
) -> Iterator[dict[str, Rounds]]:
    """Launch after launch of "a" and "b", without end; ``b`` takes ``1 + slow_down`` times as long.

    Args:
        recorded: where pairs come from.
        rng: of the start, the swaps and the rounds.
        slow_down: 0.05 = 5 %.
        spread: standard deviation of the pairs' ratios.
    """
    stretch, shrink = _scales(recorded, spread)
    logs, own = np.log(recorded.a / recorded.b), recorded.ratios
    level = np.sqrt(recorded.a * recorded.b)
    index = int(rng.integers(len(logs)))
    while True:
        picks = rng.integers(0, logs.shape[1], ROUNDS)
        half = (shrink * logs[index][picks] + (stretch - 1.0) * own[index]) / 2
        half = -half if rng.integers(2) else half
        first, second = level[index][picks] * np.exp(half), level[index][picks] * np.exp(-half)
        yield {
            "a": [(float(value),) for value in first],
            "b": [(float(value) * (1.0 + slow_down),) for value in second],
        }
        index = (index + 1) % len(logs)


def _scales(recorded: Recorded, spread: float) -> tuple[float, float]:
    """(M1, M2): factors of a pair's own log ratio and of every round's."""
    rng, logs, own = np.random.default_rng(0), np.log(recorded.a / recorded.b), recorded.ratios
    drawn = np.stack([logs[:, rng.integers(0, logs.shape[1], ROUNDS)] for _ in range(200)])
    medians = np.median(drawn, axis=2)
    whole = float(np.sqrt(np.mean(medians**2)))
    if whole > spread:
        return 1.0, spread / whole
    # medians = own + the rest, which is left as it is: (s own + rest)^2 on average is spread^2
    rest = medians - own
    a, b, c = np.mean(own**2), np.mean(own * rest), np.mean(rest**2) - spread**2
    return float((-b + np.sqrt(b * b - a * c)) / a), 1.0


def spread_of(recorded: Recorded, rng: np.random.Generator, *, count: int = 2000) -> float:
    """Standard deviation of the pairs that ``launches`` gives, each as ``bench`` would take it."""
    source = launches(recorded, rng, slow_down=0.0)
    found = [log_ratio(each["b"], each["a"]) for _, each in zip(range(count), source, strict=False)]
    return float(np.std(found))
