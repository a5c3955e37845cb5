"""The first release of each demo model against the second: time, lock, bytes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Bar, Report

ROOT = Path(__file__).parents[1]
MODELS = ("digits_cnn", "digits_keras")


def _release(recipe: Path, out: Path, cache: Path) -> tuple[float, str]:
    """Seconds and the lock's state of one release in a process of its own."""
    command = [sys.executable, "-m", "edgekit", "release", str(recipe), "-o", str(out), "--format", "json"]
    start = time.perf_counter()
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "EDGEKIT_CACHE": str(cache)},
    )
    return time.perf_counter() - start, str(json.loads(done.stdout)["lock"])


def reproducible_files(bundle: Path) -> dict[str, str]:
    """Hash by path of everything that must be the same everywhere."""
    listed = json.loads((bundle / "manifest.json").read_text())["files"]
    paths = ["manifest.json", *(entry["path"] for entry in listed)]
    return {path: hashlib.sha256((bundle / path).read_bytes()).hexdigest() for path in paths}


def run() -> Report:
    """Measure, each model with an empty cache and no lock."""
    bars, raw = [], {}
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            shutil.copytree(
                ROOT / "models" / name,
                home / name,
                ignore=shutil.ignore_patterns("edgekit.lock", "__pycache__"),
            )
            times, locks, hashes = [], [], []
            for index in range(2):
                seconds, lock = _release(home / name / "edgekit.toml", home / f"dist{index}", home / "cache")
                times.append(seconds)
                locks.append(lock)
                (bundle,) = (path for path in (home / f"dist{index}").iterdir() if path.is_dir())
                hashes.append(reproducible_files(bundle))
        changed = [path for path in hashes[0] if hashes[0][path] != hashes[1].get(path)]
        bars += [
            Bar(f"{name}: second release / first", times[1] / times[0], 0.25),
            Bar(f"{name}: files that differ", len(changed) + abs(len(hashes[0]) - len(hashes[1])), 0),
            Bar(f"{name}: releases that follow the lock", locks.count("followed"), 1, at_most=False),
        ]
        raw[name] = {"seconds": times, "locks": locks, "changed": changed, "files": len(hashes[0])}
    return Report("release_repeat", tuple(bars), raw)
