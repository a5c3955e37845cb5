"""kill -9 at 50 random moments of `release`: does the next run, with the same lock, give the same bytes?

The shipped example for two runtimes. A release that nobody disturbed writes lock and archive. Then, 50 times:
a release is started and killed after a random part of its time (every third with an empty cache, so that each
stage is hit), and run again to its end. Its archive, lock and reproducible files must be those of the
undisturbed one, and nothing half-written may be left beside them. Seed 0; EDGEKIT_KILLS sets another number.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.release_repeat import reproducible_files
from benchmarks.report import Bar, Report

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "edgekit" / "_examples" / "digits-cnn"
STEM = "digits-cnn-1.0.0"
TARGETS = ("onnxruntime-cpu", "litert-cpu")
KILLS = 50
FRESH_EVERY = 3  # kills: with an empty cache


@dataclass(frozen=True)
class Killed:
    """One kill: when, and what the next run made different; "" for nothing."""

    after_s: float
    reached: str
    different: str


class Releases:
    """A recipe with its lock, a cache and an output folder, in ``home``."""

    def __init__(self, home: Path, *, targets: tuple[str, ...] = TARGETS) -> None:
        self.home, self.out, self.cache = home, home / "dist", home / "cache"
        shutil.copytree(EXAMPLE, home / "recipe")
        self.recipe = home / "recipe" / "edgekit.toml"
        text = self.recipe.read_text("utf-8").partition("[[target]]")[0]
        self.recipe.write_text(
            text + "".join(f'\n[[target]]\nname = "{name}"\n' for name in targets), "utf-8"
        )

    def run(self) -> float:
        """To its end; gives seconds."""
        start = time.perf_counter()
        subprocess.run(self._command(), env=self._environment(), check=True, capture_output=True)
        return time.perf_counter() - start

    def kill_after(self, seconds: float) -> str:
        """Start a release, kill it and all that it started; gives the last stage that it named."""
        log = self.home / "killed.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                self._command(progress=True),
                env=self._environment(),
                stdout=subprocess.DEVNULL,
                stderr=stream,
                start_new_session=True,
            )
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        lines = log.read_text("utf-8", "replace").splitlines()
        return lines[-1].partition(" ")[2] if lines else "start"

    def hashes(self) -> dict[str, str]:
        """Of everything that is the same on every run."""
        apart = {"lock": self.recipe.with_name("edgekit.lock"), "archive": self.out / f"{STEM}.tar"}
        found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in apart.items()}
        return found | reproducible_files(self.out / STEM)

    def left(self) -> list[str]:
        """What nobody should find beside a finished release."""
        known = {STEM, f"{STEM}.tar", f"{STEM}.evidence.tar", f"{STEM}.sha256"}
        strange = [path.name for path in self.out.iterdir() if path.name not in known]
        return strange + [path.name for path in self.recipe.parent.iterdir() if path.name.startswith(".")]

    def _command(self, *, progress: bool = False) -> list[str]:
        words = [sys.executable, "-m", "edgekit", "release", str(self.recipe), "-o", str(self.out)]
        return words if progress else [*words, "-q"]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "EDGEKIT_CACHE": str(self.cache)}


def killed(releases: Releases, *, kills: int, seed: int) -> list[Killed]:
    """Kill and run again, ``kills`` times; every difference from the undisturbed release is named."""
    rng = np.random.default_rng(seed)
    cold_s = releases.run()
    wanted = releases.hashes()
    warm_s = releases.run()
    found = []
    for number in range(kills):
        fresh = number % FRESH_EVERY == 0
        if fresh:
            shutil.rmtree(releases.cache)
        after_s = float(rng.uniform(0.2, cold_s if fresh else warm_s))
        reached = releases.kill_after(after_s)
        releases.run()
        seen = releases.hashes()
        names = sorted(name for name in wanted.keys() | seen.keys() if wanted.get(name) != seen.get(name))
        names += [f"left: {each}" for each in releases.left()]
        found.append(Killed(after_s, reached, ", ".join(names)))
        print(f"{number}: {after_s:.1f} s, {reached}: {found[-1].different or 'the same'}", flush=True)
    return found


def run() -> Report:
    """Kill, run again, compare."""
    kills = int(os.environ.get("EDGEKIT_KILLS", KILLS))
    with tempfile.TemporaryDirectory() as home:
        found = killed(Releases(Path(home)), kills=kills, seed=0)
    same = sum(not each.different for each in found)
    bars = (
        Bar("kills after which the next run gives the same bytes", same, kills, at_most=False),
        Bar("stages that were hit", len({each.reached for each in found}), 5, at_most=False),
    )
    raw = {"kills": [[round(each.after_s, 2), each.reached, each.different] for each in found], "seed": 0}
    return Report("release_killed", bars, raw)
